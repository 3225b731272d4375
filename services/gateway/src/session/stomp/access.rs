//! The rights of a STOMP session.

use gorani_auth::ConnectionClaims;

/// What the rules of channels have to say of a session.
pub(super) enum Access {
    /// They decide, but for what its token allows.
    Client(Box<ConnectionClaims>),
    /// Nothing: a backend is trusted, as with a key of the API.
    Backend,
}

impl Default for Access {
    fn default() -> Self {
        Self::Client(Box::default())
    }
}
