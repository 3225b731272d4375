//! Presence without the clients of dead nodes: until they are taken out, answers leave them out. Design §5, "Membership".

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
};

use gorani_broker::{BrokerError, ClientInfo};

use super::node_of;
use crate::node::Node;

impl Node {
    /// The clients present in a channel, on all nodes that live. The broker is asked in the call.
    pub fn presence(
        self: &Arc<Self>,
        channel: &str,
    ) -> impl Future<Output = Result<Vec<Arc<ClientInfo>>, BrokerError>> + Send + 'static + use<> {
        let node = Arc::clone(self);
        let channel: Arc<str> = channel.into();
        let read = self.broker.presence(&channel);
        async move {
            let mut present = read.await?;
            let dead = node.dead_among(present.iter().map(|info| info.client.as_str()), false).await?;
            if !dead.is_empty() {
                present.retain(|info| !is_of(&dead, &info.client));
                // Nobody may be subscribed here, and whoever noticed the deaths looks only after its own channels.
                for dead in dead {
                    actix_rt::spawn(node.clone().reap(channel.clone(), dead));
                }
            }
            Ok(present)
        }
    }

    /// Numbers of clients and of distinct users present in a channel, on all nodes that live.
    pub fn presence_stats(
        self: &Arc<Self>,
        channel: &str,
    ) -> impl Future<Output = Result<(u64, u64), BrokerError>> + Send + 'static + use<> {
        // The broker's own count is cheaper, and right when nobody died lately.
        let is_quiet = self.peers.view.lock().is_quiet(Instant::now());
        let counted = is_quiet.then(|| self.broker.presence_stats(channel));
        let listed = (!is_quiet).then(|| self.presence(channel));
        async move {
            if let Some(counted) = counted {
                return counted.await;
            }
            let present = match listed {
                Some(listed) => listed.await?,
                None => Vec::new(),
            };
            let users: HashSet<&str> = present.iter().map(|info| info.user.as_str()).collect();
            Ok((present.len() as u64, users.len() as u64))
        }
    }

    /// The dead ones among the nodes of these clients. The leases are read if there is a node of which nothing is known; or,
    /// where the last second counts (`afresh`), if there is another node at all.
    pub(in crate::node) async fn dead_among<'a>(
        &self,
        clients: impl Iterator<Item = &'a str>,
        afresh: bool,
    ) -> Result<BTreeSet<String>, BrokerError> {
        let unknown: BTreeSet<String> = {
            let nodes: BTreeSet<&str> = clients.filter_map(node_of).collect();
            let view = self.peers.view.lock();
            let is_asked = |node: &&str| **node != *self.id && (afresh || !view.knows(node));
            nodes.into_iter().filter(is_asked).map(str::to_owned).collect()
        };
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let members = self.broker.cluster().members().await?;
        Ok(self.peers.view.lock().dead_among(unknown, &members, Instant::now()))
    }
}

/// Whether a client is of one of these nodes.
pub(in crate::node) fn is_of(nodes: &BTreeSet<String>, client: &str) -> bool {
    node_of(client).is_some_and(|node| nodes.contains(node))
}
