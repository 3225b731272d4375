//! The broker of a cluster of one node: everything is in this process's memory. `docs/architecture.md` §4.
//!
//! A publication: [`crate::Broker::publish`] (offset and history, under the lock of the channel's shard) → [`Sink::on_event`].
//!
//! - `broker`, `cluster`: two parts of the contract; the third one, [`Queues`], is here.
//! - `shard`: the channels that share a lock, with `channels` (table, lines by last use, position and
//!   history), `presence_set` and `presence`.
//! - `queue`: work queues.
//! - `hooks`, `hook_partition`, `hook_queue`: the store of hooks.
//! - [`clock`]: its time.
//! - `usage_budget`: its settings, and what is held against what may be held.

mod broker;
mod channels;
pub mod clock;
mod cluster;
mod hook_partition;
mod hook_queue;
mod hooks;
mod presence;
mod presence_set;
mod queue;
mod shard;
mod usage_budget;

#[cfg(test)]
mod tests;

use std::{
    array,
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;

use self::{
    clock::{Expiring, Nanos, nanos},
    hooks::MemoryHooks,
    queue::{DeliveredMessage, QueueTable},
    shard::ChannelShard,
    usage_budget::{BOUNDS, EvictionKind, UsageBudget},
};
use crate::{
    BrokerError, ChannelEvent, Publication, Sink,
    queue::{DEAD_SUFFIX, DeliveryId, QueueDelivery, QueueLimits, QueueWake, Queues, max_attempts},
};

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    usage_budget::{MemorySettings, MemoryUsage},
};

/// Locks among which the channels are spread: more than the workers of a usual machine, so that they seldom collide.
const SHARDS: usize = 32;

/// Why calls before [`crate::Broker::start`] are refused.
const NOT_STARTED: &str = "the broker is not started";

/// Carries publications between the workers of one node, and keeps histories, positions and presence in memory.
///
/// # Order and threads
/// Every method does its work in the call; the futures are ready when they are returned. [`Sink::on_event`] is called
/// within [`crate::Broker::publish`], on the publisher's thread and under the lock of the channel's shard: that is what makes
/// the order of calls the order of offsets. The sink must return at once and must not call back into the broker: it would deadlock.
///
/// # Memory
/// All of it is bounded, see [`MemorySettings`]; evictions show as a gap or as a new epoch. The node bounds subscriptions.
/// A payload that enters a history is copied: a small slice would keep the whole buffer of a request alive.
///
/// # Time
/// Nothing expired is ever returned. Later calls free its memory, a little each, and at once when a limit is reached: there is
/// no task and no thread, so the broker works in any runtime and needs no shutdown.
pub struct MemoryBroker {
    shards: [Mutex<ChannelShard>; SHARDS],
    /// Channel names come from outside, so the hash is keyed.
    hasher: RandomState,
    usage: UsageBudget,
    clock: Arc<dyn Clock>,
    sink: OnceLock<Arc<dyn Sink>>,
    /// Held by the one call that evicts. Taken before a shard's lock, never while holding one.
    evicting: Mutex<()>,
    members: MemoryCluster,
    queues: Mutex<QueueTable>,
    hooks: MemoryHooks,
}

/// The cluster state of a single node, in memory.
#[derive(Debug, Default)]
struct MemoryCluster {
    /// The id under which this node receives messages.
    heard_as: OnceLock<String>,
    /// Held while a message is handed over: one at a time.
    telling: Mutex<()>,
    leases: Mutex<Expiring<Bytes>>,
    connections: Mutex<Expiring<UserConnections>>,
    owners: Mutex<Expiring<String>>,
}

/// Clients by the time at which each is forgotten.
type UserConnections = HashMap<String, Nanos>;

impl MemoryBroker {
    /// A broker with the machine's clock.
    pub fn new(settings: MemorySettings) -> Self {
        Self::with_clock(settings, Arc::new(SystemClock::default()))
    }

    /// A broker with a clock of the caller's, for tests.
    pub fn with_clock(settings: MemorySettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            usage: UsageBudget::new(&settings),
            clock,
            sink: OnceLock::new(),
            evicting: Mutex::new(()),
            queues: Mutex::default(),
            members: MemoryCluster::default(),
            hooks: MemoryHooks::default(),
        }
    }

    /// The amounts that it holds now.
    pub fn usage(&self) -> MemoryUsage {
        self.usage.usage()
    }

    fn now(&self) -> Nanos {
        nanos(self.clock.now())
    }

    fn sink(&self) -> Result<&dyn Sink, BrokerError> {
        self.sink.get().map(AsRef::as_ref).ok_or_else(|| BrokerError::Unavailable(NOT_STARTED.to_owned()))
    }

    fn started_sink(&self) -> Option<&dyn Sink> {
        self.sink.get().map(AsRef::as_ref)
    }

    /// The channel's hash and its shard. The table within the shard uses the low and the highest bits.
    fn locate(&self, channel: &str) -> (u64, &Mutex<ChannelShard>) {
        let hash = self.hasher.hash_one(channel);
        // In range by the remainder.
        (hash, &self.shards[(hash >> 32) as usize % SHARDS])
    }

    /// Hands an event that leaves no trace to the sink, if the node wants it.
    fn pass_on(&self, channel: &str, event: impl FnOnce() -> ChannelEvent) -> Result<(), BrokerError> {
        let sink = self.sink()?;
        let (hash, shard) = self.locate(channel);
        deliver(&shard.lock(), hash, channel, sink, event);
        Ok(())
    }

    /// Called after each call that may have gone over a bound, without a lock.
    fn keep_bounds(&self) {
        for bound in BOUNDS {
            if self.usage.is_over(bound) {
                self.evict(bound);
            }
        }
    }

    /// First what expired, then what was not used for the longest time in all shards, until there is a little room.
    fn evict(&self, bound: EvictionKind) {
        let _turn = self.evicting.lock();
        if !self.usage.is_over(bound) {
            return;
        }
        let mut candidates = Vec::with_capacity(SHARDS);
        for shard in &self.shards {
            let mut locked = shard.lock();
            let now = self.now();
            locked.sweep_all(now, &self.usage);
            candidates.push((locked.oldest(bound), shard));
        }
        while self.usage.is_above_goal(bound) {
            let oldest =
                candidates.iter_mut().filter(|(used, _)| used.is_some()).min_by_key(|(used, _)| *used);
            let Some((used, shard)) = oldest else { return };
            let mut shard = shard.lock();
            // It may have been used since it was looked at: then another one may be the oldest.
            if shard.oldest(bound) == *used {
                shard.evict_one(bound, &self.usage);
            }
            *used = shard.oldest(bound);
        }
    }
}

