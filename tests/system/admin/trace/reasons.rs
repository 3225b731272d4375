//! Reasons of explain that lie in the order in which a node hears of things: on a road to Redis on which the answers of some
//! connections wait, each is reached and told. `docs/explain.md`.

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    proxy::{HeldConnections, Proxy},
    redis::Redis,
};
use serde_json::{Value, json};

use super::{SOON, begin, read, traced_settings};
use crate::eventually;

fn settings(name: &str, redis: impl std::fmt::Display) -> Settings {
    traced_settings()
        .set("node.name", format!("\"{name}\""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"redis://{redis}/0\""))
        // What waits on the road is not given up.
        .set("broker.redis.request_timeout", "\"60s\"")
        .set("broker.redis.canary_timeout", "\"60s\"")
        .set("cluster.lease", "\"60s\"")
        .set("cluster.answer_timeout", "\"6s\"")
}

/// A client on a node, and its id.
async fn connect(node: &Node) -> (Client, String) {
    let mut client = Client::open(node.address()).await;
    let reply = client.ok("connect", json!({})).await;
    (client, reply["client"].as_str().unwrap().to_owned())
}

/// Two nodes, the second one behind a road, with a subscriber there and a trace of its channel; and the channel's epoch.
async fn two_nodes(redis: &Redis, proxy: &Proxy) -> (Node, Node, Client, Value) {
    let near = Node::start(settings("n1", redis.address()));
    let far = Node::start(settings("n2", proxy.address()));
    let (mut subscriber, _) = connect(&far).await;
    let subscribed = subscriber.ok("subscribe", json!({"channel": "kept:a"})).await;
    eventually("the nodes know each other", SOON, || {
        near.api().ok("info", &json!({}))["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
    });
    begin(&near, &json!({"channel": "kept:a"}));
    (near, far, subscriber, subscribed["epoch"].clone())
}

fn explained(node: &Node, client: &str) -> Value {
    node.api().ok("explain", &json!({"channel": "kept:a", "client": client, "offset": 1}))
}

fn code(node: &Node, client: &str) -> Value {
    explained(node, client)["verdict"]["code"].clone()
}

#[tokio::test]
async fn what_waits_for_the_reply_of_a_subscribe_is_held_back_until_it_comes() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let (near, far, _subscriber, _) = two_nodes(&redis, &proxy).await;
    let (mut late, id) = connect(&far).await;
    proxy.hold(HeldConnections::Asking);
    late.post("subscribe", json!({"channel": "kept:a"})).await;
    eventually("its subscribe is under way", SOON, || {
        read(near.address(), "subscribers?channel=kept:a").as_array().unwrap().len() == 2
    });
    near.api().publish("kept:a", &json!("held"));
    eventually("it is held back", SOON, || code(&near, &id) == "held_back");
    let answer = explained(&near, &id);
    assert_eq!(answer["exit"], 1, "{answer:#}");
    let is_told = |line: &Value| line["node"] == "n2" && line["rank"] == "matched";
    assert!(answer["evidence"].as_array().unwrap().iter().any(is_told), "{answer:#}");
    proxy.release();
    assert_eq!(late.publication().await, "held");
    eventually("it got it", SOON, || code(&near, &id) == "written");
}

#[tokio::test]
async fn what_a_client_had_from_history_and_comes_once_more_is_a_duplicate() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let (near, far, mut subscriber, epoch) = two_nodes(&redis, &proxy).await;
    let (mut late, id) = connect(&far).await;
    proxy.hold(HeldConnections::Listening);
    near.api().publish("kept:a", &json!("twice"));
    let from = json!({"channel": "kept:a", "recover": true, "offset": 0, "epoch": epoch});
    let recovered = late.ok("subscribe", from).await;
    assert_eq!(recovered["publications"][0]["data"], "twice", "{recovered}");
    proxy.release();
    assert_eq!(subscriber.publication().await, "twice");
    eventually("it came once more", SOON, || code(&near, &id) == "duplicate");
    assert_eq!(explained(&near, &id)["exit"], 0);
    near.api().publish("kept:a", &json!("next"));
    assert_eq!(late.publication().await, "next", "the client got nothing twice");
}

#[tokio::test]
async fn what_has_not_come_to_the_node_yet_is_a_gap() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let node = Node::start(settings("n1", proxy.address()));
    let (mut client, id) = connect(&node).await;
    client.ok("subscribe", json!({"channel": "kept:a"})).await;
    proxy.hold(HeldConnections::Listening);
    node.api().publish("kept:a", &json!("slow"));
    let answer = explained(&node, &id);
    assert_eq!((&answer["verdict"]["code"], &answer["exit"]), (&json!("gap"), &json!(1)), "{answer:#}");
    proxy.release();
    assert_eq!(client.publication().await, "slow");
    eventually("it got it", SOON, || code(&node, &id) == "written");
}
