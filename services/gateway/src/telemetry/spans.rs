//! The spans of the node: requests of the API, publications, deliveries, recoveries, requests with hooks. Each kind with its name and
//! its attributes. There is never one for a subscriber.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use gorani_auth::channel::ChannelName;
use gorani_broker::{Publication, TraceContext};

use super::{
    otlp,
    trace::{Span, SpanKind, Tracer},
};

/// The name of the header of a trace, and of the tag that brings one to subscribers.
pub const TRACEPARENT: &str = "traceparent";
/// Its header.
const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);
/// The header of what other systems keep with a trace.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The namespace of channels without one, as the settings call it.
const WITHOUT_NAMESPACE: &str = "without_namespace";

/// The context of a request; `None` without one, or where it cannot be read.
pub fn context_of(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = headers.get(TRACEPARENT_HEADER)?;
    let state = headers.get(TRACESTATE).map_or(&b""[..], HeaderValue::as_bytes);
    TraceContext::parse(parent.as_bytes(), state)
}

/// The context that a publisher put into the tags of a publication.
pub fn context_in_tags(tags: &[(String, String)]) -> Option<TraceContext> {
    let (_, parent) = tags.iter().find(|(name, _)| name == TRACEPARENT)?;
    TraceContext::parse(parent.as_bytes(), b"")
}

/// Begins the span of a request, under the one of its `traceparent`. `None`: it is not sampled.
pub fn begin_request(tracer: &Arc<Tracer>, headers: &HeaderMap) -> Option<Span> {
    let mut span = tracer.begin(SpanKind::Server, context_of(headers).as_ref())?;
    // The name of one whose body does not come.
    span.name("POST /api");
    Some(span)
}

/// Ends the span of a request of the API: by its route, the status and, where it failed, the code.
pub fn end_request(mut span: Span, method: &str, status: u16, code: Option<u32>) {
    let route = format!("/api/{method}");
    span.name(format!("POST {route}"));
    span.set(otlp::HTTP_METHOD, "POST");
    span.set(otlp::HTTP_ROUTE, route);
    span.set(otlp::HTTP_STATUS, status);
    if let Some(code) = code {
        span.set(otlp::ERROR_TYPE, code.to_string());
        span.fail(format!("code {code}"));
    }
}

/// Begins the span of a publication, if it is sampled, and makes it the trace of the publication: what follows comes under it.
///
/// Its parent is the call that brings it, else the context that a publisher put into the tags; that one is linked where there are both.
pub fn begin_publish(
    tracer: &Arc<Tracer>,
    channel: &str,
    publication: &mut Publication,
    source: &'static str,
) -> Option<Span> {
    let of_call = publication.trace.take();
    let tagged = context_in_tags(&publication.tags);
    let mut span = match (&of_call, &tagged) {
        (Some(parent), _) => tracer.child(SpanKind::Producer, parent),
        (None, Some(parent)) if source == "api" => tracer.begin(SpanKind::Producer, Some(parent))?,
        // Of a call it was decided when it came.
        (None, None) if source == "api" => return None,
        (None, parent) => tracer.begin_for_client(SpanKind::Producer, parent.as_ref())?,
    };
    if let (Some(_), Some(tagged)) = (of_call, tagged) {
        span.link(&Arc::new(tagged));
    }
    describe(&mut span, tracer, channel, "publish");
    span.set(otlp::OPERATION_TYPE, "send");
    span.set(otlp::BODY_SIZE, publication.data.len());
    span.set(otlp::SOURCE, source);
    publication.trace = span.context();
    Some(span)
}

/// Puts the trace of a publication among its tags, for its subscribers, unless its publisher put one there.
pub fn show_in_tags(publication: &mut Publication) {
    if let Some(trace) = &publication.trace
        && !publication.tags.iter().any(|(name, _)| name == TRACEPARENT)
    {
        publication.tags.push((TRACEPARENT.to_owned(), trace.to_string()));
    }
}

/// Ends the span of a publication: its offset, or the code of an error.
pub fn end_publish(mut span: Span, result: Result<u64, u32>) {
    match result {
        // A channel without history has no offsets.
        Ok(0) => {}
        Ok(offset) => span.set(otlp::OFFSET, offset),
        Err(code) => {
            span.set(otlp::ERROR_TYPE, code.to_string());
            span.fail(format!("code {code}"));
        }
    }
}

/// The delivery of one publication on this node. Its workers share it, and it ends when the last one is done.
pub struct DeliverySpan {
    span: Option<Span>,
    matched: AtomicU64,
    encodings: AtomicU64,
    encoded_bytes: AtomicU64,
    overflows: AtomicU64,
}

