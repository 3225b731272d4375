//! The hub without sockets: who gets what, in which order, and what happens where the stream is broken.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use bytes::Bytes;
use gorani_broker::{ChannelEvent, ClientInfo, Position, Publication, Retention};

mod budget;
mod command;
pub(in crate::hub) mod faulty;
mod forks;
mod inbox;
mod presence;
mod receivers;
mod registry;
mod subscribing;

use super::{
    Hub,
    channel::CatchUpResult,
    registry::{SessionKey, SessionRegistration},
};
use crate::{
    format::encoding::{Encoding, Framing, Protocol, SubscriptionFormat},
    outbox::Outbox,
    session::{Signal, SubscribeParams},
};

pub(super) const HISTORY: Retention = Retention { size: 10, ttl: Duration::from_secs(60) };
pub(super) const NO_HISTORY: Retention = Retention { size: 0, ttl: Duration::ZERO };

/// Stands for a connection's actor: it keeps the signals that it gets.
#[derive(Clone, Default)]
struct Mailbox(Rc<RefCell<Vec<Signal>>>);

impl Actor for Mailbox {
    type Context = Context<Self>;
}

impl Handler<Signal> for Mailbox {
    type Result = ();
    fn handle(&mut self, signal: Signal, _: &mut Self::Context) {
        self.0.borrow_mut().push(signal);
    }
}

pub(super) struct Client {
    pub(super) key: SessionKey,
    outbox: Outbox,
    signals: Mailbox,
    info: Arc<ClientInfo>,
}

impl Client {
    pub(super) fn enter(hub: &mut Hub, name: &str) -> Self {
        Self::enter_over(hub, name, Framing::WebSocket)
    }

    pub(super) fn enter_over(hub: &mut Hub, name: &str, framing: Framing) -> Self {
        let (signals, outbox) = (Mailbox::default(), Outbox::new(1 << 20));
        let key = hub.registry_mut().register(SessionRegistration {
            mailbox: signals.clone().start().recipient(),
            outbox: outbox.clone(),
            encoding: Encoding { protocol: Protocol::Client(Default::default()), framing },
            transport: "websocket",
            protocol: "json",
            connected_at_ms: 0,
        });
        hub.registry_mut().identify(key, "".into(), name.into());
        let info = ClientInfo { client: name.to_owned(), ..ClientInfo::default() };
        Self { key, outbox, signals, info: Arc::new(info) }
    }

    pub(super) fn request(&self, retention: Retention, positioned: bool) -> SubscribeParams {
        SubscribeParams {
            channel: "a".into(),
            info: self.info.clone(),
            retention,
            positioned,
            recover: None,
            recover_max_bytes: usize::MAX,
            presence: false,
            announce: false,
            join_leave: false,
            server_side: false,
            by: gorani_auth::GrantedBy::Options,
            format: SubscriptionFormat::OfSession,
        }
    }

    /// Joins channel `a` with `top` in the reply, if its position is tracked.
    pub(super) fn join(&self, hub: &mut Hub, retention: Retention, top: Option<Position>) {
        self.begin(hub, retention, top);
        hub.release(self.key, "a");
    }

    /// As [`Client::join`], but what is published is held back.
    pub(super) fn begin(&self, hub: &mut Hub, retention: Retention, top: Option<Position>) {
        assert!(hub.join(self.key, &self.request(retention, top.is_some())).is_some());
        if let Some(top) = top {
            hub.set_seen(self.key, "a", &top);
        }
    }

