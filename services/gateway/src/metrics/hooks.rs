//! Metrics of hooks: what is written into the store, and what is delivered from it. Labels are names of endpoints of the settings.

use gorani_broker::hook_store::HookEventKind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Buckets of the time that an endpoint takes to answer.
const DELIVERY_BUCKETS_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Labels of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookEventLabel {
    /// The kind of the event.
    pub r#type: &'static str,
}

/// Labels of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookEndpointLabel {
    /// Its name in the settings.
    pub endpoint: String,
}

/// Labels of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookDeliveryLabel {
    /// The endpoint's name in the settings.
    pub endpoint: String,
    /// `taken`, `failed`, `refused` (400, 413, 422) or `gone` (410).
    pub outcome: &'static str,
}

/// Metrics of hooks.
pub struct HookMetrics {
    /// Events written into the store, by kind.
    events: Family<HookEventLabel, Counter>,
    /// Requests to endpoints.
    deliveries: Family<HookDeliveryLabel, Counter>,
    /// Time that a request took, its answer included.
    delivery_seconds: Histogram,
    backlog_events: Family<HookEndpointLabel, Gauge>,
    backlog_age_seconds: Family<HookEndpointLabel, Gauge>,
    dead_letters: Family<HookEndpointLabel, Gauge>,
    dropped: Family<HookEndpointLabel, Counter>,
    paused: Family<HookEndpointLabel, Gauge>,
    /// Partitions that this node delivers.
    pub partitions_owned: Gauge,
    /// Sessions of dead nodes that this node took out of the store.
    reaped_sessions: Counter,
    /// Changes of this node that the store has not got yet.
    flush_pending: Gauge,
}

impl HookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let delivery_seconds = Histogram::new(DELIVERY_BUCKETS_SECONDS);
        registry.register(
            "hook_delivery_seconds",
            "Time that a request with events took",
            delivery_seconds.clone(),
        );
        let partitions_owned = Gauge::default();
        registry.register(
            "hook_partitions_owned",
            "Partitions of hooks that this node delivers",
            partitions_owned.clone(),
        );
        let reaped_sessions = Counter::default();
        registry.register(
            "hook_reaped_sessions",
            "Sessions of dead nodes taken out of the store of hooks",
            reaped_sessions.clone(),
        );
        let flush_pending = Gauge::default();
        registry.register(
            "hook_flush_pending",
            "Changes that the store of hooks has not got yet",
            flush_pending.clone(),
        );
        let events = Family::default();
        registry.register("hook_events", "Events written into the store of hooks, by type", events.clone());
        let deliveries = Family::default();
        registry.register(
            "hook_deliveries",
            "Requests with events to an endpoint, by outcome",
            deliveries.clone(),
        );
        let backlog_events = Family::default();
        registry.register(
            "hook_backlog_events",
            "Events that wait for an endpoint, in the partitions of this node",
            backlog_events.clone(),
        );
        let backlog_age_seconds = Family::default();
        registry.register(
            "hook_backlog_age_seconds",
            "Age of the oldest event that waits, in the partitions of this node",
            backlog_age_seconds.clone(),
        );
        let dead_letters = Family::default();
        registry.register(
            "hook_dead_letters",
            "Dead letters of an endpoint, in the partitions of this node",
            dead_letters.clone(),
        );
        let dropped = Family::default();
        registry.register(
            "hook_dropped",
            "Events dropped since too many waited for an endpoint",
            dropped.clone(),
        );
        let paused = Family::default();
        registry.register("hook_paused", "1 while an endpoint that answered 410 is paused", paused.clone());
        Self {
            events,
            deliveries,
            delivery_seconds,
            backlog_events,
            backlog_age_seconds,
            dead_letters,
            dropped,
            paused,
            partitions_owned,
            reaped_sessions,
            flush_pending,
        }
    }

    /// Sets what the node has counted: changes that wait, sessions of dead nodes, and events written.
    pub fn note_tracked(
        &self,
        pending: usize,
        reaped: u64,
        written: impl Iterator<Item = (HookEventKind, u64)>,
    ) {
        self.flush_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        advance(&self.reaped_sessions, reaped);
        for (kind, count) in written {
            advance(&self.events.get_or_create(&HookEventLabel { r#type: kind.name() }), count);
        }
    }

    /// The metrics of one endpoint, which are there from now on.
    pub fn endpoint(&self, name: &str) -> HookEndpointMetrics {
        let label = HookEndpointLabel { endpoint: name.to_owned() };
        let delivery = |outcome| {
            self.deliveries.get_or_create_owned(&HookDeliveryLabel { endpoint: name.to_owned(), outcome })
        };
        HookEndpointMetrics {
            taken: delivery("taken"),
            failed: delivery("failed"),
            refused: delivery("refused"),
            gone: delivery("gone"),
            backlog_events: self.backlog_events.get_or_create_owned(&label),
            backlog_age_seconds: self.backlog_age_seconds.get_or_create_owned(&label),
            dead_letters: self.dead_letters.get_or_create_owned(&label),
            dropped: self.dropped.get_or_create_owned(&label),
            paused: self.paused.get_or_create_owned(&label),
            seconds: self.delivery_seconds.clone(),
        }
    }
}

/// Metrics of one endpoint.
pub struct HookEndpointMetrics {
    /// Requests whose events were taken.
    pub taken: Counter,
    /// Requests that failed.
    pub failed: Counter,
    /// Requests that were refused with 400, 413 or 422.
    pub refused: Counter,
    /// Requests that were answered 410.
    pub gone: Counter,
    /// Events that wait.
    pub backlog_events: Gauge,
    /// Age of the oldest of them.
    pub backlog_age_seconds: Gauge,
    /// Dead letters.
    pub dead_letters: Gauge,
    /// Events that were dropped.
    pub dropped: Counter,
    /// 1 while the endpoint is paused.
    pub paused: Gauge,
    /// Time that a request took, of all endpoints together.
    pub seconds: Histogram,
}

/// Brings a counter to a sum that only grows.
fn advance(counter: &Counter, sum: u64) {
    counter.inc_by(sum.saturating_sub(counter.get()));
}
