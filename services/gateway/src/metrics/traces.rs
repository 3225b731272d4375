//! Metrics of traces: what becomes of their spans.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Labels of a span that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanLabel {
    /// `exported`, `queue_full` or `failed`.
    result: &'static str,
}

/// Spans by what became of them. Cloning shares.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    /// The collector has them.
    pub exported: Counter,
    /// The queue had no room for them.
    pub queue_full: Counter,
    /// The collector did not take them.
    pub failed: Counter,
    /// Traces that were not sampled since there were too many in a second.
    pub rate_limited: Counter,
}

impl TraceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let spans = Family::<SpanLabel, Counter>::default();
        registry.register("trace_spans", "Spans of sampled traces by what became of them", spans.clone());
        let of = |result| spans.get_or_create_owned(&SpanLabel { result });
        let rate_limited = Counter::default();
        let help = "Traces that were not sampled since there were too many in a second";
        registry.register("traces_rate_limited", help, rate_limited.clone());
        Self { exported: of("exported"), queue_full: of("queue_full"), failed: of("failed"), rate_limited }
    }
}
