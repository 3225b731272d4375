//! Questions of operators to all nodes, and the answers of each with the time that it took. What a silent node knows is missing from
//! the answer, and is never taken for nothing.
//!
//! This part carries them; the room that asks registers who answers on this node. A node of another version, or one on which nobody
//! answers, gives [`ClusterAnswer::Unsupported`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::join;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    ClusterMember,
    envelope::{ClusterAnswer, ClusterQuery, EnvelopeBody},
    event_queries::AskedNode,
    inspector::Inspector,
    peers::ClusterError,
    rpc::{PendingMessage, Recipients},
};
use crate::{
    hub::scan::{
        ScanPage, ScanRequest,
        detail::{ConnectionDetail, ConnectionFilter, DetailRequest, SubscriberDetail, TopChannels},
        size_of_channel,
    },
    session::SessionDetail,
};

/// The part of one node in an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeAnswer {
    /// The node.
    #[serde(flatten)]
    pub asked: AskedNode,
    /// Its part.
    #[serde(skip)]
    pub value: Option<Value>,
}

/// The other nodes, once they are asked.
enum AskedOthers {
    /// Their answers come.
    Pending(PendingMessage),
    /// These cannot be asked.
    Unreachable(Vec<String>),
}

impl From<&AskedNode> for NodeAnswer {
    /// A node that was asked what happened there.
    fn from(node: &AskedNode) -> Self {
        Self { asked: node.clone(), value: None }
    }
}

impl ClusterMember {
    /// Registers who answers on this node. Only the first one is kept.
    pub fn set_inspector(&self, inspector: Weak<dyn Inspector>) {
        self.inspector.register(inspector);
    }

    pub(super) async fn inspect_own(&self, query: Value) -> Option<Value> {
        self.inspector.inspect(query).await
    }

    /// Asks all nodes, or the one that is named; this node at once. While the others cannot be asked this node answers alone, and the
    /// parts of those that it knows of are missing: while the broker is away an operator looks first of all.
    ///
    /// # Errors
    /// The node that is named cannot be asked.
    pub async fn inspect(
        self: &Arc<Self>,
        only: Option<&str>,
        query: &Value,
    ) -> Result<Vec<NodeAnswer>, ClusterError> {
        let began = Instant::now();
        let is_own = only.is_none_or(|node| *node == *self.id);
        // At once: what this node tells of a broker that does not answer is over when the broker's time is.
        let own = async {
            if !is_own {
                return None;
            }
            let value = self.inspect_own(query.clone()).await;
            Some(self.node_answer(&self.id, value, false, began.elapsed()))
        };
        let (own, asked) = join(own, self.ask_others(only, query)).await;
        let mut nodes: Vec<_> = own.into_iter().collect();
        let (answers, silent) = match asked? {
            AskedOthers::Pending(asked) => asked.timed_answers().await,
            AskedOthers::Unreachable(known) => (Vec::new(), known),
        };
        for (node, answer, took) in answers {
            let unsupported = matches!(answer, ClusterAnswer::Unsupported);
            let value = if let ClusterAnswer::Inspected(value) = answer { Some(value) } else { None };
            nodes.push(self.node_answer(&node, value, unsupported, took));
        }
        for node in silent {
            let unsupported = self.cannot_be_asked(&node, &ask(query));
            nodes.push(self.node_answer(&node, None, unsupported, began.elapsed()));
        }
        nodes.sort_by(|one, other| {
            (&one.asked.name, &one.asked.id).cmp(&(&other.asked.name, &other.asked.id))
        });
        Ok(nodes)
    }

    /// Notes what this node did at a signal of the system, where there is an audit log.
    pub fn note_signal(&self, action: &'static str, is_done: bool, took: Duration) {
        self.inspector.note_signal(action, is_done, took);
    }

    async fn ask_others(
        self: &Arc<Self>,
        only: Option<&str>,
        query: &Value,
    ) -> Result<AskedOthers, ClusterError> {
        let recipients = match only {
            Some(node) if *node == *self.id => return Ok(AskedOthers::Unreachable(Vec::new())),
            Some(node) => Recipients::Node(node),
            None => Recipients::Others,
        };
        match self.write(recipients, ask(query)).await {
            Ok(asked) => Ok(AskedOthers::Pending(asked)),
            // This node carries the query out meanwhile: an error would hide it.
            Err(error) if only.is_none() => {
                tracing::debug!(%error, "other nodes cannot be asked for an operator");
                Ok(AskedOthers::Unreachable(self.peers.view.lock().known().cloned().collect()))
            }
            Err(error) => Err(error),
        }
    }

