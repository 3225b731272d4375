//! The counters of the node, for `GET /metrics`. They are moved once per event of a connection or per turn of a
//! worker, never once per subscriber of a publication. The broker's own counters are read when a scrape asks for them.
//!
//! - [`traffic`] and [`workers`]: what workers count for themselves; [`histogram`], [`exemplars`], [`table`] and [`namespaces`]: the forms in which
//!   counters are kept. Decision record 60.
//! - [`commands`], [`clients`] and [`api`]: what clients and backends ask for.
//! - [`admin`], [`broker`], [`certificates`], [`proxy`], [`hooks`], [`reload`], [`traces`] and [`process`]: parts of the node.

pub mod admin;
pub mod api;
pub mod broker;
pub mod certificates;
pub mod clients;
pub mod commands;
pub mod exemplars;
pub mod histogram;
pub mod hooks;
pub mod labels;
pub mod namespaces;
pub mod process;
pub mod proxy;
pub mod reload;
pub mod table;
pub mod traces;
pub mod traffic;
pub mod workers;

use std::sync::{Arc, atomic::AtomicU64};

use gorani_broker::BrokerStats;
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use self::{
    admin::AdminMetrics,
    api::{ApiMetrics, Publications, register_publications},
    broker::{BrokerMetrics, ClusterMetrics, ForwardMetrics},
    certificates::CertificateMetrics,
    clients::{AcceptMetrics, MemoryMetrics, ReadMetrics, SessionCounts},
    commands::CommandMetrics,
    exemplars::Exemplars,
    histogram::AtomicHistogram,
    hooks::HookMetrics,
    labels::{CauseLabel, DisconnectLabel, NodeLabel, RefusalLabel},
    namespaces::Namespaces,
    process::{BuildLabel, LogMessages, ProcessCollector},
    proxy::ProxyMetrics,
    reload::ReloadMetrics,
    traces::TraceMetrics,
    traffic::{DeliveryMetrics, TrafficMetrics},
    workers::WorkerMetrics,
};

pub use self::{api::PublishOutcome, labels::TransportLabel, traffic::TrafficCounters};

/// All counters of a node.
pub struct Metrics {
    registry: Registry,
    /// The process, under names without our prefix.
    process: Registry,
    broker: BrokerMetrics,
    /// Clients, users and subscriptions at the moment.
    pub sessions: Arc<SessionCounts>,
    /// Connections that are open.
    pub connections: Family<TransportLabel, Gauge>,
    /// Connections that were ever opened.
    pub connections_opened: Family<TransportLabel, Counter>,
    /// Sessions that ended, by code. Slow consumers are code 3008.
    pub disconnects: Family<DisconnectLabel, Counter>,
    /// Handshakes refused, by status.
    pub handshakes_refused: Family<RefusalLabel, Counter>,
    /// Sessions, requests and attempts refused, by cause.
    refused: Family<CauseLabel, Counter>,
    /// Publications of backends and embedders.
    pub api_publications: Publications,
    /// Publications of clients.
    pub client_publications: Publications,
    /// Events that the broker delivered to this node.
    pub events_received: Counter,
    /// Messages that clients sent.
    pub messages_received: Counter,
    /// Payload bytes that clients sent.
    pub bytes_received: Counter,
    /// Bytes written to sockets of WebSocket connections.
    pub bytes_sent: Counter,
    /// Channels whose events did not fit into a worker's inbox.
    pub inbox_overflows: Counter,
    /// Times of a millisecond and more for which a worker was held at a stretch.
    pub worker_turn_seconds: AtomicHistogram,
    /// Reads of history after a gap.
    pub catch_ups: Counter,
    /// Messages of work queues given to consumers.
    pub queue_deliveries: Counter,
    /// Those among them that were given to a consumer before.
    pub queue_redeliveries: Counter,
    /// Publications into outboxes, and their way to sockets.
    pub deliveries: DeliveryMetrics,
    /// Outboxes and inboxes of workers.
    pub workers: WorkerMetrics,
    /// Commands of clients.
    pub commands: CommandMetrics,
    /// Calls of the API.
    pub api: ApiMetrics,
    /// From the opening of a connection until its client has connected.
    pub handshake_seconds: AtomicHistogram,
    /// Channels that this node receives.
    pub channels: Gauge,
    /// 1 where the node would deliver, as `/health/ready` says; set at each scrape.
    pub ready: Gauge,
    /// 1 while the node goes down; set at each scrape.
    pub draining: Gauge,
    /// Subscriptions of all clients; set at each scrape.
    subscriptions: Gauge,
    /// Seconds since the start.
    pub uptime_seconds: Gauge<f64, AtomicU64>,
    node_info: Family<NodeLabel, Gauge>,
    /// Accepted TCP connections.
    pub accept: AcceptMetrics,
    /// Metrics of the cluster.
    pub cluster: ClusterMetrics,
    /// Requests forwarded between nodes.
    pub forward: ForwardMetrics,
    /// Memory that is held for clients.
    pub memory: MemoryMetrics,
    /// Heavy reads.
    pub reads: ReadMetrics,
    /// Reloads of the settings.
    pub reload: ReloadMetrics,
    /// Certificates of listeners.
    pub certificates: CertificateMetrics,
    /// Logins of operators.
    pub admin: AdminMetrics,
    /// Spans of traces.
    pub traces: TraceMetrics,
    /// Traces of publications in histograms.
    pub exemplars: Exemplars,
    /// Hooks.
    pub hooks: Arc<HookMetrics>,
    /// Calls to the backend.
    pub proxy: ProxyMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Namespaces::default(), &[])
    }
}

