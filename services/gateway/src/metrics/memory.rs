//! The memory that the node holds for clients, against its memory budget; read when a scrape asks for it.
//!
//! Counters of heavy reads: history, presence, recovery.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::memory::MemoryBudget;

/// Labels of what holds memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    /// `outbox`, `input`, `body`, `reply`, `broker` or `pending`.
    kind: &'static str,
}

/// Gauges of the budget.
#[derive(Default)]
pub struct MemoryMetrics {
    bytes: Family<KindLabel, Gauge>,
    limit_bytes: Gauge<i64, AtomicI64>,
    refused: Counter,
    bodies_refused: Counter,
    ended: Counter,
}

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("memory_bytes", "Bytes held for clients, by kind", metrics.bytes.clone());
        registry.register("memory_limit_bytes", "The memory budget", metrics.limit_bytes.clone());
        registry.register(
            "memory_replies_refused",
            "Large replies refused for lack of memory",
            metrics.refused.clone(),
        );
        registry.register(
            "memory_bodies_refused",
            "Bodies of requests refused or broken off for lack of memory",
            metrics.bodies_refused.clone(),
        );
        registry.register("memory_ended", "Connections ended to free memory", metrics.ended.clone());
        metrics
    }

    /// Takes over what the budget says.
    pub fn set(&self, budget: &MemoryBudget) {
        let number = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let held = budget.held();
        for (kind, bytes) in [
            ("outbox", held.outboxes),
            ("input", held.input),
            ("body", held.bodies),
            ("reply", budget.reply_bytes()),
            ("broker", budget.broker_bytes()),
            ("pending", budget.pending_bytes()),
        ] {
            self.bytes.get_or_create(&KindLabel { kind }).set(number(bytes));
        }
        self.limit_bytes.set(number(budget.limit_bytes()));
        self.refused.inc_by(budget.replies_refused().saturating_sub(self.refused.get()));
        self.bodies_refused.inc_by(budget.bodies_refused().saturating_sub(self.bodies_refused.get()));
        self.ended.inc_by(budget.ended().saturating_sub(self.ended.get()));
    }
}

/// The requester of a read: `client`, `api` or `catch_up`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
}

/// The requester of a read, and whether the read is `under_way` or `waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
    /// The state of the read.
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
