//! The counters of the node, for `GET /metrics`. They are moved once per event of a connection or per turn of a
//! worker, never once per subscriber of a publication. The broker's own counters are read when a scrape asks for them.
//!
//! Counters of the cluster: members, and messages between nodes.
//!
//! Counters of requests that are forwarded between nodes.

pub mod broker;
pub mod memory;
pub mod sessions;

use std::sync::{Arc, atomic::AtomicU64};

use gorani_broker::BrokerStats;
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::{
    broker::BrokerMetrics,
    memory::{MemoryMetrics, ReadMetrics},
    sessions::{AcceptMetrics, SessionCounts},
};

/// Buckets of the times for which a worker is held: 5 ms is what one client's input may take.
const TURN_BUCKETS_SECONDS: [f64; 8] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];

/// Labels of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransportLabel {
    /// `websocket`, `sse`, …
    pub transport: &'static str,
    /// Its connections come and go with every request: none of them is worth a line at `info`.
    pub is_brief: bool,
}

impl TransportLabel {
    /// The label of a transport whose connections stay.
    pub const fn new(transport: &'static str) -> Self {
        Self { transport, is_brief: false }
    }

    /// The label of a transport whose connections are requests.
    pub const fn brief(transport: &'static str) -> Self {
        Self { transport, is_brief: true }
    }
}

impl EncodeLabelSet for TransportLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("transport", self.transport)].encode(encoder)
    }
}

/// Labels of an end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DisconnectLabel {
    /// The code; embedders' and applications' own codes are all counted as 4000.
    pub code: u16,
}

/// Labels of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabel {
    /// `api` or `client`.
    pub source: &'static str,
    /// `accepted` or `failed`.
    pub result: &'static str,
}

/// Counters of the publications of one source; looked up once, since every publish moves one.
pub struct Publications {
    accepted: Counter,
    failed: Counter,
}

impl Publications {
    fn of(family: &Family<PublishLabel, Counter>, source: &'static str) -> Self {
        let counter = |result| family.get_or_create_owned(&PublishLabel { source, result });
        Self { accepted: counter("accepted"), failed: counter("failed") }
    }

    /// Counts one.
    pub fn count(&self, accepted: bool) {
        if accepted { &self.accepted } else { &self.failed }.inc();
    }
}

/// Labels of a refused handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// The HTTP status.
    pub status: u16,
}

/// Labels of what was refused by address or by a limit of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabel {
    /// `unauthenticated_of_address`, `wrong_session_id`, …
    pub cause: &'static str,
}

/// All counters of a node.
pub struct Metrics {
    registry: Registry,
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
    pub worker_turn_seconds: Histogram,
    /// Reads of history after a gap.
    pub catch_ups: Counter,
    /// Messages of work queues given to consumers.
    pub queue_deliveries: Counter,
    /// Those among them that were given to a consumer before.
    pub queue_redeliveries: Counter,
    /// Channels that this node receives.
    pub channels: Gauge,
    /// Seconds since the start.
    pub uptime_seconds: Gauge<f64, AtomicU64>,
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
}

impl Default for Metrics {
    fn default() -> Self {
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
        let publications =
            plain!(Family<PublishLabel, Counter>, "publications", "Publications by source and result");
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
        let worker_turn_seconds = Histogram::new(TURN_BUCKETS_SECONDS);
        registry.register(
            "worker_turn_seconds",
            "Times for which a worker was held at a stretch; those below a millisecond are not counted",
            worker_turn_seconds.clone(),
        );
        let channels = plain!(Gauge, "channels", "Channels received by this node");
        let uptime_seconds = plain!(Gauge<f64, AtomicU64>, "uptime_seconds", "Seconds since the start");
        let broker = BrokerMetrics::default();
        broker.register(&mut registry);
        let accept = AcceptMetrics::register(&mut registry);
        let cluster = ClusterMetrics::register(&mut registry);
        let forward = ForwardMetrics::register(&mut registry);
        let memory = MemoryMetrics::register(&mut registry);
        let reads = ReadMetrics::register(&mut registry);
        Self {
            registry,
            broker,
            sessions: Arc::default(),
            connections,
            connections_opened,
            disconnects,
            handshakes_refused,
            refused,
            api_publications: Publications::of(&publications, "api"),
            client_publications: Publications::of(&publications, "client"),
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
            uptime_seconds,
            accept,
            cluster,
            forward,
            memory,
            reads,
        }
    }
}

impl Metrics {
    /// The text that Prometheus scrapes (OpenMetrics), with what the broker says of itself.
    pub fn text(&self, broker: &BrokerStats) -> Result<String, std::fmt::Error> {
        self.broker.set(broker);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts something refused.
    pub fn count_refused(&self, cause: &'static str) {
        self.refused.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts the end of a session.
    pub fn count_disconnect(&self, code: u16) {
        let code = if code >= 4000 { 4000 } else { code };
        self.disconnects.get_or_create(&DisconnectLabel { code }).inc();
    }
}

/// Counters of a node's dealings with the others.
pub struct ClusterMetrics {
    /// Nodes whose lease is running, this one among them.
    pub members: Gauge,
    /// Messages to other nodes; one to all counts once.
    pub sent: Counter,
    /// Messages of other nodes that were understood.
    pub received: Counter,
    /// Messages of other nodes that were not.
    pub unknown: Counter,
    /// Messages of other nodes that found no room.
    pub dropped: Counter,
    /// Queries and commands that were not answered in time.
    pub timeouts: Counter,
    /// Clients of dead nodes that this one took out of presence.
    pub reaped: Counter,
}

impl ClusterMetrics {
    fn register(registry: &mut Registry) -> Self {
        let members = Gauge::default();
        registry.register("cluster_members", "Nodes whose lease is running", members.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            members,
            sent: counter("cluster_messages_sent", "Messages to other nodes"),
            received: counter("cluster_messages_received", "Messages of other nodes"),
            unknown: counter("cluster_messages_unknown", "Messages of other nodes that were not understood"),
            dropped: counter("cluster_messages_dropped", "Messages of other nodes that found no room"),
            timeouts: counter("cluster_timeouts", "Questions to other nodes that were not answered in time"),
            reaped: counter("presence_reaped", "Clients of dead nodes taken out of presence"),
        }
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// See [`ForwardMetrics`].
    pub outcome: &'static str,
}

/// Counters of requests for sessions of other nodes.
pub struct ForwardMetrics {
    /// Requests that this node forwards and that are under way.
    pub open: Gauge,
    /// Requests that it has forwarded: `answered`, `elsewhere` (the other node does not have the session), `unreachable`,
    /// `broken` (the answer broke off), `busy` (too many are under way).
    sent: Family<OutcomeLabel, Counter>,
    /// Requests that others forwarded to it: `accepted`, or `refused` (not proven, not for this node, or not for the
    /// first time).
    received: Family<OutcomeLabel, Counter>,
}

impl ForwardMetrics {
    fn register(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("forwards_open", "Requests forwarded to other nodes and under way", open.clone());
        let sent = Family::default();
        registry.register("forwards", "Requests forwarded to other nodes by outcome", sent.clone());
        let received = Family::default();
        registry.register("forwards_received", "Requests forwarded by other nodes", received.clone());
        Self { open, sent, received }
    }

    /// Counts a request to another node.
    pub fn count_sent(&self, outcome: &'static str) {
        self.sent.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a request of another node.
    pub fn count_received(&self, outcome: &'static str) {
        self.received.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
