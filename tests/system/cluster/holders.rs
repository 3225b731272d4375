//! A user's connections are limited on all nodes together, whoever of them dies. `client.max_connections_per_user`.

use std::time::Duration;

use futures_util::future::join_all;
use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    proxy::Proxy,
    redis::Redis,
    stream::Stream,
};
use serde_json::json;

use super::{
    SOON,
    users::{connect, settings, start, token},
};
use crate::eventually;

/// Between two attempts of a client that is refused.
const COME_AGAIN_AFTER: Duration = Duration::from_millis(50);

fn limited(redis: &Redis, limit: u32) -> Settings {
    settings(redis).set("client.max_connections_per_user", limit.to_string())
}

/// A client of this user, or the code with which it was refused.
async fn attempt_as(node: &Node, user: &str) -> Result<Client, u16> {
    let mut client = Client::open(node.address()).await;
    match client.attempt("connect", json!({"token": token(user)})).await {
        Ok(reply) => {
            assert!(reply["connect"]["client"].is_string(), "{reply}");
            Ok(client)
        }
        Err((code, _)) => Err(code),
    }
}

async fn attempt(node: &Node) -> Result<Client, u16> {
    attempt_as(node, "42").await
}

/// A client of user 42 that comes again until it is let in.
async fn persist(node: &Node) -> Client {
    let until = std::time::Instant::now() + SOON;
    loop {
        match attempt(node).await {
            Ok(client) => return client,
            Err(code) => assert_eq!(code, 3504, "{}", node.output()),
        }
        assert!(std::time::Instant::now() < until, "it is never let in");
        tokio::time::sleep(COME_AGAIN_AFTER).await;
    }
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_refused_on_every_node() {
    let redis = Redis::start();
    let nodes = start(&limited(&redis, 3));
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(attempt(node).await.unwrap());
    }
    for node in &nodes {
        assert_eq!(attempt(node).await.err(), Some(3504));
    }
    // Over HTTP the same, as a status.
    let target = format!("/connection/uni_sse?channels=open:a&token={}", token("42"));
    let mut refused = Stream::open(nodes[0].address(), "GET", &target, "", "");
    let body: serde_json::Value = serde_json::from_str(&refused.rest().unwrap()).unwrap();
    assert_eq!((refused.head.status, &body["error"]["code"]), (503, &json!(3504)));
    // Others are counted apart, and nobody is not counted.
    drop(connect(&nodes[0], "43").await);
    drop(join_all((0..4).map(|_| Client::connect(nodes[0].address()))).await);
    clients.pop().unwrap().close().await;
    clients.push(persist(&nodes[0]).await);
    assert_eq!(attempt(&nodes[1]).await.err(), Some(3504));
    // A backend makes room, too.
    nodes[1].api().ok("disconnect", &json!({"user": "42"}));
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 3503);
    }
    let mut again = Vec::new();
    for node in &nodes {
        again.push(persist(node).await);
    }
    assert_eq!(attempt(&nodes[2]).await.err(), Some(3504));
}

#[tokio::test]
async fn of_clients_that_race_on_all_nodes_as_many_get_in_as_are_allowed() {
    let redis = Redis::start();
    let nodes = start(&limited(&redis, 5));
    for user in ["a", "b", "c", "d"] {
        let attempts = join_all(nodes.iter().cycle().take(24).map(|node| attempt_as(node, user))).await;
        let (entered, refused): (Vec<_>, Vec<_>) = attempts.into_iter().partition(Result::is_ok);
        assert_eq!(entered.len(), 5);
        assert!(refused.iter().all(|refused| refused.as_ref().err() == Some(&3504)));
    }
}

#[tokio::test]
async fn connections_of_a_killed_node_count_until_its_lease_is_gone() {
    let redis = Redis::start();
    let mut nodes = start(&limited(&redis, 3));
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(attempt(&nodes[2]).await.unwrap());
    }
    let _kept = attempt(&nodes[0]).await.unwrap();
    nodes[2].kill();
    assert_eq!(attempt(&nodes[1]).await.err(), Some(3504), "the lease still runs");
    let _first = persist(&nodes[1]).await;
    let _second = persist(&nodes[0]).await;
    assert_eq!(attempt(&nodes[1]).await.err(), Some(3504));
}

#[tokio::test]
async fn without_the_broker_clients_are_told_to_come_back() {
    let mut redis = Redis::start();
    let nodes = start(&limited(&redis, 1));
    redis.kill();
    eventually("the node knows", SOON, || !super::is_ready(&nodes[0]));
    // 3004: a client comes back after it.
    assert_eq!(attempt(&nodes[0]).await.err(), Some(3004));
    redis.restart();
    eventually("it is ready", SOON, || super::is_ready(&nodes[0]));
    let _client = attempt(&nodes[0]).await.unwrap();
}

#[tokio::test]
async fn a_user_whose_connection_went_while_redis_was_away_is_let_in_again_soon() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let node =
        Node::start(limited(&redis, 1).set("broker.redis.url", format!("\"redis://{}/0\"", proxy.address())));
    let client = attempt(&node).await.unwrap();
    assert_eq!(attempt(&node).await.err(), Some(3504));
    let is_ready = || node.api().get("/health/ready").0 == 200;
    proxy.black_hole();
    // The node hears itself by one connection and asks by another one: each is given up after a time of its own.
    eventually("it is known that Redis is away", SOON, || {
        !is_ready() && node.output().contains("\"not connected to Redis for requests")
    });
    client.close().await;
    eventually("the session has ended", SOON, || {
        node.output().contains("connection closed")
            || node.api().get("/metrics").1.contains("gorani_connections{transport=\"websocket\"} 0")
    });
    proxy.lift();
    eventually("Redis is back", SOON, || {
        is_ready() && node.output().matches("\"connected to Redis for requests").count() == 2
    });
    // Far less than the minute after which the broker forgets a connection by itself.
    persist(&node).await;
}
