//! The broker of a cluster: publications, histories, positions and presence are in Redis. Design §5.
//!
//! The journey: `node.publish` → [`RedisBroker::publish`] → `requests` (one queue, pipelines) → a script in Redis, which
//! publishes → the reader of each interested node's `listener` → `ear` → [`Sink::on_event`].
//!
//! - [`settings`]: how the server is reached. - `place`, `link`: connections. - `requests`: what is asked. - `listener`, `ear`: what is
//!   heard. - `scripts`, `keys`: what happens in Redis, under which names. - `wire`: how events travel. - `answers`: how
//!   replies are read. - `members`: nodes, connections of users, owners of names.

mod answers;
mod ear;
mod keys;
mod link;
mod listener;
mod members;
mod place;
mod requests;
mod scripts;
pub mod settings;
mod wire;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;
use rand::distr::{Alphanumeric, SampleString as _};
use redis::{Cmd, cmd};
use tokio::{runtime::Handle, task::AbortHandle};

pub use self::settings::{RedisSettings, RedisSettingsError, SentinelSettings, TlsSettings};
use self::{
    ear::Ear,
    keys::Keys,
    link::Dialer,
    listener::{Keeper, Listener},
    requests::{Requests, Sender},
    scripts::Scripts,
};
use crate::{
    Broker, BrokerError, ClientInfo, Cluster, Health, HistoryPage, HistoryQuery, Publication, PublishOptions,
    Published, Retention, Sink,
};

/// Characters of an epoch; as in memory.
const EPOCH_CHARS: usize = 8;
/// Characters of the id that a node gives itself for its canary.
const NODE_ID_CHARS: usize = 16;

/// Carries publications between the nodes that share a Redis server and a prefix.
///
/// # Order and threads
/// Every method puts its request into one queue in the call, so the order of calls is the order of acceptance, whichever
/// thread calls. Two tasks on the runtime in which [`Broker::start`] is called keep the two connections; that runtime must
/// live as long as the broker, and every runtime that awaits a call needs its timers on. [`Sink::on_event`] is called by the reader of a connection, one call at a time, under the
/// lock that `subscribe` takes too: a sink that calls the broker waits for itself for ever.
///
/// # Faults
/// While the server cannot be reached every call fails at once with [`BrokerError::Unavailable`], and the node is not
/// ready. Connections are made again with growing random pauses; then everything wanted is subscribed anew and
/// [`Sink::on_gap`] is told for every channel. A node that does not hear itself connects again. Should the server lose its
/// scripts they are loaded again; only then a publication may be overtaken by a later one that another node helped.
///
/// # Time
/// Ages are measured by the server's clock.
pub struct RedisBroker {
    keys: Keys,
    scripts: Arc<Scripts>,
    settings: RedisSettings,
    requests: Arc<Requests>,
    listener: Listener,
    ear: Arc<Ear>,
    /// What `start` runs; taken by it.
    idle: Mutex<Option<(Sender, Keeper)>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl RedisBroker {
    /// A broker that connects when it is started.
    pub fn new(settings: RedisSettings) -> Result<Self, RedisSettingsError> {
        let dialer = Dialer::new(&settings)?;
        let keys = Keys::new(&settings.prefix);
        let scripts = Arc::new(Scripts::new());
        let ear = Arc::new(Ear::new(keys.canary(&random_name(NODE_ID_CHARS))));
        let (requests, sender) = Requests::new(&settings, dialer.clone(), Arc::clone(&scripts));
        let requests = Arc::new(requests);
        let (listener, keeper) = Listener::new(&settings, dialer, Arc::clone(&requests), Arc::clone(&ear));
        let idle = Mutex::new(Some((sender, keeper)));
        Ok(Self { keys, scripts, settings, requests, listener, ear, idle, tasks: Mutex::default() })
    }

    /// Sends an event that leaves no trace.
    fn pass_on(&self, channel: &str, message: &[u8]) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.tell(&self.keys.events(channel), message)
    }

    /// Sends a message to all that are subscribed to a pub/sub channel.
    fn tell(&self, name: &str, message: &[u8]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut publish = cmd("PUBLISH");
        publish.arg(name).arg(message);
        let made = self.requests.make(publish);
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
            Some(answer) => self.scripts.publish.call(&[&position, &history, answer]),
            None => self.scripts.publish.call(&[&position, &history]),
        };
        call.arg(self.keys.events(channel))
            .arg("PUBLISH")
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

