//! The store of hooks in Redis: each call is one script on one partition, whose keys carry one hash tag. [`HookStore`] is the
//! contract; record 50.
//!
//! A run ends with the life of the server, as an epoch does (record 34): after a restart or a failover changes may be forgotten, so
//! the nodes begin anew and say so.

mod calls;
mod replies;

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use rand::{
    RngExt as _,
    distr::{Alphanumeric, SampleString as _},
};
use redis::{Cmd, Value};

use super::RedisBroker;
use crate::{
    BrokerError,
    hook_entry::{HookEntry, check_changes},
    hook_store::{
        DeadHook, HookApplied, HookChange, HookDelivered, HookEventDraft, HookNodeEntries, HookQueueHead,
        HookStore, HookStorePlan, HooksDue, MAX_CHANGES, MAX_TAKEN, NO_ENDPOINT, Partition,
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

/// The answer to a call, or the reason why it was not made.
type Answer<T> = BoxFuture<'static, Result<T, BrokerError>>;

/// A call that is not made.
fn refused<T: Send + 'static>(error: BrokerError) -> Answer<T> {
    ready(Err(error)).boxed()
}

/// The names as a script's call takes them.
fn as_keys(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Reads the answer of a request, or gives the reason why it was not made.
fn read_answer<T: Send + 'static>(
    made: Result<impl Future<Output = Result<Value, BrokerError>> + Send + 'static, BrokerError>,
    read: impl FnOnce(Value) -> Result<T, BrokerError> + Send + 'static,
) -> Answer<T> {
    match made {
        Ok(made) => async move { read(made.await?) }.boxed(),
        Err(error) => refused(error),
    }
}

impl RedisBroker {
    /// The plan, and the call of a script on the partition with the queues of all endpoints.
    fn call_on_all(
        &self,
        partition: Partition,
        call: impl FnOnce(&[&str]) -> Cmd,
    ) -> Result<(Arc<HookStorePlan>, Cmd), BrokerError> {
        let plan = self.open_hooks.plan(partition)?;
        let names = self.keys.hooks_with(partition, calls::endpoints(&plan));
        let call = call(&as_keys(&names));
        Ok((plan, call))
    }

    /// The call of a script on the partition with the queues of `endpoints`.
    fn call_on(
        &self,
        partition: Partition,
        endpoint: Option<&str>,
        call: impl FnOnce(&[&str]) -> Cmd,
    ) -> Result<(Arc<HookStorePlan>, Cmd), BrokerError> {
        let plan = self.open_hooks.plan(partition)?;
        let call = call(&as_keys(&self.keys.hooks_with(partition, endpoint)));
        Ok((plan, call))
    }

    /// Makes a call: it is in the queue when this returns.
    fn make_hooks<T: Send + 'static>(
        &self,
        call: Result<Cmd, BrokerError>,
        read: impl FnOnce(Value) -> Result<T, BrokerError> + Send + 'static,
    ) -> Answer<T> {
        read_answer(call.map(|call| self.shards.make(call)), read)
    }

    /// As [`RedisBroker::make_hooks`], of a script that looks at the run.
    fn make_on_run<T: Send + 'static>(
        &self,
        call: Result<Cmd, BrokerError>,
        read: impl FnOnce(Value) -> Result<T, BrokerError> + Send + 'static,
    ) -> Answer<T> {
        read_answer(call.map(|call| self.shards.make_on_stream(call)), read)
    }

    fn take_call(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> Result<Cmd, BrokerError> {
        let script = &self.shards.scripts().hook_dead_take;
        let (plan, mut call) = self.call_on(partition, Some(endpoint), |keys| script.call(keys))?;
        if ids.len() > MAX_TAKEN {
            return Err(BrokerError::Limit("dead letters of one call"));
        }
        let bounds = calls::find(&plan, endpoint).map(|plan| (plan.max_events, plan.max_bytes));
        let bounds = if replay { Some(bounds.ok_or(BrokerError::Limit(NO_ENDPOINT))?) } else { None };
        let (max_events, max_bytes) = bounds.unwrap_or_default();
        call.arg(u8::from(replay)).arg(endpoint).arg(max_events).arg(max_bytes);
        for (id, padded) in ids.iter().filter_map(|id| calls::ids_in_queue(partition, id)) {
            call.arg(id).arg(padded);
        }
        Ok(call)
    }
}

impl HookStore for RedisBroker {
    fn open(&self, plan: HookStorePlan) -> Answer<Partition> {
        let mut call = self.shards.scripts().hook_open.call(&as_keys(&self.keys.hooks_with(0, [])));
        call.arg(plan.partitions);
        let opened = self.make_hooks(Ok(call), replies::opened);
        let hooks = self.open_hooks.clone();
        async move {
            let (partitions, policy) = opened.await?;
            hooks.answered(plan, partitions, &policy);
            Ok(partitions)
        }
        .boxed()
    }

