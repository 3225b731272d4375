//! The leases of the partitions: for each partition of the store of hooks one node of the cluster delivers, reaps, and tells ends that
//! are due. `docs/adr/0051-hooks-tracked.md`.
//!
//! Rendezvous hashing over the live nodes says who that is to be; a claim at the broker makes sure that it is one at a time. A node
//! that comes or goes moves only the partitions that are its own.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use gorani_broker::{Broker, BrokerError, hook_store::Partition};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::partition::hash;

/// Life of a claim at the broker.
const CLAIM_TTL: Duration = Duration::from_secs(9);
/// Interval at which claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Pause before the next attempt to get a partition that another node has not given up yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The owner takes its claim for over by so much before the broker does: clocks of two machines do not run at quite the same speed.
const MARGIN: Duration = Duration::from_millis(500);

/// Tells which nodes of the cluster live.
pub trait NodeWatch: Send + Sync + 'static {
    /// Ids of the nodes that are alive, as far as is known; this node may be missing.
    fn live(&self) -> BTreeSet<String>;

    /// Those of the named nodes that are dead for certain: their leases are gone, while our own was running all the time.
    fn dead_among(
        &self,
        nodes: BTreeSet<String>,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>>;
}

/// The partitions that this node owns.
pub struct PartitionLeases {
    node: Arc<str>,
    broker: Arc<dyn Broker>,
    nodes: Arc<dyn NodeWatch>,
    /// The time until which each partition is this node's.
    until: Mutex<Vec<Option<Instant>>>,
    changes: watch::Sender<u64>,
    is_ended: AtomicBool,
}

impl PartitionLeases {
    /// No partition yet.
    pub fn new(
        partitions: Partition,
        node: Arc<str>,
        broker: Arc<dyn Broker>,
        nodes: Arc<dyn NodeWatch>,
    ) -> Arc<Self> {
        Arc::new(Self {
            node,
            broker,
            nodes,
            until: Mutex::new(vec![None; usize::from(partitions)]),
            changes: watch::Sender::new(0),
            is_ended: AtomicBool::new(false),
        })
    }

    /// True if the partition is this node's now. To be asked before each step that only the owner does.
    pub fn owns(&self, partition: Partition) -> bool {
        let until = self.until.lock().get(usize::from(partition)).copied().flatten();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// The partitions that are this node's now.
    pub fn owned(&self) -> Vec<Partition> {
        (0..)
            .zip(self.until.lock().iter())
            .filter_map(|(partition, until)| {
                until.is_some_and(|until| Instant::now() < until).then_some(partition)
            })
            .collect()
    }

    /// Changes whenever a partition becomes this node's, or is given up. That time is over is not among the changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Claims and renews partitions until [`PartitionLeases::end`].
    pub async fn run(self: Arc<Self>) {
        while !self.is_ended.load(Ordering::Acquire) {
            let pause = if self.renew().await { RENEW_EVERY } else { RETRY_AFTER };
            tokio::time::sleep(pause).await;
        }
    }

    /// Claims the partitions that are to be this node's and gives the others up. False if one that is to be its own is not.
    async fn renew(&self) -> bool {
        if self.is_ended.load(Ordering::Acquire) {
            return false;
        }
        let mut live = self.nodes.live();
        live.insert(self.node.to_string());
        let count = self.until.lock().len();
        let partitions = (0..).take(count);
        let steps = partitions.map(|partition| self.renew_one(partition, preferred(partition, &live)));
        join_all(steps).await.into_iter().all(|is_right| is_right)
    }

    async fn renew_one(&self, partition: Partition, preferred: Option<&String>) -> bool {
        if preferred.is_none_or(|preferred| **preferred != *self.node) {
            self.give_up(partition).await;
            return true;
        }
        let sent = Instant::now();
        match self.broker.cluster().claim(&claim_name(partition), &self.node, CLAIM_TTL, None).await {
            Ok(owner) if *owner == *self.node => {
                self.set(partition, Some(sent + CLAIM_TTL - MARGIN));
                if self.is_ended.load(Ordering::Acquire) {
                    // The claim was under way when the node gave everything up.
                    self.give_up(partition).await;
                    return false;
                }
                true
            }
            Ok(_) => {
                self.set(partition, None);
                false
            }
            Err(error) => {
                // What it has stays its own until the time is over.
                tracing::debug!(%error, partition, "claiming a partition of hooks failed");
                false
            }
        }
    }

    /// Gives a partition up. It is not this node's from before the broker is told.
    async fn give_up(&self, partition: Partition) {
        if !self.set(partition, None) {
            return;
        }
        if let Err(error) = self.broker.cluster().release(&claim_name(partition), &self.node).await {
            tracing::debug!(%error, partition, "releasing a partition of hooks failed; the claim will expire");
        }
    }

    /// Sets the end of a partition; true if it had one.
    fn set(&self, partition: Partition, until: Option<Instant>) -> bool {
        let before = match self.until.lock().get_mut(usize::from(partition)) {
            Some(entry) => std::mem::replace(entry, until),
            None => return false,
        };
        let was_owned = before.is_some_and(|until| Instant::now() < until);
        if was_owned != until.is_some() {
            self.changes.send_modify(|version| *version += 1);
        }
        before.is_some()
    }

    /// Gives all partitions up for good: the node goes down.
    pub async fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        let count = self.until.lock().len();
        join_all((0..).take(count).map(|partition| self.give_up(partition))).await;
    }
}

