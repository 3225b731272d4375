//! Questions to all workers of the node, for the HTTP API: connections, channels, numbers.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{
    hub::control::{ConnectionView, Question},
    node::Node,
    session::client::policy::VERSION,
};

/// Numbers of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

    /// Connections by client id, of one user if named, after the cursor, at most `limit`.
    pub async fn connections_after(
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
        answers.into_iter().flatten().collect::<BTreeMap<_, _>>().into_iter().take(limit).collect()
    }

    /// Channels with subscribers on this node, and how many.
    pub async fn channels(&self) -> BTreeMap<Arc<str>, usize> {
        let mut channels = BTreeMap::new();
        for (name, count) in self.ask(Question::Channels).await.into_iter().flatten() {
            *channels.entry(name).or_default() += count;
        }
        channels
    }

    /// Numbers of this node.
    pub async fn counts(&self) -> Counts {
        let answers = self.ask(Question::Counts).await;
        let clients = answers.iter().map(|(clients, _)| clients).sum();
        let users: HashSet<Arc<str>> = answers.into_iter().flat_map(|(_, users)| users).collect();
        let channels = self.channels().await;
        let subscriptions = channels.values().sum();
        Counts { clients, users: users.len(), channels: channels.len(), subscriptions }
    }

    /// The nodes of the cluster; this one is all there is with the memory broker.
    pub async fn nodes(&self) -> Vec<NodeView> {
        vec![NodeView {
            id: self.id.to_string(),
            version: VERSION.to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            counts: self.counts().await,
        }]
    }
}
