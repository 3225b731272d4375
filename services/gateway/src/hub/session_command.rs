//! Orders that a node puts to all its workers, and what it shows of a connection: they come from the HTTP API, of this node or another one.
//! `docs/architecture.md` §5.7.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    disconnect::{Disconnect, Unsubscribed},
    hub::{Hub, registry::SessionKey},
    session::{ServerSubscribe, Signal},
};

/// Which sessions an order concerns.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SessionTarget {
    /// All sessions of this user…
    pub user: String,
    /// …or only this client of theirs.
    pub client: Option<String>,
}

/// An order for the sessions of a user.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// End their connections, but for the clients listed.
    Disconnect(SessionTarget, Disconnect, Vec<String>),
    /// End their subscription of a channel; an empty channel means all.
    Unsubscribe(SessionTarget, String),
    /// Subscribe them.
    Subscribe(SessionTarget, ServerSubscribe),
    /// Prolong or end their connections' life.
    Refresh {
        /// Whose.
        target: SessionTarget,
        /// End it now.
        expired: bool,
        /// Unix seconds.
        expire_at: Option<u64>,
    },
    /// End everything: the node is going down.
    Drain {
        /// Spread over so long.
        over: Duration,
    },
}

impl SessionCommand {
    /// Orders with the same subject are carried out in the order in which they came: the user, or the client that has none.
    pub fn subject(&self) -> &str {
        match self {
            Self::Disconnect(target, ..)
            | Self::Unsubscribe(target, _)
            | Self::Subscribe(target, _)
            | Self::Refresh { target, .. } => match &target.client {
                Some(client) if target.user.is_empty() => client,
                _ => &target.user,
            },
            Self::Drain { .. } => "",
        }
    }

    /// The client that it concerns alone, if it does.
    pub fn client(&self) -> Option<&str> {
        let (Self::Disconnect(target, ..)
        | Self::Unsubscribe(target, _)
        | Self::Subscribe(target, _)
        | Self::Refresh { target, .. }) = self
        else {
            return None;
        };
        target.client.as_deref()
    }
}

/// What the API shows of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// User id; empty for anonymous.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// `json`, …
    pub protocol: String,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// Subscribed channels.
    pub channels: Vec<String>,
}

impl Hub {
    /// The sessions that an order is about.
    pub(super) fn subjects(&self, command: &SessionCommand) -> Vec<SessionKey> {
        let target = match command {
            SessionCommand::Disconnect(target, ..)
            | SessionCommand::Unsubscribe(target, _)
            | SessionCommand::Subscribe(target, _)
            | SessionCommand::Refresh { target, .. } => target,
            SessionCommand::Drain { .. } => return Vec::new(),
        };
        self.registry.keys_of(&target.user, target.client.as_deref())
    }

    /// Carries an order out on one of its sessions.
    pub(super) fn apply(&self, command: &SessionCommand, key: SessionKey) {
        let Some(session) = self.registry.get(key) else { return };
        match command {
            SessionCommand::Disconnect(_, disconnect, spared) => {
                if !spared.iter().any(|client| **client == *session.client) {
                    session.signal(Signal::Disconnect(disconnect.clone()));
                }
            }
            SessionCommand::Unsubscribe(_, channel) => {
                let names = session.channel_names();
                for name in names.into_iter().filter(|name| channel.is_empty() || **name == *channel) {
                    session.signal(Signal::Unsubscribe(name, Unsubscribed::SERVER));
                }
            }
            SessionCommand::Subscribe(_, subscribe) => {
                session.signal(Signal::Subscribe(Box::new(subscribe.clone())));
            }
            SessionCommand::Refresh { expired, expire_at, .. } => {
                session.signal(Signal::Refresh { expired: *expired, expire_at: *expire_at });
            }
            // It takes time, and is the worker's: see `crate::hub::farewell`.
            SessionCommand::Drain { .. } => {}
        }
    }
}
