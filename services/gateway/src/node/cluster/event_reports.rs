//! Reports on slow consumers and disconnects of the whole cluster, as the admin API has them.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    ClusterMember,
    event_queries::{AskedNode, EventsOfNodes},
    peers::ClusterError,
};
use crate::{
    disconnect::Disconnect,
    event_log::{
        event::{ChannelShare, SessionChange, SessionEvent},
        query::{EVIDENCE_MAX, EventAnswer, EventQuery, ReturnOfUser, UserEventQuery, WaitingClient, later},
    },
    hub::scan::evidence::slow_cause,
};

/// Slow consumers of now in one report.
pub const SLOW_NOW: usize = 50;
/// Sessions that were ended as slow in one report.
pub const SLOW_ENDED: usize = 1000;
/// Disconnects of each code in one report.
pub const LAST_OF_EACH: usize = 10;
/// Disconnects for which it is looked whether their users came back.
const RETURNS_MAX: usize = 500;

/// A result, with the nodes that it is of.
#[derive(Debug, Clone, Serialize)]
pub struct EventReport<T> {
    /// The result.
    pub result: T,
    /// The nodes that were asked.
    pub nodes: Vec<AskedNode>,
    /// False if a part is missing.
    pub complete: bool,
}

impl<T> EventReport<T> {
    fn of(nodes: Vec<AskedNode>, result: T) -> Self {
        let complete = nodes.iter().all(|node| node.answered);
        Self { result, nodes, complete }
    }
}

/// Clients that do not read fast enough.
#[derive(Debug, Clone, Serialize)]
pub struct SlowConsumers {
    /// Those for which bytes wait, the longest wait first.
    pub now: Vec<SlowClient>,
    /// Those that were ended, newest first.
    pub ended: Vec<EndedSlow>,
    /// All ended ones since then are known; absent if a node keeps none.
    pub known_since: Option<u64>,
}

/// A client for which bytes wait.
#[derive(Debug, Clone, Serialize)]
pub struct SlowClient {
    /// Client id.
    pub client: String,
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Name of its node.
    pub node: String,
    /// `websocket`, …
    pub transport: String,
    /// Bytes that wait.
    pub waiting_bytes: u64,
    /// The oldest of them is at most so many milliseconds old.
    pub oldest_ms: u64,
}

/// A session that was ended because its client did not read.
#[derive(Debug, Clone, Serialize)]
pub struct EndedSlow {
    /// Its time.
    pub at: u64,
    /// Name of its node.
    pub node: String,
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Client id.
    pub client: String,
    /// `websocket`, …
    pub transport: String,
    /// Bytes that waited.
    pub bytes: u64,
    /// The oldest of them was at most so many milliseconds old.
    pub age_ms: u64,
    /// `outbox_full`, `no_pong` or `write_failed`.
    pub cause: &'static str,
    /// The channels of the bytes.
    pub channels: Vec<ChannelShare>,
}

/// Disconnects of the cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Disconnects {
    /// Counts since the start of the nodes.
    pub codes: Vec<CodeCount>,
    /// The last of each code, newest first.
    pub last: Vec<LastDisconnect>,
    /// All since then are known; absent if a node keeps none.
    pub known_since: Option<u64>,
}

/// The count of one code.
#[derive(Debug, Clone, Serialize)]
pub struct CodeCount {
    /// The code.
    pub code: u16,
    /// Disconnects with it.
    pub count: u64,
    /// Its meaning.
    #[serde(rename = "sentence")]
    pub meaning: &'static str,
}

/// One disconnect.
#[derive(Debug, Clone, Serialize)]
pub struct LastDisconnect {
    /// Its time.
    pub at: u64,
    /// Its code.
    pub code: u16,
    /// Its reason.
    pub reason: String,
    /// User id; empty for an anonymous user, and for a client that never connected.
    pub user: String,
    /// Client id.
    pub client: String,
    /// The client's address.
    pub address: Option<String>,
    /// `websocket`, …
    pub transport: String,
    /// Milliseconds from the beginning of the connection; absent if the client never connected.
    pub connected_ms: Option<u64>,
    /// Bytes that waited for it.
    pub waiting_bytes: u64,
    /// Name of its node.
    pub node: String,
    /// The user's next connect.
    pub returned: Option<ReturnedUser>,
}

/// The next connect of a user after a disconnect.
#[derive(Debug, Clone, Serialize)]
pub struct ReturnedUser {
    /// Milliseconds after the disconnect.
    pub after_ms: u64,
    /// Name of the node.
    pub node: String,
    /// True if all its recoveries succeeded; absent if it asked for none.
    pub recovered: Option<bool>,
}

impl ClusterMember {
    /// Slow consumers of all nodes: [`SLOW_NOW`] of now and [`SLOW_ENDED`] that were ended.
    pub async fn slow_consumers(self: &Arc<Self>) -> Result<EventReport<SlowConsumers>, ClusterError> {
        let query = EventQuery::Slow { now: SLOW_NOW, ended: SLOW_ENDED };
        let EventsOfNodes { nodes, answers } = self.events_of_all(query).await?;
        let mut slow = SlowConsumers { now: Vec::new(), ended: Vec::new(), known_since: Some(0) };
        for (index, answer) in answers {
            let (EventAnswer::Slow(of_node), Some(node)) = (answer, nodes.get(index)) else { continue };
            slow.now.extend(of_node.now.into_iter().map(|client| SlowClient::of(client, node)));
            slow.ended.extend(of_node.ended.into_iter().filter_map(|event| EndedSlow::of(event, node)));
            slow.known_since = later(slow.known_since, of_node.known_since);
        }
        slow.now.sort_unstable_by_key(|client| Reverse((client.oldest_ms, client.waiting_bytes)));
        slow.now.truncate(SLOW_NOW);
        slow.ended.sort_unstable_by_key(|ended| Reverse(ended.at));
        slow.ended.truncate(SLOW_ENDED);
        Ok(EventReport::of(nodes, slow))
    }

