//! The node: the broker, the workers and what they share. Publications go out through it, and come back through it.
//!
//! The first two journeys of `docs/architecture.md` §2.3: `api` or a session → [`Node::publish`] → broker → [`Sink::on_event`] → the inboxes of
//! the workers that want the channel → their hubs.

mod address;
pub mod admission;
pub mod client_network;
pub mod cluster;
mod keys;
mod lifecycle;
pub mod open_responses;
pub mod publish;
pub mod query;
pub mod secret;
mod tasks;
mod user_connections;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use gorani_auth::{ApiKeys, ChannelRules, Origins, TokenVerifier};
use gorani_broker::{
    Broker, BrokerError, ChannelEvent, Health, HistoryPage, HistoryQuery, MemoryBroker, RedisBroker,
    Retention, Sink, queue::QueueLimits,
};
use parking_lot::RwLock;
use rand::Rng;
use tokio::{sync::Semaphore, time::Instant};

use self::{
    address::Addresses,
    admission::{AdmissionControl, unauthenticated::UnauthenticatedPermit},
    cluster::Peers,
    lifecycle::Lifecycle,
    query::SCANS_AT_A_TIME,
    secret::ClusterSecrets,
    tasks::Tasks,
};
use crate::{
    hub::{
        history_reads::{HistoryRead, HistoryReads},
        inbox::Inbox,
        interest::Interest,
        read_budget::{ReadBudget, ReadSource},
        removals::PRESENCE_TTL,
        session_command::SessionCommand,
        worker::Worker,
    },
    memory::{
        MemoryBudget,
        limit::{budget_bytes, pending_bytes},
    },
    metrics::Metrics,
    session::client::policy::Policy,
    settings::{BrokerKind, Settings, SettingsError},
};

/// How often interest is tidied and gauges are set.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// What the workers of a node share.
pub struct Node {
    /// Random id of this run of the node, 8 hexadecimal digits.
    pub id: Arc<str>,
    /// As loaded.
    pub settings: Settings,
    /// What decides on clients' commands.
    pub policy: Arc<Policy>,
    /// Keys of backends.
    pub api_keys: ApiKeys,
    /// Origins that browsers may connect from.
    pub origins: Origins,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Memory for all clients together.
    pub memory: Arc<MemoryBudget>,
    /// When the node started.
    pub started: Instant,
    broker: Arc<dyn Broker>,
    interest: Arc<Interest>,
    reads: Arc<HistoryReads>,
    inboxes: RwLock<Vec<Arc<Inbox>>>,
    connections: AtomicUsize,
    open_responses: AtomicUsize,
    lifecycle: Lifecycle,
    admission: AdmissionControl,
    peers: Peers,
    addresses: Addresses,
    /// Scans of the workers that may be under way.
    scans: Semaphore,
    /// What nodes prove one another with.
    pub secrets: ClusterSecrets,
    /// What a work queue may hold.
    queue_limits: Arc<QueueLimits>,
    tasks: Tasks,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The broker cannot be started.
    #[error("broker: {0}")]
    Broker(#[from] BrokerError),
}

/// One place among the connections of a node, given back when dropped: [`admission::slots`].
pub struct ConnectionPermit {
    node: Arc<Node>,
    /// Until its session has authenticated.
    unauthenticated: Option<Box<UnauthenticatedPermit>>,
}

impl Node {
    /// Makes a node and starts its broker. Workers join with [`Node::start_worker`].
    pub async fn start(settings: Settings) -> Result<Arc<Self>, NodeError> {
        let broker: Arc<dyn Broker> = match settings.broker.kind {
            BrokerKind::Memory => Arc::new(MemoryBroker::new(settings.broker.memory.clone())),
            BrokerKind::Redis => {
                let refused =
                    |error| SettingsError::Value { key: "broker.redis", problem: format!("{error}") };
                let mut redis = settings.broker.redis.clone();
                redis.max_pending_bytes =
                    pending_bytes(redis.max_pending_bytes, budget_bytes(settings.memory.max_bytes));
                Arc::new(RedisBroker::new(redis).map_err(refused)?)
            }
        };
        Self::start_with(settings, broker).await
    }

