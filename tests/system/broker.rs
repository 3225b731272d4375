//! What a node's broker does to its backends and to other nodes: answers in time when Redis is away, retries that are safe,
//! and messages that go only where they are wanted. `docs/architecture.md` §4.5, §5.1.

use std::time::{Duration, Instant};

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    proxy::Proxy,
    redis::Redis,
    redis_cluster::RedisCluster,
};
use serde_json::{Value, json};

use crate::eventually;

/// `broker.redis.request_timeout` of nodes whose calls are to fail.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Within which a call with that time-out has ended, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(10);
/// Long enough for a reconnect on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }, { name = "kept", history_size = 1000, history_ttl = "60s", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;

fn settings(url: &str) -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES)
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{url}\""))
        .set("broker.redis.reconnect_max", "\"500ms\"")
}

/// The same, with calls that end soon.
fn impatient(url: &str) -> Settings {
    settings(url).set("broker.redis.request_timeout", format!("\"{}s\"", REQUEST_TIMEOUT.as_secs()))
}

/// Publishes until it is accepted; the key makes sure that it is there once.
fn insist(node: &Node, channel: &str, data: &Value) {
    let request = json!({"channel": channel, "data": data, "idempotency_key": data.to_string()});
    let give_up = Instant::now() + SOON;
    loop {
        match node.api().call("publish", &request) {
            (200, _) => return,
            (503, answer) => assert!(Instant::now() < give_up, "{answer}"),
            (status, answer) => panic!("{status}: {answer}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Publishes by a request with a key until it is accepted: the result.
fn accepted(node: &Node, request: &Value) -> Value {
    let mut result = Value::Null;
    eventually("it can be published to again", SOON, || {
        let (status, mut answer) = node.api().call("publish", request);
        result = answer["result"].take();
        status == 200
    });
    result
}

/// A figure of a node's `/metrics`, with its labels; 0 if it is missing.
fn figure(node: &Node, name: &str) -> f64 {
    let (_, text) = node.api().get("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// A publish that must fail in time with 503 and this code.
fn refused(node: &Node, request: &Value) -> u64 {
    let asked = Instant::now();
    let (status, answer) = node.api().call("publish", request);
    assert_eq!(status, 503, "{answer}");
    assert!(asked.elapsed() < IN_TIME, "{:?}", asked.elapsed());
    answer["error"]["code"].as_u64().unwrap_or_else(|| panic!("no code: {answer}"))
}

#[tokio::test]
async fn a_publish_whose_answer_was_lost_answers_503_in_time_and_its_retry_publishes_nothing_again() {
    let redis = Redis::start();
    let relay = Proxy::to(redis.address());
    let node = Node::start(impatient(&format!("redis://{}", relay.address())));
    let other = Node::start(settings(&redis.url()));
    let mut client = Client::subscribed(other.address(), "kept:a").await;
    let request = json!({"channel": "kept:a", "data": "once", "idempotency_key": "once"});
    relay.swallow_answers();
    assert_eq!(refused(&node, &request), 121, "the outcome is unknown");
    relay.lift();
    // The script ran all the same.
    assert_eq!(client.push().await["pub"]["data"], "once");
    let answer = accepted(&node, &request);
    assert_eq!(answer["offset"], 1, "the first answer again");
    other.api().publish("kept:a", &json!("next"));
    let next = client.push().await;
    assert_eq!(
        (&next["pub"]["data"], &next["pub"]["offset"]),
        (&json!("next"), &json!(2)),
        "once, and once alone"
    );
    assert!(figure(&node, r#"gorani_broker_publishes_failed_total{outcome="unknown"}"#) >= 1.0);
    assert!(figure(&node, r#"gorani_broker_connections_lost_total{connection="requests"}"#) >= 1.0);
}

#[tokio::test]
async fn publishing_while_redis_is_away_answers_503_with_a_code_in_time_and_leaves_nothing_half_done() {
    let mut redis = Redis::start();
    let node = Node::start(impatient(&redis.url()));
    redis.kill();
    for number in 0..5 {
        let code = refused(&node, &json!({"channel": "kept:a", "data": number}));
        assert!(code == 120 || code == 121, "{code}");
    }
    eventually("it is known that nothing is done", SOON, || {
        refused(&node, &json!({"channel": "kept:a", "data": "later"})) == 120
    });
    redis.restart();
    eventually("it is ready", SOON, || node.api().get("/health/ready").0 == 200);
    let request = json!({"channel": "kept:a", "data": "after", "idempotency_key": "after"});
    assert_eq!(accepted(&node, &request)["offset"], 1, "none of the others was done");
}

#[tokio::test]
async fn messages_travel_only_to_interested_nodes_and_once_to_each_of_them() {
    const PUBLICATIONS: usize = 100;
    const ARRIVED: &str = "gorani_broker_messages_received_total";
    let redis = Redis::start();
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(settings(&redis.url()))).collect();
    // Three subscribers of one node: they cost one message.
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::subscribed(nodes[0].address(), "kept:a").await;
        client.ok("subscribe", json!({"channel": "open:a"})).await;
        clients.push(client);
    }
    for number in 0..PUBLICATIONS {
        let channel = if number % 2 == 0 { "kept:a" } else { "open:a" };
        nodes[1 + number % 2].api().publish(channel, &json!(number));
    }
    for client in &mut clients {
        for _ in 0..PUBLICATIONS {
            client.push().await;
        }
    }
    assert_eq!(figure(&nodes[0], ARRIVED), PUBLICATIONS as f64, "one message for each publication");
    assert_eq!(figure(&nodes[0], "gorani_events_received_total"), PUBLICATIONS as f64);
    // They publish and hear nothing of it. Their connections are in use: they hear themselves.
    for node in &nodes[1..] {
        assert_eq!(figure(node, ARRIVED), 0.0);
        assert!(figure(node, "gorani_broker_canary_age_seconds") < SOON.as_secs_f64());
        assert_eq!(figure(node, "gorani_broker_servers"), 1.0);
    }
}

#[tokio::test]
async fn a_primary_of_a_redis_cluster_may_be_killed_and_subscribers_see_no_gap() {
    const CHANNELS: usize = 6;
    const HALF: usize = 10;
    let mut redis = RedisCluster::start();
    let settings = || settings("redis://nowhere.invalid").set("broker.redis.cluster.urls", redis.urls());
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(settings())).collect();
    let channels: Vec<String> = (0..CHANNELS).map(|number| format!("kept:{number}")).collect();
    let mut clients = Vec::new();
    for node in &nodes {
        for channel in &channels {
            clients.push((channel, Client::subscribed(node.address(), channel).await));
        }
    }
    let publish = |numbers: std::ops::RangeInclusive<usize>| {
        for number in numbers {
            channels.iter().for_each(|channel| insist(&nodes[number % 3], channel, &json!(number)));
        }
    };
    publish(1..=HALF);
    // Redis answers before it copies: what is not copied is lost with the primary, and not by the nodes.
    redis.copy();
    redis.primaries[0].kill();
    eventually("no node is ready", SOON, || {
        nodes.iter().all(|node| node.api().get("/health/ready").0 == 503)
    });
    publish(HALF + 1..=2 * HALF);
    for (channel, client) in &mut clients {
        for number in 1..=2 * HALF {
            let seen = client.push().await["pub"].take();
            assert_eq!((&seen["offset"], &seen["data"]), (&json!(number), &json!(number)), "{channel}");
        }
    }
    eventually("all nodes are ready", SOON, || {
        nodes.iter().all(|node| node.api().get("/health/ready").0 == 200)
    });
    assert!(nodes.iter().all(|node| figure(node, "gorani_broker_servers") == 3.0));
}
