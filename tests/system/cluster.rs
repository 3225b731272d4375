//! Several nodes joined by a real Redis: whichever a backend talks to, subscribers of all nodes get everything, in one
//! order, and Redis may die meanwhile. `docs/architecture.md` §5.
//!
//! - [`orders`], [`pages`]: the API on the whole cluster.
//! - [`deaths`]: nodes that die.
//! - [`explain`]: why a user got a publication or did not.
//! - [`golden`]: what nodes of released versions have written.
//! - [`holders`]: the limit of a user's connections.
//! - [`users`]: clients with a user id.

mod deaths;
mod explain;
mod golden;
mod holders;
mod orders;
mod pages;
mod users;

use std::time::{Duration, Instant};

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};

use crate::eventually;

/// Nodes of a cluster.
const NODES: usize = 3;
/// Long enough for a reconnect, and for the end of a lease, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true },
 { name = "seen", presence = true, join_leave = true, allow_subscribe_for_client = true },
 { name = "kept", history_size = 1000, history_ttl = "60s", force_recovery = true, presence = true, join_leave = true,
 allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_presence_for_client = true,
 allow_presence_for_anonymous = true }]"#;

fn settings(redis: &Redis) -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES.replace('\n', ""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("broker.redis.request_timeout", "\"5s\"")
        .set("broker.redis.reconnect_max", "\"500ms\"")
        // Clients of the tests read late.
        .set("client.ping_interval", "\"300s\"")
}

fn cluster(redis: &Redis) -> Vec<Node> {
    (0..NODES).map(|_| Node::start(settings(redis))).collect()
}

fn is_ready(node: &Node) -> bool {
    node.api().get("/health/ready").0 == 200
}

/// The next push, which must be a publication, whole.
async fn publication(client: &mut Client) -> Value {
    client.push().await["pub"].take()
}

/// Publishes until it is accepted; the key makes sure that it is there once.
fn publish(node: &Node, channel: &str, number: usize) {
    let request = json!({"channel": channel, "data": number, "idempotency_key": number.to_string()});
    let give_up = Instant::now() + SOON;
    loop {
        let (status, answer) = node.api().call("publish", &request);
        match status {
            200 => return,
            503 => assert!(Instant::now() < give_up, "{answer}"),
            _ => panic!("{status}: {answer}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn whichever_node_takes_a_publication_subscribers_of_all_nodes_get_it_in_one_order() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "kept:a").await);
        clients.push(Client::subscribed(node.address(), "kept:a").await);
    }
    for number in 1..=60 {
        publish(&nodes[number % NODES], "kept:a", number);
    }
    for client in &mut clients {
        for offset in 1..=60 {
            let seen = publication(client).await;
            assert_eq!((&seen["offset"], &seen["data"]), (&json!(offset), &json!(offset)));
        }
    }
}

#[tokio::test]
async fn presence_and_joins_are_those_of_all_nodes() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "kept:a").await);
    }
    for node in &nodes {
        let stats = node.api().ok("presence_stats", &json!({"channel": "kept:a"}));
        assert_eq!(stats["num_clients"], NODES);
    }
    clients.pop().unwrap().close().await;
    let stats = || nodes[0].api().ok("presence_stats", &json!({"channel": "kept:a"}));
    eventually("the client that left is not present", SOON, || stats()["num_clients"] == NODES - 1);
}

#[tokio::test]
async fn redis_may_be_killed_and_come_back_and_subscribers_see_no_gap() {
    let mut redis = Redis::start();
    let nodes = cluster(&redis);
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "kept:a").await);
    }
    (1..=20).for_each(|number| publish(&nodes[number % NODES], "kept:a", number));
    redis.kill();
    eventually("no node is ready", SOON, || !nodes.iter().any(is_ready));
    let (status, answer) = nodes[0].api().call("publish", &json!({"channel": "kept:a", "data": 0}));
    assert_eq!(status, 503, "{answer}");
    redis.restart();
    (21..=40).for_each(|number| publish(&nodes[number % NODES], "kept:a", number));
    for client in &mut clients {
        for offset in 1..=40 {
            let seen = publication(client).await;
            assert_eq!((&seen["offset"], &seen["data"]), (&json!(offset), &json!(offset)));
        }
    }
    eventually("all nodes are ready", SOON, || nodes.iter().all(is_ready));
}

#[tokio::test]
async fn a_frozen_redis_makes_the_nodes_not_ready_and_loses_nothing() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    let mut client = Client::subscribed(nodes[0].address(), "kept:a").await;
    publish(&nodes[1], "kept:a", 1);
    redis.pause();
    eventually("no node is ready", SOON, || !nodes.iter().any(is_ready));
    redis.resume();
    publish(&nodes[2], "kept:a", 2);
    for offset in 1..=2 {
        assert_eq!(publication(&mut client).await["offset"], offset);
    }
}

#[test]
fn a_node_whose_redis_is_away_starts_not_ready_and_recovers_by_itself_or_refuses() {
    let mut redis = Redis::start();
    redis.kill();
    let mut refusing = Node::spawn(settings(&redis).set("broker.redis.require_at_start", "true"));
    assert!(!refusing.wait_exit(SOON).expect("it ends").success());
    let waiting = Node::spawn(settings(&redis));
    eventually("it lives", SOON, || matches!(waiting.api().try_get("/health/live"), Ok((200, _))));
    assert!(!is_ready(&waiting));
    redis.restart();
    eventually("it is ready", SOON, || is_ready(&waiting));
}
