//! The connection that listens: interest in channels, resubscribing after a loss, and the canary. `docs/architecture.md` §5.1, §5.5, §5.6 (interest, after
//! any loss, deaf-node detection).
//!
//! One task keeps the connection. Pushes go from the connection's reader straight to the [`PubSub`]; the task itself
//! sends subscriptions and their ends, as many channels at once as wait, in the order of the calls.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{
    Pipeline, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    canary::Canary,
    dialer::{Backoff, ConnectionStatus, Dialer},
    pubsub::{PubSub, RedisChannels, SubscriptionKind, Waiter},
    request::Reply,
    requests::{Requests, SharedConnections, is_redirection},
    settings::RedisSettings,
};
use crate::BrokerError;

/// Calls that are put together into one command.
const MAX_BATCH: usize = 256;
/// Calls that may wait.
const MAX_WAITING: usize = 100_000;
/// Channels of one command while everything is subscribed anew.
const RESUBSCRIBE_CHANNELS: usize = 1000;
/// Such commands in flight at the same time.
const RESUBSCRIBE_COMMANDS: usize = 8;
/// Time to live of the key that a canary writes: the keys of a node that is gone expire.
const CANARY_TTL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InterestChange {
    Subscribe,
    Unsubscribe,
}

/// The kind of pub/sub commands in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubSubCommands {
    /// A server alone: `PUBLISH`.
    Plain,
    /// A server of a cluster: `SPUBLISH`.
    Sharded,
}

impl PubSubCommands {
    /// The command that sends a message.
    pub(super) fn publish(self) -> &'static str {
        match self {
            Self::Plain => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }
}

#[derive(Debug)]
struct InterestCall {
    act: InterestChange,
    names: RedisChannels,
}

/// The handle through which interest is changed.
pub(super) struct Listener {
    calls: mpsc::Sender<InterestCall>,
    pubsub: Arc<PubSub>,
    status: Arc<ConnectionStatus>,
}

impl Listener {
    /// Makes the handle, and the task that has to be run for it.
    pub(super) fn new(
        settings: &RedisSettings,
        dialect: PubSubCommands,
        dialer: Dialer,
        requests: Arc<Requests>,
        pubsub: Arc<PubSub>,
        common: SharedConnections,
    ) -> (Self, ConnectionTask) {
        let (calls, waiting) = mpsc::channel(MAX_WAITING);
        let status = Arc::new(ConnectionStatus::down("the broker is not started"));
        let listener = Self { calls, pubsub: Arc::clone(&pubsub), status: Arc::clone(&status) };
        let keeper = ConnectionTask {
            waiting,
            dialect,
            dialer,
            requests,
            pubsub,
            common,
            status,
            backoff: Backoff::new(settings),
            timeout: settings.request_timeout,
            canary_interval: settings.canary_interval,
            canary_timeout: settings.canary_timeout,
        };
        (listener, keeper)
    }

    pub(super) fn status(&self) -> &Arc<ConnectionStatus> {
        &self.status
    }

    /// The call is in the queue when this returns; the waiter resolves when the server has confirmed. After an error the channels
    /// may still be wanted, and be subscribed with the next connection, until an unsubscribe.
    pub(super) fn subscribe(&self, names: Vec<(String, SubscriptionKind)>, waiter: &Arc<Waiter>) {
        if let Some(reason) = self.status.trouble() {
            return waiter.end(Err(BrokerError::Unavailable(reason)));
        }
        let asked =
            self.pubsub.want(names, Some(waiter), |names| self.call(InterestChange::Subscribe, names));
        if let Err(error) = asked {
            waiter.end(Err(error));
        }
    }

    /// Nothing reaches the sink any more as soon as this returns.
    pub(super) fn unsubscribe(&self, names: RedisChannels) {
        // A connection that is not there subscribes to nothing; the next one only to what is wanted.
        self.pubsub.drop_interest(&names.clone(), || {
            self.status.trouble().is_none() && self.call(InterestChange::Unsubscribe, names).is_ok()
        });
    }

    fn call(&self, act: InterestChange, names: RedisChannels) -> Result<(), BrokerError> {
        if names.is_empty() {
            return Ok(());
        }
        let full = BrokerError::Limit("subscriptions waiting for Redis");
        self.calls.try_send(InterestCall { act, names }).map_err(|_| full)
    }
}

/// The task that keeps the connection.
pub(super) struct ConnectionTask {
    waiting: mpsc::Receiver<InterestCall>,
    dialect: PubSubCommands,
    dialer: Dialer,
    requests: Arc<Requests>,
    pubsub: Arc<PubSub>,
    common: SharedConnections,
    status: Arc<ConnectionStatus>,
    backoff: Backoff,
    timeout: Duration,
    canary_interval: Duration,
    canary_timeout: Duration,
}

