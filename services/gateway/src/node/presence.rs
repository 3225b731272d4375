//! Presence without the clients of dead nodes: until they are taken out, answers leave them out. `docs/architecture.md` §5.7.

use std::{collections::HashSet, sync::Arc, time::Duration};

use gorani_broker::{Broker, BrokerError, ClientInfo, PresencePage, PresenceQuery};
use tokio::time::timeout;

use super::cluster::{ClusterMember, is_of, worker_gone};
use crate::{
    disconnect::ErrorCode,
    hub::{
        history_reads::HistoryReads,
        history_reads::{PAGE_BYTES, ReadSource},
    },
};

/// Bytes of a client in presence beside what it holds: its names in JSON.
const CLIENT_BYTES: u64 = 64;

/// Reads the presence of channels.
pub struct Presence {
    cluster: Arc<ClusterMember>,
    broker: Arc<dyn Broker>,
    reads: Arc<HistoryReads>,
    /// Longest wait until the clients of a dead node are out.
    max_wait: Duration,
}

impl Presence {
    pub(super) fn new(
        cluster: Arc<ClusterMember>,
        broker: Arc<dyn Broker>,
        reads: Arc<HistoryReads>,
        max_wait: Duration,
    ) -> Self {
        Self { cluster, broker, reads, max_wait }
    }

    /// The clients present in a channel, on all nodes that live, each once. Read in pages: neither the broker nor a worker is
    /// held for long, however many there are.
    ///
    /// # Errors
    /// [`ErrorCode::PRESENCE_TOO_LARGE`] where they have more than `most_bytes`; 111 where too many reads are under way.
    pub async fn clients(
        &self,
        source: ReadSource,
        channel: &str,
        most_bytes: u64,
    ) -> Result<Vec<Arc<ClientInfo>>, ErrorCode> {
        let mut permit = self.reads.budget().page(source).await?;
        let first = PresenceQuery { max_bytes: PAGE_BYTES, ..PresenceQuery::default() };
        let mut page = self.page_of_live(channel, first).await?;
        let mut is_large = false;
        let mut bytes = 0;
        let mut present = Vec::new();
        let mut seen = HashSet::new();
        loop {
            if page.cursor.is_some() || !seen.is_empty() {
                // A client may be given twice only over several pages.
                page.clients.retain(|info| seen.insert(info.client.clone()));
            }
            bytes += Self::bytes(&page.clients);
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
            page = self.page_of_live(channel, next).await?;
        }
    }

    /// Bytes of clients in a reply.
    pub fn bytes(clients: &[Arc<ClientInfo>]) -> usize {
        let bytes: u64 = clients.iter().map(|info| info.content_bytes() + CLIENT_BYTES).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// A page of the clients present in a channel, without those of dead nodes. The caller has a permit of the read budget.
    async fn page_of_live(&self, channel: &str, query: PresenceQuery) -> Result<PresencePage, BrokerError> {
        let mut page = self.broker.presence(channel, query).await?;
        let dead =
            self.cluster.dead_among(page.clients.iter().map(|info| info.client.as_str()), false).await?;
        if !dead.is_empty() {
            page.clients.retain(|info| !is_of(&dead, &info.client));
            // This node may have no subscribers here, and the node that noticed the deaths looks only after its own channels.
            let channel = channel.into();
            for dead in dead {
                drop(self.cluster.reap(&channel, &dead));
            }
        }
        Ok(page)
    }

    /// One page for a backend that reads on by itself.
    ///
    /// # Errors
    /// The broker's; [`BrokerError::Limit`] where too many reads are under way for too long.
    pub async fn page(&self, channel: &str, query: PresenceQuery) -> Result<PresencePage, BrokerError> {
        let _permit = self.reads.budget().page(ReadSource::Api).await?;
        self.page_of_live(channel, query).await
    }

    /// Numbers of clients and of distinct users present in a channel, on all nodes that live.
    pub fn stats(
        &self,
        source: ReadSource,
        channel: &str,
    ) -> impl Future<Output = Result<(u64, u64), BrokerError>> + Send + 'static + use<> {
        let (cluster, broker) = (self.cluster.clone(), self.broker.clone());
        let max_wait = self.max_wait;
        let channel: Arc<str> = channel.into();
        // The broker's own count is cheaper, and right when nobody died lately.
        let is_quiet = self.cluster.is_quiet();
        let counted = is_quiet.then(|| self.broker.presence_stats(&channel));
        async move {
            if let Some(counted) = counted {
                return counted.await;
            }
            // Once no client of a dead node is left, the broker's count is right. The clients themselves are not read.
            match timeout(max_wait, cluster.reap_all(source, &channel)).await {
                Ok(are_out) => are_out.unwrap_or_else(|_| Err(worker_gone()))?,
                Err(_) => {
                    let reason = "clients of a dead node are still being taken out of presence";
                    return Err(BrokerError::Unavailable(reason.to_owned()));
                }
            }
            broker.presence_stats(&channel).await
        }
    }
}
