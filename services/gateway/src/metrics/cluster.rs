//! What a node counts of the others.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

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
    /// Questions and orders that were not answered in time.
    pub timeouts: Counter,
    /// Clients of dead nodes that this one took out of presence.
    pub reaped: Counter,
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
            reaped: counter("presence_reaped", "Clients of dead nodes taken out of presence"),
        }
    }
}