impl Metrics {
    /// The counters of a node with these values of the label `namespace`, and of `sdk` and `version`.
    pub fn new(namespaces: Namespaces, sdks: &[String]) -> Self {
        let mut registry = Registry::with_prefix("gorani");
        macro_rules! plain {
            ($kind:ty, $name:literal, $help:literal) => {{
                let metric = <$kind>::default();
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let connections = plain!(Family<TransportLabel, Gauge>, "connections", "Open connections");
        let connections_opened =
            plain!(Family<TransportLabel, Counter>, "connections_opened", "Connections opened");
        let disconnects = plain!(Family<DisconnectLabel, Counter>, "disconnects", "Ended sessions by code");
        let handshakes_refused =
            plain!(Family<RefusalLabel, Counter>, "handshakes_refused", "Refused handshakes by status");
        let refused = plain!(
            Family<CauseLabel, Counter>,
            "refused",
            "Sessions, requests and attempts refused, by cause"
        );
        let [api_publications, client_publications] = register_publications(&mut registry);
        let deliveries = DeliveryMetrics::register(&mut registry, &namespaces);
        let workers = WorkerMetrics::register(&mut registry);
        let commands = CommandMetrics::register(&mut registry, &namespaces, sdks);
        let api = ApiMetrics::register(&mut registry);
        let handshake_seconds = plain!(
            AtomicHistogram,
            "handshake_seconds",
            "From the opening of a connection until its client has connected"
        );
        let events_received = plain!(Counter, "events_received", "Events delivered by the broker");
        let messages_received = plain!(Counter, "messages_received", "Messages from clients");
        let bytes_received = plain!(Counter, "bytes_received", "Payload bytes from clients");
        let bytes_sent = plain!(Counter, "bytes_sent", "Bytes written to WebSocket connections");
        let inbox_overflows = plain!(Counter, "inbox_overflows", "Channels that overflowed a worker's inbox");
        let queue_deliveries =
            plain!(Counter, "queue_deliveries", "Messages of work queues given to consumers");
        let queue_redeliveries =
            plain!(Counter, "queue_redeliveries", "Messages of work queues given to consumers again");
        let catch_ups = plain!(Counter, "catch_ups", "History reads after a gap");
        let worker_turn_seconds = AtomicHistogram::default();
        registry.register(
            "worker_turn_seconds",
            "Times for which a worker was held at a stretch; those below a millisecond are not counted",
            worker_turn_seconds.clone(),
        );
        let channels = plain!(Gauge, "channels", "Channels received by this node");
        let ready = plain!(Gauge, "ready", "1 where this node would deliver, as /health/ready says");
        let draining = plain!(Gauge, "draining", "1 while this node goes down");
        let subscriptions = plain!(Gauge, "subscriptions", "Subscriptions of all clients");
        let build_info = plain!(Family<BuildLabel, Gauge>, "build_info", "1, with the version of the server");
        build_info.get_or_create(&BuildLabel::THIS).set(1);
        registry.register_collector(Box::new(LogMessages));
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessCollector));
        let uptime_seconds = plain!(Gauge<f64, AtomicU64>, "uptime_seconds", "Seconds since the start");
        let node_info =
            plain!(Family<NodeLabel, Gauge>, "node_info", "1, with the node's id, name and version");
        let broker = BrokerMetrics::default();
        broker.register(&mut registry);
        let accept = AcceptMetrics::register(&mut registry);
        let cluster = ClusterMetrics::register(&mut registry);
        let forward = ForwardMetrics::register(&mut registry);
        let memory = MemoryMetrics::register(&mut registry);
        let reads = ReadMetrics::register(&mut registry);
        let reload = ReloadMetrics::register(&mut registry);
        let certificates = CertificateMetrics::register(&mut registry);
        let admin = AdminMetrics::register(&mut registry);
        let traces = TraceMetrics::register(&mut registry);
        let hooks = Arc::new(HookMetrics::register(&mut registry));
        let proxy = ProxyMetrics::register(&mut registry);
        Self {
            registry,
            process,
            broker,
            sessions: Arc::default(),
            connections,
            connections_opened,
            disconnects,
            handshakes_refused,
            refused,
            api_publications,
            client_publications,
            deliveries,
            workers,
            commands,
            api,
            handshake_seconds,
            events_received,
            messages_received,
            bytes_received,
            bytes_sent,
            inbox_overflows,
            worker_turn_seconds,
            catch_ups,
            queue_deliveries,
            queue_redeliveries,
            channels,
            ready,
            draining,
            subscriptions,
            uptime_seconds,
            node_info,
            accept,
            cluster,
            forward,
            memory,
            reads,
            reload,
            certificates,
            admin,
            traces,
            exemplars: Exemplars::default(),
            hooks,
            proxy,
        }
    }
}

impl Metrics {
    /// Names the node whose numbers these are. Called once.
    pub fn name_node(&self, id: &str, name: &str) {
        let label =
            NodeLabel { id: id.to_owned(), name: name.to_owned(), version: env!("CARGO_PKG_VERSION") };
        self.node_info.get_or_create(&label).set(1);
    }

    /// The text that Prometheus scrapes (OpenMetrics), with what the broker says of itself.
    pub fn text(&self, broker: &BrokerStats) -> Result<String, std::fmt::Error> {
        self.broker.set(broker);
        self.subscriptions.set(i64::try_from(self.sessions.subscriptions()).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        self.exemplars.add_to(&mut text);
        encode_registry(&mut text, &self.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// The counters that the traffic of workers is added to.
    pub fn traffic(&self) -> TrafficMetrics {
        TrafficMetrics {
            bytes_sent: self.bytes_sent.clone(),
            bytes_received: self.bytes_received.clone(),
            messages_received: self.messages_received.clone(),
            worker_turn_seconds: self.worker_turn_seconds.clone(),
            deliveries: self.deliveries.clone(),
            commands: self.commands.clone(),
        }
    }

    /// Counts something refused.
    pub fn count_refused(&self, cause: &'static str) {
        self.refused.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts the end of a session.
    pub fn count_disconnect(&self, code: u16, transport: &'static str) {
        self.deliveries.count_ended(code, transport);
        let code = if code >= 4000 { 4000 } else { code };
        self.disconnects.get_or_create(&DisconnectLabel { code }).inc();
    }
}
