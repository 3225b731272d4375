//! The broker of a cluster: publications, histories, positions and presence are in Redis. `docs/architecture.md` §5.
//!
//! The journey: `node.publish` → [`RedisBroker::publish`] → `shards` (which server) → `requests` (one queue, pipelines) → a
//! script in Redis, which publishes → the reader of each interested node's `listener` → `pubsub` → [`Sink::on_event`].
//!
//! - [`settings`]: addresses, limits and times.
//! - `shards`: one server, or those of a cluster.
//! - `dialer`: connections, and the life of a server, which ends with a restart or a failover.
//! - `request`, `requests`: requests and their answers.
//! - `listener`, `pubsub`, `canary`: interest and pushes.
//! - `scripts`: the scripts that run in Redis, and the names there.
//! - `wire`: the format of events.
//! - `replies`: readers of Redis's answers.
//! - `stream`: the history of a channel.
//! - `hooks`: the store of hooks.
//! - `members`: nodes, connections of users, owners of names.
//! - `presence`: of a dead node, in slices.
//! - `counters`: the numbers of [`crate::BrokerStats`].

mod canary;
mod counters;
mod dialer;
mod hooks;
mod listener;
mod members;
mod presence;
mod pubsub;
mod queue;
mod replies;
mod request;
mod requests;
mod scripts;
pub mod settings;
mod shards;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use rand::distr::{Alphanumeric, SampleString as _};
use redis::{Cmd, Value, cmd};
use tokio::runtime::Handle;

pub use self::dialer::examine;
pub use self::settings::{ClusterSettings, RedisSettings, RedisSettingsError, SentinelSettings, TlsSettings};
use self::{
    queue::RedisQueues,
    replies::{Leases, SizeRefused},
    scripts::Keys,
    shards::Shards,
};
use crate::{
    Broker, BrokerError, BrokerStats, ClientInfo, Cluster, Health, HistoryPage, HistoryQuery, PresencePage,
    PresenceQuery, Publication, PublishOptions, Published, Retention, ServerStatus, Sink,
    hook_store::HookStore, open_hooks::OpenHooks, queue::Queues,
};

/// Characters of an epoch; as in memory.
const EPOCH_CHARS: usize = 8;
/// Characters of the id that a node gives itself for its canary.
const NODE_ID_CHARS: usize = 16;

/// Carries publications between the nodes that share a Redis server, or a Redis Cluster, and a prefix.
///
/// # Order and threads
/// Every method puts its request into the queue of its server in the call, so the order of calls is the order of acceptance,
/// whichever thread calls. Two tasks for each server, on the runtime in which [`Broker::start`] is called, keep the two
/// connections; that runtime must live as long as the broker, and every runtime that awaits a call needs its timers on.
/// [`Sink::on_event`] is called by the reader of a connection, one call for a channel at a time, under the lock that
/// `subscribe` takes too: a sink that calls the broker waits for itself for ever.
///
/// # Faults
/// While the server cannot be reached every call fails at once with [`BrokerError::Unavailable`], and the node is not
/// ready. Connections are made again with growing random pauses; then everything wanted is subscribed anew and
/// [`Sink::on_gap`] is called for every channel. A node whose canary does not come back connects again. If the server loses its
/// scripts they are loaded again; only then a publication may be overtaken by a later one that another node helped.
/// In a cluster this holds for each server and its channels. When a slot goes to another server its requests follow, or
/// fail with [`BrokerError::Unavailable`] where that would change their order, and its channels get gaps.
///
/// # Time
/// Ages are measured by the server's clock.
pub struct RedisBroker {
    keys: Keys,
    settings: RedisSettings,
    shards: Arc<Shards>,
    queues: RedisQueues,
    open_hooks: OpenHooks,
    leases: Leases,
    size_refused: SizeRefused,
}

impl RedisBroker {
    /// A broker that connects when it is started.
    pub fn new(settings: RedisSettings) -> Result<Self, RedisSettingsError> {
        let keys = Keys::new(&settings.prefix);
        let shards = Arc::new(Shards::new(settings.clone(), random_name(NODE_ID_CHARS))?);
        let queues = RedisQueues { keys: keys.clone(), shards: Arc::clone(&shards) };
        let open_hooks = OpenHooks::default();
        let (leases, size_refused) = (Leases::default(), SizeRefused::default());
        Ok(Self { keys, settings, shards, queues, open_hooks, leases, size_refused })
    }

