//! A receiver: what it asks for, and which channels of a poll it may read. `docs/protocols/http.md` §7.

use std::sync::Arc;

use gorani_broker::{Position, Retention};

use crate::format::position::{Positions, Unrecovered};

/// What a receiver asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveQuery {
    /// Its connection token; empty for none.
    pub token: String,
    /// Channels besides those of the token.
    pub channels: Vec<String>,
    /// How far it has come.
    pub positions: Positions,
    /// It named a position that is none of ours: it is told that nothing was recovered.
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

/// Why a channel cannot be polled. The reasons are stable: clients are told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPollable {
    /// It keeps no history (`history_size`, `history_ttl`).
    NoHistory,
    /// It keeps some, and its options let this receiver neither recover from it (`allow_recovery`) nor read it
    /// (`allow_history_for_…`).
    NotAllowed,
}

impl NotPollable {
    /// As clients are told.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoHistory => "no_history",
            Self::NotAllowed => Unrecovered::NotAllowed.reason(),
        }
    }
}
