//! Presence without the clients of dead nodes: until they are taken out, answers leave them out. `docs/architecture.md` §5.7.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use gorani_broker::{BrokerError, ClientInfo, PresencePage, PresenceQuery};
use tokio::time::{Instant, timeout};

use super::{node_of, reaper::worker_gone};
use crate::{
    disconnect::ErrorCode,
    hub::read_budget::{PAGE_BYTES, ReadSource},
    node::Node,
};

/// Bytes of a client in presence beside what it holds: its names in JSON.
const CLIENT_BYTES: u64 = 64;

impl Node {
    /// The clients present in a channel, on all nodes that live, each once. Read in pages: neither the broker nor a worker is
    /// held for long, however many there are.
    ///
    /// # Errors
    /// [`ErrorCode::PRESENCE_TOO_LARGE`] where they have more than `most_bytes`; 111 where too many reads are under way.
    pub async fn presence(
        self: &Arc<Self>,
        source: ReadSource,
        channel: &str,
        most_bytes: u64,
    ) -> Result<Vec<Arc<ClientInfo>>, ErrorCode> {
        let mut permit = self.reads.budget().page(source).await?;
        let first = PresenceQuery { max_bytes: PAGE_BYTES, ..PresenceQuery::default() };
        let mut page = self.presence_page(channel, first).await?;
        let mut is_large = false;
        let mut bytes = 0;
        let mut present = Vec::new();
        let mut seen = HashSet::new();
        loop {
            if page.cursor.is_some() || !seen.is_empty() {
                // Only over several pages a client may be given twice.
                page.clients.retain(|info| seen.insert(info.client.clone()));
            }
            bytes += Self::presence_bytes(&page.clients);
            if bytes as u64 > most_bytes {
                return Err(ErrorCode::PRESENCE_TOO_LARGE);
            }
            present.append(&mut page.clients);
            let Some(cursor) = page.cursor else { return Ok(present) };
            if !is_large {
                drop(permit);
                permit = self.reads.budget().large(source).await?;
                is_large = true;
            }
            let next = PresenceQuery { cursor, max_bytes: PAGE_BYTES, ..PresenceQuery::default() };
            page = self.presence_page(channel, next).await?;
        }
    }

    /// Bytes of clients in a reply.
    pub fn presence_bytes(clients: &[Arc<ClientInfo>]) -> usize {
        let bytes: u64 = clients.iter().map(|info| info.content_bytes() + CLIENT_BYTES).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// A page of the clients present in a channel, without those of dead nodes. The caller has a permit of the read budget.
    pub(in crate::node) async fn presence_page(
        self: &Arc<Self>,
        channel: &str,
        query: PresenceQuery,
    ) -> Result<PresencePage, BrokerError> {
        let mut page = self.broker.presence(channel, query).await?;
        let dead = self.dead_among(page.clients.iter().map(|info| info.client.as_str()), false).await?;
        if !dead.is_empty() {
            page.clients.retain(|info| !is_of(&dead, &info.client));
            // Nobody may be subscribed here, and whoever noticed the deaths looks only after its own channels.
            let channel = channel.into();
            for dead in dead {
                drop(self.reap(&channel, &dead));
            }
        }
        Ok(page)
    }

    /// One page for a backend that reads on by itself.
    ///
    /// # Errors
    /// The broker's; [`BrokerError::Limit`] where too many reads are under way for too long.
    pub async fn read_presence_page(
        self: &Arc<Self>,
        channel: &str,
        query: PresenceQuery,
    ) -> Result<PresencePage, BrokerError> {
        let _permit = self.reads.budget().page(ReadSource::Api).await?;
        self.presence_page(channel, query).await
    }

    /// Numbers of clients and of distinct users present in a channel, on all nodes that live.
    pub fn presence_stats(
        self: &Arc<Self>,
        source: ReadSource,
        channel: &str,
    ) -> impl Future<Output = Result<(u64, u64), BrokerError>> + Send + 'static + use<> {
        let node = Arc::clone(self);
        let channel: Arc<str> = channel.into();
        // The broker's own count is cheaper, and right when nobody died lately.
        let is_quiet = self.peers.view.lock().is_quiet(Instant::now());
        let counted = is_quiet.then(|| self.broker.presence_stats(&channel));
        async move {
            if let Some(counted) = counted {
                return counted.await;
            }
            // Once no client of a dead node is left, the broker's count is right. The clients themselves are not read.
            match timeout(node.settings.reads.max_wait, node.reap_all(source, &channel)).await {
                Ok(are_out) => are_out.unwrap_or_else(|_| Err(worker_gone()))?,
                Err(_) => {
                    let reason = "clients of a dead node are still being taken out of presence";
                    return Err(BrokerError::Unavailable(reason.to_owned()));
                }
            }
            node.broker.presence_stats(&channel).await
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
