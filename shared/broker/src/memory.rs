//! The broker of a cluster of one node: everything is in this process's memory. `docs/architecture.md` §4.
//!
//! A publication: [`MemoryBroker::publish`] (offset and history, under the lock of the channel's shard) → [`Sink::on_event`].
//!
//! - [`settings`], [`clock`]: its limits, and its time.
//! - `publish`: the first step.
//! - `shard`: the channels that share a lock, with `channels` (table and lines by last use), `stream` (position and history),
//!   `presence_set` and `presence`, `idempotency`.
//! - `members`: nodes, connections of users, owners of names.
//! - `usage_budget`: what is held against what may be held.

mod channels;
pub mod clock;
mod cluster;
mod idempotency;
mod members;
mod presence;
mod presence_set;
mod publish;
mod queue;
mod queues;
pub mod settings;
mod shard;
mod stream;
mod usage_budget;

#[cfg(test)]
mod tests;

use std::{
    array,
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    settings::MemorySettings,
    usage_budget::MemoryUsage,
};
use self::{
    clock::{Nanos, nanos},
    members::MemoryCluster,
    presence::{EnterResult, Entering},
    queue::QueueTable,
    shard::ChannelShard,
    usage_budget::{BOUNDS, EvictionKind, UsageBudget},
};
use crate::{
    Broker, BrokerError, BrokerStats, ChannelEvent, ClientInfo, Cluster, Health, HistoryPage, HistoryQuery,
    PresencePage, PresenceQuery, Publication, PublishOptions, Published, Retention, Sink, queue::Queues,
};

/// Locks among which the channels are spread: more than the workers of a usual machine, so that they seldom collide.
const SHARDS: usize = 32;

/// Why calls before [`Broker::start`] are refused.
const NOT_STARTED: &str = "the broker is not started";

/// Carries publications between the workers of one node, and keeps histories, positions and presence in memory.
///
/// # Order and threads
/// Every method does its work in the call; the futures are ready when they are returned. [`Sink::on_event`] is called
/// within [`Broker::publish`], on the publisher's thread and under the lock of the channel's shard: that is what makes
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
}

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

    fn history_now(
        &self,
        channel: &str,
        query: &HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, BrokerError> {
        if !retention.keeps_history() {
            return Err(BrokerError::NoHistory);
        }
        let page = {
            let (hash, shard) = self.locate(channel);
            let mut shard = shard.lock();
            let now = self.now();
            shard.sweep(now, &self.usage);
            shard.read(hash, channel, query, now, &self.usage)?
        };
        self.keep_bounds();
        Ok(page)
    }

    fn enter_now(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> Result<(), BrokerError> {
        if self.try_enter(channel, &info, ttl, announce) == EnterResult::Full {
            // Clients whose time is over may still be counted: without them there may be room.
            for shard in &self.shards {
                let mut shard = shard.lock();
                let now = self.now();
                while shard.sweep_presence_set(now, &self.usage, self.started_sink()) {}
            }
            if self.try_enter(channel, &info, ttl, announce) == EnterResult::Full {
                return Err(BrokerError::Limit("clients in presence"));
            }
        }
        Ok(())
    }

    fn try_enter(&self, channel: &str, info: &Arc<ClientInfo>, ttl: Duration, announce: bool) -> EnterResult {
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        let now = self.now();
        let sink = self.started_sink();
        shard.sweep_presence_set(now, &self.usage, sink);
        let deadline = now.saturating_add(nanos(ttl));
        let entering = Entering { info: Arc::clone(info), announce, deadline, now };
        shard.enter(hash, channel, entering, &self.usage, sink)
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

impl Broker for MemoryBroker {
    fn start(&self, sink: Arc<dyn Sink>) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(
            self.sink
                .set(sink)
                .map_err(|_| BrokerError::Unavailable("the broker is started already".to_owned())),
        )
    }

    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, BrokerError>> {
        done(self.publish_now(channel, publication, &options))
    }

    fn publish_join(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.pass_on(channel, || ChannelEvent::Join(info)))
    }

    fn publish_leave(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.pass_on(channel, || ChannelEvent::Leave(info)))
    }

    fn subscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        for channel in channels {
            let (hash, shard) = self.locate(channel);
            shard.lock().subscribe(hash, channel);
        }
        done(Ok(()))
    }

    fn unsubscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        for channel in channels {
            let (hash, shard) = self.locate(channel);
            shard.lock().unsubscribe(hash, channel);
        }
        done(Ok(()))
    }

    fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> BoxFuture<'static, Result<HistoryPage, BrokerError>> {
        done(self.history_now(channel, &query, retention))
    }

    fn remove_history(&self, channel: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        shard.lock().remove_history(hash, channel, &self.usage);
        done(Ok(()))
    }

    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.enter_now(channel, info, ttl, announce))
    }

    fn presence_remove(&self, channel: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        shard.lock().leave(hash, channel, client, &self.usage, self.started_sink());
        done(Ok(()))
    }

    fn presence(
        &self,
        channel: &str,
        query: PresenceQuery,
    ) -> BoxFuture<'static, Result<PresencePage, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let shard = shard.lock();
        let now = self.now();
        let presence_set = shard.presence_set(hash, channel);
        done(Ok(
            presence_set.map_or_else(PresencePage::default, |presence_set| presence_set.page(&query, now))
        ))
    }

    fn presence_stats(&self, channel: &str) -> BoxFuture<'static, Result<(u64, u64), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        done(Ok(shard.presence_stats(hash, channel, self.now(), &self.usage, self.started_sink())))
    }

    fn presence_nodes(
        &self,
        channel: &str,
        id_bytes: usize,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let shard = shard.lock();
        done(Ok(shard
            .presence_set(hash, channel)
            .map_or_else(BTreeSet::new, |presence_set| presence_set.nodes(id_bytes))))
    }

    fn presence_reap(
        &self,
        channel: &str,
        node: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let sink = self.started_sink();
        done(Ok(shard.lock().reap(hash, channel, (node, limit), self.now(), &self.usage, sink)))
    }

    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn queues(&self) -> Option<&dyn Queues> {
        Some(self)
    }

    fn stats(&self) -> BrokerStats {
        let (dead_letters, dead_letters_waiting) = self.queues.lock().dead_letters();
        let usage = self.usage();
        let memory_bytes = usage.history_bytes + usage.queue_bytes + usage.idempotency_bytes;
        BrokerStats { dead_letters, dead_letters_waiting, memory_bytes, ..BrokerStats::default() }
    }

    fn health(&self) -> Health {
        match self.sink.get() {
            Some(_) => Health::Ready,
            None => Health::NotReady(NOT_STARTED.to_owned()),
        }
    }
}
