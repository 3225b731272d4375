//! The clients of all nodes as the broker lists them: in the presence of channels, and among the connections of their users.
//! Those of dead nodes are left out, and taken out. `docs/architecture.md` §5.7.
//!
//! Every node takes them out of the channels of its own subscribers, unless another node has claimed the channel: to look through
//! the presence of 100,000 clients takes Redis a fifth of a second, and in a large cluster a thousand nodes may have the channel.
//! The broker takes each client out once, and publishes its leave in the same step.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use gorani_broker::{Broker, BrokerError, ClientInfo, ConnectionEntry, PresencePage, PresenceQuery};
use rand::{RngExt as _, seq::SliceRandom as _};
use tokio::time::{Instant, timeout};

use super::{ClaimName, ClusterMember, peers::Reaping};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    hub::{
        history_reads::HistoryReads,
        history_reads::{PAGE_BYTES, ReadSource},
        removals::USER_SLOT_TTL,
    },
    random,
};

/// Digits of a node's id, with which the ids of its clients begin.
const NODE_ID_BYTES: usize = 8;
/// Clients of one step; a step is one atomic script.
const CLIENTS_AT_A_TIME: u32 = 500;
/// Channels looked after at the same time.
const CHANNELS_AT_A_TIME: usize = 64;
/// Life of a claim to take a dead node's clients out of a channel. Afterwards the others look again, one of them first: the
/// node with the claim may have died over it.
const CLAIM: Duration = Duration::from_secs(10);
/// Attempts to take clients out while the broker fails; after them the entries expire by themselves.
const REAP_ATTEMPTS: usize = 10;
/// Pause between two of them.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes of a client in presence beside what it holds: its names in JSON.
const CLIENT_BYTES: u64 = 64;
/// Number of times that entries of dead nodes are cleared away for one client before it is refused.
const ENTER_ATTEMPTS: usize = 3;

/// Reads the presence of channels.
pub struct Presence {
    cluster: Arc<ClusterMember>,
    broker: Arc<dyn Broker>,
    reads: Arc<HistoryReads>,
    /// Longest wait until the clients of a dead node are out.
    max_wait: Duration,
}

impl Presence {
    pub(in crate::node) fn new(
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

/// The connections of each user, over all nodes: admission of a client where `client.max_connections_per_user` limits them.
pub struct UserConnectionLimit {
    broker: Arc<dyn Broker>,
    cluster: Arc<ClusterMember>,
}

impl UserConnectionLimit {
    pub(in crate::node) fn new(broker: Arc<dyn Broker>, cluster: Arc<ClusterMember>) -> Self {
        Self { broker, cluster }
    }

    /// Takes a slot among the user's connections. The broker is asked in the call.
    ///
    /// The error ends the client's session: 3504 if there is no slot, 3004 (come back) if the broker
    /// does not answer: a limit that opens whenever the broker is away is none.
    pub fn enter(
        &self,
        user: Arc<str>,
        client: Arc<str>,
        limit: u32,
    ) -> impl Future<Output = Result<(), Disconnect>> + Send + 'static + use<> {
        let (broker, cluster) = (self.broker.clone(), self.cluster.clone());
        let mut asked = self.broker.cluster().connection_enter(&user, &client, USER_SLOT_TTL, limit);
        let failed = |error: BrokerError| {
            tracing::warn!(%error, "client disconnected: counting its user's connections failed");
            Disconnect::INTERNAL
        };
        async move {
            for _ in 0..ENTER_ATTEMPTS {
                let holders = match asked.await.map_err(failed)? {
                    ConnectionEntry::Entered => return Ok(()),
                    ConnectionEntry::Full { holders } => holders,
                };
                let dead =
                    cluster.dead_among(holders.iter().map(String::as_str), true).await.map_err(failed)?;
                let gone: Vec<&String> = holders.iter().filter(|holder| is_of(&dead, holder)).collect();
                if gone.is_empty() {
                    break;
                }
                // In line before the next attempt.
                for holder in gone {
                    drop(broker.cluster().connection_leave(&user, holder));
                }
                asked = broker.cluster().connection_enter(&user, &client, USER_SLOT_TTL, limit);
            }
            Err(Disconnect::CONNECTION_LIMIT)
        }
    }
}

impl ClusterMember {
    /// Looks through the channels that have subscribers here.
    pub(super) async fn reap_everywhere(self: Arc<Self>, dead: String) {
        let keeps_presence = |channel: &Arc<str>| {
            self.policy.get().channel_options(channel).is_ok_and(|options| options.presence)
        };
        let mut channels: Vec<Arc<str>> =
            self.workers.interest.channels().into_iter().filter(keeps_presence).collect();
        // A shuffled order, so that the nodes do not all claim the same ones first.
        channels.shuffle(&mut random::rng());
        let left_to_others = self.reap_claimed(channels, &dead).await;
        if !left_to_others.is_empty() {
            let pause = random::rng().random_range(CLAIM..2 * CLAIM);
            tokio::time::sleep(pause).await;
            self.reap_claimed(left_to_others, &dead).await;
        }
    }

