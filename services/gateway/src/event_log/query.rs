//! Queries about the event log, which nodes send to one another, and the answers of one node.

use std::collections::BTreeMap;

use gorani_broker::Position;
use serde::{Deserialize, Serialize};

use super::event::{FailedPublish, GapEvent, SessionEvent, SubscriptionEvent};

/// Entries of each kind in the evidence of one node, at most.
pub const EVIDENCE_MAX: usize = 500;

/// A query about what happened on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventQuery {
    /// The clients for which most has waited longest, and those that were ended as slow.
    Slow {
        /// Clients for which bytes wait now, at most.
        now: usize,
        /// Ended ones at most.
        ended: usize,
    },
    /// Disconnects by code.
    Disconnects {
        /// The last ones of each code, at most.
        each: usize,
    },
    /// The first connect of each user after a time.
    Returns {
        /// Users, each with the time.
        of: Vec<(String, u64)>,
    },
    /// All that is known of a user, or of one client, and a channel.
    Evidence(EvidenceQuery),
}

/// A query about a user or a client, and a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvidenceQuery {
    /// The channel.
    pub channel: String,
    /// The user, if named.
    pub user: Option<String>,
    /// The client, where no user is named.
    pub client: Option<String>,
}

impl EvidenceQuery {
    /// True if it is about this client.
    pub fn is_about(&self, user: &str, client: &str) -> bool {
        match (&self.user, &self.client) {
            (Some(named), _) => named == user,
            (None, Some(named)) => named == client,
            (None, None) => false,
        }
    }
}

/// The answer of a worker or of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventAnswer {
    /// To [`EventQuery::Slow`].
    Slow(SlowOfNode),
    /// To [`EventQuery::Disconnects`].
    Disconnects(DisconnectsOfNode),
    /// To [`EventQuery::Returns`], in its order.
    Returns(Vec<Option<ReturnOfUser>>),
    /// To [`EventQuery::Evidence`].
    Evidence(Box<NodeEvidence>),
}

/// Slow consumers of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SlowOfNode {
    /// Clients for which bytes wait, oldest first.
    pub now: Vec<WaitingClient>,
    /// Sessions that were ended as slow, newest first.
    pub ended: Vec<SessionEvent>,
    /// All ended ones since then are known; absent if none are kept.
    pub known_since: Option<u64>,
}

/// A client for which bytes wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingClient {
    /// Client id.
    pub client: String,
    /// User id; empty for an anonymous user.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// Bytes in its outbox.
    pub waiting_bytes: u64,
    /// Milliseconds for which some have waited without a break.
    pub waiting_ms: u64,
}

/// Disconnects of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DisconnectsOfNode {
    /// Since the node's start, by code.
    pub counts: BTreeMap<u16, u64>,
    /// The last of each code, newest first.
    pub last: Vec<SessionEvent>,
    /// All since then are known; absent if none are kept.
    pub known_since: Option<u64>,
}

/// The first connect of a user after a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnOfUser {
    /// Its time.
    pub at: u64,
    /// The client.
    pub client: String,
    /// True if all its recoveries succeeded; absent if it asked for none.
    pub recovered: Option<bool>,
}

/// What a node knows of a user or a client, and a channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// The time of the node's clock.
    pub now: u64,
    /// Connects and disconnects, newest first.
    pub sessions: Vec<SessionEvent>,
    /// Subscribes and unsubscribes to the channel, newest first.
    pub subscriptions: Vec<SubscriptionEvent>,
    /// Gaps of the channel and of the node, newest first.
    pub gaps: Vec<GapEvent>,
    /// Failed publishes into the channel, newest first.
    pub failures: Vec<FailedPublish>,
    /// Sessions that live.
    pub live: Vec<LiveSession>,
    /// Subscribers of the channel.
    pub subscribers: usize,
    /// True if one of the lists has more entries than are told.
    pub is_cut: bool,
    /// Since when each kind of event is known.
    pub known_since: KnownSince,
}

/// The times since when all events of a kind are known; absent if none are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSince {
    /// Connects and disconnects.
    pub sessions: Option<u64>,
    /// Subscribes and unsubscribes.
    pub subscriptions: Option<u64>,
    /// Gaps.
    pub gaps: Option<u64>,
    /// Failed publishes.
    pub failures: Option<u64>,
}

/// A session that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// Client id.
    pub client: String,
    /// User id; empty for an anonymous user.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// Time of the connect.
    pub connected_at: u64,
    /// Bytes in its outbox.
    pub waiting_bytes: u64,
    /// Milliseconds for which some have waited without a break.
    pub waiting_ms: u64,
    /// Its subscription to the channel.
    pub subscription: Option<LiveSubscription>,
}

/// The subscription of a session that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSubscription {
    /// The position up to which everything was put into the client's outbox; absent where it is not tracked.
    pub seen: Option<Position>,
    /// True if it lost its position, and the client was told.
    pub is_broken: bool,
}

impl EventAnswer {
    /// Adds the answer of another worker to the same query.
    pub fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Slow(all), Self::Slow(more)) => {
                all.now.extend(more.now);
                all.ended.extend(more.ended);
                all.known_since = later(all.known_since, more.known_since);
            }
            (Self::Disconnects(all), Self::Disconnects(more)) => {
                for (code, count) in more.counts {
                    *all.counts.entry(code).or_default() += count;
                }
                all.last.extend(more.last);
                all.known_since = later(all.known_since, more.known_since);
            }
            (Self::Returns(all), Self::Returns(more)) => {
                for (first, other) in all.iter_mut().zip(more) {
                    *first = [first.take(), other].into_iter().flatten().min_by_key(|connect| connect.at);
                }
            }
            (Self::Evidence(all), Self::Evidence(more)) => all.add(*more),
            // Only answers to one query are added.
            _ => {}
        }
    }
}

impl NodeEvidence {
    fn add(&mut self, more: Self) {
        self.sessions.extend(more.sessions);
        self.subscriptions.extend(more.subscriptions);
        self.gaps.extend(more.gaps);
        self.live.extend(more.live);
        self.subscribers += more.subscribers;
        self.is_cut |= more.is_cut;
        let (all, other) = (&mut self.known_since, more.known_since);
        all.sessions = later(all.sessions, other.sessions);
        all.subscriptions = later(all.subscriptions, other.subscriptions);
        all.gaps = later(all.gaps, other.gaps);
    }
}

/// The later of two times; none if one of both is unknown.
pub fn later(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}
