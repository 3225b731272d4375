//! Traces: which requests and publications are sampled, and the spans of those. Decision record 66.
//!
//! A span is built where its work is done, and put into a bounded queue when it is dropped; a task takes it from there
//! ([`super::otlp`]). Where no endpoint is set there is no [`Tracer`], and nobody makes a span.

use std::{borrow::Cow, sync::Arc};

use gorani_broker::TraceContext;
use rand::Rng as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::trace_rate::{CLIENT_TRACES_PER_SECOND, TRACES_PER_SECOND, TraceRate};
use crate::{clock, metrics::traces::TraceMetrics};

/// Spans that wait for the collector at most; a span more is dropped and counted.
pub const QUEUE_SPANS: usize = 2048;
/// Links of a span at most.
const LINKS_MAX: usize = 8;

/// The flags of a trace that begins here: sampled, with an id of random bytes.
const NEW_FLAGS: u8 = 0x03;

/// The kind of a span, with its number in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work of the node itself.
    Internal = 1,
    /// The answer to a request.
    Server = 2,
    /// A request to a backend.
    Client = 3,
    /// Something handed over to the broker.
    Producer = 4,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for SpanValue {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for SpanValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct SpanRecord {
    /// Its trace and its own id.
    pub context: Arc<TraceContext>,
    /// The id of the span above it; absent where the trace begins with it.
    pub parent: Option<[u8; 8]>,
    /// Spans of other traces that it follows from.
    pub links: Vec<Arc<TraceContext>>,
    /// Its kind.
    pub kind: SpanKind,
    /// Its name, one of few.
    pub name: Cow<'static, str>,
    /// Its begin, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// Its attributes.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Why it failed.
    pub error: Option<Cow<'static, str>>,
}

/// An entry of the queue between the spans and the task that sends them.
pub enum QueuedSpan {
    /// A span to be sent.
    Ended(Box<SpanRecord>),
    /// Answered when all before it is sent or given up.
    Flush(oneshot::Sender<()>),
}

/// Decides what is sampled, and takes the spans of it.
pub struct Tracer {
    queue: mpsc::Sender<QueuedSpan>,
    /// Of traces that begin here, the part that is sampled: 0 to 1.
    sample: f64,
    /// The names of channels stand in spans.
    pub channel_names: bool,
    /// Traces that begin here, or come from outside.
    begun: TraceRate,
    /// Those of clients among them.
    begun_by_clients: TraceRate,
    /// Deliveries of sampled publications, also those that other nodes have admitted.
    deliveries: TraceRate,
    metrics: TraceMetrics,
}

impl Tracer {
    /// A tracer, and the queue from which its spans are to be taken.
    pub fn new(
        sample: f64,
        channel_names: bool,
        metrics: TraceMetrics,
    ) -> (Arc<Self>, mpsc::Receiver<QueuedSpan>) {
        let (queue, ended) = mpsc::channel(QUEUE_SPANS);
        let tracer = Self {
            queue,
            sample,
            channel_names,
            begun: TraceRate::new(TRACES_PER_SECOND),
            begun_by_clients: TraceRate::new(CLIENT_TRACES_PER_SECOND),
            deliveries: TraceRate::new(TRACES_PER_SECOND),
            metrics,
        };
        (Arc::new(tracer), ended)
    }

    /// Begins the first span of this node in a trace: under the parent that came from outside, if there is one and it is sampled;
    /// without a parent a part of all is sampled. `None`: it is not sampled.
    pub fn begin(self: &Arc<Self>, kind: SpanKind, parent: Option<&TraceContext>) -> Option<Span> {
        let admitted = self.chooses(parent) && self.counted(self.begun.admit());
        admitted.then(|| self.below(kind, parent))
    }

    /// As [`Self::begin`], for what a client asks for: clients do not use up what backends have.
    pub fn begin_for_client(self: &Arc<Self>, kind: SpanKind, parent: Option<&TraceContext>) -> Option<Span> {
        let admitted =
            self.chooses(parent) && self.counted(self.begun_by_clients.admit() && self.begun.admit());
        admitted.then(|| self.below(kind, parent))
    }

    /// Begins the span of a delivery: under the one of its publish, or beside it with a link where that was one of a batch. `None`:
    /// there are too many. Each node counts them for itself, since the other nodes may publish more than one.
    pub fn begin_delivery(self: &Arc<Self>, published: &Arc<TraceContext>) -> Option<Span> {
        if !self.counted(self.deliveries.admit()) {
            return None;
        }
        if !published.is_of_batch {
            return Some(self.child(SpanKind::Internal, published));
        }
        let mut span = self.root(SpanKind::Internal);
        span.link(published);
        Some(span)
    }

    /// Begins a span under one of a node's own.
    pub fn child(self: &Arc<Self>, kind: SpanKind, parent: &TraceContext) -> Span {
        let context = TraceContext { span_id: new_id(), ..parent.clone() };
        self.open(kind, context, Some(parent.span_id))
    }

    fn below(self: &Arc<Self>, kind: SpanKind, parent: Option<&TraceContext>) -> Span {
        parent.map_or_else(|| self.root(kind), |parent| self.child(kind, parent))
    }

    fn root(self: &Arc<Self>, kind: SpanKind) -> Span {
        let context = TraceContext {
            trace_id: new_id(),
            span_id: new_id(),
            flags: NEW_FLAGS,
            state: Box::default(),
            is_of_batch: false,
        };
        self.open(kind, context, None)
    }

    fn open(self: &Arc<Self>, kind: SpanKind, context: TraceContext, parent: Option<[u8; 8]>) -> Span {
        let start_ns = clock::unix_ns();
        let record = SpanRecord {
            context: Arc::new(context),
            parent,
            links: Vec::new(),
            kind,
            name: Cow::Borrowed(""),
            start_ns,
            end_ns: start_ns,
            attributes: Vec::with_capacity(8),
            error: None,
        };
        Span { tracer: self.clone(), began: Instant::now(), record: Some(Box::new(record)) }
    }

    /// True where a parent is sampled; without one, for the part of all traces that is.
    fn chooses(&self, parent: Option<&TraceContext>) -> bool {
        // The random number is made only where it decides.
        let is_of_part = || self.sample >= 1.0 || (self.sample > 0.0 && random_fraction() < self.sample);
        parent.map_or_else(is_of_part, TraceContext::is_sampled)
    }

    fn counted(&self, admitted: bool) -> bool {
        if !admitted {
            self.metrics.rate_limited.inc();
        }
        admitted
    }

    /// Resolves when all spans that have ended until now are sent or given up.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(QueuedSpan::Flush(answer)).await.is_ok() {
            // The task is gone: nothing is sent any more.
            let _ = answered.await;
        }
    }
}

