//! Errors between a node and its broker.

/// Errors of a [`crate::Broker`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The channel keeps no history.
    #[error("the channel keeps no history")]
    NoHistory,
    /// The broker refused because a limit of its own is reached; nothing was done.
    #[error("broker limit reached: {0}")]
    Limit(&'static str),
    /// A query for a page of presence had a cursor that is not of this broker.
    #[error("not a cursor of this broker")]
    BadCursor,
    /// The broker cannot be reached; nothing was done.
    #[error("broker unavailable: {0}")]
    Unavailable(String),
    /// The request went out and no answer came back: it may or may not have been done.
    #[error("no answer from the broker, outcome unknown: {0}")]
    UnknownOutcome(String),
}

impl BrokerError {
    /// True if the request may have been carried out in spite of the error.
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }
}
