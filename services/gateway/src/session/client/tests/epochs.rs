//! An epoch that ends while the client is connected: it is asked to subscribe anew, once, and loses nothing.

use super::*;
use crate::{session::EndedEpoch, session_command::ServerSubscribe};

fn ended(epoch: &str, next: &str) -> Signal {
    let ended = EndedEpoch { channel: "forced:a".into(), epoch: epoch.into(), next: next.into() };
    Signal::EpochEnded(Box::new(ended))
}

/// A client whose subscription is live.
fn subscribed() -> TestClient {
    let mut client = TestClient::subscribed("forced:a", top(1));
    client.actions.clear();
    client
}

/// Longer than it takes until a client is asked.
const SOON_S: u64 = 101;

fn come_back(client: &mut TestClient, epoch: &str) -> Option<Position> {
    client.say(json!({"id": 9, "subscribe":
        {"channel": "forced:a", "recover": true, "offset": 4, "epoch": epoch}}));
    client.next_subscribe().1.recover
}

#[test]
fn a_client_whose_epoch_ended_is_told_later_to_come_back_and_goes_on_in_the_next_one() {
    let mut client = subscribed();
    assert!(client.signal(ended("e", "f")).is_empty());
    // A second failover before it is asked.
    assert!(client.signal(ended("f", "g")).is_empty());
    let is_due =
        |client: &TestClient| client.session.clock.epochs.as_ref().is_some_and(|epochs| epochs.by.is_some());
    assert!(is_due(&client));
    let by = client.session.clock.epochs.as_ref().and_then(|epochs| epochs.by).unwrap();
    assert!(by >= client.now.instant + std::time::Duration::from_secs(10), "not all at once");
    let pushes = client.pass(SOON_S);
    assert!(pushes.iter().any(|push| push["push"]["unsubscribe"]["code"] == 2500), "{pushes:?}");
    assert!(matches!(client.next(), Some(Action::Interrupt(_))));
    assert!(!is_due(&client));
    assert_eq!(come_back(&mut client, "e"), Some(Position { offset: 4, epoch: "g".into() }));
    assert!(client.session.clock.epochs.is_none(), "it is known no more");
}

#[test]
fn a_client_that_loses_its_place_before_it_is_told_comes_back_in_the_next_epoch() {
    let mut client = subscribed();
    client.signal(ended("e", "f"));
    client.signal(Signal::Insufficient("forced:a".into()));
    assert!(matches!(client.next(), Some(Action::Interrupt(_))));
    assert_eq!(come_back(&mut client, "e"), Some(Position { offset: 4, epoch: "f".into() }));
}

#[test]
fn a_client_that_left_by_itself_or_names_another_epoch_is_taken_at_its_word() {
    let mut client = subscribed();
    client.signal(ended("e", "f"));
    client.say(json!({"id": 8, "unsubscribe": {"channel": "forced:a"}}));
    assert!(matches!(client.next(), Some(Action::Unsubscribe(_))));
    assert_eq!(come_back(&mut client, "e"), Some(Position { offset: 4, epoch: "e".into() }));
    let mut client = subscribed();
    client.signal(ended("e", "f"));
    client.signal(Signal::Insufficient("forced:a".into()));
    assert!(matches!(client.next(), Some(Action::Interrupt(_))));
    assert_eq!(come_back(&mut client, "other"), Some(Position { offset: 4, epoch: "other".into() }));
}

#[test]
fn a_client_that_the_server_subscribed_is_not_sent_away() {
    let mut client = TestClient::connected();
    let subscribe = ServerSubscribe { channel: "forced:a".to_owned(), ..ServerSubscribe::default() };
    client.signal(Signal::subscribe(subscribe));
    let (ticket, _) = client.next_subscribe();
    client.settle(ticket, Outcome::Subscribed(Ok(top(4))));
    client.signal(ended("e", "f"));
    assert!(client.session.clock.epochs.is_none());
}