impl DeliverySpan {
    /// Begins it for a publication with a trace: under the span of its publish, or beside it where that was one of a batch.
    pub fn begin(tracer: &Arc<Tracer>, channel: &str, publication: &Publication) -> Option<Arc<Self>> {
        let trace = publication.trace.as_ref().filter(|trace| trace.is_sampled())?;
        let mut span = tracer.begin_delivery(trace)?;
        describe(&mut span, tracer, channel, "deliver");
        span.set(otlp::BODY_SIZE, publication.data.len());
        let zero = AtomicU64::default;
        Some(Arc::new(Self {
            span: Some(span),
            matched: zero(),
            encodings: zero(),
            encoded_bytes: zero(),
            overflows: zero(),
        }))
    }

    /// A worker has put it into the outboxes of so many subscribers, in so many forms of so many bytes together.
    pub fn delivered(&self, subscribers: usize, encodings: usize, encoded_bytes: usize) {
        self.matched.fetch_add(subscribers as u64, Ordering::Relaxed);
        self.encodings.fetch_max(encodings as u64, Ordering::Relaxed);
        self.encoded_bytes.fetch_add(encoded_bytes as u64, Ordering::Relaxed);
    }

    /// The inbox of a worker had no room for it.
    pub fn overflowed(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for DeliverySpan {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        let [matched, overflows] = [*self.matched.get_mut(), *self.overflows.get_mut()];
        if matched == 0 && overflows == 0 {
            // The channel is wanted for a while after its last subscriber has left.
            return span.discard();
        }
        span.set(otlp::MATCHED, matched);
        span.set(otlp::ENCODINGS, *self.encodings.get_mut());
        span.set(otlp::ENCODED_BYTES, *self.encoded_bytes.get_mut());
        span.set(otlp::OVERFLOWS, overflows);
    }
}

/// Begins the span of a recovery, if it is sampled.
pub fn begin_recovery(tracer: &Arc<Tracer>, channel: &str) -> Option<Span> {
    let mut span = tracer.begin_for_client(SpanKind::Internal, None)?;
    describe(&mut span, tracer, channel, "recover");
    Some(span)
}

/// Ends it: the publications that it brought, or the code of an error.
pub fn end_recovery(mut span: Span, result: Result<usize, u32>) {
    match result {
        Ok(publications) => span.set(otlp::RECOVERED, publications),
        Err(code) => {
            span.set(otlp::ERROR_TYPE, code.to_string());
            span.fail(format!("code {code}"));
        }
    }
}

/// Begins the span of a request with hooks, if it is sampled.
pub fn begin_hooks(tracer: &Arc<Tracer>, endpoint: &str, host: Option<&str>, events: usize) -> Option<Span> {
    let mut span = tracer.begin(SpanKind::Client, None)?;
    // The endpoints are those of the settings: their names are few.
    span.name(format!("POST {endpoint}"));
    span.set(otlp::HTTP_METHOD, "POST");
    span.set(otlp::HOOK_ENDPOINT, endpoint.to_owned());
    span.set(otlp::BATCH_COUNT, events);
    if let Some(host) = host {
        span.set(otlp::SERVER_ADDRESS, host.to_owned());
    }
    Some(span)
}

/// Begins the span of a call to a proxy, under the client's trace if it has one, if it is sampled.
pub fn begin_call(
    tracer: &Arc<Tracer>,
    parent: Option<&TraceContext>,
    proxy: &str,
    event: &'static str,
    host: Option<&str>,
) -> Option<Span> {
    let mut span = tracer.begin_for_client(SpanKind::Client, parent)?;
    // The proxies are those of the settings: their names are few.
    span.name(format!("POST {proxy}"));
    span.set(otlp::HTTP_METHOD, "POST");
    span.set(otlp::PROXY_EVENT, event);
    if let Some(host) = host {
        span.set(otlp::SERVER_ADDRESS, host.to_owned());
    }
    Some(span)
}

/// The header with which the backend continues the trace of a request.
pub fn traceparent_header(span: &Span) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&span.context()?.to_string()).ok()?;
    Some((TRACEPARENT_HEADER, value))
}

/// Ends the span of a request to a backend: the status of the answer, or the reason why there is none.
pub fn end_backend_request(mut span: Span, result: Result<u16, String>) {
    match result {
        Ok(status) => {
            span.set(otlp::HTTP_STATUS, status);
            if status >= 400 {
                span.set(otlp::ERROR_TYPE, status.to_string());
                span.fail(format!("status {status}"));
            }
        }
        Err(reason) => {
            span.set(otlp::ERROR_TYPE, "no_answer");
            span.fail(reason);
        }
    }
}

/// The name of a span about a channel, which tells its namespace only, and the attributes that all of them have.
fn describe(span: &mut Span, tracer: &Tracer, channel: &str, operation: &'static str) {
    let namespace = ChannelName::parse(channel).namespace.unwrap_or(WITHOUT_NAMESPACE);
    span.name(format!("{operation} {namespace}"));
    span.set(otlp::MESSAGING_SYSTEM, otlp::SYSTEM);
    span.set(otlp::OPERATION_NAME, operation);
    span.set(otlp::DESTINATION_TEMPLATE, namespace.to_owned());
    if tracer.channel_names {
        span.set(otlp::DESTINATION_NAME, channel.to_owned());
    }
}
