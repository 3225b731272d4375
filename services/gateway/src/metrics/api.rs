//! Calls of backends: the HTTP API and the time that a publish takes.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::histogram::AtomicHistogram;

/// Labels of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabel {
    /// `api` or `client`.
    pub source: &'static str,
    /// `accepted`, `refused` or `failed` ([`PublishOutcome`]).
    pub result: &'static str,
}

/// The outcome of a publish, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has it.
    Accepted,
    /// The caller's mistake: the same request is refused again, and nobody needs to be woken up.
    Refused,
    /// The broker or the node did not manage it, or it is not known whether it did.
    Failed,
}

impl PublishOutcome {
    /// The value of the label `result`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The publications of one source; looked up once, since every publish moves one.
pub struct Publications {
    accepted: PublishMetrics,
    refused: PublishMetrics,
    failed: PublishMetrics,
}

struct PublishMetrics {
    count: Counter,
    seconds: AtomicHistogram,
}

/// Registers the publications of the API and those of clients.
pub(super) fn register_publications(registry: &mut Registry) -> [Publications; 2] {
    let counters: Family<PublishLabel, Counter> = Family::default();
    registry.register("publications", "Publications by source and result", counters.clone());
    let seconds: Family<PublishLabel, AtomicHistogram> = Family::default();
    let help = "From a publish until the broker has answered it, by source and result";
    registry.register("publish_duration_seconds", help, seconds.clone());
    ["api", "client"].map(|source| {
        let metrics = |result| {
            let label = PublishLabel { source, result };
            PublishMetrics {
                count: counters.get_or_create_owned(&label),
                seconds: seconds.get_or_create_owned(&label),
            }
        };
        Publications { accepted: metrics("accepted"), refused: metrics("refused"), failed: metrics("failed") }
    })
}

impl Publications {
    /// Those that the broker has.
    pub fn accepted(&self) -> u64 {
        self.accepted.count.get()
    }

    /// Counts one that took so long.
    pub fn count(&self, result: PublishOutcome, time: Duration) {
        let metrics = match result {
            PublishOutcome::Accepted => &self.accepted,
            PublishOutcome::Refused => &self.refused,
            PublishOutcome::Failed => &self.failed,
        };
        metrics.count.inc();
        metrics.seconds.observe(time);
    }
}

/// Labels of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    method: &'static str,
    /// 0, or the code of an error.
    code: u32,
}

/// Labels of a method.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

/// Calls of the API. One call counts once, however many publications or commands it holds.
#[derive(Debug)]
pub struct ApiMetrics {
    requests: Family<CallLabel, Counter>,
    seconds: Family<MethodLabel, AtomicHistogram>,
}

/// The calls of one method; looked up once, since every call moves them.
#[derive(Debug, Clone)]
pub struct MethodMetrics {
    method: &'static str,
    requests: Family<CallLabel, Counter>,
    done: Counter,
    seconds: AtomicHistogram,
}

impl ApiMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default(), seconds: Family::default() };
        let help = "Calls of the API with a right key, by method and code of the error; 0: done";
        registry.register("api_requests", help, metrics.requests.clone());
        let help = "Times of calls of the API by method, once the body is read";
        registry.register("api_duration_seconds", help, metrics.seconds.clone());
        metrics
    }

    /// The calls of a method of the table of methods, or of `batch`.
    pub fn of(&self, method: &'static str) -> MethodMetrics {
        MethodMetrics {
            method,
            requests: self.requests.clone(),
            done: self.requests.get_or_create_owned(&CallLabel { method, code: 0 }),
            seconds: self.seconds.get_or_create_owned(&MethodLabel { method }),
        }
    }
}

impl MethodMetrics {
    /// A call has its answer: 0, or the code of an error.
    pub fn count(&self, code: u32, time: Duration) {
        match code {
            0 => self.done.inc(),
            code => self.requests.get_or_create(&CallLabel { method: self.method, code }).inc(),
        };
        self.seconds.observe(time);
    }
}
