//! Failures of connections and of the server. `docs/architecture.md` §5.5, §5.6.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    fixture::{NODE, REQUEST_TIMEOUT, RedisFixture, SinkCall, quick},
    proxy::Proxy,
    server::Server,
};
use crate::{
    Broker as _, BrokerError, Cluster as _, HistoryQuery, Idempotency, PresencePage, PresenceQuery,
    Publication, PublishOptions, Retention,
};

fn event(channel: &str, data: &str) -> SinkCall {
    SinkCall::Event(channel.into(), data.to_owned())
}

fn gap(channel: &str) -> SinkCall {
    SinkCall::Gap(channel.into())
}

/// Nothing was done, or the outcome is unknown; not within much more than the time-out.
async fn expect_failure(node: &RedisFixture) -> BrokerError {
    let asked = Instant::now();
    let error = node.publish("news", "lost").await.unwrap_err();
    assert!(asked.elapsed() < 2 * REQUEST_TIMEOUT, "{:?}", asked.elapsed());
    assert!(matches!(error, BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_restarted_is_told_as_gaps_and_goes_on() {
    let mut server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    node.subscribe(&["news", "weather"]).await;
    let before = node.publish("news", "before").await.unwrap().position;
    assert_eq!(node.next().await, event("news", "before"));
    server.kill();
    node.until_not_ready().await;
    expect_failure(&node).await;
    let refused = node.broker.subscribe(&["late".into()]).await.unwrap_err();
    assert!(matches!(refused, BrokerError::Unavailable(_)), "{refused:?}");
    assert!(node.told_nothing());
    server.restart();
    // A connection that a busy machine breaks off again tells them once more; nothing but gaps comes before all are told.
    let mut untold = vec![gap("news"), gap("weather")];
    while !untold.is_empty() {
        let told = node.next().await;
        assert!(matches!(told, SinkCall::Gap(_)), "{told:?}");
        untold.retain(|gap| *gap != told);
    }
    node.until_ready().await;
    let after = node.publish("news", "after").await.unwrap().position;
    while node.next().await != event("news", "after") {}
    assert_ne!(after.epoch, before.epoch, "the server kept nothing, and the epoch tells");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_its_messages_again_after_the_server_was_lost() {
    let mut server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    server.kill();
    node.until_not_ready().await;
    // One of the two connections may notice later than the other.
    let refused = node.broker.send(None, "lost".into()).await.unwrap_err();
    assert!(matches!(refused, BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)), "{refused:?}");
    server.restart();
    node.until_ready().await;
    for to in [None, Some(NODE)] {
        node.broker.send(to, format!("to {to:?}").into()).await.unwrap();
        assert_eq!(node.next().await, SinkCall::Message(format!("to {to:?}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_makes_the_node_not_ready_until_it_goes_on() {
    let server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    node.subscribe(&["news"]).await;
    server.freeze();
    let error = expect_failure(&node).await;
    assert!(error.is_unknown_outcome(), "it was sent: {error:?}");
    node.until_not_ready().await;
    expect_failure(&node).await;
    node.until_not_listening().await;
    server.thaw();
    // The publication that was sent may still come before the gap.
    while node.next().await != gap("news") {}
    node.until_ready().await;
    node.publish("news", "after").await.unwrap();
    while node.next().await != event("news", "after") {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_went_deaf_notices_and_listens_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.port).await;
    let mut node = RedisFixture::start(quick(proxy.url())).await;
    node.subscribe(&["news"]).await;
    proxy.swallow_listeners();
    // Publishing works; nothing is received.
    node.publish("news", "unheard").await.unwrap();
    node.until_not_ready().await;
    assert!(node.told_nothing());
    proxy.let_listen();
    assert_eq!(node.next().await, gap("news"));
    node.until_ready().await;
    let page = node
        .broker
        .history(
            "news",
            HistoryQuery { limit: 10, ..Default::default() },
            Retention { size: 10, ttl: Duration::from_secs(60) },
        )
        .await
        .unwrap();
    assert_eq!(page.publications.len(), 1, "what was missed is in the history");
    node.publish("news", "heard").await.unwrap();
    assert_eq!(node.next().await, event("news", "heard"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_can_only_listen_is_not_ready_and_goes_on_listening_over_the_same_connection() {
    let server = Server::start();
    let proxy = Proxy::to(server.port).await;
    // The requests are found to be away long before the canary is missed, on a busy machine, too: as long as nobody knows that
    // they are, silence is taken for deafness.
    let settings = crate::RedisSettings { canary_timeout: 5 * REQUEST_TIMEOUT, ..quick(proxy.url()) };
    let longer_than_a_canary = 2 * settings.canary_timeout;
    let mut node = RedisFixture::start(settings).await;
    node.subscribe(&["news"]).await;
    proxy.swallow_requests(true);
    node.until_not_ready().await;
    // A new connection gives a gap.
    assert!(tokio::time::timeout(longer_than_a_canary, node.next()).await.is_err());
    proxy.swallow_requests(false);
    node.until_ready().await;
    node.publish("news", "after").await.unwrap();
    assert_eq!(node.next().await, event("news", "after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_on_all_connections_is_left_behind() {
    let server = Server::start();
    let proxy = Proxy::to(server.port).await;
    let mut node = RedisFixture::start(quick(proxy.url())).await;
    node.subscribe(&["news"]).await;
    proxy.swallow_all();
    assert!(expect_failure(&node).await.is_unknown_outcome());
    assert_eq!(node.next().await, gap("news"));
    node.until_ready().await;
    node.publish("news", "after").await.unwrap();
    assert_eq!(node.next().await, event("news", "after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_listening_connection_subscribes_everything_anew() {
    let server = Server::start();
    // On a busy machine 2500 subscriptions take a while; a canary missed meanwhile would tell of a second gap.
    let patience = 20 * REQUEST_TIMEOUT;
    let settings =
        crate::RedisSettings { request_timeout: patience, canary_timeout: patience, ..quick(server.url()) };
    let mut node = RedisFixture::start(settings.clone()).await;
    let publisher = RedisFixture::start(settings).await;
    let names: Vec<String> = (0..2500).map(|number| format!("room:{number}")).collect();
    node.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    node.broker.unsubscribe(&["room:0".into()]).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let mut gapped = HashSet::new();
    for _ in 1..names.len() {
        let SinkCall::Gap(channel) = node.next().await else { panic!("only gaps are expected") };
        assert!(gapped.insert(channel));
    }
    assert!(!gapped.contains("room:0"), "nobody wants it any more");
    // The sink gets the gap of a channel when its subscription is confirmed again.
    for name in ["room:1", "room:2499"] {
        publisher.publish(name, "again").await.unwrap();
        assert_eq!(node.next().await, event(name, "again"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_scripts_gets_them_again_and_the_order_stays() {
    let server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    node.subscribe(&["news"]).await;
    let options = PublishOptions {
        retention: Retention { size: 1000, ttl: Duration::from_secs(60) },
        ..Default::default()
    };
    let mut published = 0;
    for _ in 0..20 {
        server.command(&["SCRIPT", "FLUSH"]).await;
        let mut calls = Vec::new();
        for _ in 0..50 {
            published += 1;
            let publication = Publication { data: published.to_string().into(), ..Default::default() };
            calls.push(node.broker.publish("news", publication, options.clone()));
            // Several pipelines are under way when the first is answered.
            if published % 5 == 0 {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        }
        let offsets: Vec<u64> =
            join_all(calls).await.into_iter().map(|answer| answer.unwrap().position.offset).collect();
        assert_eq!(offsets, (published - 49..=published).collect::<Vec<_>>());
    }
    for number in 1..=published {
        assert_eq!(node.next().await, event("news", &number.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_whose_answer_was_lost_is_not_done_twice_when_it_is_retried_with_its_key() {
    let server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    let retention = Retention { size: 10, ttl: Duration::from_secs(60) };
    let guard = Idempotency { key: "once".to_owned(), ttl: Duration::from_secs(60) };
    let options = PublishOptions { retention, idempotency: Some(guard), ..Default::default() };
    let publication = Publication { data: "1".into(), ..Default::default() };
    server.freeze();
    // It reaches the server's socket, and the server carries it out when it goes on.
    let lost = node.broker.publish("news", publication.clone(), options.clone()).await.unwrap_err();
    assert!(lost.is_unknown_outcome(), "{lost:?}");
    server.thaw();
    node.until_ready().await;
    let retried = node.broker.publish("news", publication, options).await.unwrap();
    assert_eq!((retried.position.offset, retried.repeated), (1, true));
    let page = node.broker.history("news", HistoryQuery::default(), retention).await.unwrap();
    assert_eq!(page.top, retried.position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_ran_and_whose_answer_was_lost_is_not_run_twice_with_its_key() {
    let server = Server::start();
    let proxy = Proxy::to(server.port).await;
    let node = RedisFixture::start(quick(proxy.url())).await;
    let mut listener = RedisFixture::start(quick(server.url())).await;
    listener.subscribe(&["news"]).await;
    let retention = Retention { size: 10, ttl: Duration::from_secs(60) };
    let guard = Idempotency { key: "once".to_owned(), ttl: Duration::from_secs(60) };
    let options = PublishOptions { retention, idempotency: Some(guard), ..Default::default() };
    let publication = Publication { data: "1".into(), ..Default::default() };
    proxy.swallow_answers();
    let asked = Instant::now();
    let lost = node.broker.publish("news", publication.clone(), options.clone()).await.unwrap_err();
    assert!(lost.is_unknown_outcome(), "{lost:?}");
    assert!(asked.elapsed() < 2 * REQUEST_TIMEOUT, "{:?}", asked.elapsed());
    // It was done all the same.
    assert_eq!(listener.next().await, event("news", "1"));
    let deadline = Instant::now() + Duration::from_secs(20);
    let retried = loop {
        match node.broker.publish("news", publication.clone(), options.clone()).await {
            Ok(published) => break published,
            // The connection may still be given up meanwhile.
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((retried.position.offset, retried.repeated), (1, true));
    listener.publish("news", "2").await.unwrap();
    assert_eq!(listener.next().await, event("news", "2"));
    let stats = node.broker.stats();
    assert!(stats.publishes_unknown > 0 && stats.request_connections_lost > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_every_publish_ends_in_time_and_none_is_half_done() {
    let mut server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    let mut calls = Vec::new();
    let publish = |number: usize| {
        let publication = Publication { data: number.to_string().into(), ..Default::default() };
        let retention = Retention { size: 1000, ttl: Duration::from_secs(60) };
        let made =
            node.broker.publish("news", publication, PublishOptions { retention, ..Default::default() });
        let asked = Instant::now();
        tokio::spawn(async move { (made.await, asked.elapsed()) })
    };
    // Frozen, killed, and away: whatever the state, a call ends.
    for (state, number) in (0..60).map(|number| (number / 20, number)) {
        match number {
            5 => server.freeze(),
            20 => server.kill(),
            _ => {}
        }
        calls.push((state, publish(number)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.until_not_ready().await;
    for (state, call) in calls {
        let (answer, took) = call.await.unwrap();
        assert!(took < 3 * REQUEST_TIMEOUT, "{took:?}");
        match answer {
            Ok(_) => assert_eq!(state, 0),
            Err(error) => {
                assert!(
                    matches!(error, BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)),
                    "{error:?}"
                );
            }
        }
    }
    server.restart();
    node.until_ready().await;
    assert_eq!(
        node.publish("news", "after").await.unwrap().position.offset,
        1,
        "an empty server, and nothing late"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_an_unknown_format_is_told_as_a_gap() {
    let server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    node.subscribe(&["news"]).await;
    server.command(&["PUBLISH", "gorani:events:{news}", "\u{63}newer"]).await;
    assert_eq!(node.next().await, gap("news"));
}

#[tokio::test]
async fn more_bytes_of_requests_than_may_wait_are_refused() {
    let server = Server::start();
    let node =
        RedisFixture::start(crate::RedisSettings { max_pending_bytes: 100_000, ..quick(server.url()) }).await;
    server.freeze();
    let large = "x".repeat(20_000);
    let answers = join_all((0..20).map(|_| node.publish("news", &large))).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(BrokerError::Limit(_)))).count();
    assert!((14..=20).contains(&refused), "{refused}");
    server.thaw();
    // The connection may be given up meanwhile, and made again.
    let accepted = async { while node.publish("news", "small").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), accepted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_may_wait_are_refused() {
    let server = Server::start();
    let node = RedisFixture::start(crate::RedisSettings { max_pending: 10, ..quick(server.url()) }).await;
    server.freeze();
    let calls: Vec<_> = (0..20).map(|_| node.broker.presence("room", PresenceQuery::default())).collect();
    let answers = join_all(calls).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(BrokerError::Limit(_)))).count();
    assert!((10..=20).contains(&refused), "{refused}");
    server.thaw();
    node.until_ready().await;
    assert_eq!(node.broker.presence("room", PresenceQuery::default()).await, Ok(PresencePage::default()));
}