impl ConnectionTask {
    /// Keeps a connection, until the handle is dropped.
    pub(super) async fn run(mut self) {
        while !self.waiting.is_closed() {
            let reason = match self.connect().await {
                Ok(line) => {
                    let since = Instant::now();
                    self.status.set_up();
                    self.common.mark_unverified();
                    tracing::info!(server = self.dialer.server(), "subscribed to Redis");
                    let reason = self.serve(line).await;
                    self.backoff.lasted(since.elapsed());
                    self.common.counters.listening_connections_lost.add(1);
                    reason
                }
                Err(reason) => reason,
            };
            tracing::warn!(server = self.dialer.server(), reason, "not subscribed to Redis");
            self.status.set_down(reason.clone());
            self.common.mark_unverified();
            // The next connection subscribes to what is wanted.
            while self.waiting.try_recv().is_ok() {}
            self.pubsub.fail_waiters(&reason);
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    /// Connects and subscribes to everything wanted; the gaps are with the sink by then.
    async fn connect(&self) -> Result<PubSubConnection, String> {
        let lost = Arc::new(Notify::new());
        let generation = self.pubsub.begin();
        let pubsub = Arc::clone(&self.pubsub);
        let connection =
            self.dialer.dial(Arc::clone(&lost), move |pushed| pubsub.on_push(generation, pushed)).await?;
        let canary = self.pubsub.canary(|canary| canary.name().to_owned());
        let line =
            PubSubConnection { connection, lost, dialect: self.dialect, time_limit: self.timeout, canary };
        line.ask(InterestChange::Subscribe, vec![line.canary.clone()]).await?;
        let wanted = self.pubsub.interest();
        let mut batches = futures_util::stream::iter(wanted.chunks(RESUBSCRIBE_CHANNELS).map(<[_]>::to_vec))
            .map(|names| line.ask(InterestChange::Subscribe, names))
            .buffered(RESUBSCRIBE_COMMANDS);
        while let Some(asked) = batches.next().await {
            asked?;
        }
        drop(batches);
        let unwanted = self.pubsub.leave_unwanted(wanted);
        if !unwanted.is_empty() {
            line.ask(InterestChange::Unsubscribe, unwanted).await?;
        }
        self.pubsub.canary(Canary::received_now);
        Ok(line)
    }

    /// Gives the reason why it ended.
    async fn serve(&mut self, mut line: PubSubConnection) -> String {
        let mut under_way = FuturesUnordered::new();
        let mut canaries = FuturesUnordered::new();
        let mut calls = Vec::with_capacity(MAX_BATCH);
        let mut canary = interval(self.canary_interval);
        canary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lost = Arc::clone(&line.lost);
        loop {
            tokio::select! {
                biased;
                _ = canary.tick() => {
                    let interval = self.canary_interval;
                    let (name, serial, missed_for, is_refused) = self.pubsub.canary(|canary| {
                        let missed_for = canary.due(interval);
                        (canary.name().to_owned(), canary.next(), missed_for, canary.refusal().is_some())
                    });
                    if name != line.canary {
                        line.canary.clone_from(&name);
                        self.pubsub.canary(Canary::received_now);
                        under_way.push(line.clone().apply(InterestChange::Subscribe, vec![name]));
                    }
                    if is_refused || self.requests.status().trouble().is_some() {
                        // The canary cannot be published. A repeated subscription checks this connection instead.
                        under_way.push(line.clone().apply(InterestChange::Subscribe, vec![line.canary.clone()]));
                    } else if missed_for > self.canary_timeout {
                        return "the node does not hear itself".to_owned();
                    }
                    // Without a connection for requests a canary shows nothing new: the node is not ready anyway.
                    if self.requests.status().trouble().is_none() {
                        canaries.push(self.send_canary(&line.canary, serial));
                    }
                    if under_way.is_empty() {
                        self.pubsub.wake();
                    }
                }
                Some(ended) = under_way.next(), if !under_way.is_empty() => match ended {
                    Ok(CommandResult::Understood) => {
                        let is_refused = self.pubsub.canary(|canary| canary.refusal().is_some());
                        if is_refused || self.requests.status().trouble().is_some() {
                            self.pubsub.canary(Canary::received_now);
                        }
                    }
                    Ok(CommandResult::Redirected) => self.common.mark_unverified(),
                    Err(reason) => return reason,
                },
                Some((serial, sent)) = canaries.next(), if !canaries.is_empty() => {
                    if let Err(error) = sent {
                        self.refuse_canary(serial, &error);
                    }
                }
                () = lost.notified() => return "the connection was closed".to_owned(),
                () = self.pubsub.on_wake() => {
                    // A primary that became a replica would take the subscriptions, too.
                    self.common.mark_unverified();
                    for names in self.pubsub.unconfirmed().chunks(RESUBSCRIBE_CHANNELS) {
                        under_way.push(line.clone().apply(InterestChange::Subscribe, names.to_vec()));
                    }
                }
                taken = self.waiting.recv_many(&mut calls, MAX_BATCH) => {
                    if taken == 0 {
                        return "the broker was dropped".to_owned();
                    }
                    // Neighbours of one kind are one command; the order of kinds is kept.
                    for call in std::mem::take(&mut calls).into_iter().fold(Vec::new(), join_call) {
                        under_way.push(line.clone().apply(call.act, call.names));
                    }
                }
            }
        }
    }
}

impl ConnectionTask {
    /// Sends the canary with this number. It ends within the time of a request; the canary arrives on this connection.
    fn send_canary(
        &self,
        name: &str,
        serial: u64,
    ) -> impl Future<Output = (u64, Reply)> + Send + 'static + use<> {
        let kept_ms = u64::try_from(CANARY_TTL.as_millis()).unwrap_or(u64::MAX);
        let mut call = self.common.scripts.canary.call(&[name]);
        call.arg(serial).arg(kept_ms).arg(self.dialect.publish());
        let made = self.requests.make(call);
        async move { (serial, made.await) }
    }

    /// The server did not publish a canary, so it publishes nothing else: the node is not ready.
    fn refuse_canary(&self, serial: u64, error: &BrokerError) {
        self.common.counters.canaries_refused.add(1);
        let reason = error.to_string();
        let is_new = self.pubsub.canary(|canary| canary.refuse(serial, reason.clone()));
        // A lost connection is logged by who keeps it.
        if is_new && self.requests.status().trouble().is_none() {
            tracing::warn!(server = self.dialer.server(), reason, "Redis refuses to publish; not ready");
        }
    }
}

/// Adds a call to the last one if that is of its kind.
fn join_call(mut calls: Vec<InterestCall>, call: InterestCall) -> Vec<InterestCall> {
    match calls.last_mut() {
        Some(last) if last.act == call.act => last.names.extend(call.names),
        _ => calls.push(call),
    }
    calls
}

/// The server's answer to a command that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandResult {
    /// The server has confirmed the subscription.
    Understood,
    /// Some of the names are not, or not only, the server's.
    Redirected,
}