    /// Looks through those of the channels that no other node has claimed; returns those that one has.
    async fn reap_claimed(self: &Arc<Self>, channels: Vec<Arc<str>>, dead: &str) -> Vec<Arc<str>> {
        let mut left_to_others = Vec::new();
        for batch in channels.chunks(CHANNELS_AT_A_TIME) {
            let claimed = join_all(batch.iter().map(|channel| self.claim_reaping(channel, dead))).await;
            let (own, others): (Vec<_>, Vec<_>) = batch.iter().zip(claimed).partition(|(_, is_own)| *is_own);
            join_all(own.into_iter().map(|(channel, _)| self.reap(channel, dead))).await;
            left_to_others.extend(others.into_iter().map(|(channel, _)| channel.clone()));
        }
        left_to_others
    }

    async fn claim_reaping(&self, channel: &str, dead: &str) -> bool {
        let name = ClaimName::Reaper { dead, channel }.to_string();
        let claim = self.broker.cluster().claim(&name, &self.id, CLAIM, None);
        // Without an answer: rather twice than not at all.
        claim.await.map_or(true, |owner| *owner == *self.id)
    }

    /// Takes all clients of a dead node out of one channel. It goes on if nobody waits for it.
    fn reap(self: &Arc<Self>, channel: &Arc<str>, dead: &str) -> Reaping {
        let (cluster, channel, dead) = (self.clone(), channel.clone(), dead.to_owned());
        let key = (channel.clone(), Some(dead.clone()));
        self.peers.reaping.begin(&self.tasks, key, async move { cluster.take_out(&channel, &dead).await })
    }

    /// Takes the clients of all dead nodes out of one channel. The nodes are found by the ids of its clients, which are not read
    /// otherwise. It goes on if nobody waits for it.
    fn reap_all(self: &Arc<Self>, source: ReadSource, channel: &Arc<str>) -> Reaping {
        let (cluster, channel) = (self.clone(), channel.clone());
        let key = (channel.clone(), None);
        self.peers.reaping.begin(&self.tasks, key, async move {
            let _permit = cluster.reads.budget().page(source).await?;
            let nodes = cluster.broker.presence_nodes(&channel, NODE_ID_BYTES).await?;
            let dead = cluster.dead_among(nodes.iter().map(String::as_str), false).await?;
            let reaped = join_all(dead.iter().map(|dead| cluster.reap(&channel, dead))).await;
            reaped.into_iter().try_for_each(|are_out| are_out.unwrap_or_else(|_| Err(worker_gone())))
        })
    }

    /// The dead ones among the nodes of these clients. The leases are read if there is a node of which nothing is known; or,
    /// where the last second counts (`afresh`), if there is another node at all.
    pub(super) async fn dead_among<'a>(
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

    /// The error: the broker failed too often.
    async fn take_out(&self, channel: &Arc<str>, dead: &str) -> Result<(), BrokerError> {
        let mut attempts = 0;
        loop {
            let reaped = match self.broker.presence_reap(channel, dead, CLIENTS_AT_A_TIME).await {
                Ok(reaped) => reaped,
                Err(error) => {
                    attempts += 1;
                    if attempts == REAP_ATTEMPTS {
                        tracing::warn!(%channel, %error, "reaping clients of a dead node failed; they stay present until they expire");
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            let count = reaped.len();
            self.metrics.cluster.reaped.inc_by(count as u64);
            if u32::try_from(count).is_ok_and(|count| count < CLIENTS_AT_A_TIME) {
                return Ok(());
            }
        }
    }
}

/// The id of the node that a client is connected to; `None` if the id is none of ours.
pub(super) fn node_of(client: &str) -> Option<&str> {
    client.get(..NODE_ID_BYTES).filter(|node| node.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// True if a client is of one of these nodes.
fn is_of(nodes: &BTreeSet<String>, client: &str) -> bool {
    node_of(client).is_some_and(|node| nodes.contains(node))
}

/// The worker that took clients out has ended.
fn worker_gone() -> BrokerError {
    BrokerError::Unavailable("the node is shutting down".to_owned())
}
