//! Gauges of the workers: what waits in the outboxes of their connections and in their inboxes. Each worker writes its own
//! every few seconds; a scrape adds them up.

use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// The bytes that wait in the outboxes of one worker, at its last look at all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingOutboxes {
    /// Bytes of all.
    pub bytes: u64,
    /// Connections with anything waiting.
    pub connections: u64,
    /// Milliseconds for which the oldest byte has waited.
    pub oldest_ms: u64,
}

/// The number of a worker, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: usize,
}

/// Gauges of all workers.
#[derive(Debug)]
pub struct WorkerMetrics {
    outbox_bytes: Gauge,
    outbox_waiting: Gauge,
    outbox_oldest_seconds: Gauge<f64, AtomicU64>,
    inbox_entries: Family<WorkerLabel, Gauge>,
    /// By the number of the worker.
    waiting: Mutex<Vec<WaitingOutboxes>>,
}

impl WorkerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            outbox_bytes: Gauge::default(),
            outbox_waiting: Gauge::default(),
            outbox_oldest_seconds: Gauge::default(),
            inbox_entries: Family::default(),
            waiting: Mutex::default(),
        };
        registry.register(
            "outbox_bytes",
            "Bytes that wait for clients; each worker looks at 10,000 connections a second",
            metrics.outbox_bytes.clone(),
        );
        registry.register(
            "outbox_waiting",
            "Connections with anything waiting for their clients",
            metrics.outbox_waiting.clone(),
        );
        registry.register(
            "outbox_oldest_seconds",
            "Age of the oldest byte that waits for a client",
            metrics.outbox_oldest_seconds.clone(),
        );
        registry.register(
            "worker_inbox_entries",
            "Events and commands that wait for a worker",
            metrics.inbox_entries.clone(),
        );
        metrics
    }

    /// A worker has looked at all its outboxes.
    pub fn set_waiting(&self, worker: usize, waiting: WaitingOutboxes) {
        let mut workers = self.waiting.lock();
        if workers.len() <= worker {
            workers.resize_with(worker + 1, WaitingOutboxes::default);
        }
        if let Some(of_worker) = workers.get_mut(worker) {
            *of_worker = waiting;
        }
    }

    /// Sets the gauges for a scrape. `inboxes`: entries that wait in each worker's.
    #[allow(clippy::cast_precision_loss, reason = "2^53 ms are long")]
    pub fn set(&self, inboxes: impl Iterator<Item = usize>) {
        let workers = self.waiting.lock().clone();
        let gauge = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.outbox_bytes, workers.iter().map(|waiting| waiting.bytes).sum());
        gauge(&self.outbox_waiting, workers.iter().map(|waiting| waiting.connections).sum());
        let oldest = workers.iter().map(|waiting| waiting.oldest_ms).max();
        self.outbox_oldest_seconds.set(oldest.unwrap_or_default() as f64 / 1000.0);
        for (worker, entries) in inboxes.enumerate() {
            gauge(&self.inbox_entries.get_or_create(&WorkerLabel { worker }), entries as u64);
        }
    }
}