impl MemoryBroker {
    fn push_now(
        &self,
        queue: &str,
        mut publication: Publication,
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        // Its own memory: a small slice would keep the whole buffer of a connection alive.
        publication.data = bytes::Bytes::copy_from_slice(&publication.data);
        let now = self.now();
        self.queues.lock().push(queue, publication, limits, now, &self.usage)?;
        // What queues hold, histories have less.
        self.keep_bounds();
        self.wake(queue)
    }

    /// Tells the workers that listen.
    fn wake(&self, queue: &str) -> Result<(), BrokerError> {
        self.pass_on(&QueueWake { queue }.channel(), || ChannelEvent::Publication(Arc::default()))
    }

    fn take_now(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> Result<Vec<QueueDelivery>, BrokerError> {
        let now = self.now();
        Ok(self.queues.lock().queue(queue, limits, now, &self.usage)?.take(node, count))
    }

    fn acknowledge_now(&self, queue: &str, ids: &[DeliveryId]) {
        if let Some(queue) = self.queues.lock().queues.get_mut(queue) {
            ids.iter().for_each(|id| queue.forget(id, &self.usage));
        }
    }

    fn give_back_now(
        &self,
        queue: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let most = max_attempts(queue, limits);
        if let Some(held) = self.queues.lock().queues.get_mut(queue) {
            ids.iter().filter_map(|id| id.parse().ok()).for_each(|number| held.give_back(number, most));
        }
        let buried = self.push_dead_letter(queue, limits);
        self.wake(queue)?;
        buried
    }

    fn keep_now(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let most = max_attempts(queue, limits);
        let mut came_back = false;
        {
            let mut table = self.queues.lock();
            let held = table.queue(queue, limits, now, &self.usage)?;
            if let Some(holds) = holds {
                let holds: HashSet<u64> = holds.iter().filter_map(|id| id.parse().ok()).collect();
                let is_lost = |(number, taken): &(&u64, &DeliveredMessage)| {
                    *taken.node == *node && !holds.contains(number)
                };
                let lost: Vec<u64> = held.taken.iter().filter(is_lost).map(|(number, _)| *number).collect();
                came_back = !lost.is_empty();
                lost.into_iter().for_each(|number| held.give_back(number, most));
            }
        }
        let buried = self.push_dead_letter(queue, limits);
        if came_back {
            self.wake(queue)?;
        }
        buried
    }

    /// Moves dead letters to their queue, as far as it has room.
    fn push_dead_letter(&self, queue: &str, limits: &QueueLimits) -> Result<(), BrokerError> {
        let now = self.now();
        let (moved, buried) = self.queues.lock().dead_letter(queue, limits, now, &self.usage);
        if moved > 0 {
            self.keep_bounds();
            self.wake(&format!("{queue}{DEAD_SUFFIX}"))?;
        }
        buried
    }
}

impl Queues for MemoryBroker {
    fn push(
        &self,
        queue: &str,
        publication: Publication,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.push_now(queue, publication, limits)).boxed()
    }

    fn take(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<Vec<QueueDelivery>, BrokerError>> {
        ready(self.take_now(queue, node, count, limits)).boxed()
    }

    fn acknowledge(&self, queue: &str, ids: &[DeliveryId]) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.acknowledge_now(queue, ids);
        ready(Ok(())).boxed()
    }

    fn give_back(
        &self,
        queue: &str,
        _node: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.give_back_now(queue, ids, limits)).boxed()
    }

    /// There is one node, and it is alive.
    fn keep(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.keep_now(queue, node, holds, limits)).boxed()
    }
}

/// Hands an event to the sink if the node wants it; makes it only then.
fn deliver(
    shard: &ChannelShard,
    hash: u64,
    channel: &str,
    sink: &dyn Sink,
    event: impl FnOnce() -> ChannelEvent,
) {
    if let Some(channel) = shard.subscribed(hash, channel) {
        sink.on_event(&channel.name, event());
    }
}

/// A future that has its answer.
fn done<T: Send + 'static>(result: Result<T, BrokerError>) -> BoxFuture<'static, Result<T, BrokerError>> {
    ready(result).boxed()
}
