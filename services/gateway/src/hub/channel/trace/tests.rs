//! Traces on a hub without sockets: what is counted, what is noted one by one, and that nothing is left after the last one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use gorani_broker::{ChannelEvent, Position, Publication};

use super::{log::TraceEntry, *};
use crate::{
    event_log::trace::{SAMPLED_TRACES_MAX, TRACED_MAX, TRACES_MAX, TraceOutcome, TracedPublication},
    hub::tests::{Client, HISTORY},
};

fn spec(id: &str, target: TraceTarget) -> TraceSpec {
    TraceSpec {
        id: id.to_owned(),
        target,
        by: "ops".to_owned(),
        trace_id: None,
        node: "n1".to_owned(),
        began: 0,
        lasts_ms: 1000,
    }
}

fn of_channel(id: &str) -> TraceSpec {
    spec(id, TraceTarget::Channel("a".to_owned()))
}

/// The receiver hears of its end.
fn begin(hub: &mut Hub, spec: TraceSpec) -> oneshot::Receiver<()> {
    hub.begin_trace(spec).unwrap()
}

fn published(offset: u64) -> Publication {
    Publication {
        data: "1".into(),
        offset,
        epoch: "e".into(),
        time_ms: 1000 + offset,
        ..Publication::default()
    }
}

fn events(publications: impl IntoIterator<Item = Publication>) -> Vec<ChannelEvent> {
    let event = |publication| ChannelEvent::Publication(Arc::new(publication));
    publications.into_iter().map(event).collect()
}

fn top() -> Option<Position> {
    Some(Position { offset: 0, epoch: "e".into() })
}

/// Outcomes that a trace has noted one by one, oldest first.
fn outcomes(hub: &Hub, id: &str) -> Vec<(String, u64, TraceOutcome)> {
    let noted = hub.read_trace(id).deliveries;
    noted.into_iter().rev().map(|one| (one.client, one.offset, one.outcome)).collect()
}

#[test]
fn an_entry_has_32_bytes() {
    assert_eq!(size_of::<TraceEntry>(), 32);
}

#[actix_rt::test]
async fn successes_of_a_channel_are_counted_by_run_and_only_what_is_none_is_noted_alone() {
    let mut hub = Hub::new(usize::MAX);
    let clients = ["one", "two", "out"].map(|name| Client::enter(&mut hub, name));
    clients.iter().for_each(|client| client.join(&mut hub, HISTORY, top()));
    begin(&mut hub, of_channel("t"));
    hub.deliver("a", events((1..=3).map(published)));
    let excluding = Publication { exclude_client: "out".to_owned(), ..published(4) };
    hub.deliver("a", events([excluding]));

    let report = hub.read_trace("t");
    let counts = report.counts;
    assert_eq!((counts.runs, counts.publications, counts.matched), (2, 4, 6));
    assert_eq!((counts.whole, counts.excluded, report.forgotten), (5, 1, 0));
    assert!(counts.bytes > 0);
    let runs: Vec<_> = report.runs.iter().map(|run| (run.offset, run.length, run.whole)).collect();
    assert_eq!(runs, [(4, 1, 2), (1, 3, 3)], "one entry a run, newest first");
    assert_eq!(outcomes(&hub, "t"), [("out".to_owned(), 4, TraceOutcome::Excluded)]);
    assert_eq!(clients[0].seen(), ["1", "1", "1", "1"], "what is delivered does not change");
}

#[actix_rt::test]
async fn each_outcome_of_a_delivery_is_noted_with_its_client() {
    let mut hub = Hub::new(usize::MAX);
    let (waits, full) = (Client::enter(&mut hub, "waits"), Client::enter(&mut hub, "full"));
    full.join(&mut hub, HISTORY, top());
    begin(&mut hub, of_channel("t"));
    hub.deliver("a", events([published(1)]));
    waits.begin(&mut hub, HISTORY, Some(Position { offset: 1, epoch: "e".into() }));
    hub.deliver("a", events([published(1)]));
    hub.deliver("a", events([published(2)]));
    hub.release(waits.key, "a");
    hub.registry().get(full.key).unwrap().outbox.close_as_slow();
    hub.deliver("a", events([published(3)]));
    let (waits, full) = ("waits".to_owned(), "full".to_owned());
    assert_eq!(
        outcomes(&hub, "t"),
        [
            (String::new(), 1, TraceOutcome::Duplicate),
            (waits.clone(), 2, TraceOutcome::HeldBack),
            (waits, 2, TraceOutcome::Released),
            (full, 3, TraceOutcome::Overflow),
        ]
    );
}

#[actix_rt::test]
async fn a_user_is_followed_in_every_channel_from_before_and_after_the_beginning() {
    let mut hub = Hub::new(usize::MAX);
    let (own, other) = (Client::enter(&mut hub, "own"), Client::enter(&mut hub, "other"));
    hub.registry_mut().identify(own.key, "42".into(), "own".into());
    other.join(&mut hub, HISTORY, top());
    begin(&mut hub, spec("t", TraceTarget::User("42".to_owned())));
    hub.deliver("a", events([published(1)]));
    assert_eq!(hub.read_trace("t").counts.matched, 0);
    own.join(&mut hub, HISTORY, Some(Position { offset: 1, epoch: "e".into() }));
    hub.deliver("a", events([published(2)]));
    let report = hub.read_trace("t");
    assert_eq!((report.counts.matched, report.counts.whole, report.runs.len()), (1, 1, 0));
    assert_eq!(outcomes(&hub, "t"), [("own".to_owned(), 2, TraceOutcome::Whole)]);
    hub.leave(own.key, "a");
    hub.deliver("a", events([published(3)]));
    assert_eq!(hub.read_trace("t").counts.matched, 1);
    assert!(hub.channels["a"].watch.is_none(), "nobody is followed there any more");
}

