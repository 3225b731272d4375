//! The holder of each message, the name under which it was taken, and the end of a queue.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use futures_util::FutureExt as _;
use gorani_broker::Publication;

use super::*;

fn request(queue: &str) -> FetchRequest {
    let ttl = Duration::from_secs(60);
    let limits = QueueLimits { max_messages: 10, max_bytes: 1000, max_attempts: 0, ttl };
    FetchRequest { queue: queue.into(), count: 10, node: "node".into(), limits: Arc::new(limits) }
}

fn delivery(id: &str) -> QueueDelivery {
    QueueDelivery { id: id.into(), attempt: 1, publication: Arc::new(Publication::default()) }
}

fn keys() -> [SessionKey; 2] {
    [SessionKey::FIRST, SessionKey::FIRST.next()]
}

/// Takes these messages for a session; returns the name they were taken under.
fn take(consumers: &Consumers, key: SessionKey, ids: &[&str]) -> Arc<str> {
    consumers.enter(&request("q"));
    let name = consumers.begin_fetch("q", 3).unwrap();
    let fetched: Vec<QueueDelivery> = ids.iter().map(|id| delivery(id)).collect();
    consumers.end_fetch("q", key, &name, &fetched);
    name
}

/// Names of a queue that the broker is told of, with what is held under them where nothing more is taken.
fn kept(consumers: &Consumers) -> Vec<(String, Option<Vec<DeliveryId>>)> {
    consumers.kept(None).into_iter().map(|kept| (kept.name.to_string(), kept.holds)).collect()
}

#[test]
fn a_queue_is_known_while_somebody_takes_or_holds_and_the_last_who_leaves_is_told() {
    let consumers = Consumers::default();
    let [one, two] = keys();
    assert!(!consumers.leave("q"), "nobody was in it");
    take(&consumers, one, &["a"]);
    take(&consumers, two, &[]);
    assert!(!consumers.leave("q"));
    assert!(consumers.leave("q"));
    assert_eq!(consumers.count(), 1, "a message is held");
    consumers.tidy("q");
    assert_eq!(consumers.count(), 1);
    assert_eq!(consumers.forget("q", &["a".into(), "unknown".into()])[0].ids, [DeliveryId::from("a")]);
    assert!(consumers.forget("q", &["a".into()]).is_empty());
    consumers.tidy("q");
    assert_eq!(consumers.count(), 0);
    take(&consumers, one, &[]);
    consumers.tidy("q");
    assert_eq!(consumers.count(), 1, "somebody takes");
    assert!(consumers.leave("q"));
    assert_eq!(consumers.count(), 0);
}

#[test]
fn what_a_session_holds_is_known_by_queue() {
    let consumers = Consumers::default();
    let [one, two] = keys();
    take(&consumers, one, &["a", "b"]);
    take(&consumers, two, &["c"]);
    assert_eq!(consumers.held_by(one), [("q".into(), vec!["a".into(), "b".into()])]);
    assert_eq!(consumers.held_by(two), [("q".into(), vec!["c".into()])]);
    consumers.forget("q", &["c".into()]);
    assert!(consumers.held_by(two).is_empty());
}

#[test]
fn nothing_more_is_taken_under_a_retired_name_and_what_is_held_under_it_is_told_when_its_requests_are_over() {
    let consumers = Consumers::default();
    let [one, two] = keys();
    let first = take(&consumers, one, &["a"]);
    assert_eq!(&*first, "node-3-0");
    assert_eq!(take(&consumers, one, &["b"]), first);
    assert_eq!(kept(&consumers), [("node-3-0".to_owned(), None)]);
    let under_way = consumers.begin_fetch("q", 3).unwrap();
    assert_eq!(under_way, first);
    consumers.retire("q", "another");
    assert_eq!(kept(&consumers), [("node-3-0".to_owned(), None)]);
    consumers.retire("q", &first);
    assert_eq!(kept(&consumers), [("node-3-0".to_owned(), None)], "a request is under way");
    let next = take(&consumers, two, &["c"]);
    assert_eq!(&*next, "node-3-1");
    consumers.end_fetch("q", one, &under_way, &[delivery("d")]);
    let held: Vec<DeliveryId> = ["a", "b", "d"].map(DeliveryId::from).to_vec();
    assert_eq!(kept(&consumers), [("node-3-0".to_owned(), Some(held)), ("node-3-1".to_owned(), None)]);
    consumers.reconciled("q", &first);
    assert_eq!(kept(&consumers).len(), 2, "messages are held under it");
    consumers.forget("q", &["a".into(), "b".into(), "d".into()]);
    consumers.reconciled("q", &first);
    assert_eq!(kept(&consumers), [("node-3-1".to_owned(), None)]);
}

#[test]
fn a_queue_with_a_retired_name_is_kept_until_the_broker_has_given_back_what_was_under_it() {
    let consumers = Consumers::default();
    let name = take(&consumers, keys()[0], &[]);
    consumers.retire("q", &name);
    assert!(consumers.leave("q"));
    consumers.tidy("q");
    assert_eq!(consumers.count(), 1);
    consumers.reconciled("q", &name);
    assert_eq!(consumers.count(), 0);
}

#[test]
fn so_many_names_may_be_retired_and_then_nothing_is_taken() {
    let consumers = Consumers::default();
    for _ in 0..NAMES {
        let name = take(&consumers, keys()[0], &[]);
        consumers.retire("q", &name);
    }
    assert_eq!(consumers.begin_fetch("q", 3), None);
    assert_eq!(consumers.begin_fetch("unknown", 3), None);
    consumers.reconciled("q", "node-3-0");
    assert!(consumers.begin_fetch("q", 3).is_some());
}

#[test]
fn messages_of_one_request_are_settled_by_the_names_they_were_taken_under_and_queues_are_kept_apart() {
    let consumers = Consumers::default();
    let [one, _] = keys();
    let first = take(&consumers, one, &["a"]);
    consumers.retire("q", &first);
    let next = take(&consumers, one, &["b", "c"]);
    consumers.enter(&request("other"));
    consumers.begin_fetch("other", 3).unwrap();
    assert_eq!((consumers.kept(None).len(), consumers.kept(Some("q")).len()), (3, 2));
    let settled = consumers.forget("q", &["c".into(), "a".into(), "b".into()]);
    let settled: Vec<_> = settled.into_iter().map(|settled| (settled.name, settled.ids)).collect();
    assert_eq!(settled, [(next, vec!["c".into(), "b".into()]), (first, vec!["a".into()])]);
}

#[tokio::test]
async fn all_who_take_from_a_queue_are_woken() {
    let consumers = Consumers::default();
    let [one, two] = [consumers.enter(&request("q")), consumers.enter(&request("q"))];
    let other = consumers.enter(&request("other"));
    let (mut one, mut two, mut other) =
        (Box::pin(one.notified()), Box::pin(two.notified()), Box::pin(other.notified()));
    one.as_mut().enable();
    two.as_mut().enable();
    other.as_mut().enable();
    consumers.wake("q");
    tokio::join!(one, two);
    assert!(other.now_or_never().is_none());
}
