//! The notes of a session of the epochs that ended while its client stayed. Record 34.

use tokio::time::Instant;

use crate::session::EndedEpoch;

/// A session's notes of ended epochs. Most have none. At most one entry of each subscription.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Subscriptions whose client knows an epoch that has ended.
    pub(super) stale: Vec<EndedEpoch>,
    /// The time at which their clients are told to subscribe anew.
    pub(super) by: Option<Instant>,
    /// Those that were told, and may come back with the epoch that has ended: what they had is of the one of now.
    pub(super) told: Vec<EndedEpoch>,
}
