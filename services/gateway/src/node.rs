//! The node: the broker, the workers and what they share. Publications go out through it, and come back through it.
//!
//! The first two journeys of `docs/architecture.md` §2.3: `api` or a session →
//! [`crate::node::publish::Publisher::publish`] → broker → [`Sink::on_event`] → the inboxes of
//! the workers that want the channel → their hubs.

pub mod admission;
mod broker_watch;
pub mod client_network;
pub mod cluster;
mod hook_store;
mod keys;
pub mod lifecycle;
pub mod live;
pub mod publish;
pub mod workers;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use gorani_broker::{Broker, BrokerError, ChannelEvent, Health, MemoryBroker, RedisBroker, Sink};
use rand::Rng;
use tokio::time::Instant;

use self::{
    admission::AdmissionControl,
    broker_watch::BrokerWatch,
    cluster::{
        ClusterMember,
        hook_nodes::HookNodes,
        presence::{Presence, UserConnectionLimit},
        secret::ClusterSecrets,
        versions::DistantVersion,
    },
    keys::KeyFetcher,
    lifecycle::{Lifecycle, OpenResponses},
    live::{LiveSettings, first_policy},
    publish::Publisher,
    workers::Workers,
};
use crate::{
    hooks::{Hooks, deliver::HookDelivery, tracker::HookTracker},
    hub::history_reads::{HistoryReads, ReadBudget},
    memory::{
        MemoryBudget,
        limit::{budget_bytes, pending_bytes},
    },
    metrics::{Metrics, namespaces::Namespaces},
    proxy::{ProxyFilesError, ProxyPool},
    session::shared::current_policy::CurrentPolicy,
    settings::{BrokerKind, Settings, SettingsError},
    tasks::Tasks,
    telemetry::{open_tracer, trace::Tracer},
};

