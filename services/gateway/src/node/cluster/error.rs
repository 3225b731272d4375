//! Why the whole cluster could not be asked.

use gorani_broker::BrokerError;

use crate::disconnect::ErrorCode;

/// Why the whole cluster could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The broker did not list the members, or did not carry the message.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// These nodes live and did not answer in time: what they did is unknown.
    #[error("no answer from node {}, outcome unknown", .0.join(", "))]
    Unanswered(Vec<String>),
    /// These nodes do not know this kind of request, since they are of another version: id and version of each.
    #[error("node {} of this cluster does not understand this request", .nodes.join(", "))]
    Unsupported {
        /// `0badcafe (version 0.3.0)`.
        nodes: Vec<String>,
        /// Other nodes may have carried it out.
        is_partly_done: bool,
    },
    /// Too many queries wait or run already; nothing was done.
    #[error("too many requests of this kind at the moment")]
    Busy,
}

impl From<&ClusterError> for ErrorCode {
    fn from(error: &ClusterError) -> Self {
        match error {
            ClusterError::Broker(error) => error.clone().into(),
            ClusterError::Unanswered(_) => Self::UNKNOWN_OUTCOME,
            ClusterError::Unsupported { is_partly_done: true, .. } => Self::UNKNOWN_OUTCOME,
            ClusterError::Unsupported { .. } => Self::UNAVAILABLE,
            ClusterError::Busy => Self::TOO_MANY_REQUESTS,
        }
    }
}
