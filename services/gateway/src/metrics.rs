//! The counters of the node, for `GET /metrics`. They are moved once per event of a connection or per turn of a
//! worker, never once per subscriber of a publication. The broker's own counters are read when a scrape asks for them.

pub mod broker;
pub mod clients;
pub mod proxy;
pub mod reload;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use gorani_broker::BrokerStats;
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::{
    broker::{BrokerMetrics, ClusterMetrics, ForwardMetrics},
    clients::{AcceptMetrics, MemoryMetrics, ReadMetrics, SessionCounts},
    proxy::ProxyMetrics,
    reload::ReloadMetrics,
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

/// Labels that name a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabel {
    /// Random id of this run of the node.
    pub id: String,
    /// `node.name`.
    pub name: String,
    /// Version of the server.
    pub version: &'static str,
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
    /// `accepted`, `refused` or `failed` ([`PublishOutcome`]).
    pub result: &'static str,
}

/// The outcome of a publish, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has it.
    Accepted,
    /// The caller's mistake: the same request is refused again, and nobody needs to be woken up.
    Refused,
    /// The broker or the node did not manage it, or it is not known whether it did.
    Failed,
}

/// Counters of the publications of one source; looked up once, since every publish moves one.
pub struct Publications {
    accepted: Counter,
    refused: Counter,
    failed: Counter,
}

impl Publications {
    fn of(family: &Family<PublishLabel, Counter>, source: &'static str) -> Self {
        let counter = |result| family.get_or_create_owned(&PublishLabel { source, result });
        Self { accepted: counter("accepted"), refused: counter("refused"), failed: counter("failed") }
    }

    /// Counts one.
    pub fn count(&self, result: PublishOutcome) {
        let counter = match result {
            PublishOutcome::Accepted => &self.accepted,
            PublishOutcome::Refused => &self.refused,
            PublishOutcome::Failed => &self.failed,
        };
        counter.inc();
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
    /// 1 where the node would deliver, as `/health/ready` says; set at each scrape.
    pub ready: Gauge,
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
    /// Calls to the backend.
    pub proxy: ProxyMetrics,
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
        let ready = plain!(Gauge, "ready", "1 where this node would deliver, as /health/ready says");
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
        let proxy = ProxyMetrics::register(&mut registry);
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
            ready,
            uptime_seconds,
            node_info,
            accept,
            cluster,
            forward,
            memory,
            reads,
            reload,
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

/// Longest lag of `GET /metrics`.
const ADD_EVERY: Duration = Duration::from_secs(1);

/// The traffic of a worker's connections since the last addition: counted on the worker's own thread and added to the node's
/// counters once a second, so that threads do not fight over a counter at every write.
#[derive(Default)]
pub struct TrafficCounters {
    bytes_sent: Cell<u64>,
    bytes_received: Cell<u64>,
    messages_received: Cell<u64>,
    /// Times for which the worker was held at a stretch, where they are worth counting.
    held: RefCell<Vec<Duration>>,
}

/// Shorter turns are as they should be, and are not counted: most are of some microseconds.
const COUNTED_FROM: Duration = Duration::from_millis(1);
/// Turns that are kept until the next addition: more of [`COUNTED_FROM`] do not fit into the time between two.
const KEPT_TURNS: usize = 1024;

impl TrafficCounters {
    /// Bytes went to a socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.set(self.bytes_sent.get() + bytes as u64);
    }

    /// The worker was held for so long: by one connection's input, or by what it delivered at a stretch.
    pub fn held(&self, time: Duration) {
        if time >= COUNTED_FROM {
            let mut held = self.held.borrow_mut();
            if held.len() < KEPT_TURNS {
                held.push(time);
            }
        }
    }

    /// Messages came, with payloads of so many bytes.
    pub fn received(&self, messages: usize, bytes: usize) {
        self.messages_received.set(self.messages_received.get() + messages as u64);
        self.bytes_received.set(self.bytes_received.get() + bytes as u64);
    }

    /// Adds the counts to the node's, for ever.
    pub(crate) async fn flush_periodically(self: Rc<Self>, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(ADD_EVERY).await;
            let TrafficCounters { bytes_sent, bytes_received, messages_received, held } = &*self;
            for time in held.take() {
                metrics.worker_turn_seconds.observe(time.as_secs_f64());
            }
            metrics.bytes_sent.inc_by(bytes_sent.take());
            metrics.bytes_received.inc_by(bytes_received.take());
            metrics.messages_received.inc_by(messages_received.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_kept_from_a_millisecond_on_and_no_more_than_fit_between_two_additions() {
        let traffic = TrafficCounters::default();
        traffic.held(COUNTED_FROM - Duration::from_nanos(1));
        assert!(traffic.held.borrow().is_empty());
        traffic.held(COUNTED_FROM);
        assert_eq!(*traffic.held.borrow(), [COUNTED_FROM]);
        for _ in 0..2 * KEPT_TURNS {
            traffic.held(COUNTED_FROM);
        }
        assert_eq!(traffic.held.borrow().len(), KEPT_TURNS);
    }
}
