//! The store of hooks of a node's broker in the simulation: every call is a request on its link, carried out by the real store in memory,
//! which is the server's and in simulated time. A failover loses it.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use gorani_broker::{
    Broker as _, BrokerError, MemoryBroker, MemorySettings,
    hook_store::{
        DeadHook, HookApplied, HookChange, HookDelivered, HookEventDraft, HookNodeEntries, HookQueueHead,
        HookStore, HookStorePlan, HooksDue, Partition,
    },
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    broker::{SimAnswer, SimBroker},
    embedded::SimulatedClock,
};

/// The plan with which a node opened the store.
pub(super) type HookPlan = Arc<Mutex<Option<HookStorePlan>>>;

/// The server's store.
#[derive(Default)]
pub(super) struct SimHooks {
    memory: Option<MemoryBroker>,
    /// Events were lost with it.
    pub(super) was_lost: bool,
    /// So that ids ascend over its lives.
    began: Option<Instant>,
}

impl SimHooks {
    /// All of it is lost.
    pub(super) fn forget(&mut self) {
        self.memory = None;
        self.was_lost = true;
    }

    /// The store itself.
    pub(super) fn memory(&mut self) -> &MemoryBroker {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.memory.get_or_insert_with(|| {
            MemoryBroker::with_clock(MemorySettings::default(), Arc::new(SimulatedClock(began)))
        })
    }
}

impl SimBroker {
    /// A request to the store, opened with the node's plan.
    fn hooks<T: Send + 'static>(
        &self,
        line: Partition,
        label: String,
        run: impl FnOnce(&dyn HookStore) -> BoxFuture<'static, Result<T, BrokerError>> + Send + 'static,
    ) -> SimAnswer<T> {
        let plan = self.hook_plan.lock().clone();
        self.fallible(&format!("(hooks){line}"), label, None, move |server| {
            let store = server.hooks.memory().hook_store();
            let store = store.ok_or(BrokerError::Limit("a broker without a store of hooks"))?;
            if let Some(plan) = plan {
                answer(store.open(plan))?;
            }
            answer(run(store))
        })
    }
}

/// The answer of the store in memory, which is there when the call returns.
fn answer<T>(asked: BoxFuture<'static, Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let missing = || Err(BrokerError::Unavailable("an answer that is not there".to_owned()));
    asked.now_or_never().unwrap_or_else(missing)
}

impl HookStore for SimBroker {
    fn open(&self, plan: HookStorePlan) -> SimAnswer<Partition> {
        let known = Arc::clone(&self.hook_plan);
        let asked = self.hooks(0, "hooks open".to_owned(), {
            let plan = plan.clone();
            move |store| store.open(plan)
        });
        asked
            .then(move |opened| {
                if opened == Ok(plan.partitions) {
                    *known.lock() = Some(plan);
                }
                ready(opened)
            })
            .boxed()
    }

    fn begin(
        &self,
        partition: Partition,
        previous: Option<&str>,
        event: HookEventDraft,
    ) -> SimAnswer<Arc<str>> {
        let previous = previous.map(str::to_owned);
        let label = format!("hooks begin {partition} after another: {}", previous.is_some());
        self.hooks(partition, label, move |store| store.begin(partition, previous.as_deref(), event))
    }

    fn apply(&self, partition: Partition, run: &str, changes: Vec<HookChange>) -> SimAnswer<HookApplied> {
        let run = run.to_owned();
        let label = format!("hooks apply {partition} {} changes", changes.len());
        self.hooks(partition, label, move |store| store.apply(partition, &run, changes))
    }

    fn entries(
        &self,
        partition: Partition,
        node: &str,
        cursor: &str,
        limit: u32,
    ) -> SimAnswer<HookNodeEntries> {
        let (node, cursor) = (node.to_owned(), cursor.to_owned());
        let label = format!("hooks entries {partition} of {node} from {cursor:?}");
        self.hooks(partition, label, move |store| store.entries(partition, &node, &cursor, limit))
    }

    fn nodes(&self, partition: Partition) -> SimAnswer<Vec<String>> {
        self.hooks(partition, format!("hooks nodes {partition}"), move |store| store.nodes(partition))
    }

    fn due(&self, partition: Partition, limit: u32) -> SimAnswer<HooksDue> {
        self.hooks(partition, format!("hooks due {partition}"), move |store| store.due(partition, limit))
    }

    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> SimAnswer<HookQueueHead> {
        let endpoint = endpoint.to_owned();
        let label = format!("hooks head {partition} {endpoint}");
        self.hooks(partition, label, move |store| store.head(partition, &endpoint, max_events, max_bytes))
    }

    fn complete(&self, partition: Partition, endpoint: &str, delivered: HookDelivered) -> SimAnswer<()> {
        let endpoint = endpoint.to_owned();
        let label = format!("hooks complete {partition} {endpoint} {:?}", delivered.taken);
        self.hooks(partition, label, move |store| store.complete(partition, &endpoint, delivered))
    }

    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> SimAnswer<Vec<DeadHook>> {
        let (endpoint, after) = (endpoint.to_owned(), after.to_owned());
        let label = format!("hooks dead letters {partition} {endpoint}");
        self.hooks(partition, label, move |store| store.dead_letters(partition, &endpoint, &after, limit))
    }

    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> SimAnswer<u64> {
        let (endpoint, ids) = (endpoint.to_owned(), ids.to_vec());
        let label = format!("hooks take dead letters {partition} {endpoint}");
        self.hooks(partition, label, move |store| store.take_dead_letters(partition, &endpoint, &ids, replay))
    }

    fn forget_endpoints(&self, partition: Partition, kept: Duration) -> SimAnswer<Vec<String>> {
        let label = format!("hooks forget endpoints {partition}");
        self.hooks(partition, label, move |store| store.forget_endpoints(partition, kept))
    }
}