/// Interval at which gauges are set and refusals are logged.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// The parts that the workers of a node share.
pub struct Node {
    /// Random id of this run of the node, 8 hexadecimal digits.
    pub id: Arc<str>,
    /// As loaded at the start. Those that count after a reload: [`LiveSettings::running`].
    pub settings: Settings,
    /// The policy that decides on clients' commands.
    pub policy: Arc<CurrentPolicy>,
    /// The settings that count now; a reload replaces them.
    pub live: LiveSettings,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Memory for all clients together.
    pub memory: Arc<MemoryBudget>,
    /// The time at which the node started.
    pub started: Instant,
    /// Decides which sessions get a slot.
    pub admission: Arc<AdmissionControl>,
    /// Publishes for backends and clients.
    pub publisher: Publisher,
    /// The other nodes: commands and queries to them.
    pub cluster: Arc<ClusterMember>,
    /// The presence of channels, on all nodes.
    pub presence: Presence,
    /// The connections of each user, on all nodes.
    pub user_connections: UserConnectionLimit,
    /// The backend's endpoints that decide or answer clients' commands.
    pub proxies: Arc<ProxyPool>,
    /// The workers, and what they share.
    pub workers: Arc<Workers>,
    /// Reads history within the budget of heavy reads.
    pub reads: Arc<HistoryReads>,
    /// The node's stage on its way down.
    pub lifecycle: Lifecycle,
    /// Responses that outlive their sessions.
    pub open_responses: OpenResponses,
    /// Hooks, where an endpoint is configured.
    pub hooks: Option<Arc<Hooks>>,
    /// Delivery of hooks, where an endpoint is configured.
    pub hook_delivery: Option<Arc<HookDelivery>>,
    /// Why the store of hooks is not opened with these settings.
    hooks_refused: OnceLock<String>,
    broker: Arc<dyn Broker>,
    /// The secrets with which nodes authenticate to one another.
    pub secrets: Arc<ClusterSecrets>,
    /// Takes spans, where there are traces.
    pub tracer: Option<Arc<Tracer>>,
    /// All that it does by itself, and all that its workers do.
    pub tasks: Tasks,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file of a proxy is not usable.
    #[error(transparent)]
    Proxy(#[from] ProxyFilesError),
    /// The broker cannot be started.
    #[error("broker: {0}")]
    Broker(#[from] BrokerError),
    /// The cluster has nodes of a distant version.
    #[error(transparent)]
    Version(#[from] DistantVersion),
}

impl Node {
    /// Makes a node and starts its broker. Workers join with [`workers::Workers::start`].
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
        let id: Arc<str> = format!("{:08x}", crate::random::rng().next_u32()).into();
        let namespaces = settings.channel.namespaces.iter().map(|namespace| &*namespace.name);
        let namespaces = Namespaces::new(settings.metrics.namespaces.then_some(namespaces));
        let metrics = Arc::new(Metrics::new(namespaces, &settings.metrics.clients));
        let policy = Arc::new(CurrentPolicy::new(first_policy(&settings, &id, metrics.commands.clone())?));
        metrics.name_node(&id, &policy.node_name);
        let budget =
            ReadBudget::new(&settings.reads, settings.client.max_reads, metrics.reads.clone()).into();
        let reads = Arc::new(HistoryReads::new(broker.clone(), budget));
        let memory = Arc::new(MemoryBudget::new(
            budget_bytes(settings.memory.max_bytes),
            settings.memory.replies_max_bytes,
        ));
        let tasks = Tasks::default();
        let proxies = ProxyPool::open(&settings, &metrics.proxy)?;
        let workers = Workers::new(
            &settings,
            broker.clone(),
            reads.clone(),
            metrics.clone(),
            memory.clone(),
            proxies.clone(),
            tasks.clone(),
        );
        let tracer = open_tracer(&settings.telemetry, &id, &metrics.traces)?.map(|(tracer, export)| {
            tasks.spawn(export);
            workers.trace(tracer.clone());
            proxies.trace(&tracer);
            tracer
        });
        let started = Instant::now();
        let (cluster, mail) = ClusterMember::new(
            &settings,
            started,
            broker.clone(),
            policy.clone(),
            workers.clone(),
            reads.clone(),
            metrics.clone(),
        );
        let hooks = HookTracker::new(id.clone(), &settings.hooks).map(|tracker| {
            Hooks::new(tracker, id.clone(), broker.clone(), Arc::new(HookNodes(cluster.clone())))
        });
        let hook_delivery = match &hooks {
            Some(hooks) => {
                let delivery =
                    HookDelivery::new(&settings.hooks, id.clone(), broker.clone(), hooks.leases.clone())?;
                let delivery = Arc::new(delivery.traced_by(tracer.clone()));
                let wake = delivery.clone();
                hooks.tracker.on_applied(Box::new(move |partition| wake.wake(partition)));
                Some(delivery)
            }
            None => None,
        };
        if let Some(hooks) = &hooks {
            // It is new: nothing is there already.
            let _ = cluster.hooks.set(Arc::downgrade(hooks));
        }
        let admission = AdmissionControl::new(&settings, metrics.clone());
        let (limits, members) = (admission.clone(), cluster.clone());
        let on_applied = Box::new(move |settings: &Settings| {
            limits.replace_limits(settings);
            members.drift.replace_own(settings.fingerprints());
        });
        let node = Arc::new(Self {
            hooks,
            hook_delivery,
            hooks_refused: OnceLock::new(),
            id,
            live: LiveSettings::new(&settings, policy.clone(), metrics.clone(), on_applied),
            memory,
            started,
            presence: Presence::new(cluster.clone(), broker.clone(), reads.clone(), settings.reads.max_wait),
            user_connections: UserConnectionLimit::new(broker.clone(), cluster.clone()),
            cluster,
            admission,
            publisher: Publisher::new(
                broker.clone(),
                policy.clone(),
                metrics.clone(),
                workers.events.clone(),
                &settings.stomp,
                tracer.clone(),
            ),
            proxies,
            workers,
            reads,
            secrets: ClusterSecrets::new(&settings, &broker),
            broker,
            open_responses: OpenResponses::default(),
            lifecycle: Lifecycle::default(),
            policy,
            tracer,
            tasks,
            metrics,
            settings,
        });
        node.broker.cluster().listen(&node.id);
        node.broker
            .start(Arc::new(BrokerSink {
                workers: Arc::downgrade(&node.workers),
                cluster: Arc::downgrade(&node.cluster),
            }))
            .await?;
        node.cluster.refuse_distant_versions().await?;
        node.open_hooks().await?;
        node.tasks.spawn(node.cluster.clone().read_inbox(mail));
        node.tasks.spawn(node.secrets.clone().keep());
        if node.settings.http.address.port() != 0 {
            node.cluster.set_address(node.settings.http.address).await;
        }
        // Before the first connection, so that nobody asks only the others for it.
        node.cluster.announce().await;
        if let Some(hooks) = &node.hooks {
            hooks.start(&node.tasks);
        }
        node.tasks.spawn(node.cluster.clone().keep_lease());
        node.tasks.spawn(node.workers.clone().sweep());
        node.tasks.spawn(node.clone().watch());
        node.tasks.spawn(KeyFetcher::new(node.policy.clone()).keep());
        Ok(node)
    }

    /// Begins to deliver hooks to the backend, once the node serves. A simulated world takes them out of their queues by itself: it has
    /// no network.
    pub fn deliver_hooks(&self) {
        if let Some(delivery) = &self.hook_delivery {
            self.tasks.spawn(delivery.clone().run(self.metrics.hooks.clone()));
        }
    }

    /// Ends the node's tasks where they stand, and those of its workers. With them and its connections everything of the node
    /// goes, its connections to the broker included. For an orderly stop, drain and retire it before.
    pub fn stop(&self) {
        self.tasks.stop();
    }

    /// The broker, for reads of history and presence.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// `Ok` if this node would deliver right now, else the reasons why not, by part.
    pub fn readiness(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut reasons = Vec::new();
        if self.lifecycle.is_shutting_down() {
            reasons.push(("node", "draining".to_owned()));
        }
        if let Health::NotReady(reason) = self.broker.health() {
            reasons.push(("broker", reason));
        }
        // Every client would be refused.
        if self.policy.get().tokens.awaits_keys() {
            reasons.push(("token", "keys were never fetched from token.jwks_url".to_owned()));
        }
        if let Some(problem) = self.hooks_refused.get() {
            reasons.push(("hooks", problem.clone()));
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Sets gauges and tells what was refused, once in a while.
    async fn watch(self: Arc<Self>) {
        let mut seen = BrokerWatch::default();
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            seen.note_changes(&self.broker.stats(), &self.workers.events);
            self.metrics.uptime_seconds.set(self.started.elapsed().as_secs_f64());
            if let Some(hooks) = &self.hooks {
                let tracker = &hooks.tracker;
                self.metrics.hooks.note_tracked(
                    tracker.pending(),
                    tracker.reaped_sessions(),
                    tracker.written(),
                );
            }
            self.admission.log_refusals();
            self.policy.log.write_due(Instant::now());
            self.proxies.write_due_lines(Instant::now());
        }
    }
}

/// The node as the broker holds it: a node that nobody else holds is gone, and the broker with it.
struct BrokerSink {
    workers: Weak<Workers>,
    cluster: Weak<ClusterMember>,
}

impl Sink for BrokerSink {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        if let Some(workers) = self.workers.upgrade() {
            workers.on_event(channel, &event);
        }
    }

    fn on_gap(&self, channel: &Arc<str>) {
        if let Some(workers) = self.workers.upgrade() {
            workers.on_gap(channel);
        }
    }

    fn on_message(&self, message: Bytes) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.peers.deliver(message);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn of_a_node_that_has_stopped_nothing_goes_on_and_nothing_of_its_workers() {
        let node = Node::start(Settings::default()).await.unwrap();
        let workers = [node.workers.start(), node.workers.start()];
        let broker = Arc::downgrade(node.broker());
        let left_of_node = Arc::downgrade(&node);
        let left_of_workers = workers.each_ref().map(Rc::downgrade);
        tokio::task::yield_now().await;
        node.stop();
        drop((node, workers));
        let give_up = Instant::now() + Duration::from_secs(20);
        while broker.strong_count() > 0 {
            assert!(Instant::now() < give_up, "a task goes on and holds the broker");
            tokio::task::yield_now().await;
        }
        assert_eq!(left_of_node.strong_count(), 0);
        assert!(left_of_workers.iter().all(|worker| worker.strong_count() == 0));
    }
}
