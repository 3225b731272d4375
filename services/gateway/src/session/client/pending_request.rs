//! Commands, and steps of them, that wait for the node.

use std::sync::Arc;

use gorani_broker::Position;

/// A command, or a step of one, that waits for the node.
#[derive(Debug)]
pub(super) enum PendingRequest {
    Enter,
    ConnectSubscribe { channel: Arc<str> },
    ServerSubscribe { channel: Arc<str> },
    Subscribe { id: u32, channel: Arc<str>, reject: bool },
    Publish { id: u32 },
    History { id: u32, since: Option<Position> },
    Presence { id: u32 },
}

impl PendingRequest {
    /// True if it may bring much: such requests wait for one another.
    pub(super) fn is_heavy_read(&self) -> bool {
        matches!(self, Self::History { .. } | Self::Presence { .. })
    }
}