    /// Data of the publications that wait for it, and `join`/`leave`.
    pub(super) fn seen(&self) -> Vec<String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.outbox.pop() {
            bytes.extend_from_slice(&chunk);
        }
        let mut seen = Vec::new();
        let mut rest = &bytes[..];
        while let [0x81, length @ 0..=125, others @ ..] = rest {
            let (message, others) = others.split_at(usize::from(*length));
            let push: serde_json::Value = serde_json::from_slice(message).unwrap();
            let push = &push["push"];
            seen.push(match push["pub"]["data"].as_u64() {
                Some(number) => number.to_string(),
                None => push.as_object().unwrap().keys().find(|key| *key != "channel").unwrap().clone(),
            });
            rest = others;
        }
        assert!(rest.is_empty(), "{rest:?} is no frame");
        seen
    }

    pub(super) fn key(&self) -> SessionKey {
        self.key
    }

    /// Signals that it took out of its mailbox.
    pub(super) fn signals(&self) -> usize {
        self.signals.0.borrow().len()
    }

    pub(super) fn is_ended_as_slow(&self) -> bool {
        self.outbox.overflow().is_some()
    }

    pub(super) async fn was_told_to_end(&self, code: u16) -> bool {
        self.was_told(|signal| signal.disconnect().is_some_and(|disconnect| disconnect.code == code)).await
    }

    pub(super) async fn was_told_insufficient(&self) -> bool {
        self.was_told(|signal| matches!(signal, Signal::Insufficient(channel) if **channel == *"a")).await
    }

    pub(super) async fn was_told(&self, is_it: impl Fn(&Signal) -> bool) -> bool {
        tokio::task::yield_now().await;
        actix_rt::time::sleep(Duration::ZERO).await;
        self.signals.0.borrow().iter().any(is_it)
    }
}

fn position(offset: u64) -> Option<Position> {
    Some(Position { offset, epoch: "e".into() })
}

fn publication(offset: u64) -> Publication {
    let epoch = if offset > 0 { "e".into() } else { "".into() };
    Publication { data: Bytes::from(offset.to_string()), offset, epoch, ..Publication::default() }
}

fn events(offsets: impl IntoIterator<Item = u64>) -> Vec<ChannelEvent> {
    offsets.into_iter().map(|offset| ChannelEvent::Publication(Arc::new(publication(offset)))).collect()
}

/// The publications that a read found.
fn missed(offsets: impl IntoIterator<Item = u64>) -> Option<CatchUpResult> {
    Some(CatchUpResult { events: events(offsets), epoch: "e".into(), ancestors: Vec::new() })
}

#[actix_rt::test]
async fn subscribers_of_one_encoding_share_the_bytes_of_a_turn() {
    let mut hub = Hub::new(usize::MAX);
    let clients = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    for client in &clients {
        client.join(&mut hub, HISTORY, position(0));
    }
    assert_eq!(hub.deliver("a", events(1..=3)), None);
    let [one, two] = clients.each_ref().map(|client| client.outbox.pop().unwrap());
    assert_eq!(one.as_ptr(), two.as_ptr());
    assert!(clients[0].outbox.is_empty(), "three publications of one turn are one chunk");
}

#[actix_rt::test]
async fn live_events_wait_for_the_reply_and_none_is_repeated() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    assert!(hub.join(client.key, &client.request(HISTORY, true)).is_some());
    assert_eq!(hub.deliver("a", events(4..=6)), None);
    assert!(client.outbox.is_empty());
    // The history read that its reply tells reached up to 5.
    hub.set_seen(client.key, "a", &position(5).unwrap());
    hub.release(client.key, "a");
    assert_eq!(client.seen(), ["6"]);
    assert_eq!(hub.deliver("a", events(7..=7)), None);
    assert_eq!(client.seen(), ["7"]);
}

#[actix_rt::test]
async fn a_reply_that_is_ahead_of_the_inbox_is_not_followed_by_what_it_told_already() {
    let mut hub = Hub::new(usize::MAX);
    let [early, late] = [Client::enter(&mut hub, "early"), Client::enter(&mut hub, "late")];
    early.join(&mut hub, HISTORY, position(3));
    late.join(&mut hub, HISTORY, position(5));
    assert_eq!(hub.deliver("a", events(4..=6)), None);
    assert_eq!(early.seen(), ["4", "5", "6"]);
    assert_eq!(late.seen(), ["6"]);
}

#[actix_rt::test]
async fn a_gap_is_read_from_history_before_anything_newer_is_delivered() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(0));
    let missing = hub.deliver("a", events([1, 4])).unwrap();
    assert_eq!(Some(missing.after), position(1));
    assert_eq!(hub.deliver("a", events([5])), None);
    assert_eq!(client.seen(), ["1"]);
    assert_eq!(hub.caught_up("a", missing.read, missed(2..=4)), None);
    assert_eq!(client.seen(), ["2", "3", "4", "5"]);
    assert!(!client.was_told_insufficient().await);
}