    fn roster_call(&self, channel: &str, code: &scripts::Code) -> Cmd {
        let keys = self.keys.roster(channel);
        code.call(&keys.each_ref().map(String::as_str))
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
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
        let Some((sender, keeper)) = self.idle.lock().take() else {
            let reason = "the broker is started already".to_owned();
            return ready(Err(BrokerError::Unavailable(reason))).boxed();
        };
        self.ear.set_sink(sink);
        let tasks =
            [runtime.spawn(sender.run()), runtime.spawn(keeper.run())].map(|task| task.abort_handle());
        self.tasks.lock().extend(tasks.clone());
        let patience = self.settings.connect_timeout + self.settings.request_timeout;
        let (requests, listening) = (Arc::clone(self.requests.status()), Arc::clone(self.listener.status()));
        let required = self.settings.require_at_start;
        async move {
            let up = async { tokio::join!(requests.wait_up(), listening.wait_up()) };
            if tokio::time::timeout(patience, up).await.is_err() && required {
                tasks.iter().for_each(AbortHandle::abort);
                let reason = requests.trouble().or_else(|| listening.trouble()).unwrap_or_default();
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
            return async move { passed.await.map(|()| Published::default()) }.boxed();
        }
        let made = self.requests.make(self.publish_command(channel, &fields, &options));
        async move { answers::published(made.await?) }.boxed()
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
        self.listener.subscribe(named.collect()).boxed()
    }

    fn unsubscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let names = channels.iter().map(|channel| self.keys.events(channel));
        self.listener.unsubscribe(names.collect()).boxed()
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
        // A range of entry ids; an id without its second half stands for the first (as a beginning) or last (as an end).
        let (command, from, to) = match (query.reverse, query.since) {
            (false, None) => ("XRANGE", "-".to_owned(), "+".to_owned()),
            (false, Some(since)) => ("XRANGE", since.saturating_add(1).to_string(), "+".to_owned()),
            (true, None) => ("XREVRANGE", "+".to_owned(), "-".to_owned()),
            (true, Some(since)) => ("XREVRANGE", since.saturating_sub(1).to_string(), "-".to_owned()),
        };
        let (position, history) = (self.keys.position(channel), self.keys.history(channel));
        let mut call = self.scripts.history.call(&[&position, &history]);
        call.arg(random_name(EPOCH_CHARS))
            .arg(self.at_least_a_millisecond(self.settings.position_ttl))
            .arg(self.at_least_a_millisecond(retention.ttl))
            .arg(command)
            .arg(from)
            .arg(to)
            .arg(query.limit);
        let made = self.requests.make(call);
        async move { answers::history_page(made.await?) }.boxed()
    }

    fn renew(&self, channel: &str, epoch: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.scripts.renew.call(&[&self.keys.position(channel)]);
        call.arg(epoch).arg(random_name(EPOCH_CHARS));
        let made = self.requests.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn remove_history(&self, channel: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut unlink = cmd("UNLINK");
        unlink.arg(self.keys.history(channel));
        let made = self.requests.make(unlink);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.roster_call(channel, &self.scripts.presence_add);
        call.arg(&info.client).arg(answers::roster_entry(&info)).arg(self.at_least_a_millisecond(ttl));
        let made = self.requests.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence_remove(&self, channel: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.roster_call(channel, &self.scripts.presence_remove);
        call.arg(client);
        let made = self.requests.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn presence(&self, channel: &str) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
        let made = self.requests.make(self.roster_call(channel, &self.scripts.presence));
        async move { answers::present(made.await?) }.boxed()
    }

    fn presence_stats(&self, channel: &str) -> BoxFuture<'static, Result<(u64, u64), BrokerError>> {
        let made = self.requests.make(self.roster_call(channel, &self.scripts.presence_stats));
        async move { answers::stats(made.await?) }.boxed()
    }

    fn presence_reap(
        &self,
        channel: &str,
        node: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
        let mut call = self.roster_call(channel, &self.scripts.presence_reap);
        call.arg(node).arg(limit);
        let made = self.requests.make(call);
        async move { answers::present(made.await?) }.boxed()
    }

    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn health(&self) -> Health {
        if let Some(reason) = self.requests.status().trouble().or_else(|| self.listener.status().trouble()) {
            return Health::NotReady(reason);
        }
        match self.ear.silence() {
            Some(silence) if silence > self.settings.canary_timeout => {
                Health::NotReady("the node does not hear itself".to_owned())
            }
            _ => Health::Ready,
        }
    }
}
