//! An event before the store has numbered it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEventKind {
    /// A session began.
    Connected,
    /// A session ended.
    Disconnected,
    /// A session subscribed to a channel.
    Subscribed,
    /// A session left a channel.
    Unsubscribed,
    /// A channel has its first subscription in the cluster.
    Occupied,
    /// A channel has lost its last one.
    Vacated,
    /// A user has its first session in a channel with presence.
    MemberAdded,
    /// A user has lost its last one there.
    MemberRemoved,
    /// A client published.
    Publication,
    /// Events were lost.
    Gap,
    /// The receiver is to forget what it knows; the present state follows.
    Reset,
}

impl HookEventKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Connected,
        Self::Disconnected,
        Self::Subscribed,
        Self::Unsubscribed,
        Self::Occupied,
        Self::Vacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::Publication,
        Self::Gap,
        Self::Reset,
    ];

    /// Its name in settings, in the events of a backend and in a medium.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::Publication => "publication",
            Self::Gap => "gap",
            Self::Reset => "reset",
        }
    }
}

/// An event that a change may cause. The store gives it its id, and to an event of a session its number and the user's sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEventDraft {
    /// The kind.
    pub kind: HookEventKind,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Id of the node that it happened on.
    pub node: Arc<str>,
    /// Client id; empty where it is about none.
    pub client: Arc<str>,
    /// User id; empty where it is about none, or about an anonymous one.
    pub user: Arc<str>,
    /// The channel; empty where it is about none.
    pub channel: Arc<str>,
    /// The members of a JSON object without its braces, `"transport":"websocket"`; empty for none.
    pub details: Bytes,
    /// The meta that the backend keeps with the connection, as JSON; empty for none. Sent to the endpoints that want it.
    pub meta: Bytes,
    /// The endpoints that it is for: indexes into [`super::HookStorePlan::endpoints`]. None: the store changes, and nothing is told.
    pub endpoints: Arc<[u16]>,
}

impl HookEventDraft {
    /// Bytes of its content.
    pub fn content_bytes(&self) -> u64 {
        let texts = self.node.len() + self.client.len() + self.user.len() + self.channel.len();
        (texts + self.details.len() + self.meta.len()) as u64
    }
}