#[actix_rt::test]
async fn a_gap_that_is_told_during_a_read_has_a_read_of_its_own() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(1));
    let first = hub.gap("a").unwrap();
    // The page of the first read is on its way when 3 is published and lost.
    assert_eq!(hub.gap("a"), None);
    let second = hub.caught_up("a", first.read, missed([2])).unwrap();
    assert_eq!(client.seen(), ["2"]);
    assert_eq!(Some(second.after), position(2));
    assert_eq!(hub.deliver("a", events([4])), None, "it waits for the second read");
    assert_eq!(hub.caught_up("a", second.read, missed([3])), None);
    assert_eq!(client.seen(), ["3", "4"]);
}

#[actix_rt::test]
async fn the_end_of_a_read_that_was_given_up_is_not_the_end_of_the_next_one() {
    let mut hub = Hub::new(usize::MAX);
    let clients = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    clients[0].join(&mut hub, HISTORY, position(0));
    let given_up = hub.gap("a").unwrap();
    // It hangs: more waits for it than may wait.
    assert_eq!(hub.deliver("a", events(2..=5000)), None);
    assert!(clients[0].was_told_insufficient().await);
    hub.leave(clients[0].key, "a");
    clients[1].join(&mut hub, HISTORY, position(5000));
    let next = hub.gap("a").unwrap();
    assert_eq!(hub.caught_up("a", given_up.read, missed([1])), None);
    assert_eq!(hub.deliver("a", events([5002])), None);
    assert!(clients[1].seen().is_empty(), "the next read has not ended");
    assert_eq!(hub.caught_up("a", next.read, missed([5001])), None);
    assert_eq!(clients[1].seen(), ["5001", "5002"]);
}

#[actix_rt::test]
async fn a_gap_that_history_cannot_fill_is_told_to_those_who_track_their_position() {
    let mut hub = Hub::new(usize::MAX);
    let [tracking, plain] = [Client::enter(&mut hub, "tracking"), Client::enter(&mut hub, "plain")];
    tracking.join(&mut hub, HISTORY, position(1));
    plain.join(&mut hub, HISTORY, None);
    hub.deliver("a", events([2]));
    let missing = hub.deliver("a", events([9])).unwrap();
    assert_eq!(Some(missing.after), position(2));
    assert_eq!(hub.caught_up("a", missing.read, None), None);
    assert!(tracking.was_told_insufficient().await);
    assert!(!plain.was_told_insufficient().await);
    assert_eq!(tracking.seen(), ["2"], "nothing after the gap reaches a client that believes it is complete");
    assert_eq!(plain.seen(), ["2", "9"]);
}

#[actix_rt::test]
async fn a_gap_in_a_channel_without_history_is_told_to_everybody() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, NO_HISTORY, None);
    assert_eq!(hub.gap("a"), None);
    assert!(client.was_told_insufficient().await);
}

#[actix_rt::test]
async fn a_new_epoch_is_told_and_never_mixed_with_the_old_one() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(7));
    let other = Publication { epoch: "f".into(), ..publication(8) };
    let missing = hub.deliver("a", vec![ChannelEvent::Publication(Arc::new(other))]).unwrap();
    assert!(!client.was_told_insufficient().await, "history is asked first");
    assert_eq!(hub.caught_up("a", missing.read, None), None);
    assert!(client.seen().is_empty());
    assert!(client.was_told_insufficient().await);
}

#[actix_rt::test]
async fn duplicates_from_the_broker_are_dropped() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, None);
    hub.deliver("a", events([1, 2]));
    hub.deliver("a", events([1, 2, 3]));
    assert_eq!(client.seen(), ["1", "2", "3"]);
}

#[actix_rt::test]
async fn a_client_that_is_excluded_gets_what_comes_after_without_a_gap() {
    let mut hub = Hub::new(usize::MAX);
    let [one, two] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    one.join(&mut hub, HISTORY, position(0));
    two.join(&mut hub, HISTORY, position(0));
    let mut all = events(1..=3);
    all[1] = ChannelEvent::Publication(Arc::new(Publication {
        exclude_client: "one".to_owned(),
        ..publication(2)
    }));
    hub.deliver("a", all);
    assert_eq!(one.seen(), ["1", "3"]);
    assert_eq!(two.seen(), ["1", "2", "3"]);
    assert!(!one.was_told_insufficient().await);
}

