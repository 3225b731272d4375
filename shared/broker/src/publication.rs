//! Values that travel through a broker: publications, joins and leaves, and the position of a publication in its stream.
//! `docs/architecture.md` §4.1.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::TraceContext;

/// The kind of `Publication::data`, so that each protocol can show it in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// One JSON value, valid and compact enough to embed; never with raw newlines.
    #[default]
    Json,
    /// UTF-8 text. A JSON client sees a JSON string.
    Text,
    /// Any bytes. A JSON client sees base64 in a JSON string.
    Binary,
}

/// The identity of a client, as others see it: in presence, joins, leaves, and on publications that a client made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientInfo {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Client id: one per connection, unique in the cluster.
    pub client: String,
    /// JSON of the connection token's `info`; empty when there is none.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "raw_text")]
    pub connection_info: Bytes,
    /// JSON of the subscription token's `info`; empty when there is none.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "raw_text")]
    pub channel_info: Bytes,
}

/// A position in a channel's stream. `offset` counts publications from 1; `epoch` names the stream's life: offsets of
/// different epochs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Offset of the newest publication; 0 while there is none.
    pub offset: u64,
    /// Random id of the stream's life, printable ASCII without quotes; empty where the channel keeps no history.
    pub epoch: Arc<str>,
}

/// One message of a channel, as accepted by the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// The payload; `kind` says how to read it.
    pub data: Bytes,
    /// The kind of `data`.
    pub kind: DataKind,
    /// 1 for the first publication of an epoch, +1 for each; 0 on channels without history.
    pub offset: u64,
    /// The stream's epoch; empty on channels without history.
    pub epoch: Arc<str>,
    /// Free labels of the publisher, in its order.
    pub tags: Vec<(String, String)>,
    /// The client that published; absent when a backend did.
    pub info: Option<Arc<ClientInfo>>,
    /// Milliseconds since the Unix epoch at which the broker's node took it.
    pub time_ms: u64,
    /// Client id that must not receive it (live, recovery and history replays of that session); empty: no client.
    pub exclude_client: String,
    /// Its trace, where it is sampled.
    pub trace: Option<Arc<TraceContext>>,
}

impl ClientInfo {
    /// Bytes of what it holds.
    pub fn content_bytes(&self) -> u64 {
        let bytes =
            self.user.len() + self.client.len() + self.connection_info.len() + self.channel_info.len();
        bytes as u64
    }
}

impl Publication {
    /// True if a client is shown it: all but the one that it excludes.
    pub fn is_for(&self, client: &str) -> bool {
        self.exclude_client.is_empty() || self.exclude_client != client
    }

    /// Bytes of its data, tags and client info: what a read of history counts.
    pub fn content_bytes(&self) -> u64 {
        let tags: usize = self.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        let info = self.info.as_ref().map_or(0, |info| info.content_bytes());
        (self.data.len() + tags) as u64 + info
    }
}

/// An event for a channel's subscribers, in the broker's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A message.
    Publication(Arc<Publication>),
    /// A client subscribed (only channels with `join_leave`).
    Join(Arc<ClientInfo>),
    /// A client left (only channels with `join_leave`).
    Leave(Arc<ClientInfo>),
}

/// `Bytes` that hold UTF-8 text (raw JSON), written as a string.
mod raw_text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(bytes).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Bytes::from(text))
    }
}
