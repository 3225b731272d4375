//! Questions to all workers of this node: connections, channels, numbers. The API asks all nodes, see [`super::cluster`].

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wildmatch::WildMatch;

use crate::{
    hub::control::{ConnectionView, Question},
    node::Node,
};

/// Numbers of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Clients that are connected.
    pub clients: usize,
    /// Distinct users among them.
    pub users: usize,
    /// Channels with subscribers.
    pub channels: usize,
    /// Subscriptions of all clients.
    pub subscriptions: usize,
}

/// A node as the others of its cluster see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Random id of this run of the node.
    pub id: String,
    /// Version of the server.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Its numbers.
    pub counts: Counts,
}

impl Node {
    /// Puts a question to every worker and gathers the answers; a worker that is gone gives none.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Question) -> Vec<T> {
        let mut answers = Vec::new();
        for inbox in self.inboxes() {
            let (answer, answered) = oneshot::channel();
            if inbox.ask(question(answer)).await.is_ok() {
                answers.push(answered);
            }
        }
        futures_util::future::join_all(answers).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Connections of this node by client id, of one user if named, after the cursor, at most `limit`.
    pub(in crate::node) async fn own_connections(
        &self,
        user: Option<&str>,
        after: &str,
        limit: usize,
    ) -> BTreeMap<String, ConnectionView> {
        let answers = self
            .ask(|answer| Question::Connections {
                user: user.map(str::to_owned),
                after: after.to_owned(),
                limit,
                answer,
            })
            .await;
        first(answers.into_iter().flatten().collect(), limit)
    }

    /// Channels with subscribers on this node, and how many: those that match, after the cursor, at most `limit`.
    pub(in crate::node) async fn own_channels(
        &self,
        pattern: Option<&str>,
        after: &str,
        limit: usize,
    ) -> BTreeMap<String, usize> {
        let pattern = pattern.map(WildMatch::new);
        let is_wanted =
            |name: &str| name > after && pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
        let wanted = self.channels().await.into_iter().filter(|(name, _)| is_wanted(name));
        wanted.take(limit).map(|(name, count)| (name.as_ref().to_owned(), count)).collect()
    }

    /// Channels with subscribers on this node, and how many.
    async fn channels(&self) -> BTreeMap<Arc<str>, usize> {
        let mut channels = BTreeMap::new();
        for (name, count) in self.ask(Question::Channels).await.into_iter().flatten() {
            *channels.entry(name).or_default() += count;
        }
        channels
    }

    /// Numbers of this node.
    pub(in crate::node) async fn counts(&self) -> Counts {
        let answers = self.ask(Question::Counts).await;
        let clients = answers.iter().map(|(clients, _)| clients).sum();
        let users: HashSet<Arc<str>> = answers.into_iter().flat_map(|(_, users)| users).collect();
        let channels = self.channels().await;
        let subscriptions = channels.values().sum();
        Counts { clients, users: users.len(), channels: channels.len(), subscriptions }
    }
}

/// The first entries by key.
pub(super) fn first<K: Ord, V>(all: BTreeMap<K, V>, limit: usize) -> BTreeMap<K, V> {
    if all.len() <= limit { all } else { all.into_iter().take(limit).collect() }
}