#[actix_rt::test]
async fn joins_and_leaves_reach_only_those_who_asked_in_order_with_publications() {
    let mut hub = Hub::new(usize::MAX);
    let [asked, other] = [Client::enter(&mut hub, "asked"), Client::enter(&mut hub, "other")];
    hub.join(asked.key, &SubscribeParams { join_leave: true, ..asked.request(NO_HISTORY, false) });
    hub.release(asked.key, "a");
    other.join(&mut hub, NO_HISTORY, None);
    let info = other.info.clone();
    let mut all = vec![ChannelEvent::Join(info.clone())];
    all.extend(events([0, 0]));
    all.push(ChannelEvent::Leave(info));
    hub.deliver("a", all);
    assert_eq!(asked.seen(), ["join", "0", "0", "leave"]);
    assert_eq!(other.seen(), ["0", "0"]);
}

#[actix_rt::test]
async fn one_slow_consumer_stops_and_its_neighbour_gets_everything() {
    let mut hub = Hub::new(usize::MAX);
    let [slow, quick] = [Client::enter(&mut hub, "slow"), Client::enter(&mut hub, "quick")];
    slow.join(&mut hub, NO_HISTORY, None);
    quick.join(&mut hub, NO_HISTORY, None);
    let large = Publication { data: Bytes::from(format!("{:0>60000}", "")), ..publication(0) };
    for _ in 0..40 {
        hub.deliver("a", vec![ChannelEvent::Publication(Arc::new(large.clone()))]);
        assert!(quick.outbox.pop().is_some());
    }
    assert!(slow.outbox.overflow().is_some());
    assert!(slow.outbox.len_bytes() <= 1 << 20);
    assert!(quick.outbox.overflow().is_none());
}

#[actix_rt::test]
async fn a_session_is_found_under_its_newest_identity_alone() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "first");
    hub.registry_mut().identify(client.key, "42".into(), "second".into());
    hub.registry_mut().identify(client.key, "43".into(), "third".into());
    let found = |user, client| hub.registry().of(user, client).len();
    assert_eq!((found(None, Some("first")), found(None, Some("second")), found(Some("42"), None)), (0, 0, 0));
    assert_eq!((found(None, Some("third")), found(Some("43"), None)), (1, 1));
    assert_eq!(hub.registry().identified().count(), 1);
}

#[actix_rt::test]
async fn the_last_subscription_that_leaves_says_so() {
    let mut hub = Hub::new(usize::MAX);
    let [one, two] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    one.join(&mut hub, NO_HISTORY, None);
    two.join(&mut hub, NO_HISTORY, None);
    assert!(hub.join(one.key, &one.request(NO_HISTORY, false)).is_none(), "a session is in a channel once");
    assert!(!hub.leave(one.key, "a").unwrap().last);
    assert!(hub.leave(one.key, "a").is_none());
    assert!(hub.leave_all(two.key)[0].last);
    assert_eq!(hub.channel_count(), 0);
}

#[actix_rt::test]
async fn a_session_that_does_not_empty_its_mailbox_is_ended_as_slow_and_no_other_is() {
    let mut hub = Hub::default();
    let clients = [Client::enter(&mut hub, "slow"), Client::enter(&mut hub, "quick")];
    hub.registry().get(clients[1].key).unwrap().signal(Signal::Timer);
    let mut told = 0;
    while !clients[0].is_ended_as_slow() {
        hub.registry().get(clients[0].key).unwrap().signal(Signal::Timer);
        told += 1;
        assert!(told < 100, "the mailbox has no bound");
    }
    assert!(!clients[1].is_ended_as_slow());
    // What fitted is handed over; the rest waits nowhere.
    tokio::task::yield_now().await;
    actix_rt::time::sleep(Duration::ZERO).await;
    assert_eq!((clients[0].signals(), clients[1].signals()), (told - 1, 1));
}
