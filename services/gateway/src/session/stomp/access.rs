//! The rights of a STOMP session.

use gorani_auth::ConnectionClaims;

/// The way in which the rules of channels apply to a session.
pub(super) enum Access {
    /// The rules decide, except for what its token allows.
    Client(Box<ConnectionClaims>),
    /// No rule applies: a backend is trusted, as with a key of the API.
    Backend,
}

impl Default for Access {
    fn default() -> Self {
        Self::Client(Box::default())
    }
}