    /// Sends an event that leaves no trace.
    fn pass_on(&self, channel: &str, message: &[u8]) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.tell(&self.keys.events(channel), message)
    }

    /// A publish whose outcome is counted.
    fn counted(
        &self,
        publish: impl Future<Output = Result<Published, BrokerError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<Published, BrokerError>> {
        let counters = Arc::clone(self.shards.counters());
        publish.inspect(move |outcome| counters.published(outcome)).boxed()
    }

    /// Sends a message to all that are subscribed to a pub/sub channel.
    fn tell(&self, name: &str, message: &[u8]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut publish = cmd(self.shards.pubsub_commands().publish());
        publish.arg(name).arg(message);
        let made = self.shards.make(publish);
        async move { made.await.map(drop) }.boxed()
    }

    /// The publication's fields with the position that the script gives them.
    fn publish_command(&self, channel: &str, fields: &[u8], options: &PublishOptions) -> Cmd {
        let keeps_history = options.retention.keeps_history() && !options.skip_history;
        let position = self.keys.position(channel);
        let history = self.keys.history(channel);
        let answer = options.idempotency.as_ref().map(|guard| self.keys.answer(channel, &guard.key));
        let answer_ttl =
            options.idempotency.as_ref().map_or(0, |guard| self.at_least_a_millisecond(guard.ttl));
        let mut call = match &answer {
            Some(answer) => self.shards.scripts().publish.call(&[&position, &history, answer]),
            None => self.shards.scripts().publish.call(&[&position, &history]),
        };
        call.arg(self.keys.events(channel))
            .arg(self.shards.pubsub_commands().publish())
            .arg(&wire::PUBLICATION_HEAD)
            .arg(fields)
            .arg(random_name(EPOCH_CHARS))
            .arg(if keeps_history { options.retention.size } else { 0 })
            .arg(self.at_least_a_millisecond(options.retention.ttl))
            .arg(self.at_least_a_millisecond(self.settings.position_ttl))
            .arg(answer_ttl);
        call
    }

    /// Milliseconds, rounded up: Redis takes no shorter time. Nothing outlives a position.
    fn at_least_a_millisecond(&self, time: Duration) -> u64 {
        let nanos = time.min(self.settings.position_ttl).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
    }

    /// Makes a call again until its answer is whole: each call forgets a slice of the clients whose time is over. The first
    /// one is in the queue when this returns.
    fn ask_until<T: Send + 'static>(
        &self,
        call: Cmd,
        read: fn(Value) -> Result<Option<T>, BrokerError>,
    ) -> BoxFuture<'static, Result<T, BrokerError>> {
        let shards = Arc::clone(&self.shards);
        let mut made = shards.make(call.clone()).boxed();
        async move {
            loop {
                match read(made.await?)? {
                    Some(whole) => return Ok(whole),
                    None => made = shards.make(call.clone()).boxed(),
                }
            }
        }
        .boxed()
    }

    fn presence_set_call(&self, channel: &str, code: &scripts::LuaScript) -> Cmd {
        let keys = self.keys.presence_set(channel);
        let mut call = code.call(&keys.each_ref().map(String::as_str));
        call.arg(self.keys.events(channel)).arg(self.shards.pubsub_commands().publish());
        call
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.shards.stop();
    }
}

fn random_name(chars: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), chars)
}

