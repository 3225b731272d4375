//! The choice of traces that are sampled, and the way of their spans.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use std::time::Duration;

use super::*;
use crate::metrics::Metrics;

fn tracer(sample: f64) -> (Arc<Tracer>, mpsc::Receiver<QueuedSpan>, TraceMetrics) {
    let metrics = Metrics::default().traces;
    let (tracer, ended) = Tracer::new(sample, false, metrics.clone());
    (tracer, ended, metrics)
}

fn ended(queue: &mut mpsc::Receiver<QueuedSpan>) -> Box<SpanRecord> {
    match queue.try_recv() {
        Ok(QueuedSpan::Ended(record)) => record,
        _ => panic!("no span has ended"),
    }
}

fn parent(flags: &str) -> TraceContext {
    let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    TraceContext::parse(text.as_bytes(), b"vendor=1").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sampled_parent_is_continued_and_one_that_is_not_sampled_is_not() {
    let (tracer, mut queue, _) = tracer(1.0);
    assert!(tracer.begin(SpanKind::Server, Some(&parent("00"))).is_none());
    let mut span = tracer.begin(SpanKind::Server, Some(&parent("01"))).unwrap();
    span.name("a");
    let context = span.context().unwrap();
    tokio::time::advance(Duration::from_millis(3)).await;
    drop(span);
    let record = ended(&mut queue);
    assert_eq!((record.parent, &record.context), (Some(parent("01").span_id), &context));
    assert_eq!((context.trace_id, &*context.state), (parent("01").trace_id, "vendor=1"));
    assert_ne!(context.span_id, parent("01").span_id);
    assert_eq!(record.end_ns - record.start_ns, 3_000_000);
}

#[tokio::test(start_paused = true)]
async fn of_what_has_no_parent_the_setting_says_how_much_is_sampled() {
    let roots = |sample| {
        let (tracer, _queue, _) = tracer(sample);
        (0..50).filter(|_| tracer.begin(SpanKind::Producer, None).is_some()).count()
    };
    assert_eq!((roots(0.0), roots(1.0)), (0, 50));
    assert!((1..50).contains(&roots(0.5)));
}

#[tokio::test(start_paused = true)]
async fn more_traces_than_a_hundred_a_second_are_not_sampled_and_are_counted() {
    let (tracer, _queue, metrics) = tracer(1.0);
    let begun = || (0..300).filter(|_| tracer.begin(SpanKind::Server, None).is_some()).count();
    assert_eq!((begun(), metrics.rate_limited.get()), (100, 200));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((begun(), metrics.rate_limited.get()), (100, 400));
    tokio::time::advance(Duration::from_secs(1)).await;
    let of_clients =
        || (0..70).filter(|_| tracer.begin_for_client(SpanKind::Producer, None).is_some()).count();
    assert_eq!((of_clients(), of_clients(), begun()), (50, 0, 50));
    let published = Arc::new(parent("01"));
    let before = metrics.rate_limited.get();
    let delivered = (0..300).filter(|_| tracer.begin_delivery(&published).is_some()).count();
    assert_eq!((delivered, metrics.rate_limited.get() - before), (100, 200));
}

#[tokio::test(start_paused = true)]
async fn a_span_for_which_the_queue_has_no_room_is_dropped_and_counted() {
    let (tracer, mut queue, metrics) = tracer(1.0);
    for _ in 0..QUEUE_SPANS + 5 {
        drop(tracer.child(SpanKind::Internal, &parent("01")));
    }
    assert_eq!(metrics.queue_full.get(), 5);
    assert_eq!(ended(&mut queue).kind, SpanKind::Internal);
    tracer.child(SpanKind::Internal, &parent("01")).discard();
    assert_eq!((metrics.queue_full.get(), queue.len()), (5, QUEUE_SPANS - 1));
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_publication_of_a_batch_is_a_trace_of_its_own_with_a_link() {
    let (tracer, mut queue, _) = tracer(0.0);
    let mut call = tracer.begin(SpanKind::Server, Some(&parent("01"))).unwrap();
    call.mark_batch();
    let published = tracer.child(SpanKind::Producer, &call.context().unwrap()).context().unwrap();
    assert!(published.is_of_batch);
    drop(ended(&mut queue));
    drop(tracer.begin_delivery(&published));
    let record = ended(&mut queue);
    assert_eq!((record.parent, &record.links), (None, &vec![published.clone()]));
    assert_ne!(record.context.trace_id, published.trace_id);
}