    /// The same with a broker of the caller's, whatever `broker.kind` says. Its tasks run until [`Node::stop`].
    pub async fn start_with(settings: Settings, broker: Arc<dyn Broker>) -> Result<Arc<Self>, NodeError> {
        settings.validate()?;
        let refused =
            |key, error: &dyn std::fmt::Display| SettingsError::Value { key, problem: error.to_string() };
        let id: Arc<str> = format!("{:08x}", crate::random::rng().next_u32()).into();
        let policy = Policy {
            rules: ChannelRules::new(&settings.channel).map_err(|error| refused("channel", &error))?,
            tokens: TokenVerifier::new(&settings.token).map_err(|error| refused("token", &error))?,
            settings: settings.client.clone(),
            node_id: id.clone(),
            key_wanted: tokio::sync::Notify::new(),
        };
        let metrics = Arc::<Metrics>::default();
        let budget =
            ReadBudget::new(&settings.reads, settings.client.max_reads, metrics.reads.clone()).into();
        let (peers, mail) = Peers::new(id.clone(), settings.cluster.lease, PRESENCE_TTL, metrics.clone());
        let node = Arc::new(Self {
            id,
            api_keys: ApiKeys::new(settings.api.keys.clone()).map_err(|error| refused("api.keys", &error))?,
            origins: Origins::new(&settings.client.allowed_origins)
                .map_err(|error| refused("client.allowed_origins", &error))?,
            policy: Arc::new(policy),
            memory: Arc::new(MemoryBudget::new(
                budget_bytes(settings.memory.max_bytes),
                settings.memory.replies_max_bytes,
            )),
            metrics,
            started: Instant::now(),
            interest: Arc::new(Interest::new(broker.clone())),
            reads: Arc::new(HistoryReads::new(broker.clone(), budget)),
            broker,
            inboxes: RwLock::default(),
            connections: AtomicUsize::new(0),
            open_responses: AtomicUsize::new(0),
            lifecycle: Lifecycle::default(),
            admission: AdmissionControl::default(),
            peers,
            addresses: Addresses::default(),
            scans: Semaphore::new(SCANS_AT_A_TIME),
            secrets: ClusterSecrets::default(),
            queue_limits: Arc::new(settings.stomp.queue.limits()),
            tasks: Tasks::default(),
            settings,
        });
        node.broker.cluster().listen(&node.id);
        node.broker.start(Arc::new(BrokerSink(Arc::downgrade(&node)))).await?;
        node.spawn(node.clone().read_inbox(mail));
        node.spawn(node.clone().keep_secret());
        if node.settings.http.address.port() != 0 {
            node.set_address(node.settings.http.address).await;
        }
        // Before the first connection, so that nobody asks only the others for it.
        node.announce().await;
        node.spawn(node.clone().keep_lease());
        node.spawn(node.clone().sweep());
        node.spawn(node.clone().keep_keys());
        Ok(node)
    }

    /// Starts a worker on this thread, which runs the actors of the connections that it accepts.
    pub fn start_worker(&self) -> std::rc::Rc<Worker> {
        let mut inboxes = self.inboxes.write();
        let (worker, inbox) = Worker::start(
            inboxes.len(),
            self.settings.websocket.compression_threshold_bytes,
            self.broker.clone(),
            self.interest.clone(),
            self.reads.clone(),
            self.metrics.clone(),
            self.memory.clone(),
        );
        inboxes.push(Arc::new(inbox));
        worker
    }

    fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.inboxes.read().clone()
    }

