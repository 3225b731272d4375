//! The stream of a channel: a range that is missing, what was read in its place, and what tells two publications apart.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, Position, Publication};

use crate::{
    hub::{registry::SessionKey, subscription::is_same_epoch},
    session::EndedEpoch,
};

/// A range of the stream that is missing and has to be read from history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::hub) struct MissingRange {
    /// The last publication that was delivered.
    pub(in crate::hub) after: Position,
    /// Names the read, for [`super::Channel::caught_up`].
    pub(in crate::hub) read: u64,
}

/// An epoch that ended, and the sessions that went over to the next one.
pub(in crate::hub) type EpochChange = (EndedEpoch, Vec<SessionKey>);

/// The result of a read of history after a position.
#[derive(Debug)]
pub(in crate::hub) struct CatchUpResult {
    /// Publications without a hole.
    pub(in crate::hub) events: Vec<ChannelEvent>,
    /// The stream's epoch of now.
    pub(in crate::hub) epoch: Arc<str>,
    /// Those before it, as in [`gorani_broker::HistoryPage`].
    pub(in crate::hub) ancestors: Vec<Position>,
}

impl CatchUpResult {
    /// The last offset that an earlier epoch has in common with the one of now.
    pub(super) fn shared_with(&self, epoch: &Arc<str>) -> Option<u64> {
        self.ancestors.iter().find(|shared| is_same_epoch(&shared.epoch, epoch)).map(|shared| shared.offset)
    }
}

/// Tells a publication from one that got its offset after a failover that forgot it: that one was accepted at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Fingerprint {
    time_ms: u64,
    bytes: usize,
}

impl Fingerprint {
    pub(in crate::hub) fn of(publication: &Publication) -> Self {
        Self { time_ms: publication.time_ms, bytes: publication.data.len() }
    }
}
