//! Ends what dead nodes left in the store, and tells ends of occupancies that are due. The owner of a partition does both
//! ([`super::lease`]).
//!
//! To take an entry out is the lock: of several nodes that reap at the same time each end is told by one.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gorani_broker::{
    Broker, BrokerError,
    hook_store::{HookApplied, HookChange, HookNodeEntries, MAX_CHANGES, OccupancyKey, Partition},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    flush::on_store,
    lease::{NodeWatch, PartitionLeases},
    tracker::HookTracker,
};

/// Interval at which ends that are due are looked for.
const DUE_EVERY: Duration = Duration::from_millis(500);
/// Interval at which entries of dead nodes are looked for, where no death was noticed.
const REAP_EVERY: Duration = Duration::from_secs(10);
/// Entries of one step.
const PAGE: u32 = 100;

/// Looks after the partitions that this node owns.
pub(super) struct PartitionCare {
    pub(super) tracker: Arc<HookTracker>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) leases: Arc<PartitionLeases>,
    pub(super) nodes: Arc<dyn NodeWatch>,
    pub(super) node: Arc<str>,
    /// A node has died.
    pub(super) died: Notify,
}

impl PartitionCare {
    /// Runs without an end.
    pub(super) async fn run(self: Arc<Self>) {
        let mut reap_at = Instant::now();
        let mut owned_before = Vec::new();
        loop {
            let is_dead_known = tokio::time::timeout(DUE_EVERY, self.died.notified()).await.is_ok();
            let owned = self.leases.owned();
            if is_dead_known || Instant::now() >= reap_at || owned != owned_before {
                reap_at = Instant::now() + REAP_EVERY;
                for partition in &owned {
                    self.note(self.reap(*partition).await);
                }
            }
            for partition in &owned {
                self.note(self.end_due(*partition).await);
            }
            owned_before = owned;
        }
    }

    fn note(&self, result: Result<(), BrokerError>) {
        if let Err(error) = result {
            tracing::debug!(%error, "looking after hooks failed; it is tried again");
        }
    }

    fn run_of(&self, partition: Partition) -> Option<Arc<str>> {
        self.tracker.partitions.get(usize::from(partition))?.run.lock().clone()
    }

    /// Makes changes, in calls of bounded size. False if the partition has another run: then nothing of it is true any more.
    async fn apply(
        &self,
        partition: Partition,
        run: &str,
        changes: Vec<HookChange>,
    ) -> Result<Option<Vec<bool>>, BrokerError> {
        let mut results = Vec::new();
        for changes in changes.chunks(MAX_CHANGES) {
            let applied =
                on_store(&self.broker, |store| store.apply(partition, run, changes.to_vec())).await?;
            match applied {
                HookApplied::Done(done) => {
                    self.tracker.count_written(changes, &done);
                    self.tracker.applied(partition);
                    results.extend(done);
                }
                HookApplied::OtherRun { .. } => return Ok(None),
            }
        }
        Ok(Some(results))
    }

    /// Tells the ends in a partition that are due.
    async fn end_due(&self, partition: Partition) -> Result<(), BrokerError> {
        while self.leases.owns(partition) {
            let due = on_store(&self.broker, |store| store.due(partition, PAGE)).await?;
            let (Some(run), false) = (due.run, due.keys.is_empty()) else { return Ok(()) };
            let change =
                |key: OccupancyKey| HookChange::EndDue { event: self.tracker.drafts.ended(&key), key };
            if self.apply(partition, &run, due.keys.into_iter().map(change).collect()).await?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Ends what dead nodes have in a partition.
    async fn reap(&self, partition: Partition) -> Result<(), BrokerError> {
        let found = on_store(&self.broker, |store| store.nodes(partition)).await?;
        let others: BTreeSet<String> = found.into_iter().filter(|node| **node != *self.node).collect();
        if others.is_empty() {
            return Ok(());
        }
        // The nodes of the store were read before the members: one that began meanwhile is not taken for dead.
        for dead in self.nodes.dead_among(others).await? {
            tracing::info!(dead, partition, "ending sessions of a dead node for the backend");
            self.reap_node(partition, &dead).await?;
        }
        Ok(())
    }

    async fn reap_node(&self, partition: Partition, dead: &str) -> Result<(), BrokerError> {
        while self.leases.owns(partition) {
            let Some(run) = self.run_of(partition) else { return Ok(()) };
            let page = on_store(&self.broker, |store| store.entries(partition, dead, "", PAGE)).await?;
            let sessions = page.sessions.len();
            let changes = self.ends(dead, page);
            if changes.is_empty() {
                return Ok(());
            }
            let Some(results) = self.apply(partition, &run, changes).await? else { return Ok(()) };
            let ended = results.iter().take(sessions).filter(|was_there| **was_there).count();
            self.tracker.reaped.fetch_add(ended as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The ends of all that a page of a dead node's entries has.
    fn ends(&self, dead: &str, page: HookNodeEntries) -> Vec<HookChange> {
        let drafts = &self.tracker.drafts;
        let grace = self.tracker.options.grace;
        let sessions = page.sessions.into_iter().map(|(client, user)| HookChange::Disconnect {
            event: drafts.of_node(dead, drafts.lost(&client, &user)),
            // The node may only be paused; then its sessions come again, and go on counting.
            keep_sequence: true,
        });
        let keys = page.occupancies.into_iter().map(|key| HookChange::Leave {
            event: drafts.of_node(dead, drafts.ended(&key)),
            grace,
            key,
        });
        sessions.chain(keys).collect()
    }
}
