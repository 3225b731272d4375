//! What a node counts of heavy reads: history, presence, recovery.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Whom a read is for: `client`, `api` or `catch_up`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
}

/// Whom a read is for, and whether it is `under_way` or `waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
    /// How far it has come.
    pub state: &'static str,
}

/// Gauges and counters of heavy reads.
#[derive(Debug, Clone, Default)]
pub struct ReadMetrics {
    reads: Family<ReadLabel, Gauge>,
    refused: Family<SourceLabel, Counter>,
}

/// Counts a read in its state until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ReadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("heavy_reads", "Heavy reads by source and state", metrics.reads.clone());
        let help = "Heavy reads that waited too long for their turn, by source";
        registry.register("heavy_reads_refused", help, metrics.refused.clone());
        metrics
    }

    /// Counts a read in this state for as long as the answer lives.
    pub fn count(&self, source: &'static str, state: &'static str) -> Counted {
        let gauge = self.reads.get_or_create_owned(&ReadLabel { source, state });
        gauge.inc();
        Counted(gauge)
    }

    /// Counts a read that was turned away.
    pub fn count_refused(&self, source: &'static str) {
        self.refused.get_or_create(&SourceLabel { source }).inc();
    }
}
