//! Delivery from the store of the memory broker to receivers on real sockets.

mod fixture;
mod new_files;

use std::{sync::Arc, time::Duration};

use gorani_broker::{
    MemoryBroker, MemorySettings,
    hook_store::{HookChange, HookDeliveryState},
};

use self::fixture::{Fixture, endpoint, fixture, ok};
use super::{
    draft,
    receiver::{ReceivedRequest, Receiver, status},
};
use crate::{
    clock,
    hooks::{
        deliver::{self, HookDelivery, HookOpenError},
        store::store_of,
    },
    settings::{HookEndpointSettings, HookFormat, HookSettings},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[actix_rt::test]
async fn the_first_event_leaves_at_once_and_what_comes_meanwhile_is_the_next_batch() {
    let receiver = Receiver::start(ok).await;
    let fixture = fixture(&receiver).await;
    let (wake, _) = fixture.deliver();
    fixture.add(&["a"]).await;
    wake.send_replace(());
    let first = receiver.wait(1).await;
    assert_eq!(first[0].channels(), ["a"]);
    fixture.add(&["b", "c"]).await;
    wake.send_replace(());
    let both = receiver.wait(2).await;
    assert_eq!(both[1].channels(), ["b", "c"]);
    assert_eq!(fixture.until(|head| head.length == 0).await.state, HookDeliveryState::default());
    assert_ne!(both[0].headers["webhook-id"], both[1].headers["webhook-id"]);
    assert!(!both[0].headers.contains_key("webhook-signature"), "without a secret nothing is signed");
    assert_eq!(both[0].headers["content-type"], "application/json");
    assert!(both[0].headers["user-agent"].starts_with("Gorani/"));
}

#[actix_rt::test]
async fn events_of_other_nodes_are_found_without_being_woken() {
    let receiver = Receiver::start(ok).await;
    let fixture = fixture(&receiver).await;
    let (_wake, _) = fixture.deliver();
    tokio::task::yield_now().await;
    fixture.add(&["a"]).await;
    assert_eq!(receiver.wait(1).await[0].channels(), ["a"]);
}

#[actix_rt::test]
async fn what_fails_comes_again_as_the_same_batch_though_more_events_wait_by_then() {
    let receiver = Receiver::start(|number, _| match number {
        0 => status("500 Broken"),
        1 => status("302 Found\r\nLocation: /elsewhere"),
        2 => Some(("200 OK".to_owned(), r#"{"error":{"code":1}}"#.to_owned())),
        _ => status("200 OK"),
    })
    .await;
    let mut settings = endpoint(&receiver);
    settings.secrets.0.push(SECRET.to_owned());
    settings.headers.insert("Authorization".to_owned(), "Bearer b".to_owned());
    let fixture = Fixture::new(vec![settings]).await;
    fixture.add(&["a", "b"]).await;
    let (_wake, _) = fixture.deliver();
    receiver.wait(1).await;
    fixture.add(&["c"]).await;
    let requests = receiver.wait(5).await;
    for request in &requests[..4] {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(request.headers["webhook-id"], requests[0].headers["webhook-id"]);
        assert_eq!(request.json()["batch"], request.headers["webhook-id"].as_str());
        assert_eq!(request.headers["authorization"], "Bearer b");
        assert!(request.headers["webhook-signature"].starts_with("v1,"));
    }
    assert_eq!(requests[4].channels(), ["c"]);
    fixture.until(|head| head.length == 0).await;
    assert!(fixture.metric(r#"gorani_hook_deliveries_total{endpoint="shop",outcome="failed"} 3"#));
    assert!(fixture.metric(r#"gorani_hook_deliveries_total{endpoint="shop",outcome="taken"} 2"#));
}

#[actix_rt::test]
async fn one_event_that_is_refused_becomes_a_dead_letter_after_five_tries_and_the_others_go_on_in_order() {
    let receiver = Receiver::start(|_, request| {
        let is_bad = request.channels().iter().any(|channel| channel == "bad");
        status(if is_bad { "422 No" } else { "200 OK" })
    })
    .await;
    let fixture = fixture(&receiver).await;
    let names: Vec<_> =
        (0..50).map(|number| if number == 33 { "bad".into() } else { number.to_string() }).collect();
    fixture.add(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (_wake, _) = fixture.deliver();
    fixture.until(|head| head.length == 0).await;
    assert_eq!(fixture.dead().await, [("bad".to_owned(), "422".to_owned(), 5)]);
    let requests = receiver.requests();
    let has_bad = |request: &&ReceivedRequest| request.channels().contains(&"bad".to_owned());
    let taken: Vec<_> =
        requests.iter().filter(|request| !has_bad(request)).flat_map(ReceivedRequest::channels).collect();
    assert_eq!(taken, names.iter().filter(|name| *name != "bad").cloned().collect::<Vec<_>>());
    assert_eq!(requests.iter().filter(|request| request.channels() == ["bad"]).count(), 5);
    assert!(requests.len() < 25, "{} requests", requests.len());
    fixture.until(|head| head.dead_letters == 1).await;
}

#[actix_rt::test]
async fn the_pause_and_the_count_of_attempts_outlive_the_node() {
    let receiver = Receiver::start(|number, _| match number {
        0 => status("503 Busy\r\nRetry-After: 3600"),
        _ => status("200 OK"),
    })
    .await;
    let fixture = fixture(&receiver).await;
    fixture.add(&["a"]).await;
    let (_wake, first) = fixture.deliver();
    let head = fixture.until(|head| head.state.tries == 1).await;
    first.abort();
    let left = head.state.next_ms - clock::unix_ms();
    assert!((590_000..=600_000).contains(&left), "{left}: ten minutes at most");
    // The next one waits as well, until the time is over.
    let (_wake, _) = fixture.deliver();
    assert!(tokio::time::timeout(Duration::from_millis(100), receiver.wait(2)).await.is_err());
    let state = HookDeliveryState { next_ms: 0, ..head.state };
    let delivered = gorani_broker::hook_store::HookDelivered { state, ..Default::default() };
    store_of(&*fixture.broker).unwrap().complete(0, "shop", delivered).await.unwrap();
    let (_wake, _) = fixture.deliver();
    assert_eq!(receiver.wait(2).await[1].body, receiver.requests()[0].body);
}

#[actix_rt::test]
async fn without_the_lease_nothing_more_is_sent_but_what_was_taken_is_noted() {
    let receiver = Receiver::start(ok).await;
    let fixture = fixture(&receiver).await;
    fixture.add(&["a"]).await;
    let (_wake, task) = fixture.deliver();
    receiver.wait(1).await;
    fixture.leases.end().await;
    fixture.add(&["b"]).await;
    task.await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
    let head = fixture.head().await;
    assert_eq!(head.events.len(), 1, "the one that was taken is gone, the other is for the next owner");
}

#[actix_rt::test]
async fn an_endpoint_that_answers_410_is_paused_and_loses_nothing() {
    let receiver = Receiver::start(|_, _| status("410 Gone")).await;
    let mut settings = endpoint(&receiver);
    settings.max_age = Duration::from_secs(1);
    let fixture = Fixture::new(vec![settings]).await;
    fixture.add_at(1000, &["a", "b"]).await;
    let (_wake, _) = fixture.deliver();
    let head = fixture.until(|head| head.state.tries == 1).await;
    assert_eq!((head.length, head.dead_letters), (2, 0));
    assert!(head.state.next_ms > clock::unix_ms() + 590_000);
    assert!(fixture.metric(r#"gorani_hook_paused{endpoint="shop"} 1"#));
    assert!(fixture.metric(r#"gorani_hook_backlog_events{endpoint="shop"} 2"#));
}

#[actix_rt::test]
async fn a_node_that_gets_the_queue_of_a_paused_endpoint_says_so_before_any_attempt() {
    let receiver = Receiver::start(|_, _| status("410 Gone")).await;
    let mut fixture = fixture(&receiver).await;
    fixture.add(&["a"]).await;
    let (_wake, first) = fixture.deliver();
    let head = fixture.until(|head| head.state.is_paused).await;
    first.abort();
    // As after a restart: nothing but the store knows it.
    fixture.metrics = Arc::default();
    assert!(!fixture.metric(r#"gorani_hook_paused{endpoint="shop"} 1"#));
    let (_wake, _) = fixture.deliver();
    while !fixture.metric(r#"gorani_hook_paused{endpoint="shop"} 1"#) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(receiver.requests().len(), 1, "no attempt");
    // A pause that is over, or a pause of another reason, is none.
    for (next_ms, is_paused) in [(1, true), (head.state.next_ms, false)] {
        let state = HookDeliveryState { next_ms, is_paused, ..head.state.clone() };
        let delivered =
            gorani_broker::hook_store::HookDelivered { taken: Vec::new(), state, ..Default::default() };
        store_of(&*fixture.broker).unwrap().complete(0, "shop", delivered).await.unwrap();
        fixture.metrics = Arc::default();
        let (_wake, task) = fixture.deliver();
        if is_paused {
            receiver.wait(2).await;
            fixture.until(|head| head.state.tries > 1).await;
        } else {
            while !fixture.metric(r#"gorani_hook_backlog_events{endpoint="shop"} 1"#) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert!(!fixture.metric(r#"gorani_hook_paused{endpoint="shop"} 1"#));
        }
        task.abort();
    }
}

#[actix_rt::test]
async fn events_that_are_too_old_are_given_up_only_when_an_attempt_failed() {
    let receiver = Receiver::start(|number, _| status(if number == 0 { "200 OK" } else { "500 No" })).await;
    let mut settings = endpoint(&receiver);
    (settings.max_age, settings.batch_max_events) = (Duration::from_secs(60), 2);
    let fixture = Fixture::new(vec![settings]).await;
    fixture.add_at(1000, &["a", "b", "c", "d", "e"]).await;
    fixture.add(&["young"]).await;
    let (_wake, _) = fixture.deliver();
    let head = fixture.until(|head| head.dead_letters == 3).await;
    assert_eq!(&*head.events[0].draft.channel, "young");
    let dead = fixture.dead().await;
    assert_eq!(dead.iter().map(|(channel, ..)| channel.as_str()).collect::<Vec<_>>(), ["c", "d", "e"]);
    assert!(dead[0].1.starts_with("older than max_age: 500"), "{}", dead[0].1);
}

#[actix_rt::test]
async fn dropped_events_are_told_by_one_gap_before_the_events_that_are_left() {
    let receiver = Receiver::start(|number, _| status(if number == 0 { "500 No" } else { "200 OK" })).await;
    let mut settings = endpoint(&receiver);
    settings.max_backlog_events = 2;
    let fixture = Fixture::new(vec![settings]).await;
    fixture.add(&["a", "b", "c", "d"]).await;
    let (_wake, _) = fixture.deliver();
    let requests = receiver.wait(2).await;
    for request in &requests {
        let events = &request.json()["events"];
        assert_eq!((&events[0]["type"], &events[0]["dropped"]), (&"gap".into(), &2.into()));
        assert_eq!(request.channels(), ["-", "c", "d"]);
    }
    assert_eq!(requests[0].json()["events"][0]["id"], requests[1].json()["events"][0]["id"]);
    assert_eq!(fixture.until(|head| head.length == 0).await.dropped, 0);
    assert!(fixture.metric(r#"gorani_hook_dropped_total{endpoint="shop"} 2"#));
}

#[actix_rt::test]
async fn a_receiver_that_refuses_the_gap_gets_the_events_behind_it() {
    let receiver =
        Receiver::start(|_, request| status(if request.channels()[0] == "-" { "400 No" } else { "200 OK" }))
            .await;
    let mut settings = endpoint(&receiver);
    settings.max_backlog_events = 2;
    let fixture = Fixture::new(vec![settings]).await;
    fixture.add(&["a", "b", "c"]).await;
    let (_wake, _) = fixture.deliver();
    let head = fixture.until(|head| head.length == 0).await;
    assert_eq!((head.dropped, head.dead_letters), (0, 0));
    assert_eq!(receiver.requests().last().unwrap().channels(), ["b", "c"]);
}

#[actix_rt::test]
async fn an_endpoint_that_hangs_stops_no_other() {
    let hanging = Receiver::start(|_, _| None).await;
    let working = Receiver::start(ok).await;
    let other = HookEndpointSettings { name: "other".to_owned(), ..endpoint(&working) };
    let fixture = Fixture::new(vec![endpoint(&hanging), other]).await;
    let delivery = Arc::new(
        HookDelivery::new(&fixture.settings, "n1".into(), fixture.broker.clone(), fixture.leases.clone())
            .unwrap(),
    );
    let task = actix_rt::spawn(delivery.clone().run(fixture.metrics.hooks.clone()));
    fixture.add(&["a"]).await;
    delivery.wake(0);
    hanging.wait(1).await;
    for (number, channel) in ["b", "c"].into_iter().enumerate() {
        working.wait(number + 1).await;
        fixture.add(&[channel]).await;
        delivery.wake(0);
    }
    assert_eq!(working.wait(3).await[2].channels(), ["c"]);
    assert_eq!(fixture.head().await.length, 3);
    task.abort();
}

#[actix_rt::test]
async fn a_node_that_goes_down_waits_until_its_events_are_taken() {
    let receiver = Receiver::start(ok).await;
    let fixture = fixture(&receiver).await;
    let delivery = Arc::new(
        HookDelivery::new(&fixture.settings, "n1".into(), fixture.broker.clone(), fixture.leases.clone())
            .unwrap(),
    );
    fixture.add(&["a", "b"]).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), delivery.wait_until_empty()).await;
    assert!(waiting.is_err(), "nothing was delivered yet");
    actix_rt::spawn(delivery.clone().run(fixture.metrics.hooks.clone()));
    delivery.wait_until_empty().await;
    assert_eq!(receiver.requests().len(), 1);
}

#[actix_rt::test]
async fn the_format_pusher_has_its_body_and_its_signature() {
    let receiver = Receiver::start(ok).await;
    let mut settings = endpoint(&receiver);
    (settings.format, settings.pusher_key) = (HookFormat::Pusher, "278d425bdf160c739803".to_owned());
    settings.secrets.0.push("7ad3773142a6692b25b8".to_owned());
    let fixture = Fixture::new(vec![settings]).await;
    let mut connected = draft("reset");
    connected.endpoints = [0].into();
    let changes = vec![HookChange::Append { event: connected }];
    store_of(&*fixture.broker).unwrap().apply(0, &fixture.run, changes).await.unwrap();
    fixture.add(&["a"]).await;
    let (_wake, _) = fixture.deliver();
    let request = receiver.wait(1).await.remove(0);
    assert_eq!(request.json()["events"], serde_json::json!([{"name": "channel_occupied", "channel": "a"}]));
    assert!(request.json()["time_ms"].is_u64());
    assert_eq!(request.headers["x-pusher-key"], "278d425bdf160c739803");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"7ad3773142a6692b25b8");
    let signature = aws_lc_rs::hmac::sign(&key, &request.body);
    let digits: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.headers["x-pusher-signature"], digits);
    fixture.until(|head| head.length == 0).await;
}

#[actix_rt::test]
async fn another_number_of_partitions_than_the_store_has_is_refused() {
    let broker = MemoryBroker::new(MemorySettings::default());
    let settings = |partitions| HookSettings { partitions, ..HookSettings::default() };
    deliver::open(&broker, &settings(16)).await.unwrap();
    deliver::open(&broker, &settings(16)).await.unwrap();
    let error = deliver::open(&broker, &settings(8)).await.unwrap_err();
    assert!(matches!(error, HookOpenError::Partitions { settings: 8, store: 16 }));
    assert!(error.to_string().contains("set it to 16"), "{error}");
}

#[actix_rt::test]
async fn a_secret_that_is_none_and_a_file_that_is_not_there_are_named() {
    let receiver = Receiver::start(ok).await;
    let refused = |change: fn(&mut HookEndpointSettings)| {
        let mut settings = endpoint(&receiver);
        change(&mut settings);
        let settings = HookSettings { endpoints: vec![settings], ..HookSettings::default() };
        deliver::endpoints(&settings).err().unwrap().to_string()
    };
    let error = refused(|settings| settings.secrets.0.push("guess-me".to_owned()));
    assert!(error.contains("hooks.endpoints.secrets") && error.contains("shop"), "{error}");
    assert!(!error.contains("guess-me"), "{error}");
    let error = refused(|settings| settings.secrets_file = "/nowhere/secrets".into());
    assert!(error.contains("/nowhere/secrets"), "{error}");
    let error = refused(|settings| settings.format = HookFormat::Pusher);
    assert!(error.contains("needs one secret"), "{error}");
}
