//! Changes of interest while an event is handed to the sink.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::ChannelEvent;

/// Ends a test that has failed.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A sink that reports its calls, and goes on when the test lets it.
struct Slow {
    told: SyncSender<String>,
    go_on: Mutex<Receiver<()>>,
}

impl Slow {
    fn tell(&self, what: String) {
        self.told.send(what).unwrap();
        self.go_on.lock().recv_timeout(TIME_LIMIT).unwrap();
    }
}

impl Sink for Slow {
    fn on_event(&self, channel: &Arc<str>, _: ChannelEvent) {
        self.tell(format!("event {channel}"));
    }

    fn on_gap(&self, channel: &Arc<str>) {
        self.tell(format!("gap {channel}"));
    }
}

struct PubSubFixture {
    pubsub: Arc<PubSub>,
    told: Receiver<String>,
    go_on: SyncSender<()>,
}

fn fixture() -> PubSubFixture {
    let (tell, told) = sync_channel(16);
    let (go_on, may_go_on) = sync_channel(16);
    let sink = Arc::new(SinkHandle::default());
    sink.set_sink(Arc::new(Slow { told: tell, go_on: Mutex::new(may_go_on) }));
    PubSubFixture { pubsub: Arc::new(PubSub::new(sink, "canary".to_owned())), told, go_on }
}

/// A node in the middle of a delivery: a message of "a" cannot be read, and the sink is being told its gap. With the connection
/// that brought it, and the end of the delivery.
fn delivering() -> (PubSubFixture, u64, Receiver<()>) {
    let fixture = fixture();
    let generation = fixture.pubsub.begin();
    want(&fixture.pubsub, "a", None);
    fixture.pubsub.on_push(generation, push(PushKind::Subscribe, "a"));
    let delivered = fixture.hear_meanwhile(generation, PushKind::Message, "a");
    assert_eq!(fixture.next(), "gap a");
    (fixture, generation, delivered)
}

fn want(pubsub: &PubSub, name: &str, waiter: Option<&Arc<Waiter>>) {
    pubsub.want(vec![(name.to_owned(), SubscriptionKind::Channel(name.into()))], waiter, drop);
}

/// A push of the server about a name; a message has a content that cannot be read.
fn push(kind: PushKind, name: &str) -> PushInfo {
    PushInfo { kind, data: vec![Value::BulkString(name.into()), Value::BulkString(b"unreadable".to_vec())] }
}

impl PubSubFixture {
    fn next(&self) -> String {
        self.told.recv_timeout(TIME_LIMIT).unwrap()
    }

    /// Does something on a thread of its own; the receiver gets a message when it is done.
    fn meanwhile(&self, what: impl FnOnce(&PubSub) + Send + 'static) -> Receiver<()> {
        let (done, is_done) = sync_channel(1);
        let pubsub = self.pubsub.clone();
        std::thread::spawn(move || {
            what(&pubsub);
            done.send(()).unwrap();
        });
        is_done
    }

    fn hear_meanwhile(&self, generation: u64, kind: PushKind, name: &'static str) -> Receiver<()> {
        self.meanwhile(move |pubsub| pubsub.on_push(generation, push(kind, name)))
    }
}

#[test]
fn whoever_subscribes_does_not_wait_for_a_delivery() {
    let (fixture, _, delivered) = delivering();
    let subscribed = fixture.meanwhile(|pubsub| {
        want(pubsub, "b", None);
        assert_eq!(pubsub.unconfirmed(), ["b"]);
    });
    subscribed.recv_timeout(TIME_LIMIT).unwrap();
    fixture.go_on.send(()).unwrap();
    delivered.recv_timeout(TIME_LIMIT).unwrap();
}

#[test]
fn deliveries_of_two_connections_do_not_overlap() {
    let (fixture, first, delivered) = delivering();
    // The next connection is there while a message of this one is being delivered.
    let second = fixture.pubsub.begin();
    let confirmed = fixture.hear_meanwhile(second, PushKind::Subscribe, "a");
    assert!(confirmed.recv_timeout(Duration::from_millis(50)).is_err());
    assert!(fixture.told.try_recv().is_err(), "the sink was called twice at a time");
    fixture.go_on.send(()).unwrap();
    delivered.recv_timeout(TIME_LIMIT).unwrap();
    assert_eq!(fixture.next(), "gap a");
    fixture.go_on.send(()).unwrap();
    confirmed.recv_timeout(TIME_LIMIT).unwrap();
    // What the first one brings now is too late.
    fixture.pubsub.on_push(first, push(PushKind::Message, "a"));
    assert!(fixture.told.try_recv().is_err());
}

#[test]
fn nothing_is_delivered_after_an_unsubscribe_and_a_delivery_under_way_is_waited_for() {
    let (fixture, generation, delivered) = delivering();
    let left = fixture.meanwhile(|pubsub| pubsub.drop_interest(&vec!["a".to_owned()], || true));
    assert!(left.recv_timeout(Duration::from_millis(50)).is_err());
    fixture.go_on.send(()).unwrap();
    delivered.recv_timeout(TIME_LIMIT).unwrap();
    left.recv_timeout(TIME_LIMIT).unwrap();
    fixture.pubsub.on_push(generation, push(PushKind::Message, "a"));
    assert!(fixture.told.try_recv().is_err());
}

#[test]
fn a_subscription_is_confirmed_to_those_who_wait_after_its_gap_was_told() {
    let fixture = fixture();
    want(&fixture.pubsub, "a", None);
    let (waiter, mut answer) = Waiter::new(1);
    want(&fixture.pubsub, "a", Some(&waiter));
    let generation = fixture.pubsub.begin();
    let heard = fixture.hear_meanwhile(generation, PushKind::Subscribe, "a");
    assert_eq!(fixture.next(), "gap a");
    assert!(answer.try_recv().is_err());
    fixture.go_on.send(()).unwrap();
    heard.recv_timeout(TIME_LIMIT).unwrap();
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
}
