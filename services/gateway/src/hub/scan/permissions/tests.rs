//! Counts and ends the subscriptions of a worker that a policy does not permit: each once, in slices, over their time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::rc::Rc;

use gorani_auth::GrantedBy;
use gorani_broker::{Broker, MemoryBroker, MemorySettings};
use serde_json::json;

use super::*;
use crate::{
    hub::{
        history_reads::HistoryReads,
        interest::Interest,
        scan::ScanRequest,
        tests::{Client, NO_HISTORY},
        worker::Worker,
    },
    session::{SubscribeParams, shared::enforcement::CurrentEnforcement},
};

fn worker() -> Rc<Worker> {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (interest, reads) =
        (Interest::new(broker.clone()), HistoryReads::new(broker.clone(), Arc::default()));
    Worker::start(0, usize::MAX, broker, Arc::new(interest), Arc::new(reads), Arc::default(), Arc::default())
        .0
}

/// Rules that permit anonymous clients `news` and nobody `chat`.
fn policy() -> Arc<Policy> {
    crate::session::tests::policy(
        json!([
            {"name": "chat"},
            {"name": "news", "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true}
        ]),
        Default::default(),
    )
}

fn join(worker: &Worker, client: &Client, channel: &str, by: GrantedBy) {
    let request = SubscribeParams { channel: channel.into(), by, ..client.request(NO_HISTORY, false) };
    assert!(worker.hub_mut().join(client.key(), &request).is_some());
}

/// Clients with a subscription to `chat:a` each, by the rules.
fn crowd(worker: &Worker, count: usize) -> Vec<Client> {
    let clients: Vec<Client> =
        (0..count).map(|number| Client::enter(&mut worker.hub_mut(), &format!("client{number}"))).collect();
    clients.iter().for_each(|client| join(worker, client, "chat:a", GrantedBy::Options));
    clients
}

async fn find_in(worker: &Rc<Worker>) -> NotPermitted {
    let (answer, answered) = oneshot::channel();
    let request = ScanRequest::NotPermitted { policy: policy(), answer };
    actix_rt::spawn(request.answer(worker.hub.clone(), worker.traffic.clone()));
    answered.await.unwrap()
}

/// Lets the worker and the mailboxes have their turns.
async fn turns() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

fn handed_over(clients: &[Client]) -> usize {
    clients.iter().map(Client::signals).sum()
}

#[actix_rt::test]
async fn the_count_is_by_namespace_and_what_the_rules_did_not_grant_is_no_part_of_it() {
    let worker = worker();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    for (channel, by) in [
        ("chat:a", GrantedBy::Options),
        ("chat:b", GrantedBy::UserLimited),
        ("chat:c", GrantedBy::SubscriptionToken),
        ("chat:d", GrantedBy::ConnectionToken),
        ("news:a", GrantedBy::Options),
        ("gone:a", GrantedBy::ConnectionToken),
        ("plain", GrantedBy::Options),
    ] {
        join(&worker, &client, channel, by);
    }
    let counted = |found: &NotPermitted| {
        found.by_namespace.iter().map(|(name, count)| (name.clone(), *count)).collect::<Vec<_>>()
    };
    let expected = [("", 1), ("chat", 2), ("gone", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counted(&find_in(&worker).await), expected);
    worker.hub_mut().registry_mut().set_grant(client.key(), "chat:a", GrantedBy::SubscriptionToken);
    let chat = find_in(&worker).await.by_namespace.get("chat").copied();
    assert_eq!(chat, Some(1), "a token came for one of them");
    assert_eq!(client.signals(), 0, "a count ends nothing");
}

#[actix_rt::test]
async fn each_that_was_counted_is_handed_over_once_and_evenly_over_the_time() {
    let worker = worker();
    let clients = crowd(&worker, 1000);
    let found = find_in(&worker).await;
    assert_eq!(found.by_namespace["chat"], 1000);
    // One that comes now was not counted.
    let late = Client::enter(&mut worker.hub_mut(), "late");
    join(&worker, &late, "chat:a", GrantedBy::Options);
    tokio::time::pause();
    let enforcement = Enforcement::new(1000);
    found.end.send(enforcement.clone()).unwrap();
    turns().await;
    let mut before = 0;
    for second in 1..=20 {
        tokio::time::advance(Duration::from_secs(1)).await;
        turns().await;
        let now = handed_over(&clients);
        assert!((49..=52).contains(&(now - before)), "{} in second {second}", now - before);
        before = now;
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    turns().await;
    assert!(clients.iter().all(|client| client.signals() == 1));
    assert_eq!(late.signals(), 0);
}

#[actix_rt::test]
async fn one_that_ended_or_was_replaced_before_its_turn_is_left_alone() {
    let worker = worker();
    let clients = crowd(&worker, 2);
    let found = find_in(&worker).await;
    tokio::time::pause();
    let [gone, replaced] = &clients[..] else { panic!("two clients") };
    worker.deregister(gone.key(), None);
    worker.hub_mut().leave(replaced.key(), "chat:a");
    join(&worker, replaced, "chat:a", GrantedBy::Options);
    found.end.send(Enforcement::new(2)).unwrap();
    turns().await;
    tokio::time::advance(ENFORCED_OVER).await;
    turns().await;
    assert_eq!(handed_over(&clients), 0);
}

#[actix_rt::test]
async fn another_reload_that_enforces_or_a_drain_stops_the_one_before() {
    let worker = worker();
    let clients = crowd(&worker, 10);
    let current = CurrentEnforcement::default();
    let (first, second) = (find_in(&worker).await, find_in(&worker).await);
    tokio::time::pause();
    let enforcement = Enforcement::new(10);
    current.replace(&enforcement);
    first.end.send(enforcement.clone()).unwrap();
    turns().await;
    let next = Enforcement::new(10);
    current.replace(&next);
    assert_eq!((enforcement.is_stopped(), next.is_stopped()), (true, false));
    second.end.send(next.clone()).unwrap();
    turns().await;
    current.stop();
    assert!(next.is_stopped());
    tokio::time::advance(ENFORCED_OVER).await;
    turns().await;
    assert!(handed_over(&clients) <= 2, "each may have had one moment before it was stopped");
}

#[actix_rt::test]
async fn a_worker_with_a_hundred_thousand_of_them_is_held_up_for_no_longer_than_a_slice() {
    let worker = worker();
    let mut last = None;
    for number in 0..100_000 {
        if number % 100 == 0 {
            last = Some(Client::enter(&mut worker.hub_mut(), &format!("client{number}")));
        }
        join(&worker, last.as_ref().unwrap(), &format!("chat:{number}"), GrantedBy::Options);
    }
    let (mut found, mut next) = (FoundInSlices::default(), Bound::Unbounded);
    loop {
        let (began, before) = (Instant::now(), found.count());
        let Some(client) = find_in_slice(&policy(), &worker.hub(), &next, began, &mut found) else { break };
        assert!(began.elapsed() >= SLICE && found.count() > before);
        next = Bound::Excluded(client);
    }
    assert_eq!(found.count(), 100_000);
    let largest = found.slices.iter().map(Vec::len).max();
    assert!(largest < Some(100_000), "all in one slice");
}