impl Broker for RedisBroker {
    fn start(&self, sink: Arc<dyn Sink>) -> BoxFuture<'static, Result<(), BrokerError>> {
        let Ok(runtime) = Handle::try_current() else {
            let reason = "the broker must be started within a runtime".to_owned();
            return ready(Err(BrokerError::Unavailable(reason))).boxed();
        };
        if !self.shards.start(runtime, sink) {
            let reason = "the broker is started already".to_owned();
            return ready(Err(BrokerError::Unavailable(reason))).boxed();
        }
        let time_limit = self.settings.connect_timeout + self.settings.request_timeout;
        let required = self.settings.require_at_start;
        let shards = Arc::clone(&self.shards);
        async move {
            if tokio::time::timeout(time_limit, shards.wait_up()).await.is_err()
                && required
                && let Health::NotReady(reason) = shards.health()
            {
                shards.stop();
                return Err(BrokerError::Unavailable(reason));
            }
            Ok(())
        }
        .boxed()
    }

    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, BrokerError>> {
        let fields = wire::encode_publication(&publication);
        let keeps_history = options.retention.keeps_history() && !options.skip_history;
        if !keeps_history && options.idempotency.is_none() {
            let passed = self.pass_on(channel, &wire::publication_message(&fields));
            return self.counted(async move { passed.await.map(|()| Published::default()) });
        }
        let made = self.shards.make_on_stream(self.publish_command(channel, &fields, &options));
        self.counted(async move { replies::published(made.await?) })
    }

    fn publish_join(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.pass_on(channel, &wire::join_message(&info))
    }

    fn publish_leave(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.pass_on(channel, &wire::leave_message(&info))
    }

    fn subscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let named = channels.iter().map(|channel| (self.keys.events(channel), Arc::clone(channel)));
        self.shards.subscribe(named.collect()).boxed()
    }

    fn unsubscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let names = channels.iter().map(|channel| self.keys.events(channel));
        self.shards.unsubscribe(names.collect());
        ready(Ok(())).boxed()
    }

    fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> BoxFuture<'static, Result<HistoryPage, BrokerError>> {
        if !retention.keeps_history() {
            return ready(Err(BrokerError::NoHistory)).boxed();
        }
        let made = self.shards.make_on_stream(self.history_command(channel, &query, retention));
        async move { replies::history_page(made.await?) }.boxed()
    }

    fn renew(&self, channel: &str, epoch: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.renew_epoch(channel, epoch)
    }

    fn history_bytes(&self, channel: &str) -> BoxFuture<'static, Result<Option<u64>, BrokerError>> {
        self.size_of_history(channel)
    }

    fn remove_history(&self, channel: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut unlink = cmd("UNLINK");
        unlink.arg(self.keys.history(channel));
        let made = self.shards.make(unlink);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.presence_set_call(channel, &self.shards.scripts().presence_add);
        let entry = replies::presence_set_entry(&info, announce);
        call.arg(&info.client).arg(entry).arg(self.at_least_a_millisecond(ttl));
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence_remove(&self, channel: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.presence_set_call(channel, &self.shards.scripts().presence_remove);
        call.arg(client);
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence(
        &self,
        channel: &str,
        query: PresenceQuery,
    ) -> BoxFuture<'static, Result<PresencePage, BrokerError>> {
        let cursor = if query.cursor.is_empty() { replies::LAST_CURSOR.to_owned() } else { query.cursor };
        if cursor.parse::<u64>().is_err() {
            return ready(Err(BrokerError::BadCursor)).boxed();
        }
        let mut call = self.presence_set_call(channel, &self.shards.scripts().presence);
        call.arg(cursor).arg(query.limit.max(1)).arg(query.max_bytes);
        self.ask_until(call, replies::presence_page)
    }

    fn presence_stats(&self, channel: &str) -> BoxFuture<'static, Result<(u64, u64), BrokerError>> {
        self.ask_until(self.presence_set_call(channel, &self.shards.scripts().presence_stats), replies::stats)
    }

    fn presence_nodes(
        &self,
        channel: &str,
        id_bytes: usize,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
        let call = self.presence_set_call(channel, &self.shards.scripts().presence_nodes);
        presence::nodes(Arc::clone(&self.shards), call, id_bytes)
    }

    fn presence_reap(
        &self,
        channel: &str,
        node: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
        let call = self.presence_set_call(channel, &self.shards.scripts().presence_reap);
        presence::reap(Arc::clone(&self.shards), call, node.to_owned(), limit)
    }

    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn queues(&self) -> Option<&dyn Queues> {
        Some(&self.queues)
    }

    fn hook_store(&self) -> Option<&dyn HookStore> {
        Some(self)
    }

    fn health(&self) -> Health {
        self.shards.health()
    }

    fn stats(&self) -> BrokerStats {
        let counters = self.shards.counters();
        BrokerStats {
            request_connections_lost: counters.request_connections_lost.get(),
            listening_connections_lost: counters.listening_connections_lost.get(),
            canaries_refused: counters.canaries_refused.get(),
            messages_received: counters.messages_received.get(),
            gaps_told: counters.gaps_told.get(),
            redirected: counters.redirected.get(),
            hooks_evictable: self.open_hooks.is_evictable(),
            publishes_unavailable: counters.publishes_unavailable.get(),
            publishes_unknown: counters.publishes_unknown.get(),
            dead_letters: counters.dead_letters.get(),
            dead_letters_waiting: counters.dead_letters_waiting.get(),
            ..self.shards.stats()
        }
    }

    fn servers(&self) -> Vec<ServerStatus> {
        self.shards.servers()
    }
}
