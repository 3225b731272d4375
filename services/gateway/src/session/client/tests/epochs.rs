//! An epoch that ends while the client is connected: it is told to subscribe anew, once, and loses nothing.

use super::*;
use crate::{session::EndedEpoch, session_command::ServerSubscribe};

fn ended(epoch: &str, next: &str) -> Signal {
    let ended = EndedEpoch { channel: "forced:a".into(), epoch: epoch.into(), next: next.into() };
    Signal::EpochEnded(Box::new(ended))
}

/// A client whose subscription is live.
fn subscribed() -> Bench {
    let mut bench = Bench::subscribed("forced:a", top(1));
    bench.actions.clear();
    bench
}

/// Longer than it takes until a client is told.
const SOON_S: u64 = 101;

fn come_back(bench: &mut Bench, epoch: &str) -> Option<Position> {
    bench.say(json!({"id": 9, "subscribe":
        {"channel": "forced:a", "recover": true, "offset": 4, "epoch": epoch}}));
    bench.next_subscribe().1.recover
}

#[test]
fn a_client_whose_epoch_ended_is_told_later_to_come_back_and_goes_on_in_the_next_one() {
    let mut bench = subscribed();
    assert!(bench.signal(ended("e", "f")).is_empty());
    // A second failover before it is told.
    assert!(bench.signal(ended("f", "g")).is_empty());
    let is_due =
        |bench: &Bench| bench.session.clock.epochs.as_ref().is_some_and(|epochs| epochs.by.is_some());
    assert!(is_due(&bench));
    let by = bench.session.clock.epochs.as_ref().and_then(|epochs| epochs.by).unwrap();
    assert!(by >= bench.now.instant + std::time::Duration::from_secs(10), "not all at once");
    let pushes = bench.pass(SOON_S);
    assert!(pushes.iter().any(|push| push["push"]["unsubscribe"]["code"] == 2500), "{pushes:?}");
    assert!(matches!(bench.next(), Some(Action::Interrupt(_))));
    assert!(!is_due(&bench));
    assert_eq!(come_back(&mut bench, "e"), Some(Position { offset: 4, epoch: "g".into() }));
    assert!(bench.session.clock.epochs.is_none(), "it is known no more");
}

#[test]
fn a_client_that_loses_its_place_before_it_is_told_comes_back_in_the_next_epoch() {
    let mut bench = subscribed();
    bench.signal(ended("e", "f"));
    bench.signal(Signal::Insufficient("forced:a".into()));
    assert!(matches!(bench.next(), Some(Action::Interrupt(_))));
    assert_eq!(come_back(&mut bench, "e"), Some(Position { offset: 4, epoch: "f".into() }));
}

#[test]
fn a_client_that_left_by_itself_or_names_another_epoch_is_taken_at_its_word() {
    let mut bench = subscribed();
    bench.signal(ended("e", "f"));
    bench.say(json!({"id": 8, "unsubscribe": {"channel": "forced:a"}}));
    assert!(matches!(bench.next(), Some(Action::Unsubscribe(_))));
    assert_eq!(come_back(&mut bench, "e"), Some(Position { offset: 4, epoch: "e".into() }));
    let mut bench = subscribed();
    bench.signal(ended("e", "f"));
    bench.signal(Signal::Insufficient("forced:a".into()));
    assert!(matches!(bench.next(), Some(Action::Interrupt(_))));
    assert_eq!(come_back(&mut bench, "other"), Some(Position { offset: 4, epoch: "other".into() }));
}

#[test]
fn a_client_that_the_server_subscribed_is_not_sent_away() {
    let mut bench = Bench::connected();
    let subscribe = ServerSubscribe { channel: "forced:a".to_owned(), ..ServerSubscribe::default() };
    bench.signal(Signal::subscribe(subscribe));
    let (ticket, _) = bench.next_subscribe();
    bench.settle(ticket, Outcome::Subscribed(Ok(top(4))));
    bench.signal(ended("e", "f"));
    assert!(bench.session.clock.epochs.is_none());
}
