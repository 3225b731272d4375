//! The store of hooks in Redis: each call is one script on one partition, whose keys carry one hash tag. [`HookStore`] is the
//! contract; record 50.
//!
//! A run ends with the life of the server, as an epoch does (record 34): after a restart or a failover changes may be forgotten, so
//! the nodes begin anew and say so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use parking_lot::RwLock;
use rand::{
    RngExt as _,
    distr::{Alphanumeric, SampleString as _},
};
use redis::{Cmd, Value};

use super::{
    hook_calls::{self, PartitionKeys},
    hook_replies as replies,
    scripts::{Keys, Scripts},
    shards::Shards,
};
use crate::{
    BrokerError,
    hook_entry::{HookEntry, check_changes},
    hook_store::{
        DeadHook, HookApplied, HookChange, HookDelivered, HookEventDraft, HookNodeEntries, HookQueueHead,
        HookStore, HookStorePlan, HooksDue, MAX_CHANGES, MAX_TAKEN, NO_ENDPOINT, NO_PARTITION, NOT_OPEN,
        Partition,
    },
};

/// Characters of a run.
const RUN_CHARS: usize = 16;
/// The numbers of a run's events begin with a random multiple of this, so that an id that a failover forgot is not given again.
/// More events than this are not appended in a millisecond.
const NUMBERS_OF_A_MILLISECOND: u64 = 1 << 20;
/// The multiples: with the numbers, a script counts exactly up to 2^53.
const FIRST_NUMBERS: u64 = 1 << 31;
/// Entries of a page, nodes and keys at most that a call gives.
const MAX_PAGE: u32 = 1000;

/// How the policies begin that evict keys without a time.
const EVICTS_ALL: &str = "allkeys";

/// The store of hooks of a server.
#[derive(Clone)]
pub(super) struct RedisHooks {
    keys: Keys,
    shards: Arc<Shards>,
    plan: Arc<RwLock<Option<Arc<HookStorePlan>>>>,
    evictable: Arc<AtomicBool>,
}

/// The answer to a call, or the reason why it was not made.
type Answer<T> = BoxFuture<'static, Result<T, BrokerError>>;

/// A call that is not made.
fn refused<T: Send + 'static>(error: BrokerError) -> Answer<T> {
    ready(Err(error)).boxed()
}

impl RedisHooks {
    pub(super) fn new(keys: Keys, shards: Arc<Shards>) -> Self {
        Self { keys, shards, plan: Arc::default(), evictable: Arc::default() }
    }

    /// True if the server may evict the store, by its settings when the store was opened.
    pub(super) fn is_evictable(&self) -> bool {
        self.evictable.load(Ordering::Relaxed)
    }

    fn keys(&self, partition: Partition) -> PartitionKeys<'_> {
        PartitionKeys { keys: &self.keys, partition }
    }

    /// The plan of an open store that has the partition.
    fn plan(&self, partition: Partition) -> Result<Arc<HookStorePlan>, BrokerError> {
        let plan = self.plan.read().clone();
        let plan = plan.ok_or_else(|| BrokerError::Unavailable(NOT_OPEN.to_owned()))?;
        if partition < plan.partitions { Ok(plan) } else { Err(BrokerError::Limit(NO_PARTITION)) }
    }

    /// Makes a call: it is in the queue when this returns.
    fn make<T: Send + 'static>(
        &self,
        call: Result<Cmd, BrokerError>,
        read: impl FnOnce(Value) -> Result<T, BrokerError> + Send + 'static,
    ) -> Answer<T> {
        match call {
            Ok(call) => {
                let made = self.shards.make(call);
                async move { read(made.await?) }.boxed()
            }
            Err(error) => refused(error),
        }
    }

    /// As [`RedisHooks::make`], of a script that looks at the run.
    fn make_on_run<T: Send + 'static>(
        &self,
        call: Result<Cmd, BrokerError>,
        read: impl FnOnce(Value) -> Result<T, BrokerError> + Send + 'static,
    ) -> Answer<T> {
        match call {
            Ok(call) => {
                let made = self.shards.make_on_stream(call);
                async move { read(made.await?) }.boxed()
            }
            Err(error) => refused(error),
        }
    }

    fn scripts(&self) -> &Scripts {
        self.shards.scripts()
    }

    /// The call that deletes the queues of these endpoints.
    fn forget_call(&self, partition: Partition, kept: Duration, names: &[String]) -> Cmd {
        let names = || names.iter().map(String::as_str);
        let mut call = self.keys(partition).call(&self.scripts().hook_forget, names());
        hook_calls::add_names(&mut call, kept, names());
        call
    }

    fn take_call(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> Result<Cmd, BrokerError> {
        let plan = self.plan(partition)?;
        if ids.len() > MAX_TAKEN {
            return Err(BrokerError::Limit("dead letters of one call"));
        }
        let bounds = hook_calls::find(&plan, endpoint).map(|plan| (plan.max_events, plan.max_bytes));
        let bounds = if replay { Some(bounds.ok_or(BrokerError::Limit(NO_ENDPOINT))?) } else { None };
        let (max_events, max_bytes) = bounds.unwrap_or_default();
        let mut call = self.keys(partition).call(&self.scripts().hook_dead_take, [endpoint]);
        call.arg(u8::from(replay)).arg(endpoint).arg(max_events).arg(max_bytes);
        for (id, padded) in ids.iter().filter_map(|id| hook_calls::ids_in_queue(partition, id)) {
            call.arg(id).arg(padded);
        }
        Ok(call)
    }
}

