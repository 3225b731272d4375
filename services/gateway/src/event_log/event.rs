//! The events that a node remembers. Times are milliseconds since the Unix epoch.
//!
//! Nodes send them to one another as they are, so a new field has a default.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use gorani_broker::Position;
use serde::{Deserialize, Serialize};

use super::ring::RingEntry;

/// Bytes of a reason that are kept: backends choose them.
pub const REASON_MAX_BYTES: usize = 128;

/// A client that connected, was refused, or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Its time.
    pub at: u64,
    /// Client id; empty if the client has not connected.
    pub client: Arc<str>,
    /// User id; empty for an anonymous user, and if the client has not connected.
    pub user: Arc<str>,
    /// `websocket`, …
    pub transport: Cow<'static, str>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The event.
    pub change: SessionChange,
}

/// The change of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionChange {
    /// The client has connected.
    Connected,
    /// The connection ended before its client had connected, with this code.
    Refused(u16),
    /// The session ended.
    Ended(Box<EndedSession>),
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedSession {
    /// Code of the disconnect.
    pub code: u16,
    /// Its reason.
    pub reason: Cow<'static, str>,
    /// Milliseconds from the beginning of the connection.
    pub connected_ms: u64,
    /// Bytes that waited in the outbox.
    pub waiting_bytes: u64,
    /// Milliseconds for which bytes had waited without a break: the oldest byte is at most so old.
    pub waiting_ms: u64,
    /// The channels of the waiting bytes, where the outbox was full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelShare>,
}

/// The part of one channel in the bytes that waited for a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelShare {
    /// The channel.
    pub channel: String,
    /// Between 0 and 1, of the waiting messages that were looked at; absent where it cannot be told from them.
    pub part: Option<f64>,
}

/// A subscription that began, was refused, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionEvent {
    /// Its time.
    pub at: u64,
    /// Client id.
    pub client: Arc<str>,
    /// User id; empty for an anonymous user.
    pub user: Arc<str>,
    /// The channel.
    pub channel: Arc<str>,
    /// The event.
    pub change: SubscriptionChange,
}

/// The change of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionChange {
    /// It began.
    Began {
        /// The position that the client came with.
        asked: Option<Position>,
        /// The top of the stream when it began; absent where its position is not tracked.
        top: Option<Position>,
        /// The outcome of a recovery.
        recovery: RecoveryResult,
    },
    /// It was refused with this error code.
    Refused(u32),
    /// It ended.
    Ended {
        /// Code of the unsubscribe, 0 if the client left; absent if it ended with its session.
        code: Option<u32>,
        /// The position up to which everything was put into the client's outbox; absent where it is not tracked.
        seen: Option<Position>,
        /// A reload ended it: the settings no longer permit it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        not_permitted: bool,
    },
}

impl SubscriptionChange {
    /// It ended with its session.
    pub fn ended_with_session(seen: Option<Position>) -> Self {
        Self::Ended { code: None, seen, not_permitted: false }
    }
}

/// The outcome of a recovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryResult {
    /// The client asked for none.
    #[default]
    NotAsked,
    /// The client got everything that it had missed.
    Recovered,
    /// The position is of an epoch that has ended.
    WrongEpoch,
    /// The missed publications have left the history.
    TooOld,
    /// More was missed than one recovery brings.
    TooMuch,
}

/// A command of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEvent {
    /// The time when it ran, or when it was refused.
    pub at: u64,
    /// Client id.
    pub client: Arc<str>,
    /// User id; empty for an anonymous user.
    pub user: Arc<str>,
    /// Its name in the client's protocol: `publish`, … or `SEND`, …
    pub command: Cow<'static, str>,
    /// The channel that it names; of STOMP the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Box<str>>,
    /// The method that it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Box<str>>,
    /// The code of the error with which it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// Its number in its connection, by which a refusal that comes later finds it; 0 for none.
    #[serde(skip)]
    pub id: u32,
}

impl RingEntry for CommandEvent {
    fn at(&self) -> u64 {
        self.at
    }

    fn text_bytes(&self) -> usize {
        let names = self.channel.as_deref().map_or(0, str::len) + self.method.as_deref().map_or(0, str::len);
        self.client.len() + self.user.len() + names
    }
}

/// A gap between broker and subscribers, or what may have caused one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEvent {
    /// Its time.
    pub at: u64,
    /// The channel; empty where it concerns the whole node.
    pub channel: Arc<str>,
    /// The event.
    pub change: GapChange,
}

/// The change that a gap event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapChange {
    /// The broker may have missed publications.
    Missed,
    /// An event did not fit into the worker's inbox.
    InboxFull,
    /// The publications missed after a position were read from history, up to this offset.
    CaughtUp {
        /// The last publication before the gap.
        after: Position,
        /// The last one that was read.
        to: u64,
    },
    /// The missed publications could not be read: subscribers that track their position were told.
    NotCaughtUp,
    /// The stream began a new epoch.
    EpochEnded {
        /// The new epoch.
        next: Arc<str>,
    },
    /// Connections to the broker were lost, and opened again.
    BrokerReconnected(u64),
    /// A canary did not come back for so many milliseconds.
    CanaryLate(u64),
    /// A node of this id left the cluster without saying so.
    NodeLost {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
}

/// A publish that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPublish {
    /// Its time.
    pub at: u64,
    /// The channel.
    pub channel: Arc<str>,
    /// True if a client published, false for a backend.
    pub by_client: bool,
    /// Error code: 120 says that nothing was done, 121 that nobody knows.
    pub code: u32,
}

impl RingEntry for SessionEvent {
    fn at(&self) -> u64 {
        self.at
    }

    fn text_bytes(&self) -> usize {
        let end = match &self.change {
            SessionChange::Ended(end) => {
                let channels =
                    end.channels.iter().map(|share| size_of::<ChannelShare>() + share.channel.len());
                size_of::<EndedSession>() + end.reason.len() + channels.sum::<usize>()
            }
            SessionChange::Connected | SessionChange::Refused(_) => 0,
        };
        self.client.len() + self.user.len() + end
    }
}

impl RingEntry for SubscriptionEvent {
    fn at(&self) -> u64 {
        self.at
    }

    fn text_bytes(&self) -> usize {
        let epoch =
            |position: &Option<Position>| position.as_ref().map_or(0, |position| position.epoch.len());
        let positions = match &self.change {
            SubscriptionChange::Began { asked, top, .. } => epoch(asked) + epoch(top),
            SubscriptionChange::Ended { seen, .. } => epoch(seen),
            SubscriptionChange::Refused(_) => 0,
        };
        self.client.len() + self.user.len() + self.channel.len() + positions
    }
}

impl RingEntry for GapEvent {
    fn at(&self) -> u64 {
        self.at
    }

    fn text_bytes(&self) -> usize {
        let texts = match &self.change {
            GapChange::CaughtUp { after, .. } => after.epoch.len(),
            GapChange::EpochEnded { next } => next.len(),
            GapChange::NodeLost { id, name } => id.len() + name.len(),
            _ => 0,
        };
        self.channel.len() + texts
    }
}

impl RingEntry for FailedPublish {
    fn at(&self) -> u64 {
        self.at
    }

    fn text_bytes(&self) -> usize {
        self.channel.len()
    }
}

/// A reason, cut to what is kept of one.
pub fn short_reason(reason: Cow<'static, str>) -> Cow<'static, str> {
    match reason {
        Cow::Borrowed(_) => reason,
        Cow::Owned(ref reason) => Cow::Owned(
            reason.get(..reason.floor_char_boundary(REASON_MAX_BYTES)).unwrap_or_default().to_owned(),
        ),
    }
}