/// A connection that listens.
#[derive(Clone)]
struct PubSubConnection {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
    dialect: PubSubCommands,
    time_limit: Duration,
    /// The pub/sub channel of the node's canary.
    canary: String,
}

impl PubSubConnection {
    async fn apply(self, act: InterestChange, names: RedisChannels) -> Result<CommandResult, String> {
        self.ask(act, names).await
    }

    /// An error means that the connection cannot be used any more.
    async fn ask(&self, act: InterestChange, names: RedisChannels) -> Result<CommandResult, String> {
        let mut connection = self.connection.clone();
        let asked = async {
            let plain = match (self.dialect, act) {
                (PubSubCommands::Plain, InterestChange::Subscribe) => connection.subscribe(&names).await,
                (PubSubCommands::Plain, InterestChange::Unsubscribe) => connection.unsubscribe(&names).await,
                (PubSubCommands::Sharded, _) => return ask_one_by_one(&mut connection, act, &names).await,
            };
            plain.map(|()| CommandResult::Understood).map_err(|error| error.to_string())
        };
        match timeout(self.time_limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.time_limit)),
        }
    }
}

/// One command for each name, since those of one command must be of one slot; all are sent together. The library counts
/// every subscription that the server ends by itself as an answer, too: an answer may be that to an earlier command, but
/// never comes late, and only errors count here.
async fn ask_one_by_one(
    connection: &mut MultiplexedConnection,
    act: InterestChange,
    names: &RedisChannels,
) -> Result<CommandResult, String> {
    let word = match act {
        InterestChange::Subscribe => "SSUBSCRIBE",
        InterestChange::Unsubscribe => "SUNSUBSCRIBE",
    };
    let mut pipeline = Pipeline::with_capacity(names.len());
    for name in names {
        pipeline.cmd(word).arg(name);
    }
    let answers = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await;
    let mut asked = CommandResult::Understood;
    for answer in answers.map_err(|error| error.to_string())? {
        match answer {
            Value::ServerError(error) if is_redirection(&error) => asked = CommandResult::Redirected,
            Value::ServerError(error)
                if error.details().is_some_and(|text| text.contains("unknown command")) =>
            {
                return Err("a cluster needs Redis 7.0 or later, or Valkey (sharded pub/sub)".to_owned());
            }
            Value::ServerError(error) => {
                return Err(format!("{} {}", error.code(), error.details().unwrap_or_default()));
            }
            _ => {}
        }
    }
    Ok(asked)
}
