//! What a node counts of accepted TCP connections.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Why a connection was closed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Shed {
    /// It was new, and its address has as many new connections as one may have.
    Address,
    /// It was new, and the node has as many new connections as it may.
    Handshakes,
    /// It was idle, and the node has as many connections as it may.
    Full,
    /// It was one of those that get health and metrics alone, and another came.
    Reserved,
    /// It was new, and the node drains.
    Drain,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabel {
    reason: Shed,
}

/// Counters of accepted connections.
pub struct AcceptMetrics {
    /// TCP connections that are open, of every listener.
    pub open: Gauge,
    shed: Family<ShedLabel, Counter>,
}

impl AcceptMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("tcp_connections", "Accepted TCP connections that are open", open.clone());
        let shed = Family::default();
        registry.register(
            "tcp_connections_shed",
            "TCP connections closed to make room by reason",
            shed.clone(),
        );
        Self { open, shed }
    }

    /// Counts a connection that is closed to make room.
    pub fn count_shed(&self, reason: Shed) {
        self.shed.get_or_create(&ShedLabel { reason }).inc();
    }
}
