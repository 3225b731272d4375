//! The state of one node, as it reports it to the node that is asked: numbers that are kept anyway, and nothing of a worker but its
//! lag of the last second.

use std::{collections::BTreeMap, time::Duration};

use gorani_broker::{ServerFacts, ServerStatus};
use serde::{Deserialize, Serialize};

use super::{
    counters::{ProcessReport, Rates, connections},
    series::Series,
    state::Admin,
};
use crate::node::Node;

/// A worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Milliseconds until it came to what was in its inbox.
    pub lag_ms: f64,
    /// Entries of its inbox.
    pub inbox: usize,
}

/// The broker as the node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerReport {
    /// `memory` or `redis`.
    pub kind: String,
    /// `ready`, or the reason why it is not.
    pub state: String,
    /// Servers that the node is connected to.
    pub servers: usize,
    /// Connections that were lost.
    pub reconnects: u64,
    /// Milliseconds since the last canary came back.
    pub canary_age_ms: Option<u64>,
    /// Requests without an answer.
    pub pending_requests: usize,
    /// Bytes that these requests take.
    pub pending_bytes: usize,
    /// Channels that the node is subscribed to.
    pub subscriptions: i64,
    /// Publishes that were not carried out, or of which that is not known.
    pub publishes_failed: u64,
    /// Bytes that the embedded broker keeps.
    pub memory_bytes: usize,
    /// Each server; none where the broker is in the node.
    pub each: Vec<ServerReport>,
}

/// A server of the broker as the node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerReport {
    /// Host and port, or the name under which it is found.
    pub address: String,
    /// `ready`, or the reason why it is not.
    pub state: String,
    /// `master`, `slave`.
    pub role: Option<String>,
    /// Milliseconds since the Unix epoch since when it is connected.
    pub connected_since: Option<u64>,
    /// Connections that were lost.
    pub reconnects: u64,
    /// Milliseconds since the last canary came back.
    pub canary_age_ms: Option<u64>,
    /// Milliseconds that it took.
    pub rtt_ms: Option<f64>,
    /// Requests to it without an answer.
    pub pending_requests: usize,
    /// Bytes that these requests take; a node of an older version does not tell them.
    pub pending_bytes: Option<usize>,
    /// Channels that the node listens to on it.
    pub subscriptions: usize,
    /// The reason why a connection was last lost, or not opened.
    pub last_error: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Anything but `noeviction` loses data when the memory is full.
    pub maxmemory_policy: Option<String>,
    /// The number of its replicas, or the state of the link to its primary.
    pub replication: Option<String>,
    /// Bytes of memory that it uses.
    pub used_memory_bytes: Option<u64>,
}

impl From<ServerStatus> for ServerReport {
    fn from(server: ServerStatus) -> Self {
        let ServerFacts { role, version, maxmemory_policy, replication, used_memory } = server.facts;
        Self {
            address: server.address,
            state: server.trouble.unwrap_or_else(|| "ready".to_owned()),
            role,
            connected_since: server.connected_since_ms,
            reconnects: server.connections_lost,
            canary_age_ms: server.canary_age.map(whole_milliseconds),
            rtt_ms: server.round_trip.map(milliseconds),
            pending_requests: server.pending_requests,
            pending_bytes: Some(server.pending_bytes),
            subscriptions: server.subscriptions,
            last_error: server.last_error,
            version,
            maxmemory_policy,
            replication,
            used_memory_bytes: used_memory,
        }
    }
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) address: String,
    pub(super) uptime_seconds: u64,
    pub(super) fingerprint: String,
    pub(super) ready: bool,
    pub(super) not_ready: Vec<String>,
    pub(super) draining: bool,
    pub(super) drain_left: Option<usize>,
    pub(super) connections: BTreeMap<String, i64>,
    pub(super) clients: usize,
    pub(super) users: usize,
    pub(super) channels: i64,
    pub(super) subscriptions: usize,
    #[serde(flatten)]
    pub(super) process: ProcessReport,
    pub(super) workers: Vec<WorkerReport>,
    /// Milliseconds since the Unix epoch at the node, when it answered.
    pub(super) clock_ms: u64,
    pub(super) protocol_version: u32,
    pub(super) rates: Rates,
    pub(super) broker: BrokerReport,
    pub(super) series: Series,
}

impl NodeReport {
    /// This node now. `since`: the Unix second after which values of series are wanted; without one none are.
    pub fn of(admin: &Admin, since: Option<u64>) -> Self {
        let node = &admin.node;
        let (rates, workers, process) = admin.sampler.latest();
        let not_ready = node.readiness().err().unwrap_or_default();
        let draining = node.lifecycle.is_shutting_down();
        let sessions = &node.metrics.sessions;
        Self {
            id: node.id.to_string(),
            name: node.policy.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: node.cluster.own_address(),
            uptime_seconds: node.started.elapsed().as_secs(),
            fingerprint: node.live.running().fingerprint(),
            ready: not_ready.is_empty(),
            not_ready: not_ready.into_iter().map(|(part, reason)| format!("{part}: {reason}")).collect(),
            draining,
            drain_left: draining.then(|| node.admission.connections()),
            connections: connections(node),
            clients: sessions.clients(),
            users: sessions.users(),
            channels: node.metrics.channels.get(),
            subscriptions: sessions.subscriptions(),
            process,
            workers: workers
                .iter()
                .map(|(lag, inbox)| WorkerReport { lag_ms: milliseconds(*lag), inbox: *inbox })
                .collect(),
            clock_ms: crate::clock::unix_ms(),
            protocol_version: 1,
            rates,
            broker: BrokerReport::of(node),
            series: since.map(|since| admin.sampler.series(Some(since))).unwrap_or_default(),
        }
    }
}

fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

impl BrokerReport {
    fn of(node: &Node) -> Self {
        let stats = node.broker().stats();
        let state = match node.broker().health() {
            gorani_broker::Health::NotReady(reason) => reason,
            _ => "ready".to_owned(),
        };
        let kind = match node.settings.broker.kind {
            crate::settings::BrokerKind::Memory => "memory",
            crate::settings::BrokerKind::Redis => "redis",
        };
        Self {
            kind: kind.to_owned(),
            state,
            servers: stats.servers,
            reconnects: stats.request_connections_lost + stats.listening_connections_lost,
            canary_age_ms: stats.canary_age.map(whole_milliseconds),
            pending_requests: stats.pending_requests,
            pending_bytes: stats.pending_bytes,
            subscriptions: node.metrics.channels.get(),
            publishes_failed: stats.publishes_unavailable + stats.publishes_unknown,
            memory_bytes: stats.memory_bytes,
            each: node.broker().servers().into_iter().map(ServerReport::from).collect(),
        }
    }
}
