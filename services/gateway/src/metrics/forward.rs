//! What a node counts of requests that are forwarded between nodes.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What became of a request.
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
