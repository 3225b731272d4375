//! A memory broker whose store of hooks fails when a test wants it to, and loses all its data.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};
use gorani_broker::{
    Broker, BrokerError, HistoryPage, HistoryQuery, MemoryBroker, MemorySettings, Publication,
    PublishOptions, Published, Retention,
    hook_store::{
        DeadHook, HookApplied, HookChange, HookDelivered, HookEventDraft, HookNodeEntries, HookQueueHead,
        HookStore, HookStorePlan, HooksDue, Partition,
    },
    memory::Clock,
};
use tokio::time::Instant;

/// The clock of a test.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Answer<T> = BoxFuture<'static, Result<T, BrokerError>>;

/// The broker of a test.
pub(super) struct FaultyBroker {
    memory: Arc<MemoryBroker>,
    /// Calls of the store fail, without an effect.
    pub(super) is_away: AtomicBool,
    /// Calls of `apply` to come that are carried out without an answer.
    pub(super) unanswered: AtomicU32,
    /// Calls of `apply` so far.
    pub(super) applied: AtomicU32,
}

impl FaultyBroker {
    pub(super) fn new() -> Arc<Self> {
        let clock = Arc::new(TestClock(Instant::now()));
        Arc::new(Self {
            memory: Arc::new(MemoryBroker::with_clock(MemorySettings::default(), clock)),
            is_away: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            applied: AtomicU32::new(0),
        })
    }

    /// The store as it is, without faults.
    pub(super) fn store(&self) -> &dyn HookStore {
        self.memory.hook_store().unwrap()
    }

    fn reach<T: Send + 'static>(&self, call: impl FnOnce(&dyn HookStore) -> Answer<T>) -> Answer<T> {
        if self.is_away.load(Ordering::Relaxed) {
            return Box::pin(ready(Err(BrokerError::Unavailable("away".to_owned()))));
        }
        call(self.store())
    }
}

impl Broker for FaultyBroker {
    forward_broker!(
        memory: start, publish_join, publish_leave, subscribe, unsubscribe, remove_history, presence_add, presence_remove, presence, presence_stats, presence_nodes, presence_reap, cluster, health
    );

    fn publish(&self, channel: &str, publication: Publication, options: PublishOptions) -> Answer<Published> {
        self.memory.publish(channel, publication, options)
    }

    fn history(&self, channel: &str, query: HistoryQuery, retention: Retention) -> Answer<HistoryPage> {
        self.memory.history(channel, query, retention)
    }

    fn hook_store(&self) -> Option<&dyn HookStore> {
        Some(self)
    }
}

impl HookStore for FaultyBroker {
    fn open(&self, plan: HookStorePlan) -> Answer<Partition> {
        self.reach(|store| store.open(plan))
    }

    fn begin(&self, partition: Partition, previous: Option<&str>, event: HookEventDraft) -> Answer<Arc<str>> {
        self.reach(|store| store.begin(partition, previous, event))
    }

    fn apply(&self, partition: Partition, run: &str, changes: Vec<HookChange>) -> Answer<HookApplied> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        let answer = self.reach(|store| store.apply(partition, run, changes));
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered > 0 {
            self.unanswered.store(unanswered - 1, Ordering::Relaxed);
            return Box::pin(ready(Err(BrokerError::UnknownOutcome("lost".to_owned()))));
        }
        answer
    }

    fn entries(&self, partition: Partition, node: &str, cursor: &str, limit: u32) -> Answer<HookNodeEntries> {
        self.reach(|store| store.entries(partition, node, cursor, limit))
    }

    fn nodes(&self, partition: Partition) -> Answer<Vec<String>> {
        self.reach(|store| store.nodes(partition))
    }

    fn due(&self, partition: Partition, limit: u32) -> Answer<HooksDue> {
        self.reach(|store| store.due(partition, limit))
    }

    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> Answer<HookQueueHead> {
        self.reach(|store| store.head(partition, endpoint, max_events, max_bytes))
    }

    fn complete(&self, partition: Partition, endpoint: &str, delivered: HookDelivered) -> Answer<()> {
        self.reach(|store| store.complete(partition, endpoint, delivered))
    }

    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> Answer<Vec<DeadHook>> {
        self.reach(|store| store.dead_letters(partition, endpoint, after, limit))
    }

    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> Answer<u64> {
        self.reach(|store| store.take_dead_letters(partition, endpoint, ids, replay))
    }

    fn forget_endpoints(&self, partition: Partition, kept: Duration) -> Answer<Vec<String>> {
        self.reach(|store| store.forget_endpoints(partition, kept))
    }
}
