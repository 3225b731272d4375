//! The notes of a session of the epochs that ended while its client stayed. Record 34.

use tokio::time::Instant;

use crate::session::EndedEpoch;

/// A session's notes of ended epochs. Most have none. At most one entry of each subscription.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Subscriptions whose client knows an epoch that has ended.
    pub(super) stale: Vec<EndedEpoch>,
    /// The time at which the client is asked to subscribe anew.
    pub(super) by: Option<Instant>,
    /// Subscriptions that were ended for this, and may return with the ended epoch: their position holds in the current one.
    pub(super) told: Vec<EndedEpoch>,
}
