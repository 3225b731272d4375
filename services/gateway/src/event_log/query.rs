//! Queries about the event log, which nodes send to one another, and the answers of one node.

use std::collections::BTreeMap;

use gorani_broker::Position;
use serde::{Deserialize, Serialize};

use super::{
    event::{CommandEvent, FailedPublish, GapEvent, SessionEvent, SubscriptionEvent},
    trace::{TraceQuery, TraceReport, TracedDelivery},
};

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
    /// New events of a user's sessions.
    OfUser(UserEventQuery),
    /// Of traces.
    Trace(TraceQuery),
}

/// A query about what is new of a user's sessions. Each node reads it with its own clock: it tells what happened from the time on up
/// to which it told the last time, and before now, so that nothing is missing and nothing comes twice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserEventQuery {
    /// The user.
    pub user: String,
    /// Subscriptions of this channel only.
    pub channel: Option<String>,
    /// The beginning on a node that has told nothing yet.
    pub since: u64,
    /// The end of what each node has told, by its id.
    pub seen: BTreeMap<String, u64>,
    /// Events before then; the node that answers sets it.
    pub until: u64,
    /// Events of a node at most; the newest ones.
    pub limit: usize,
    /// With the commands of clients, which are noted from the first such query on and for a few seconds after the last one.
    #[serde(default)]
    pub commands: bool,
    /// This node was not asked before. Set by the node.
    #[serde(skip)]
    pub is_first: bool,
}

/// New events of a user's sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UserEvents {
    /// Connects and disconnects.
    pub sessions: Vec<SessionEvent>,
    /// Subscribes and unsubscribes.
    pub subscriptions: Vec<SubscriptionEvent>,
    /// Commands, where they are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandEvent>,
    /// Events that are left out because there are more.
    pub skipped: u64,
    /// The end of what is told.
    pub until: u64,
    /// All events since then are known; absent if none are kept.
    pub known_since: Option<u64>,
}

impl UserEventQuery {
    /// The query as the node with this id reads it at a time of its clock.
    pub fn begin(&mut self, node: &str, now: u64) {
        let seen = self.seen.get(node).copied();
        (self.is_first, self.since) = (seen.is_none(), seen.unwrap_or(self.since));
        self.seen.clear();
        self.until = now;
        self.limit = self.limit.min(EVIDENCE_MAX);
    }

    /// True for the time of an event that is to be told.
    pub fn is_new(&self, at: u64) -> bool {
        (self.since..self.until).contains(&at)
    }
}

impl UserEvents {
    fn add(&mut self, more: Self) {
        self.sessions.extend(more.sessions);
        self.subscriptions.extend(more.subscriptions);
        self.commands.extend(more.commands);
        self.skipped += more.skipped;
        self.known_since = later(self.known_since, more.known_since);
    }

    /// Leaves out the oldest events above a number.
    pub fn cut(&mut self, limit: usize) {
        let too_many = self.len().saturating_sub(limit);
        if too_many == 0 {
            return;
        }
        let mut times: Vec<u64> = self.sessions.iter().map(|event| event.at).collect();
        times.extend(self.subscriptions.iter().map(|event| event.at));
        times.extend(self.commands.iter().map(|event| event.at));
        times.sort_unstable();
        let before = times.len();
        let first = times.get(too_many).copied().unwrap_or(u64::MAX);
        self.sessions.retain(|event| event.at >= first);
        self.subscriptions.retain(|event| event.at >= first);
        self.commands.retain(|event| event.at >= first);
        self.skipped += (before - self.len()) as u64;
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.subscriptions.len() + self.commands.len()
    }
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
    /// To [`EventQuery::OfUser`].
    OfUser(UserEvents),
    /// To [`EventQuery::Trace`].
    Trace(Box<TraceReport>),
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

/// The knowledge of one node about a user or a client, and a channel.
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
    /// Deliveries that traces have noted, newest first.
    #[serde(default)]
    pub traced: Vec<TracedDelivery>,
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
            (Self::OfUser(all), Self::OfUser(more)) => all.add(more),
            (Self::Trace(all), Self::Trace(more)) => all.add(*more),
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
        self.traced.extend(more.traced);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::event::SessionChange;

    fn connect(at: u64) -> SessionEvent {
        SessionEvent {
            at,
            client: "c".into(),
            user: "u".into(),
            transport: "websocket".into(),
            address: None,
            change: SessionChange::Connected,
        }
    }

    #[test]
    fn a_node_tells_of_a_user_from_where_it_ended_the_last_time_and_up_to_now() {
        let asked = UserEventQuery {
            user: "u".to_owned(),
            channel: None,
            since: 100,
            seen: BTreeMap::from([("b".to_owned(), 150)]),
            until: 0,
            limit: usize::MAX,
            commands: false,
            is_first: false,
        };
        for (node, expected) in [("a", [100, 150, 199].as_slice()), ("b", &[150, 199])] {
            let mut query = asked.clone();
            query.begin(node, 200);
            let told: Vec<u64> =
                [99, 100, 150, 199, 200].into_iter().filter(|at| query.is_new(*at)).collect();
            assert_eq!((told.as_slice(), query.limit), (expected, EVIDENCE_MAX), "{node}");
        }
    }

    #[test]
    fn of_too_many_events_of_a_user_the_newest_are_told_and_the_others_counted() {
        let mut events = UserEvents { sessions: (0..10).map(connect).collect(), ..UserEvents::default() };
        events.cut(10);
        assert_eq!((events.sessions.len(), events.skipped), (10, 0));
        events.cut(4);
        let times: Vec<u64> = events.sessions.iter().map(|event| event.at).collect();
        assert_eq!((times, events.skipped), (vec![6, 7, 8, 9], 6));
        events.commands = (0..10).map(|at| CommandEvent { at, ..CommandEvent::default() }).collect();
        events.cut(4);
        assert_eq!((events.sessions.len(), events.commands.len(), events.skipped), (2, 2, 16));
    }
}
