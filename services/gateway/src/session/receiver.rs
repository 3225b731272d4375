//! A receiver: what it asks for, and which channels of a poll it may read. `docs/protocols/http.md` §7.

use std::sync::Arc;

use gorani_broker::{Position, Retention};

use crate::format::position::{Positions, Unrecovered};

/// A receiver's request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveQuery {
    /// Its connection token; empty for none.
    pub token: String,
    /// Channels besides those of the token.
    pub channels: Vec<String>,
    /// Its positions in its channels.
    pub positions: Positions,
    /// It named a position that cannot be read: its reply says that nothing was recovered.
    pub is_unreadable: bool,
}

/// A channel of a poll, with what it may read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollableChannel {
    /// The channel.
    pub channel: Arc<str>,
    /// The retention of its publications, or the reason why this receiver reads none.
    pub retention: Result<Retention, NotPollable>,
    /// The positions that the receiver has reached; `None`: it did not say, or not so that it helps.
    pub since: Option<Position>,
    /// The position that it named is of no use already.
    pub unrecovered: Option<Unrecovered>,
}

/// The reason why a channel cannot be polled. The reasons are stable: clients get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPollable {
    /// It keeps no history (`history_size`, `history_ttl`).
    NoHistory,
    /// It keeps some, and its options let this receiver neither recover from it (`allow_recovery`) nor read it
    /// (`allow_history_for_…`).
    NotAllowed,
}

impl NotPollable {
    /// The reason's name for clients.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoHistory => "no_history",
            Self::NotAllowed => Unrecovered::NotAllowed.reason(),
        }
    }
}