    /// Disconnects of all nodes by code, with the last `each` of every code, at most [`LAST_OF_EACH`].
    pub async fn disconnects(
        self: &Arc<Self>,
        each: usize,
    ) -> Result<EventReport<Disconnects>, ClusterError> {
        let each = each.min(LAST_OF_EACH);
        let EventsOfNodes { nodes, answers } = self.events_of_all(EventQuery::Disconnects { each }).await?;
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        let mut last = Vec::new();
        let mut known_since = Some(0);
        for (index, answer) in answers {
            let (EventAnswer::Disconnects(of_node), Some(node)) = (answer, nodes.get(index)) else {
                continue;
            };
            for (code, count) in of_node.counts {
                *counts.entry(code).or_default() += count;
            }
            last.extend(of_node.last.into_iter().filter_map(|event| LastDisconnect::of(event, node)));
            known_since = later(known_since, of_node.known_since);
        }
        last.sort_by_key(|event| Reverse(event.at));
        let mut left: BTreeMap<u16, usize> = counts.keys().map(|code| (*code, each)).collect();
        last.retain(|event| {
            let left = left.entry(event.code).or_insert(each);
            let is_kept = *left > 0;
            *left = left.saturating_sub(1);
            is_kept
        });
        self.add_returns(&mut last).await?;
        let code = |(code, count)| CodeCount { code, count, meaning: Disconnect::meaning(code) };
        let codes = counts.into_iter().map(code).collect();
        Ok(EventReport::of(nodes, Disconnects { codes, last, known_since }))
    }

    /// The last disconnects of one user on all nodes, newest first.
    ///
    /// # Errors
    /// This node is busy with others.
    pub async fn disconnects_of_user(
        self: &Arc<Self>,
        user: &str,
        limit: usize,
    ) -> Result<EventReport<Vec<LastDisconnect>>, ClusterError> {
        let query = UserEventQuery {
            user: user.to_owned(),
            // No channel has this name: what happened to subscriptions is left out.
            channel: Some(String::new()),
            since: 0,
            seen: BTreeMap::new(),
            until: 0,
            limit: EVIDENCE_MAX,
            commands: false,
            is_first: true,
        };
        let EventsOfNodes { nodes, answers } = self.events_of_all(EventQuery::OfUser(query)).await?;
        let mut last = Vec::new();
        for (index, answer) in answers {
            let (EventAnswer::OfUser(of_node), Some(node)) = (answer, nodes.get(index)) else { continue };
            last.extend(of_node.sessions.into_iter().filter_map(|event| LastDisconnect::of(event, node)));
        }
        last.sort_by_key(|event| Reverse(event.at));
        last.truncate(limit);
        self.add_returns(&mut last).await?;
        Ok(EventReport::of(nodes, last))
    }

    /// Looks whether the users came back, on any node.
    async fn add_returns(self: &Arc<Self>, last: &mut [LastDisconnect]) -> Result<(), ClusterError> {
        let mut named: Vec<&mut LastDisconnect> =
            last.iter_mut().filter(|event| !event.user.is_empty()).collect();
        named.truncate(RETURNS_MAX);
        if named.is_empty() {
            return Ok(());
        }
        let of = named.iter().map(|event| (event.user.clone(), event.at)).collect();
        let EventsOfNodes { nodes, answers } = self.events_of_all(EventQuery::Returns { of }).await?;
        for (index, answer) in answers {
            let (EventAnswer::Returns(returns), Some(node)) = (answer, nodes.get(index)) else { continue };
            for (event, found) in named.iter_mut().zip(returns) {
                let Some(ReturnOfUser { at, recovered, .. }) = found else { continue };
                let after_ms = at.saturating_sub(event.at);
                if event.returned.as_ref().is_none_or(|first| first.after_ms > after_ms) {
                    event.returned = Some(ReturnedUser { after_ms, node: node.name.clone(), recovered });
                }
            }
        }
        Ok(())
    }
}

impl SlowClient {
    fn of(client: WaitingClient, node: &AskedNode) -> Self {
        let WaitingClient { client, user, transport, waiting_bytes, waiting_ms: oldest_ms } = client;
        Self { client, user, node: node.name.clone(), transport, waiting_bytes, oldest_ms }
    }
}

impl EndedSlow {
    fn of(event: SessionEvent, node: &AskedNode) -> Option<Self> {
        let SessionChange::Ended(end) = event.change else { return None };
        Some(Self {
            at: event.at,
            node: node.name.clone(),
            user: event.user.to_string(),
            client: event.client.to_string(),
            transport: event.transport.into_owned(),
            bytes: end.waiting_bytes,
            age_ms: end.waiting_ms,
            cause: slow_cause(end.code)?,
            channels: end.channels,
        })
    }
}

impl LastDisconnect {
    fn of(event: SessionEvent, node: &AskedNode) -> Option<Self> {
        let (code, reason, connected_ms, waiting_bytes) = match event.change {
            SessionChange::Connected => return None,
            SessionChange::Refused(code) => (code, String::new(), None, 0),
            SessionChange::Ended(end) => {
                (end.code, end.reason.into_owned(), Some(end.connected_ms), end.waiting_bytes)
            }
        };
        Some(Self {
            at: event.at,
            code,
            reason,
            user: event.user.to_string(),
            client: event.client.to_string(),
            address: event.address.map(|address| address.to_string()),
            transport: event.transport.into_owned(),
            connected_ms,
            waiting_bytes,
            node: node.name.clone(),
            returned: None,
        })
    }
}