/// The name that is claimed: no session's, since those begin with the slash of a path.
fn claim_name(partition: Partition) -> String {
    format!("hooks {partition}")
}

/// The node that a partition is to belong to: the one with the highest hash of both, whoever asks.
fn preferred(partition: Partition, live: &BTreeSet<String>) -> Option<&String> {
    live.iter().max_by_key(|node| hash([node.as_bytes(), b" ", &partition.to_be_bytes()]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use gorani_broker::{MemoryBroker, MemorySettings};

    use super::*;

    /// Nodes that a test names.
    #[derive(Default)]
    struct NamedNodes(Mutex<BTreeSet<String>>);

    impl NamedNodes {
        fn are(&self, ids: &[&str]) {
            *self.0.lock() = ids.iter().map(|id| (*id).to_owned()).collect();
        }
    }

    impl NodeWatch for NamedNodes {
        fn live(&self) -> BTreeSet<String> {
            self.0.lock().clone()
        }

        fn dead_among(
            &self,
            nodes: BTreeSet<String>,
        ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
            let dead = nodes.difference(&self.live()).cloned().collect();
            Box::pin(std::future::ready(Ok(dead)))
        }
    }

    fn two() -> (Arc<NamedNodes>, Arc<PartitionLeases>, Arc<PartitionLeases>) {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let nodes = Arc::new(NamedNodes::default());
        let leases = |node: &str| PartitionLeases::new(16, node.into(), broker.clone(), nodes.clone());
        (nodes.clone(), leases("a"), leases("b"))
    }

    #[actix_rt::test]
    async fn each_partition_has_one_owner_and_a_node_that_comes_takes_only_its_share() {
        let (nodes, one, other) = two();
        nodes.are(&["a"]);
        assert!(one.renew().await);
        assert_eq!(one.owned().len(), 16);
        nodes.are(&["a", "b"]);
        assert!(!other.renew().await, "the first has not given anything up yet");
        assert_eq!(other.owned(), [0; 0]);
        let mut watch = one.watch();
        assert!(one.renew().await);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        assert!(one.renew().await && !watch.has_changed().unwrap(), "a renewal is no change");
        assert!(other.renew().await);
        let (one, other) = (one.owned(), other.owned());
        assert!((3..=13).contains(&one.len()), "{one:?}");
        let mut all = [one, other].concat();
        all.sort_unstable();
        assert_eq!(all, (0..16).collect::<Vec<_>>());
    }

    #[actix_rt::test]
    async fn a_claim_that_is_not_renewed_is_over_here_before_another_node_gets_it() {
        tokio::time::pause();
        let (nodes, one, _) = two();
        nodes.are(&["a"]);
        one.renew().await;
        tokio::time::advance(CLAIM_TTL - MARGIN - Duration::from_millis(1)).await;
        assert!(one.owns(3) && !one.owns(16));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!one.owns(3) && one.owned().is_empty());
    }

    #[actix_rt::test]
    async fn a_node_that_goes_down_leaves_its_partitions_to_the_others_at_once() {
        let (nodes, one, other) = two();
        nodes.are(&["a"]);
        one.renew().await;
        one.end().await;
        assert_eq!(one.owned(), [0; 0]);
        assert!(!one.renew().await, "it claims nothing any more");
        one.end().await;
        nodes.are(&["b"]);
        assert!(other.renew().await);
        assert_eq!(other.owned().len(), 16);
    }
}
