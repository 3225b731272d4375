//! Brings what is tracked to the store: a task for each partition, with one call under way. The next begins when the answer is there,
//! and takes all that came meanwhile. While the broker is away the same changes are tried again; nothing grows but their number.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use gorani_broker::{
    Broker, BrokerError,
    hook_store::{HookApplied, HookStore, Partition},
};
use tokio::time::Instant;

use super::{
    change_batch::ChangeBatch,
    tracker::{HookTracker, TrackedPartition},
};

/// First pause before a call that failed is repeated; it doubles.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The longest one.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A partition without changes is asked for its run so often: a broker that lost its data is noticed, although nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the store is compared with the node, although nothing seems wrong.
const COMPARE_EVERY: Duration = Duration::from_secs(300);
/// Entries of a page of the store.
const PAGE: u32 = 500;

/// One partition on its way to the store.
pub(super) struct PartitionFlush {
    tracker: Arc<HookTracker>,
    broker: Arc<dyn Broker>,
    node: Arc<str>,
    number: Partition,
}

/// The store of hooks is not there.
fn without_store<T: Send + 'static>() -> BoxFuture<'static, Result<T, BrokerError>> {
    Box::pin(std::future::ready(Err(BrokerError::Unavailable("no store of hooks".to_owned()))))
}

/// Calls the store of a broker.
pub(super) fn on_store<T: Send + 'static>(
    broker: &Arc<dyn Broker>,
    call: impl FnOnce(&dyn HookStore) -> BoxFuture<'static, Result<T, BrokerError>>,
) -> BoxFuture<'static, Result<T, BrokerError>> {
    broker.hook_store().map_or_else(without_store, call)
}

impl PartitionFlush {
    pub(super) fn new(
        tracker: Arc<HookTracker>,
        broker: Arc<dyn Broker>,
        node: Arc<str>,
        number: Partition,
    ) -> Self {
        Self { tracker, broker, node, number }
    }

    fn partition(&self) -> Option<&TrackedPartition> {
        self.tracker.partitions.get(usize::from(self.number))
    }

    /// Runs without an end.
    pub(super) async fn run(self) {
        let Some(partition) = self.partition() else { return };
        let mut run = self.begin(None).await;
        // Not all partitions at the same time.
        let mut compare_at = Instant::now() + COMPARE_EVERY + Duration::from_secs(self.number.into());
        loop {
            if Instant::now() >= compare_at {
                compare_at = Instant::now() + COMPARE_EVERY;
                partition.state().needs_repair = true;
            }
            let needs_repair = std::mem::take(&mut partition.state().needs_repair);
            if needs_repair {
                self.compare(partition).await;
            }
            let batch = {
                let mut state = partition.state();
                state.end_due(Some(Instant::now()));
                state.take_batch(&self.tracker.drafts, &self.tracker.options)
            };
            if let Some(lost) = self.apply(partition, &run, batch).await {
                tracing::warn!(
                    partition = self.number,
                    "the store of hooks lost a partition; telling it anew"
                );
                partition.state().lose_all();
                run = self.begin(Some(&lost)).await;
            }
            if partition.state().is_idle() {
                self.wait(partition).await;
            }
        }
    }

    /// Waits for something to do.
    async fn wait(&self, partition: &TrackedPartition) {
        let next = partition.state().next_due();
        let look_at = Instant::now() + LOOK_EVERY;
        let until = next.map_or(look_at, |next| next.min(look_at));
        // Its end is no matter: what came meanwhile is there.
        let _ = tokio::time::timeout_at(until, partition.changed.notified()).await;
    }

    /// Begins the partition, unless it has another run than `previous`; the run that it has.
    async fn begin(&self, previous: Option<&str>) -> Arc<str> {
        let mut pause = RETRY_AFTER;
        loop {
            let event = self.tracker.drafts.reset();
            match on_store(&self.broker, |store| store.begin(self.number, previous, event)).await {
                Ok(run) => {
                    if let Some(partition) = self.partition() {
                        *partition.run.lock() = Some(run.clone());
                        partition.state().is_failing = false;
                    }
                    return run;
                }
                Err(error) => self.fail(&error, &mut pause).await,
            }
        }
    }

    /// A call has failed: until one succeeds nothing that came and went is kept, and publications are refused.
    async fn fail(&self, error: &BrokerError, pause: &mut Duration) {
        tracing::debug!(%error, partition = self.number, "the store of hooks did not answer");
        if let Some(partition) = self.partition() {
            let mut state = partition.state();
            state.is_failing = true;
            state.give_publications_up();
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(RETRY_MAX);
    }

    /// Has a batch carried out, however often that takes. `Some`: the partition has another run than this, and nothing was done.
    async fn apply(
        &self,
        partition: &TrackedPartition,
        run: &Arc<str>,
        mut batch: ChangeBatch,
    ) -> Option<Arc<str>> {
        let mut pause = RETRY_AFTER;
        loop {
            let changes = batch.changes.clone();
            match on_store(&self.broker, |store| store.apply(self.number, run, changes)).await {
                Ok(HookApplied::Done(results)) => {
                    self.tracker.count_written(&batch.changes, &results);
                    if !results.is_empty() {
                        self.tracker.applied(self.number);
                    }
                    let mut state = partition.state();
                    state.done(batch.entries, &results);
                    // What the broker forgot while it was away is not known.
                    state.needs_repair |= std::mem::take(&mut state.is_failing);
                    return None;
                }
                Ok(HookApplied::OtherRun { .. }) => {
                    partition.state().take_publications_back(batch);
                    return Some(run.clone());
                }
                Err(error) => {
                    batch.give_publications_up();
                    self.fail(&error, &mut pause).await;
                }
            }
        }
    }

    /// Compares the partition with what the store has of this node. No change is under way meanwhile.
    async fn compare(&self, partition: &TrackedPartition) {
        let (mut sessions, mut keys) = (Vec::new(), Vec::new());
        let mut cursor = String::new();
        loop {
            let page =
                on_store(&self.broker, |store| store.entries(self.number, &self.node, &cursor, PAGE)).await;
            match page {
                Ok(page) => {
                    sessions.extend(page.sessions);
                    keys.extend(page.occupancies);
                    let Some(next) = page.cursor else { break };
                    cursor = next;
                }
                Err(error) => {
                    // The next call tells whether the broker is there, and repairs then.
                    tracing::debug!(%error, partition = self.number, "comparing hooks with the store failed");
                    partition.state().needs_repair = true;
                    tokio::time::sleep(RETRY_AFTER).await;
                    return;
                }
            }
        }
        let grace = self.tracker.options.grace;
        partition.state().compare(sessions, keys, &self.tracker.drafts, grace);
    }
}
