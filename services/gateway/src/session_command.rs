//! Commands of a backend for the sessions of a user: one type from the HTTP API, over the cluster and the hub, to the session.
//! `docs/architecture.md` §5.7.
//!
//! As JSON it is what nodes write to one another. Nodes of older versions read it: a new field has a default, and no field goes.

pub mod pending_connects;

use bytes::Bytes;
use gorani_auth::OptionOverrides;
use gorani_broker::Position;
use serde::{Deserialize, Serialize};

use crate::disconnect::Disconnect;

/// The sessions that a command concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTarget {
    /// All sessions of this user…
    pub user: String,
    /// …or only this client of theirs.
    pub client: Option<String>,
    /// Of these only the one that has this session id. Sessions of transports whose commands come in requests of their own have
    /// one, others none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A command for the sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionCommand {
    /// End their connections.
    Disconnect {
        /// The sessions that end.
        target: SessionTarget,
        /// The disconnect that they get.
        #[serde(flatten)]
        disconnect: Disconnect,
        /// Ids of clients that stay.
        spared: Vec<String>,
    },
    /// End their subscription of a channel.
    Unsubscribe {
        /// The sessions whose subscription ends.
        target: SessionTarget,
        /// The channel.
        channel: String,
    },
    /// Subscribe them.
    Subscribe {
        /// The sessions that are subscribed.
        target: SessionTarget,
        /// The subscription.
        #[serde(flatten)]
        subscribe: ServerSubscribe,
    },
    /// Prolong or end their connections' life.
    Refresh {
        /// The sessions whose life changes.
        target: SessionTarget,
        /// End it now.
        expired: bool,
        /// Unix seconds; absent: it no longer expires.
        expire_at: Option<u64>,
        /// JSON that others see of the connection from now on; empty where it stays as it is.
        #[serde(with = "json_text", default, skip_serializing_if = "Bytes::is_empty")]
        info: Bytes,
    },
}

/// A subscription that a backend makes for a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSubscribe {
    /// The channel.
    pub channel: String,
    /// JSON shown to others as channel info; empty for none.
    #[serde(with = "json_text")]
    pub info: Bytes,
    /// JSON handed to the client with the subscription; empty for none.
    #[serde(with = "json_text")]
    pub data: Bytes,
    /// Position to recover from.
    #[serde(with = "offset_and_epoch", default)]
    pub recover: Option<Position>,
    /// End of the subscription, in Unix seconds; absent: with the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
    /// Changed options of the channel.
    #[serde(default, skip_serializing_if = "is_unchanged")]
    pub overrides: OptionOverrides,
}

fn is_unchanged(overrides: &OptionOverrides) -> bool {
    *overrides == OptionOverrides::default()
}

impl SessionCommand {
    /// The sessions that it concerns.
    pub fn target(&self) -> &SessionTarget {
        match self {
            Self::Disconnect { target, .. }
            | Self::Unsubscribe { target, .. }
            | Self::Subscribe { target, .. }
            | Self::Refresh { target, .. } => target,
        }
    }

    /// True for a session with this id, if it is the one that is meant or none is named.
    pub fn concerns_session(&self, id: Option<&str>) -> bool {
        self.target().session.as_deref().is_none_or(|wanted| id == Some(wanted))
    }

    /// True if it says something that a node of the first version would pass over.
    pub fn has_later_fields(&self) -> bool {
        let is_later = match self {
            Self::Subscribe { subscribe, .. } => {
                subscribe.expire_at.is_some() || !is_unchanged(&subscribe.overrides)
            }
            Self::Refresh { info, .. } => !info.is_empty(),
            Self::Disconnect { .. } | Self::Unsubscribe { .. } => false,
        };
        is_later || self.target().session.is_some()
    }

    /// The user, or the client that has none. Commands with the same subject are carried out in order of arrival.
    pub fn subject(&self) -> &str {
        match self.target() {
            SessionTarget { user, client: Some(client), .. } if user.is_empty() => client,
            SessionTarget { user, .. } => user,
        }
    }

    /// The client that it concerns alone, if it does.
    pub fn client(&self) -> Option<&str> {
        self.target().client.as_deref()
    }

    /// True for a client of the target that it does not concern.
    pub fn spares(&self, client: &str) -> bool {
        matches!(self, Self::Disconnect { spared, .. } if spared.iter().any(|spared| spared == client))
    }
}

/// JSON as a string of its text.
mod json_text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(json: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(json))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer).map(Bytes::from)
    }
}

/// A position as the list of its offset and its epoch.
mod offset_and_epoch {
    use gorani_broker::Position;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        position: &Option<Position>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        position.as_ref().map(|position| (position.offset, &*position.epoch)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Position>, D::Error> {
        let pair = Option::<(u64, String)>::deserialize(deserializer)?;
        Ok(pair.map(|(offset, epoch)| Position { offset, epoch: epoch.into() }))
    }
}