    /// The broker, for reads of history and presence.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Reads history within the node's budget of heavy reads.
    ///
    /// # Errors
    /// The broker's; [`BrokerError::Limit`] where too many reads are under way for too long.
    pub async fn history(
        &self,
        source: ReadSource,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, BrokerError> {
        let read = HistoryRead { channel: channel.into(), query, source };
        self.reads.read(read, retention, self.reads.now()).await.map(Arc::unwrap_or_clone)
    }

    /// The budget of heavy reads.
    pub fn read_budget(&self) -> &ReadBudget {
        self.reads.budget()
    }

    /// True if there is room for no further session now. Nothing is taken: [`Node::take_place`] may be refused all the same.
    pub fn is_full(&self) -> bool {
        self.connections() >= self.settings.http.max_connections
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Puts an order to all workers.
    pub async fn dispatch_command(&self, command: SessionCommand) {
        let command = Arc::new(command);
        // All at once: a worker whose inbox is full does not keep the order from the others.
        let inboxes = self.inboxes();
        let handed_over = inboxes.iter().map(|inbox| inbox.dispatch_command(command.clone()));
        for gone in join_all(handed_over).await.into_iter().filter_map(Result::err) {
            tracing::error!(error = %gone, "an order was not handed over");
        }
    }

    /// The same; false if a worker has no room for it within the time of an answer. The others have it then.
    pub(in crate::node) async fn dispatch_command_in_time(&self, command: SessionCommand) -> bool {
        tokio::time::timeout(self.settings.cluster.answer_timeout, self.dispatch_command(command))
            .await
            .is_ok()
    }

    /// Whether this node would deliver right now, else why not, by part.
    pub fn readiness(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut reasons = Vec::new();
        if self.is_shutting_down() {
            reasons.push(("node", "draining".to_owned()));
        }
        if let Health::NotReady(reason) = self.broker.health() {
            reasons.push(("broker", reason));
        }
        // Every client would be refused.
        if self.policy.tokens.awaits_keys() {
            reasons.push(("token", "keys were never fetched from token.jwks_url".to_owned()));
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Once in a while: leaves channels that nobody wants, sets gauges, tells what was refused.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            if let Err(error) = self.interest.sweep(Instant::now()).await {
                tracing::warn!(%error, "channels could not be left");
            }
            self.metrics.channels.set(i64::try_from(self.interest.len()).unwrap_or(i64::MAX));
            self.metrics.uptime_seconds.set(self.started.elapsed().as_secs_f64());
            self.log_refusals();
        }
    }
}

/// The node as the broker holds it: a node that nobody else holds is gone, and the broker with it.
struct BrokerSink(Weak<Node>);

impl Sink for BrokerSink {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        if let Some(node) = self.0.upgrade() {
            node.on_event(channel, event);
        }
    }

    fn on_gap(&self, channel: &Arc<str>) {
        if let Some(node) = self.0.upgrade() {
            node.on_gap(channel);
        }
    }

    fn on_message(&self, message: Bytes) {
        if let Some(node) = self.0.upgrade() {
            node.on_message(message);
        }
    }
}

impl Sink for Node {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        self.metrics.events_received.inc();
        self.each_interested(channel, |inbox| inbox.event(channel, event.clone()));
    }

    fn on_gap(&self, channel: &Arc<str>) {
        // One moment for all workers, so that one read serves them.
        let moment = self.reads.now();
        self.each_interested(channel, |inbox| inbox.gap(channel, moment));
    }

    fn on_message(&self, message: Bytes) {
        self.peers.deliver(message);
    }
}

impl Node {
    fn each_interested(&self, channel: &str, tell: impl Fn(&Inbox)) {
        let mut workers = self.interest.workers(channel);
        let inboxes = self.inboxes.read();
        while workers != 0 {
            let index = workers.trailing_zeros() as usize;
            workers &= workers - 1;
            if let Some(inbox) = inboxes.get(index) {
                tell(inbox);
            }
        }
    }
}