/// A span that is under way. It ends when it is dropped.
pub struct Span {
    tracer: Arc<Tracer>,
    began: Instant,
    /// Absent once it is given up.
    record: Option<Box<SpanRecord>>,
}

impl Span {
    /// The context for what is done under it.
    pub fn context(&self) -> Option<Arc<TraceContext>> {
        self.record.as_ref().map(|record| record.context.clone())
    }

    /// The publications under it are many of one request.
    pub fn mark_batch(&mut self) {
        if let Some(record) = &mut self.record {
            record.context =
                Arc::new(TraceContext { is_of_batch: true, ..TraceContext::clone(&record.context) });
        }
    }

    /// Names it.
    pub fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(record) = &mut self.record {
            record.name = name.into();
        }
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<SpanValue>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value.into()));
        }
    }

    /// It follows from a span of another trace.
    pub fn link(&mut self, followed: &Arc<TraceContext>) {
        if let Some(record) = self.record.as_mut().filter(|record| record.links.len() < LINKS_MAX) {
            record.links.push(followed.clone());
        }
    }

    /// It failed, for this reason.
    pub fn fail(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(record) = &mut self.record {
            record.error = Some(reason.into());
        }
    }

    /// Gives it up: it is not sent.
    pub fn discard(mut self) {
        self.record = None;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        record.end_ns = record.start_ns.saturating_add(took);
        if self.tracer.queue.try_send(QueuedSpan::Ended(record)).is_err() {
            self.tracer.metrics.queue_full.inc();
        }
    }
}

/// An id of random bytes, never all zero.
fn new_id<const N: usize>() -> [u8; N] {
    let mut id = [0; N];
    crate::random::rng().fill_bytes(&mut id);
    if id == [0; N] {
        id = [1; N];
    }
    id
}

/// A number from 0 up to 1.
fn random_fraction() -> f64 {
    f64::from(crate::random::rng().next_u32()) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
