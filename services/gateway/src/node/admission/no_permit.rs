//! The reasons why a session gets no slot, and the error that its client gets.

use super::refusals::RefusalCause;

/// Why a session gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPermit {
    /// `http.max_connections`.
    #[error("this node holds as many connections as it may")]
    Full,
    /// `client.max_unauthenticated`.
    #[error("too many sessions of this node have not connected yet")]
    Unauthenticated,
    /// The client's part of it.
    #[error("too many sessions from this address have not connected yet")]
    UnauthenticatedOfAddress,
    /// `client.max_unauthenticated_per_connection`.
    #[error("too many sessions over this connection have not connected yet")]
    UnauthenticatedOfConnection,
}

impl NoPermit {
    /// The HTTP status: whether the node is full, or the client asks for too much.
    pub fn status(self) -> u16 {
        match self {
            Self::Full | Self::Unauthenticated => 503,
            Self::UnauthenticatedOfAddress | Self::UnauthenticatedOfConnection => 429,
        }
    }

    pub(super) fn cause(self) -> RefusalCause {
        match self {
            Self::Full => RefusalCause::MaxConnections,
            Self::Unauthenticated => RefusalCause::Unauthenticated,
            Self::UnauthenticatedOfAddress => RefusalCause::UnauthenticatedOfAddress,
            Self::UnauthenticatedOfConnection => RefusalCause::UnauthenticatedOfConnection,
        }
    }
}
