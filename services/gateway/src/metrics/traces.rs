//! Metrics of traces: what becomes of their spans, and of the publications that are to be traced for their context.

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
    /// Publications whose sampled context begins a trace of explain.
    pub of_publications: PublicationTraceMetrics,
}

/// Labels of a publication whose context is sampled, in a namespace with `trace_sampled`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublicationTraceLabel {
    /// `begun`, `too_many` or `failed`.
    result: &'static str,
}

/// Those publications by what became of their traces. Cloning shares.
#[derive(Debug, Clone)]
pub struct PublicationTraceMetrics {
    /// It is traced.
    pub begun: Counter,
    /// It goes out without, since there are as many traces as may be.
    pub too_many: Counter,
    /// It goes out without, since nodes could not be asked.
    pub failed: Counter,
}

impl PublicationTraceMetrics {
    fn register(registry: &mut Registry) -> Self {
        let all = Family::<PublicationTraceLabel, Counter>::default();
        let help = "Publications that their sampled traceparent has traced, by what became of that";
        registry.register("publication_traces", help, all.clone());
        let of = |result| all.get_or_create_owned(&PublicationTraceLabel { result });
        Self { begun: of("begun"), too_many: of("too_many"), failed: of("failed") }
    }
}

impl TraceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let spans = Family::<SpanLabel, Counter>::default();
        registry.register("trace_spans", "Spans of sampled traces by what became of them", spans.clone());
        let of = |result| spans.get_or_create_owned(&SpanLabel { result });
        let rate_limited = Counter::default();
        let help = "Traces that were not sampled since there were too many in a second";
        registry.register("traces_rate_limited", help, rate_limited.clone());
        let of_publications = PublicationTraceMetrics::register(registry);
        Self {
            exported: of("exported"),
            queue_full: of("queue_full"),
            failed: of("failed"),
            rate_limited,
            of_publications,
        }
    }
}
