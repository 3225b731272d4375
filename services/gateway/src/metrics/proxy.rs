//! Metrics of proxies: what the backend is asked, and how it answers. Labels come from the settings alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Buckets of the times of calls; a client waits for them.
const SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Labels of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyCallLabel {
    /// The proxy.
    pub proxy: Arc<str>,
    /// `connect`, `subscribe`, …
    pub event: &'static str,
    /// `ok`, `timeout`, `unreachable`, …
    pub outcome: &'static str,
}

impl EncodeLabelSet for ProxyCallLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("proxy", &*self.proxy), ("event", self.event), ("outcome", self.outcome)].encode(encoder)
    }
}

/// Labels of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyLabel {
    /// The proxy.
    pub proxy: Arc<str>,
}

impl EncodeLabelSet for ProxyLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("proxy", &*self.proxy)].encode(encoder)
    }
}

/// The kind of call.
#[derive(Clone, Default)]
pub struct ProxyMetrics {
    /// Calls that ended, by outcome.
    pub requests: Family<ProxyCallLabel, Counter>,
    /// Times of calls that were sent.
    pub seconds: ProxySeconds,
    /// Calls under way; set by a scrape.
    pub in_flight: Family<ProxyLabel, Gauge>,
    /// Calls that may be under way now, `max_in_flight` at most; set by a scrape.
    pub allowed: Family<ProxyLabel, Gauge>,
    /// Calls that wait for a place; set by a scrape.
    pub waiting: Family<ProxyLabel, Gauge>,
    /// The breaker: 0 closed, 1 half open, 2 open; set by a scrape.
    pub breaker_state: Family<ProxyLabel, Gauge>,
    dropped: Counter,
    stale: Counter,
    undelivered: Counter,
}

/// The histogram of the times of calls.
#[derive(Clone)]
pub struct ProxySeconds(Family<ProxyLabel, Histogram>);

impl Default for ProxySeconds {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(SECONDS)))
    }
}

impl ProxySeconds {
    /// Counts a call.
    pub fn observe(&self, label: &ProxyLabel, seconds: f64) {
        self.0.get_or_create(label).observe(seconds);
    }
}

impl ProxyMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("proxy_requests", "Calls to the backend by outcome", metrics.requests.clone());
        registry.register("proxy_seconds", "Times of calls to the backend", metrics.seconds.0.clone());
        registry.register("proxy_in_flight", "Calls to the backend under way", metrics.in_flight.clone());
        registry.register(
            "proxy_allowed",
            "Calls to the backend that may be under way now",
            metrics.allowed.clone(),
        );
        registry.register("proxy_waiting", "Calls that wait for a place", metrics.waiting.clone());
        registry.register(
            "proxy_breaker_state",
            "0: calls go to the backend; 1: one of them tries; 2: they end at once",
            metrics.breaker_state.clone(),
        );
        registry.register(
            "proxy_dropped",
            "Publications that the backend had dropped",
            metrics.dropped.clone(),
        );
        registry.register("proxy_stale", "Answers that nobody waited for any more", metrics.stale.clone());
        registry.register(
            "proxy_undelivered",
            "Replies and errors for which a STOMP client had no subscription",
            metrics.undelivered.clone(),
        );
        metrics
    }

    /// Takes over what sessions counted: publications dropped, answers that came too late, replies without a
    /// subscription.
    pub fn set_session_counts(&self, dropped: u64, stale: u64, undelivered: u64) {
        let set = |counter: &Counter, value| {
            let inner: &AtomicU64 = counter.inner();
            inner.store(value, Relaxed);
        };
        set(&self.dropped, dropped);
        set(&self.stale, stale);
        set(&self.undelivered, undelivered);
    }
}
