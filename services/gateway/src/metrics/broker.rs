//! The counters of the broker and of other nodes, for `GET /metrics`: cluster messages and forwarded requests. The broker's own
//! counters are read at each scrape. `docs/protocols/http.md` §6 (readiness tells the truth, and figures show why).

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use gorani_broker::BrokerStats;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::histogram::AtomicHistogram;

/// Labels of a connection to the broker's server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BrokerConnectionLabel {
    /// `requests` or `listening`.
    pub connection: &'static str,
}

/// Labels of a server of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    /// Its host and port.
    server: String,
}

/// Labels of requests to the broker's servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestKindLabel {
    /// The name of the script or command.
    kind: &'static str,
}

/// The counters of the broker itself ([`BrokerStats`]).
#[derive(Debug, Default)]
pub(super) struct BrokerMetrics {
    servers: Gauge,
    servers_connected: Gauge,
    /// Servers that are shown: one that leaves the cluster is shown no longer.
    round_trip_servers: Mutex<BTreeSet<String>>,
    round_trips: Family<ServerLabel, AtomicHistogram>,
    request_times: Family<RequestKindLabel, AtomicHistogram>,
    clock_offset: Gauge<f64, AtomicU64>,
    connections_lost: Family<BrokerConnectionLabel, Counter>,
    pending_requests: Gauge,
    pending_bytes: Gauge,
    canary_age: Gauge<f64, AtomicU64>,
    canaries_refused: Counter,
    messages_received: Counter,
    gaps: Counter,
    redirected: Counter,
    hooks_evictable: Gauge,
    dead_letters: Family<DeadLetterLabel, Counter>,
    publishes_failed: Family<BrokerFailureLabel, Counter>,
}

/// Labels of a publish that the broker did not accept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BrokerFailureLabel {
    /// `unavailable` (nothing was done) or `unknown`.
    pub outcome: &'static str,
}

/// Labels of a message of a work queue that was delivered as often as it may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeadLetterLabel {
    /// `moved`, or `waiting`: an attempt that failed, which is made again.
    pub outcome: &'static str,
}

impl BrokerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        macro_rules! register {
            ($($metric:ident: $name:literal, $help:literal;)+) => {
                $(registry.register($name, $help, self.$metric.clone());)+
            };
        }
        register! {
            servers: "broker_servers", "Servers that the broker is to be connected to";
            servers_connected: "broker_servers_connected", "Servers that the broker is connected to";
            round_trips: "broker_round_trip_seconds", "From sending the node's own canary to hearing it, by server";
            request_times: "broker_request_seconds", "From sending a pipeline of requests to its answers, by script or command";
            clock_offset: "clock_offset_seconds", "Seconds by which this machine's clock is ahead of the broker's server that is furthest from it";
            connections_lost: "broker_connections_lost", "Connections to the broker's servers that were lost";
            pending_requests: "broker_pending_requests", "Requests to the broker without an answer";
            pending_bytes: "broker_pending_bytes", "Bytes of those requests";
            canary_age: "broker_canary_age_seconds", "Seconds since the node last received its own canary through the broker";
            canaries_refused: "broker_canaries_refused", "Canaries that a server refused to publish: out of memory, no replica, a failed save, no permission";
            messages_received: "broker_messages_received", "Messages of channels that arrived from the broker's servers";
            gaps: "broker_gaps", "Gaps that the broker reported, by channel";
            redirected: "broker_redirected", "Requests that a server of a cluster sent elsewhere";
            hooks_evictable: "broker_hooks_evictable", "1 if Redis may evict the store of hooks (maxmemory-policy)";
            dead_letters: "queue_dead_letters", "Dead letters of work queues: moved to their queue, or attempts to that failed";
            publishes_failed: "broker_publishes_failed", "Publishes without success, by outcome";
        }
    }

    pub(super) fn set(&self, stats: &BrokerStats) {
        let gauge = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let counter = |counter: &Counter, value: u64| counter.inner().store(value, Ordering::Relaxed);
        gauge(&self.servers, stats.servers);
        gauge(&self.servers_connected, stats.servers_connected);
        self.clock_offset.set(stats.clock_offset.unwrap_or_default());
        let is_there = |server: &str| stats.round_trips.iter().any(|(known, _)| known == server);
        self.round_trip_servers.lock().retain(|server| {
            if !is_there(server) {
                self.round_trips.remove(&ServerLabel { server: server.clone() });
            }
            is_there(server)
        });
        for (server, times) in &stats.round_trips {
            self.round_trip_servers.lock().insert(server.clone());
            let label = ServerLabel { server: server.clone() };
            self.round_trips.get_or_create(&label).set(&times.buckets, times.sum);
        }
        for &(kind, ref times) in &stats.request_times {
            self.request_times.get_or_create(&RequestKindLabel { kind }).set(&times.buckets, times.sum);
        }
        gauge(&self.pending_requests, stats.pending_requests);
        gauge(&self.pending_bytes, stats.pending_bytes);
        self.canary_age.set(stats.canary_age.unwrap_or_default().as_secs_f64());
        counter(&self.canaries_refused, stats.canaries_refused);
        counter(&self.messages_received, stats.messages_received);
        counter(&self.gaps, stats.gaps_told);
        counter(&self.redirected, stats.redirected);
        gauge(&self.hooks_evictable, usize::from(stats.hooks_evictable));
        let lost =
            [("requests", stats.request_connections_lost), ("listening", stats.listening_connections_lost)];
        for (connection, value) in lost {
            counter(&self.connections_lost.get_or_create(&BrokerConnectionLabel { connection }), value);
        }
        let failed = [("unavailable", stats.publishes_unavailable), ("unknown", stats.publishes_unknown)];
        for (outcome, value) in failed {
            counter(&self.publishes_failed.get_or_create(&BrokerFailureLabel { outcome }), value);
        }
        for (outcome, value) in [("moved", stats.dead_letters), ("waiting", stats.dead_letters_waiting)] {
            counter(&self.dead_letters.get_or_create(&DeadLetterLabel { outcome }), value);
        }
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
    /// Times at which this node's own lease had ended.
    pub lease_lapses: Counter,
}

impl ClusterMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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
            lease_lapses: counter("cluster_lease_lapses", "Times at which this node's own lease had ended"),
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
    pub(super) fn register(registry: &mut Registry) -> Self {
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
