//! The collector gets the spans, whole and once, and one that fails costs spans only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{cell::RefCell, rc::Rc};

use actix_http::StatusCode;
use bytes::Bytes;
use gorani_broker::{Publication, TraceContext};

use super::*;
use crate::{
    backend::simulated,
    metrics::Metrics,
    settings::OtlpSettings,
    telemetry::{
        otlp::messages::{AnyValueKind, PartialSuccess},
        spans::{begin_publish, end_publish},
        trace::SpanKind,
    },
};

/// A collector that answers each request by the next of these, and with 200 after them.
fn collector(answers: Vec<(u16, Vec<u8>)>) -> Rc<RefCell<Vec<ExportRequest>>> {
    let seen: Rc<RefCell<Vec<ExportRequest>>> = Rc::default();
    let (log, answers) = (seen.clone(), RefCell::new(answers.into_iter()));
    simulated::set(Some(Rc::new(move |url, body: &Bytes| {
        assert_eq!(url.as_str(), "http://collector:4318/v1/traces");
        log.borrow_mut().push(ExportRequest::decode(body.as_ref()).unwrap());
        let (status, body) = answers.borrow_mut().next().unwrap_or((200, Vec::new()));
        let status = StatusCode::from_u16(status).unwrap();
        let answer = BackendAnswer { status, retry_after: None, body: body.into(), took: Duration::ZERO };
        Box::pin(std::future::ready(Ok(answer)))
    })));
    seen
}

fn open() -> (Arc<Tracer>, Exporter, TraceMetrics) {
    let otlp = OtlpSettings { endpoint: "http://collector:4318/".to_owned(), ..OtlpSettings::default() };
    let settings =
        TelemetrySettings { sample: 1.0, channel_names: true, otlp, ..TelemetrySettings::default() };
    let metrics = Metrics::default().traces;
    let (tracer, exporter) = Exporter::open(&settings, "0badcafe", metrics.clone()).unwrap().unwrap();
    (tracer, exporter, metrics)
}

/// Runs the exporter until all that has ended is sent or given up.
async fn flushed(tracer: &Tracer, exporter: Exporter) {
    tokio::select! {
        () = exporter.run() => {}
        () = tracer.flush() => {}
    }
    simulated::set(None);
}

fn text<'a>(attributes: &'a [AttributeMessage], name: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?;
    match value.value.as_ref()? {
        AnyValueKind::Text(text) => Some(text),
        AnyValueKind::Number(_) => None,
    }
}

fn parent() -> TraceContext {
    let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    TraceContext::parse(text, b"vendor=1").unwrap()
}

#[tokio::test(start_paused = true)]
async fn spans_come_with_the_node_that_made_them_and_their_place_in_the_trace() {
    let seen = collector(Vec::new());
    let (tracer, exporter, metrics) = open();
    let mut publication =
        Publication { trace: Some(Arc::new(parent())), data: "12".into(), ..Publication::default() };
    let span = begin_publish(&tracer, "chat:1", &mut publication, "api").unwrap();
    end_publish(span, Err(103));
    flushed(&tracer, exporter).await;
    let seen = seen.borrow();
    let [request] = seen.as_slice() else { unreachable!("one request: {seen:?}") };
    let resource = &request.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name"), Some("gorani"));
    assert_eq!(text(resource, "service.instance.id"), Some("0badcafe"));
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.kind), ("publish chat", SpanKind::Producer as i32));
    assert_eq!(
        (&span.trace_id[..], &span.parent_span_id[..]),
        (&parent().trace_id[..], &parent().span_id[..])
    );
    assert_eq!(span.span_id, publication.trace.unwrap().span_id);
    assert_eq!((span.trace_state.as_str(), span.flags), ("vendor=1", 1));
    assert_eq!(text(&span.attributes, "messaging.destination.template"), Some("chat"));
    assert_eq!(text(&span.attributes, "messaging.destination.name"), Some("chat:1"));
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    assert_eq!(metrics.exported.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    for (answers, requests, exported, failed) in
        [(vec![503, 429, 502], 4, 1, 0), (vec![400], 1, 0, 1), (vec![504; 20], 5, 0, 1)]
    {
        let seen = collector(answers.iter().map(|status| (*status, Vec::new())).collect());
        let (tracer, exporter, metrics) = open();
        drop(tracer.begin(SpanKind::Server, None));
        flushed(&tracer, exporter).await;
        assert_eq!(seen.borrow().len(), requests, "{answers:?}");
        assert_eq!((metrics.exported.get(), metrics.failed.get()), (exported, failed), "{answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn spans_that_the_collector_rejects_are_counted() {
    let partial = PartialSuccess { rejected_spans: 3, error_message: "too many".to_owned() };
    let answer = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
    let _seen = collector(vec![(200, answer)]);
    let (tracer, exporter, metrics) = open();
    for _ in 0..5 {
        drop(tracer.begin(SpanKind::Server, None));
    }
    flushed(&tracer, exporter).await;
    assert_eq!((metrics.exported.get(), metrics.failed.get()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn many_spans_go_in_requests_of_a_bounded_size() {
    let seen = collector(Vec::new());
    let (tracer, exporter, metrics) = open();
    for _ in 0..2 * BATCH_SPANS + 1 {
        drop(tracer.child(SpanKind::Internal, &parent()));
    }
    flushed(&tracer, exporter).await;
    let sizes: Vec<_> =
        seen.borrow().iter().map(|request| request.resource_spans[0].scope_spans[0].spans.len()).collect();
    assert_eq!(
        (sizes, metrics.exported.get()),
        (vec![BATCH_SPANS, BATCH_SPANS, 1], 2 * BATCH_SPANS as u64 + 1)
    );
}

#[tokio::test]
async fn without_an_endpoint_there_is_no_tracer_and_nothing_to_run() {
    let settings = TelemetrySettings { sample: 1.0, ..TelemetrySettings::default() };
    let opened = Exporter::open(&settings, "0badcafe", Metrics::default().traces).unwrap();
    assert!(opened.is_none(), "a publication would be looked at");
}
