//! [`HookStore`] of the memory broker: its partitions, each under a lock of its own.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rand::distr::{Alphanumeric, SampleString as _};

use super::{
    MemoryBroker, done,
    hook_partition::{HookCall, HookPartition},
};
use crate::{
    BrokerError,
    hook_entry::{HookEntry, check_changes},
    hook_store::{
        DeadHook, HookApplied, HookChange, HookDelivered, HookEventDraft, HookNodeEntries, HookQueueHead,
        HookStore, HookStorePlan, HooksDue, MAX_TAKEN, NO_ENDPOINT, NO_PARTITION, NOT_OPEN, Partition,
    },
};

/// Characters of a run.
const RUN_CHARS: usize = 16;

/// The store of hooks in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryHooks {
    /// Made when the store is first opened.
    partitions: OnceLock<Vec<Mutex<HookPartition>>>,
    plan: RwLock<Option<Arc<HookStorePlan>>>,
}

impl MemoryBroker {
    fn open_hooks(&self, plan: HookStorePlan) -> Partition {
        let count = plan.partitions;
        let partitions = self.hooks.partitions.get_or_init(|| (0..count).map(|_| Mutex::default()).collect());
        if partitions.len() == usize::from(count) {
            *self.hooks.plan.write() = Some(Arc::new(plan));
        }
        Partition::try_from(partitions.len()).unwrap_or(Partition::MAX)
    }

    /// Runs `change` on a partition of an open store.
    fn on_partition<T: Send + 'static>(
        &self,
        number: Partition,
        change: impl FnOnce(&mut HookPartition, HookCall<'_>) -> Result<T, BrokerError>,
    ) -> BoxFuture<'static, Result<T, BrokerError>> {
        let plan = self.hooks.plan.read().clone();
        let Some(plan) = plan else { return done(Err(BrokerError::Unavailable(NOT_OPEN.to_owned()))) };
        let partition = self.hooks.partitions.get().and_then(|all| all.get(usize::from(number)));
        let Some(partition) = partition else { return done(Err(BrokerError::Limit(NO_PARTITION))) };
        let mut partition = partition.lock();
        // Under the lock, so that within a partition time never goes back.
        let call = HookCall { plan: &plan, partition: number, now_ms: self.clock.unix_ms() };
        done(change(&mut partition, call))
    }
}

impl HookStore for MemoryBroker {
    fn open(&self, plan: HookStorePlan) -> BoxFuture<'static, Result<Partition, BrokerError>> {
        done(Ok(self.open_hooks(plan)))
    }

    fn begin(
        &self,
        partition: Partition,
        previous: Option<&str>,
        event: HookEventDraft,
    ) -> BoxFuture<'static, Result<Arc<str>, BrokerError>> {
        self.on_partition(partition, |partition, call| {
            if let Some(run) = &partition.run
                && Some(&**run) != previous
            {
                return Ok(Arc::clone(run));
            }
            let run: Arc<str> = Alphanumeric.sample_string(&mut rand::rng(), RUN_CHARS).into();
            partition.begin(call, Arc::clone(&run), event);
            Ok(run)
        })
    }

    fn apply(
        &self,
        partition: Partition,
        run: &str,
        changes: Vec<HookChange>,
    ) -> BoxFuture<'static, Result<HookApplied, BrokerError>> {
        if let Err(error) = check_changes(&changes) {
            return done(Err(error));
        }
        self.on_partition(partition, |partition, call| {
            if partition.run.as_deref() != Some(run) {
                return Ok(HookApplied::OtherRun { run: partition.run.clone() });
            }
            Ok(HookApplied::Done(changes.into_iter().map(|change| partition.apply(call, change)).collect()))
        })
    }

    fn entries(
        &self,
        partition: Partition,
        node: &str,
        cursor: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<HookNodeEntries, BrokerError>> {
        let from = HookEntry::decode(cursor);
        if from.is_none() && !cursor.is_empty() {
            return done(Err(BrokerError::BadCursor));
        }
        self.on_partition(partition, |partition, _| Ok(partition.entries(node, from, limit)))
    }

    fn nodes(&self, partition: Partition) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        self.on_partition(partition, |partition, _| Ok(partition.node_names()))
    }

    fn due(&self, partition: Partition, limit: u32) -> BoxFuture<'static, Result<HooksDue, BrokerError>> {
        self.on_partition(partition, |partition, call| {
            Ok(HooksDue { keys: partition.due(call.now_ms, limit), run: partition.run.clone() })
        })
    }

    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> BoxFuture<'static, Result<HookQueueHead, BrokerError>> {
        self.on_partition(partition, |partition, _| {
            let queue = partition.known_queue(endpoint);
            Ok(queue.map_or_else(HookQueueHead::default, |queue| queue.head(max_events, max_bytes)))
        })
    }

    fn complete(
        &self,
        partition: Partition,
        endpoint: &str,
        delivered: HookDelivered,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.on_partition(partition, |partition, call| {
            let plan = call.plan.endpoints.iter().find(|plan| *plan.name == *endpoint);
            let plan = plan.ok_or(BrokerError::Limit(NO_ENDPOINT))?;
            if delivered.taken.len() + delivered.dead.len() > MAX_TAKEN {
                return Err(BrokerError::Limit("events of one delivery"));
            }
            partition.queue(call, endpoint).complete(delivered, call.now_ms, plan);
            Ok(())
        })
    }

    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<DeadHook>, BrokerError>> {
        self.on_partition(partition, |partition, _| {
            let queue = partition.known_queue(endpoint);
            Ok(queue.map_or_else(Vec::new, |queue| queue.dead_letters(after, limit)))
        })
    }

    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> BoxFuture<'static, Result<u64, BrokerError>> {
        self.on_partition(partition, |partition, call| {
            if ids.len() > MAX_TAKEN {
                return Err(BrokerError::Limit("dead letters of one call"));
            }
            if replay && !call.plan.endpoints.iter().any(|plan| *plan.name == *endpoint) {
                return Err(BrokerError::Limit(NO_ENDPOINT));
            }
            Ok(partition.take_dead_letters(call, endpoint, ids, replay))
        })
    }

    fn forget_endpoints(
        &self,
        partition: Partition,
        kept: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        self.on_partition(partition, |partition, call| Ok(partition.forget_endpoints(call, kept)))
    }
}
