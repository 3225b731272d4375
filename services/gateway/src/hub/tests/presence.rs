//! A client stays in presence while its session lasts, and for a while when it was asked to come back.

use std::{sync::Arc, time::Duration};

use gorani_broker::{Broker as _, BrokerError};

use super::{Client, HISTORY, faulty::Faulty};
use crate::session::SubscribeParams;

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn request(client: &Client, presence: bool) -> SubscribeParams {
    SubscribeParams { presence, announce: true, ..client.request(HISTORY, false) }
}

#[actix_rt::test]
async fn presence_is_refreshed_every_25_seconds_and_sooner_after_a_failure_or_a_lapsed_lease() {
    tokio::time::pause();
    let broker = Faulty::new();
    let (worker, inbox) = broker.worker().await;
    let [present, told] = ["one", "two"].map(|name| Client::enter(&mut worker.hub_mut(), name));
    worker.subscriptions.clone().subscribe(present.key, request(&present, true)).await.unwrap();
    worker.subscriptions.clone().subscribe(told.key, request(&told, false)).await.unwrap();
    let mut expected = 1;
    assert_eq!(broker.count("presence_add"), expected);
    for _ in 0..3 {
        pass(24).await;
        assert_eq!(broker.count("presence_add"), expected);
        pass(1).await;
        tokio::task::yield_now().await;
        expected += 1;
        assert_eq!(broker.count("presence_add"), expected);
    }
    inbox.restore();
    pass(1).await;
    assert_eq!(broker.count("presence_add"), expected + 1);
    broker.fail(BrokerError::Unavailable);
    pass(25).await;
    assert!(broker.count("presence_add") > expected + 1);
    broker.recover();
    let failed = broker.count("presence_add");
    pass(2).await;
    assert_eq!(
        broker.count("presence_add"),
        failed + 1,
        "again after a second, and then no sooner than before"
    );
}

#[actix_rt::test]
async fn who_is_told_to_come_back_stays_present_until_it_comes_or_its_time_is_over() {
    tokio::time::pause();
    for comes_back in [true, false] {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let client = Client::enter(&mut worker.hub_mut(), "one");
        worker.subscriptions.clone().subscribe(client.key, request(&client, true)).await.unwrap();
        pass(20).await;
        worker.subscriptions.interrupt(client.key, "a");
        // A look 5 s later finds that it is not away for long enough.
        pass(6).await;
        assert_eq!(broker.count("presence_remove"), 0);
        if comes_back {
            worker.subscriptions.clone().subscribe(client.key, request(&client, true)).await.unwrap();
        }
        pass(30).await;
        assert_eq!(broker.count("presence_remove"), usize::from(!comes_back));
        let present = u64::from(comes_back);
        assert_eq!(broker.inner.presence_stats("a").await, Ok((present, present)));
        worker.deregister(client.key, None);
        pass(1).await;
        assert_eq!(broker.count("presence_remove"), 1);
    }
}

#[actix_rt::test]
async fn a_session_that_ends_while_it_is_expected_back_leaves_every_channel() {
    tokio::time::pause();
    let broker = Faulty::new();
    let (worker, _inbox) = broker.worker().await;
    let client = Client::enter(&mut worker.hub_mut(), "one");
    for channel in ["a", "b", "c"] {
        let request = SubscribeParams { channel: channel.into(), ..request(&client, true) };
        worker.subscriptions.clone().subscribe(client.key, request).await.unwrap();
    }
    worker.subscriptions.interrupt(client.key, "a");
    worker.subscriptions.interrupt(client.key, "b");
    // One of two is back, and the other is expected still.
    let again = SubscribeParams { channel: "b".into(), ..request(&client, true) };
    assert!(worker.hub_mut().join(client.key, &again).is_some());
    assert!(worker.hub().is_entered(client.key, "b"), "it never left");
    let new = SubscribeParams { channel: "new".into(), ..request(&client, true) };
    assert!(worker.hub_mut().join(client.key, &new).is_some());
    assert!(!worker.hub().is_entered(client.key, "new"), "nobody expected it there");
    worker.deregister(client.key, None);
    pass(1).await;
    for channel in ["a", "b", "c"] {
        assert_eq!(broker.inner.presence_stats(channel).await, Ok((0, 0)), "{channel}");
    }
    assert_eq!(broker.count("presence_remove"), 3);
}

#[actix_rt::test]
async fn an_interrupted_subscription_without_presence_is_left_at_once() {
    tokio::time::pause();
    let broker = Faulty::new();
    let (worker, _inbox) = broker.worker().await;
    let client = Client::enter(&mut worker.hub_mut(), "one");
    worker.subscriptions.clone().subscribe(client.key, request(&client, false)).await.unwrap();
    assert_eq!(worker.subscriptions.interest.wanted(), 1);
    worker.subscriptions.interrupt(client.key, "a");
    assert_eq!((broker.count("leave"), worker.subscriptions.interest.wanted()), (1, 0));
    let channel: Arc<str> = "a".into();
    worker.subscriptions.clone().subscribe(client.key, request(&client, true)).await.unwrap();
    worker.subscriptions.interrupt(client.key, &channel);
    assert_eq!((broker.count("leave"), worker.subscriptions.interest.wanted()), (1, 0));
}
