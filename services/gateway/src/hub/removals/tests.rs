//! A removal that failed is asked for again, and not for ever.
#![allow(clippy::unwrap_used, reason = "tests")]

mod user_limit;

use gorani_broker::{MemoryBroker, MemorySettings};

use super::*;
use crate::hub::worker::Worker;
use crate::{
    hub::tests::{Client, HISTORY, faulty::Faulty},
    session::SubscribeParams,
};

fn empty() -> Rc<Removals> {
    Removals::new(Rc::default(), Arc::new(MemoryBroker::new(MemorySettings::default())), Tasks::default())
}

/// A subscription whose leave is published, and with `presence` one that stands in presence.
async fn subscribed(worker: &Rc<Worker>, presence: bool) -> Client {
    let client = Client::enter(&mut worker.hub_mut(), "one");
    let request = SubscribeParams { presence, announce: true, ..client.request(HISTORY, false) };
    worker.subscriptions.clone().subscribe(client.key, request).await.unwrap();
    client
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[actix_rt::test]
async fn a_leave_that_failed_is_told_later_and_one_that_may_have_been_told_is_not_told_twice() {
    tokio::time::pause();
    for (error, asked) in
        [(BrokerError::Unavailable as fn(String) -> BrokerError, 2), (BrokerError::UnknownOutcome, 1)]
    {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let client = subscribed(&worker, false).await;
        assert_eq!(broker.count("join"), 1);
        broker.fail(error);
        worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
        pass(Duration::from_millis(100)).await;
        assert_eq!(broker.count("leave"), 1);
        broker.recover();
        pass(Duration::from_secs(5)).await;
        assert_eq!(broker.count("leave"), asked);
    }
}

#[actix_rt::test]
async fn presence_is_taken_out_again_and_again_until_the_broker_forgets_it_by_itself() {
    tokio::time::pause();
    for error in [BrokerError::Unavailable as fn(String) -> BrokerError, BrokerError::UnknownOutcome] {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let client = subscribed(&worker, true).await;
        broker.fail(error);
        worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
        pass(PRESENCE_TTL / 2).await;
        let asked = broker.count("presence_remove");
        assert!((50..=61).contains(&asked), "twice a second, not {asked} times");
        pass(PRESENCE_TTL / 2 + AGAIN_AFTER).await;
        let asked = broker.count("presence_remove");
        assert!(asked > 100);
        pass(PRESENCE_TTL).await;
        assert_eq!(broker.count("presence_remove"), asked);
        assert!(
            !worker.subscriptions.removals.is_running.get()
                && worker.subscriptions.removals.again.borrow().is_empty()
        );
        // The next one is asked for again as well.
        let client = {
            broker.recover();
            subscribed(&worker, true).await
        };
        broker.fail(error);
        worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
        pass(Duration::from_secs(2)).await;
        assert!(broker.count("presence_remove") > asked + 2);
        broker.recover();
        pass(Duration::from_secs(2)).await;
        assert_eq!(broker.inner.presence_stats("a").await, Ok((0, 0)));
        let asked = broker.count("presence_remove");
        pass(Duration::from_secs(2)).await;
        assert_eq!(broker.count("presence_remove"), asked, "it is out");
    }
}

#[actix_rt::test]
async fn who_has_come_back_to_a_channel_meanwhile_is_not_taken_out() {
    tokio::time::pause();
    let broker = Faulty::new();
    let (worker, _inbox) = broker.worker().await;
    let client = subscribed(&worker, true).await;
    broker.fail(BrokerError::Unavailable);
    worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
    pass(Duration::from_millis(100)).await;
    broker.recover();
    let request = SubscribeParams { presence: true, ..client.request(HISTORY, false) };
    worker.subscriptions.clone().subscribe(client.key, request).await.unwrap();
    pass(Duration::from_secs(5)).await;
    assert_eq!(broker.count("presence_remove"), 1);
    assert_eq!(broker.inner.presence_stats("a").await, Ok((1, 1)));
}

#[actix_rt::test]
async fn a_client_that_the_broker_surely_does_not_have_is_not_taken_out_of_it() {
    tokio::time::pause();
    for (error, asked) in
        [(BrokerError::Unavailable as fn(String) -> BrokerError, 0), (BrokerError::UnknownOutcome, 1)]
    {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let client = Client::enter(&mut worker.hub_mut(), "one");
        let request = SubscribeParams { presence: true, ..client.request(HISTORY, false) };
        broker.fail(error);
        assert!(worker.subscriptions.clone().subscribe(client.key, request).await.is_err());
        broker.recover();
        pass(Duration::from_secs(2)).await;
        assert_eq!(broker.count("presence_remove") > 0, asked > 0);
    }
}

#[actix_rt::test]
async fn so_many_removals_wait_and_the_others_are_left_to_the_broker() {
    let until = Instant::now() + Duration::from_secs(60);
    let removals = empty();
    for _ in 0..=WAITING {
        removals.put_back(Removal::Connection { user: "42".into(), client: "one".into() }, until);
    }
    assert_eq!(removals.again.borrow().len(), WAITING);
    assert_eq!(removals.next().len(), REMOVALS_AT_ONCE);
    assert_eq!(removals.again.borrow().len(), WAITING - REMOVALS_AT_ONCE);
}

#[actix_rt::test]
async fn a_removal_whose_time_is_over_is_dropped_to_the_moment() {
    tokio::time::pause();
    let removals = empty();
    let now = Instant::now();
    for until in [now - Duration::from_nanos(1), now, now + Duration::from_nanos(1)] {
        removals.put_back(Removal::Connection { user: "42".into(), client: "one".into() }, until);
    }
    let next = removals.next();
    assert_eq!(next.iter().map(|(_, until)| *until - now).collect::<Vec<_>>(), [Duration::from_nanos(1)]);
}