    fn node_answer(&self, id: &str, value: Option<Value>, unsupported: bool, took: Duration) -> NodeAnswer {
        let (name, version) = if *id == *self.id {
            (self.policy.node_name.to_string(), env!("CARGO_PKG_VERSION").to_owned())
        } else {
            let described = self.peers.description(id);
            (described.name, described.version)
        };
        let asked = AskedNode {
            name: if name.is_empty() { id.to_owned() } else { name },
            id: id.to_owned(),
            version,
            answered: value.is_some(),
            unsupported,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        NodeAnswer { asked, value }
    }

    /// Channels of this node with their subscribers: those that match, after the cursor, at most `limit`.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_channels(
        &self,
        pattern: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<usize>, ClusterError> {
        self.local_channels(pattern, after, limit).await
    }

    /// Subscribers of a channel on this node.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_subscribers(&self, channel: &str) -> Result<usize, ClusterError> {
        self.local_subscribers(channel).await
    }

    /// The address at which other nodes reach this one; empty where it is not known.
    pub fn own_address(&self) -> String {
        self.addresses.own()
    }
}

fn ask(query: &Value) -> EnvelopeBody {
    EnvelopeBody::Ask(ClusterQuery::Inspect(query.clone()))
}

impl ClusterMember {
    /// Connections of this node that pass a filter, by client id, after the cursor, at most `limit`.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_details(
        &self,
        filter: &ConnectionFilter,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<ConnectionDetail>, ClusterError> {
        let request = |answer| {
            let (filter, after) = (filter.clone(), after.to_owned());
            ScanRequest::Detail(DetailRequest::Connections { filter, after, limit, answer })
        };
        // What is told of each is bounded, so the bytes are those of the scans of the workers.
        self.page_of_workers(request, limit, |_, _| {}, |_, detail| size_of_detail(detail)).await
    }

    /// Subscribers of a channel on this node by client id, after the cursor, at most `limit`.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_subscriber_list(
        &self,
        channel: &str,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<SubscriberDetail>, ClusterError> {
        let request = |answer| {
            let (channel, after) = (channel.to_owned(), after.to_owned());
            ScanRequest::Detail(DetailRequest::Subscribers { channel, after, limit, answer })
        };
        self.page_of_workers(request, limit, |_, _| {}, |client, one| 256 + client.len() + one.user.len())
            .await
    }

    /// Sends a client of this node a ping. The time until its pong; `Some(None)`: none came.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_ping(&self, client: &str) -> Result<Option<Option<Duration>>, ClusterError> {
        let request = |answer| ScanRequest::Detail(DetailRequest::Ping { client: client.to_owned(), answer });
        let found = self.ask_workers(request).await?.into_iter().flatten().next();
        let Some(pong) = found else { return Ok(None) };
        // Outside of the scans: a client that is far away keeps nobody from listing.
        let limit = self.settings.answer_timeout / 2;
        Ok(Some(timeout(limit, pong).await.ok().and_then(Result::ok)))
    }

    /// The part that the session of a client of this node alone knows of itself; absent also where it is of a kind that tells nothing.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_session(&self, client: &str) -> Result<Option<SessionDetail>, ClusterError> {
        let request =
            |answer| ScanRequest::Detail(DetailRequest::Session { client: client.to_owned(), answer });
        let found = self.ask_workers(request).await?.into_iter().flatten().next();
        let Some(detail) = found else { return Ok(None) };
        let limit = self.settings.answer_timeout / 2;
        Ok(timeout(limit, detail).await.ok().and_then(Result::ok))
    }

    /// The channels with the most subscribers on this node, the largest first. A channel that is not among those of a worker may
    /// be counted too low.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn own_top_channels(&self, limit: usize) -> Result<TopChannels, ClusterError> {
        let request = |answer| ScanRequest::Detail(DetailRequest::Top { limit, answer });
        let mut complete = true;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for top in self.ask_workers(request).await? {
            complete &= top.complete;
            for (count, name) in top.channels {
                *counts.entry(name).or_default() += count;
            }
        }
        let mut channels: Vec<_> = counts.into_iter().map(|(name, count)| (count, name)).collect();
        channels.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        channels.truncate(limit);
        Ok(TopChannels { channels, complete })
    }
}

fn size_of_detail(detail: &ConnectionDetail) -> usize {
    let channels: usize = detail.channels.iter().map(|channel| size_of_channel(&channel.channel)).sum();
    size_of_channel(&detail.client) + detail.user.len() + channels
}