    fn begin(&self, partition: Partition, previous: Option<&str>, event: HookEventDraft) -> Answer<Arc<str>> {
        let run = Alphanumeric.sample_string(&mut rand::rng(), RUN_CHARS);
        let first_number = rand::rng().random_range(1..FIRST_NUMBERS) * NUMBERS_OF_A_MILLISECOND;
        let call = self.call_on_all(partition, |keys| self.shards.scripts().hook_begin.call(keys)).map(
            |(plan, mut call)| {
                calls::add_begin(&mut call, &plan, previous, &run, first_number, &event);
                call
            },
        );
        self.make_on_run(call, replies::begun)
    }

    fn apply(&self, partition: Partition, run: &str, changes: Vec<HookChange>) -> Answer<HookApplied> {
        let call = check_changes(&changes)
            .and_then(|()| self.call_on_all(partition, |keys| self.shards.scripts().hook_apply.call(keys)))
            .map(|(plan, mut call)| {
                calls::add_changes(&mut call, &plan, run, &changes);
                call
            });
        self.make_on_run(call, replies::applied)
    }

    fn entries(&self, partition: Partition, node: &str, cursor: &str, limit: u32) -> Answer<HookNodeEntries> {
        if !cursor.is_empty() && HookEntry::decode(cursor).is_none() {
            return refused(BrokerError::BadCursor);
        }
        let call = self.call_on(partition, None, |keys| self.shards.scripts().hook_entries.call(keys)).map(
            |(_, mut call)| {
                call.arg(node).arg(cursor).arg(limit.clamp(1, MAX_PAGE));
                call
            },
        );
        self.make_hooks(call, replies::entries)
    }

    fn nodes(&self, partition: Partition) -> Answer<Vec<String>> {
        let call = self
            .call_on(partition, None, |keys| self.shards.scripts().hook_nodes.call(keys))
            .map(|(_, call)| call);
        self.make_hooks(call, replies::names)
    }

    fn due(&self, partition: Partition, limit: u32) -> Answer<HooksDue> {
        let call = self.call_on(partition, None, |keys| self.shards.scripts().hook_due.call(keys)).map(
            |(_, mut call)| {
                call.arg(limit.min(MAX_PAGE));
                call
            },
        );
        self.make_on_run(call, replies::due)
    }

    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> Answer<HookQueueHead> {
        let call = self
            .call_on(partition, Some(endpoint), |keys| self.shards.scripts().hook_head.call(keys))
            .map(|(_, mut call)| {
                call.arg(max_events.min(MAX_PAGE)).arg(max_bytes);
                call
            });
        self.make_hooks(call, move |answer| replies::head(partition, answer))
    }

    fn complete(&self, partition: Partition, endpoint: &str, delivered: HookDelivered) -> Answer<()> {
        let script = &self.shards.scripts().hook_complete;
        let call = self.call_on(partition, Some(endpoint), |keys| script.call(keys));
        let call = call.and_then(|(plan, mut call)| {
            let plan = calls::find(&plan, endpoint).ok_or(BrokerError::Limit(NO_ENDPOINT))?;
            if delivered.taken.len() + delivered.dead.len() > MAX_TAKEN {
                return Err(BrokerError::Limit("events of one delivery"));
            }
            calls::add_delivered(&mut call, partition, plan, &delivered);
            Ok(call)
        });
        self.make_hooks(call, |_| Ok(()))
    }

    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> Answer<Vec<DeadHook>> {
        let after = calls::ids_in_queue(partition, after).map(|(_, padded)| padded).unwrap_or_default();
        let call = self
            .call_on(partition, Some(endpoint), |keys| self.shards.scripts().hook_dead.call(keys))
            .map(|(_, mut call)| {
                call.arg(after).arg(limit.min(MAX_PAGE));
                call
            });
        self.make_hooks(call, move |answer| replies::dead_letters(partition, answer))
    }

    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> Answer<u64> {
        self.make_hooks(self.take_call(partition, endpoint, ids, replay), replies::count)
    }

    fn forget_endpoints(&self, partition: Partition, kept: Duration) -> Answer<Vec<String>> {
        let call = self.call_on(partition, None, |keys| self.shards.scripts().hook_seen.call(keys)).map(
            |(plan, mut call)| {
                calls::add_names(&mut call, kept, calls::endpoints(&plan));
                call
            },
        );
        let gone = self.make_hooks(call, replies::names);
        let (keys, shards) = (self.keys.clone(), Arc::clone(&self.shards));
        async move {
            let mut gone = gone.await?;
            if gone.is_empty() {
                return Ok(gone);
            }
            // The rest next time.
            gone.truncate(MAX_CHANGES);
            let names = || gone.iter().map(String::as_str);
            let mut call = shards.scripts().hook_forget.call(&as_keys(&keys.hooks_with(partition, names())));
            calls::add_names(&mut call, kept, names());
            replies::names(shards.make(call).await?)
        }
        .boxed()
    }
}
