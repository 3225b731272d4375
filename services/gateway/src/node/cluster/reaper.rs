//! Takes the clients of dead nodes out of presence. `docs/architecture.md` §5.7.
//!
//! Every node does so for the channels of its own subscribers, unless another node has claimed the channel: to look through the
//! presence of 100,000 clients takes Redis a fifth of a second, and in a large cluster a thousand nodes may have the channel. The
//! broker takes each client out once, and publishes its leave in the same step.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use gorani_broker::BrokerError;
use rand::{RngExt as _, seq::SliceRandom as _};
use tokio::time::Instant;

use super::{
    ClusterMember,
    client_node::{NODE_ID_BYTES, node_of},
    reaping::Reaping,
};
use crate::{hub::history_reads::ReadSource, random};

/// Clients of one step; a step is one atomic script.
const CLIENTS_AT_A_TIME: u32 = 500;
/// Channels looked after at the same time.
const CHANNELS_AT_A_TIME: usize = 64;
/// Life of a claim to take a dead node's clients out of a channel. Afterwards the others look again, one of them first: the
/// node with the claim may have died over it.
const CLAIM: Duration = Duration::from_secs(10);
/// Attempts while the broker fails; after them the entries expire by themselves.
const ATTEMPTS: usize = 10;
/// Pause between two of them.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The worker that took clients out has ended.
pub(in crate::node) fn worker_gone() -> BrokerError {
    BrokerError::Unavailable("the node is shutting down".to_owned())
}

impl ClusterMember {
    /// Looks through the channels that have subscribers here.
    pub(in crate::node) async fn reap_everywhere(self: Arc<Self>, dead: String) {
        let keeps_presence =
            |channel: &Arc<str>| self.policy.channel_options(channel).is_ok_and(|options| options.presence);
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
        let claim = self.broker.cluster().claim(&format!("reaper {dead} {channel}"), &self.id, CLAIM, None);
        // Without an answer: rather twice than not at all.
        claim.await.map_or(true, |owner| *owner == *self.id)
    }

    /// Takes all clients of a dead node out of one channel. It goes on if nobody waits for it.
    pub(in crate::node) fn reap(self: &Arc<Self>, channel: &Arc<str>, dead: &str) -> Reaping {
        let (cluster, channel, dead) = (self.clone(), channel.clone(), dead.to_owned());
        let key = (channel.clone(), Some(dead.clone()));
        self.peers.reaping.begin(&self.tasks, key, async move { cluster.take_out(&channel, &dead).await })
    }

    /// Takes the clients of all dead nodes out of one channel. The nodes are found by the ids of its clients, which are not read
    /// otherwise. It goes on if nobody waits for it.
    pub(in crate::node) fn reap_all(self: &Arc<Self>, source: ReadSource, channel: &Arc<str>) -> Reaping {
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

    /// The error: the broker failed too often.
    async fn take_out(&self, channel: &Arc<str>, dead: &str) -> Result<(), BrokerError> {
        let mut attempts = 0;
        loop {
            let reaped = match self.broker.presence_reap(channel, dead, CLIENTS_AT_A_TIME).await {
                Ok(reaped) => reaped,
                Err(error) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
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