impl HookStore for RedisHooks {
    fn open(&self, plan: HookStorePlan) -> Answer<Partition> {
        let mut call = self.keys(0).call(&self.scripts().hook_open, []);
        call.arg(plan.partitions);
        let opened = self.make(Ok(call), replies::opened);
        let (known, evictable) = (Arc::clone(&self.plan), Arc::clone(&self.evictable));
        async move {
            let (partitions, policy) = opened.await?;
            // Policies for keys that expire do not touch the store's, which do not.
            let may_evict = policy.starts_with(EVICTS_ALL);
            evictable.store(may_evict, Ordering::Relaxed);
            if may_evict {
                tracing::warn!(
                    policy,
                    "Redis may evict the store of hooks: set maxmemory-policy to noeviction, or events are lost"
                );
            }
            if partitions == plan.partitions {
                *known.write() = Some(Arc::new(plan));
            }
            Ok(partitions)
        }
        .boxed()
    }

    fn begin(&self, partition: Partition, previous: Option<&str>, event: HookEventDraft) -> Answer<Arc<str>> {
        let run = Alphanumeric.sample_string(&mut rand::rng(), RUN_CHARS);
        let first_number = rand::rng().random_range(1..FIRST_NUMBERS) * NUMBERS_OF_A_MILLISECOND;
        let call = self.plan(partition).map(|plan| {
            let mut call =
                self.keys(partition).call(&self.scripts().hook_begin, hook_calls::endpoints(&plan));
            hook_calls::add_begin(&mut call, &plan, previous, &run, first_number, &event);
            call
        });
        self.make_on_run(call, replies::begun)
    }

    fn apply(&self, partition: Partition, run: &str, changes: Vec<HookChange>) -> Answer<HookApplied> {
        let call = check_changes(&changes).and_then(|()| self.plan(partition)).map(|plan| {
            let mut call =
                self.keys(partition).call(&self.scripts().hook_apply, hook_calls::endpoints(&plan));
            hook_calls::add_changes(&mut call, &plan, run, &changes);
            call
        });
        self.make_on_run(call, replies::applied)
    }

    fn entries(&self, partition: Partition, node: &str, cursor: &str, limit: u32) -> Answer<HookNodeEntries> {
        if !cursor.is_empty() && HookEntry::decode(cursor).is_none() {
            return refused(BrokerError::BadCursor);
        }
        let call = self.plan(partition).map(|_| {
            let mut call = self.keys(partition).call(&self.scripts().hook_entries, []);
            call.arg(node).arg(cursor).arg(limit.clamp(1, MAX_PAGE));
            call
        });
        self.make(call, replies::entries)
    }

    fn nodes(&self, partition: Partition) -> Answer<Vec<String>> {
        let call = self.plan(partition).map(|_| self.keys(partition).call(&self.scripts().hook_nodes, []));
        self.make(call, replies::names)
    }

    fn due(&self, partition: Partition, limit: u32) -> Answer<HooksDue> {
        let call = self.plan(partition).map(|_| {
            let mut call = self.keys(partition).call(&self.scripts().hook_due, []);
            call.arg(limit.min(MAX_PAGE));
            call
        });
        self.make_on_run(call, replies::due)
    }

    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> Answer<HookQueueHead> {
        let call = self.plan(partition).map(|_| {
            let mut call = self.keys(partition).call(&self.scripts().hook_head, [endpoint]);
            call.arg(max_events.min(MAX_PAGE)).arg(max_bytes);
            call
        });
        self.make(call, move |answer| replies::head(partition, answer))
    }

    fn complete(&self, partition: Partition, endpoint: &str, delivered: HookDelivered) -> Answer<()> {
        let call = self.plan(partition).and_then(|plan| {
            let plan = hook_calls::find(&plan, endpoint).ok_or(BrokerError::Limit(NO_ENDPOINT))?;
            if delivered.taken.len() + delivered.dead.len() > MAX_TAKEN {
                return Err(BrokerError::Limit("events of one delivery"));
            }
            let mut call = self.keys(partition).call(&self.scripts().hook_complete, [endpoint]);
            hook_calls::add_delivered(&mut call, partition, plan, &delivered);
            Ok(call)
        });
        self.make(call, |_| Ok(()))
    }

    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> Answer<Vec<DeadHook>> {
        let after = hook_calls::ids_in_queue(partition, after).map(|(_, padded)| padded).unwrap_or_default();
        let call = self.plan(partition).map(|_| {
            let mut call = self.keys(partition).call(&self.scripts().hook_dead, [endpoint]);
            call.arg(after).arg(limit.min(MAX_PAGE));
            call
        });
        self.make(call, move |answer| replies::dead_letters(partition, answer))
    }

    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> Answer<u64> {
        self.make(self.take_call(partition, endpoint, ids, replay), replies::count)
    }

    fn forget_endpoints(&self, partition: Partition, kept: Duration) -> Answer<Vec<String>> {
        let call = self.plan(partition).map(|plan| {
            let mut call = self.keys(partition).call(&self.scripts().hook_seen, []);
            hook_calls::add_names(&mut call, kept, hook_calls::endpoints(&plan));
            call
        });
        let gone = self.make(call, replies::names);
        let store = self.clone();
        async move {
            let mut gone = gone.await?;
            if gone.is_empty() {
                return Ok(gone);
            }
            // The rest next time.
            gone.truncate(MAX_CHANGES);
            store.make(Ok(store.forget_call(partition, kept, &gone)), replies::names).await
        }
        .boxed()
    }
}
