//! Lists a worker's channels and connections in pages, for the HTTP API of this node or another one.
//!
//! Names are kept in order, so a page begins at its cursor (or at the literal beginning of its pattern) and looks only at what
//! comes next. Pages are filled in slices ([`page`]). Record 28.

pub mod detail;
pub mod evidence;
mod page;
pub mod permissions;

use std::{cell::RefCell, ops::Bound, rc::Rc, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wildmatch::WildMatch;

pub use self::page::{ANSWER_BYTES, ScanPage};
use self::{
    detail::DetailRequest,
    evidence::answer_query,
    page::{ENTRY_BYTES, Scan, ScanNames, ScanSource},
    permissions::NotPermitted,
};
use super::{Hub, registry::SessionEntry};
use crate::{
    event_log::query::{EventAnswer, EventQuery},
    metrics::TrafficCounters,
    session::shared::policy::Policy,
};

/// The description of a connection in the API.
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

/// A query to a worker, with the way back.
pub enum ScanRequest {
    /// Connections by client id, after the cursor, up to the limit; of one user, if named.
    Connections {
        /// Of this user only.
        user: Option<String>,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<ConnectionInfo>>,
    },
    /// Channels by name with their subscribers, after the cursor, up to the limit.
    Channels {
        /// Names like this only.
        pattern: Option<String>,
        /// Names above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<usize>>,
    },
    /// The subscribers of one channel.
    Subscribers {
        /// Its name.
        channel: String,
        /// Receives the answer.
        answer: oneshot::Sender<usize>,
    },
    /// More than the API tells, for operators.
    Detail(DetailRequest),
    /// The subscriptions that a policy does not permit.
    NotPermitted {
        /// The policy.
        policy: Arc<Policy>,
        /// Receives the answer.
        answer: oneshot::Sender<NotPermitted>,
    },
    /// The events of the worker.
    Events {
        /// The query.
        query: Arc<EventQuery>,
        /// Receives the answer.
        answer: oneshot::Sender<EventAnswer>,
    },
}

impl ScanRequest {
    /// Looks through the worker's names from the cursor on. Ends early when nobody waits for the answer.
    pub(super) async fn answer(self, hub: Rc<RefCell<Hub>>, traffic: Rc<TrafficCounters>) {
        match self {
            Self::Channels { pattern, after, limit, answer } => {
                let channels = ChannelScan { pattern: pattern.map(Pattern::new) };
                Scan::new(channels, &after, limit).answer(&hub, &traffic, answer).await;
            }
            Self::Connections { user, after, limit, answer } => {
                let connections = ConnectionScan { user: user.map(Arc::from) };
                Scan::new(connections, &after, limit).answer(&hub, &traffic, answer).await;
            }
            Self::Subscribers { channel, answer } => {
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(hub.borrow().subscribers(&channel).unwrap_or_default());
            }
            Self::Detail(request) => request.answer(&hub, &traffic).await,
            Self::NotPermitted { policy, answer } => {
                permissions::answer(&policy, &hub, &traffic, answer).await
            }
            Self::Events { query, answer } => answer_query(&query, &hub, &traffic, answer).await,
        }
    }
}

/// The channels of a worker.
struct ChannelScan {
    pattern: Option<Pattern>,
}

impl ScanSource for ChannelScan {
    type Entry = usize;

    fn start(&self) -> &str {
        self.pattern.as_ref().map_or("", Pattern::literal)
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        let names = hub.channel_names(from);
        match &self.pattern {
            Some(pattern) => Box::new(names.take_while(|name| pattern.may_match_from(name))),
            None => Box::new(names),
        }
    }

    fn entry(&self, hub: &Hub, name: &str) -> Option<(usize, usize)> {
        let is_wanted = self.pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
        let subscribers = if is_wanted { hub.subscribers(name) } else { None };
        subscribers.map(|subscribers| (subscribers, size_of_channel(name)))
    }
}

/// The clients of a worker; of one user, if named.
struct ConnectionScan {
    user: Option<Arc<str>>,
}

impl ScanSource for ConnectionScan {
    type Entry = ConnectionInfo;

    fn start(&self) -> &str {
        ""
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        match &self.user {
            Some(user) => Box::new(hub.registry().client_ids_of(user, from)),
            None => Box::new(hub.registry().client_ids(from)),
        }
    }

    fn entry(&self, hub: &Hub, client: &str) -> Option<(ConnectionInfo, usize)> {
        let registry = hub.registry();
        let view = view(registry.get(*registry.clients.get(client)?)?);
        let bytes = size_of_view(client, &view);
        Some((view, bytes))
    }
}

fn view(session: &SessionEntry) -> ConnectionInfo {
    ConnectionInfo {
        user: session.user.as_ref().to_owned(),
        transport: session.transport.to_owned(),
        protocol: session.protocol.to_owned(),
        connected_at: session.connected_at_ms,
        channels: session.channel_names().iter().map(ToString::to_string).collect(),
    }
}

/// Bytes that a channel takes in an answer, about.
pub fn size_of_channel(name: &str) -> usize {
    ENTRY_BYTES + name.len()
}

/// Bytes that a connection takes in an answer, about.
pub fn size_of_view(client: &str, view: &ConnectionInfo) -> usize {
    // A name of a channel comes with quotes and a comma.
    let channels: usize = view.channels.iter().map(|name| name.len() + 3).sum();
    ENTRY_BYTES + client.len() + view.user.len() + channels
}

/// Both wildcards.
const WILDCARDS: [char; 2] = ['*', '?'];

/// A pattern of channel names: `*` stands for any characters, `?` for one. Its literal beginning bounds what a scan looks at.
struct Pattern {
    /// All of it up to the first wildcard.
    literal: String,
    /// There is no wildcard.
    is_name: bool,
    whole: WildMatch,
}

impl Pattern {
    /// Any text is a pattern.
    fn new(text: String) -> Self {
        let whole = WildMatch::new(&text);
        let mut literal = text;
        let wildcard = literal.find(WILDCARDS);
        if let Some(wildcard) = wildcard {
            literal.truncate(wildcard);
        }
        Self { literal, is_name: wildcard.is_none(), whole }
    }

    /// The beginning of every name that matches.
    fn literal(&self) -> &str {
        &self.literal
    }

    /// False once neither this name nor one after it can match. To be asked of names in order, from [`Pattern::literal`] on.
    fn may_match_from(&self, name: &str) -> bool {
        if self.is_name { name == self.literal } else { name.starts_with(&self.literal) }
    }

    /// Holds a name against the whole pattern.
    fn matches(&self, name: &str) -> bool {
        self.whole.matches(name)
    }
}

#[cfg(test)]
mod tests;