#[actix_rt::test]
async fn one_publication_is_followed_alone_among_those_that_come_with_it() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, top());
    let traced = TracedPublication::of("a", &published(2));
    begin(&mut hub, spec("t", TraceTarget::Publication(traced)));
    hub.deliver("a", events((1..=4).map(published)));
    let report = hub.read_trace("t");
    let runs: Vec<_> = report.runs.iter().map(|run| (run.offset, run.length)).collect();
    assert_eq!((runs, report.counts.matched), (vec![(2, 1)], 1));
    assert_eq!(client.seen().len(), 4);
}

#[actix_rt::test]
async fn after_the_last_trace_nothing_of_it_is_left_and_a_later_one_does_not_see_its_entries() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, top());
    begin(&mut hub, of_channel("first"));
    begin(&mut hub, of_channel("second"));
    hub.deliver("a", events([published(1)]));
    hub.end_trace("first");
    begin(&mut hub, of_channel("third")); // It has the bit of the first one.
    assert!(hub.read_trace("third").runs.is_empty());
    hub.deliver("a", events([published(2)]));
    let runs = |id: &str| hub.read_trace(id).runs.len();
    assert_eq!((runs("first"), runs("second"), runs("third")), (0, 2, 1));
    hub.end_trace("second");
    hub.end_trace("third");
    assert!(hub.traces.is_none() && hub.channels["a"].watch.is_none());
}

#[actix_rt::test]
async fn sampled_contexts_begin_half_of_the_traces_and_the_others_are_left() {
    let mut hub = Hub::new(usize::MAX);
    let sampled = |id: usize| TraceSpec { trace_id: Some("4b".repeat(16)), ..of_channel(&id.to_string()) };
    for number in 0..SAMPLED_TRACES_MAX {
        begin(&mut hub, sampled(number));
    }
    assert!(hub.begin_trace(sampled(TRACES_MAX)).is_none());
    for number in SAMPLED_TRACES_MAX..TRACES_MAX {
        begin(&mut hub, of_channel(&number.to_string()));
    }
    hub.end_trace("0");
    begin(&mut hub, sampled(TRACES_MAX));
}

#[actix_rt::test]
async fn there_are_no_more_traces_than_may_be_and_the_ring_and_its_answers_are_bounded() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, top());
    for number in 0..TRACES_MAX {
        begin(&mut hub, of_channel(&number.to_string()));
    }
    assert!(hub.begin_trace(of_channel("more")).is_none());
    assert_eq!(hub.list_traces().traces.len(), TRACES_MAX);
    for offset in 1..=70_000 {
        hub.deliver("a", events([published(offset)]));
    }
    let report = hub.read_trace("0");
    assert_eq!((report.counts.runs, report.runs.len()), (70_000, TRACED_MAX));
    assert!(report.forgotten >= 70_000 - 65_536, "{}", report.forgotten);
    client.seen();
}

#[actix_rt::test]
async fn of_one_run_a_bounded_number_of_deliveries_is_noted_and_all_are_counted() {
    let mut hub = Hub::new(usize::MAX);
    let clients: Vec<_> = (0..200).map(|number| Client::enter(&mut hub, &number.to_string())).collect();
    for client in &clients {
        client.join(&mut hub, HISTORY, top());
        hub.registry().get(client.key).unwrap().outbox.close_as_slow();
    }
    begin(&mut hub, of_channel("t"));
    hub.deliver("a", events([published(1)]));
    let report = hub.read_trace("t");
    assert_eq!((report.counts.matched, report.counts.overflow), (200, 200));
    assert_eq!(report.deliveries.len(), 64);
}

#[actix_rt::test]
async fn of_all_deliveries_a_bounded_number_is_followed_until_their_bytes_leave() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    hub.registry_mut().identify(client.key, "42".into(), "one".into());
    client.join(&mut hub, HISTORY, top());
    let ended = begin(&mut hub, spec("t", TraceTarget::User("42".to_owned())));
    for offset in 1..=100 {
        hub.deliver("a", events([published(offset)]));
    }
    let log = hub.traces.clone().unwrap();
    let pending = log.borrow_mut().take_pending();
    assert_eq!((pending.len(), outcomes(&hub, "t").len()), (64, 100));
    let weak = Rc::downgrade(&log);
    drop(log);
    hub.end_trace("t");
    assert_eq!(ended.await, Ok(()), "who waits for the end hears of it");
    assert!(weak.upgrade().is_none(), "bytes that are followed keep no ring");
    client.seen();
    for write in pending {
        write.follow(weak.clone()).await;
    }
}

#[actix_rt::test]
async fn bytes_of_a_followed_session_are_noted_when_they_leave() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    hub.registry_mut().identify(client.key, "42".into(), "one".into());
    client.join(&mut hub, HISTORY, top());
    begin(&mut hub, spec("t", TraceTarget::User("42".to_owned())));
    hub.deliver("a", events([published(1)]));
    let log = hub.traces.clone().unwrap();
    let pending = log.borrow_mut().take_pending();
    assert_eq!(pending.len(), 1);
    client.seen();
    for write in pending {
        write.follow(Rc::downgrade(&log)).await;
    }
    let expected = [TraceOutcome::Whole, TraceOutcome::Written].map(|outcome| ("one".to_owned(), 1, outcome));
    assert_eq!(outcomes(&hub, "t"), expected);
}
