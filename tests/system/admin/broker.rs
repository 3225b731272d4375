//! The broker as the admin API tells of it: the bytes that a history takes in it, and the requests that wait for each server.

use std::{thread, time::Duration};

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};

use super::{Asked, OPERATOR, read, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(60);
const PAYLOAD: usize = 1000;

fn with_history() -> Settings {
    let namespaces = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true },
        { name = "kept", history_size = 100, history_ttl = "300s", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;
    settings(Settings::open()).set("channel.namespaces", namespaces)
}

fn with_redis(redis: &Redis) -> Settings {
    with_history().set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url()))
}

fn payload() -> Value {
    json!("x".repeat(PAYLOAD))
}

/// The fields `bytes` of a list of channels, by their names.
fn sizes(node: &Node, call: &str) -> Vec<(String, Option<u64>)> {
    let rows = read(node.address(), call);
    let of = |row: &Value| (row["channel"].as_str().unwrap().to_owned(), row["bytes"].as_u64());
    rows.as_array().unwrap().iter().map(of).collect()
}

async fn check_sizes(node: &Node) {
    let mut clients = Vec::new();
    for channel in ["kept:empty", "kept:full", "open:live"] {
        clients.push(Client::subscribed(node.address(), channel).await);
    }
    for _ in 0..10 {
        node.api().publish("kept:full", &payload());
        node.api().publish("open:live", &payload());
    }
    let full = sizes(node, "channels?channel=kept:full")[0].1.unwrap();
    assert!((10 * PAYLOAD as u64..20 * PAYLOAD as u64).contains(&full), "{full}");
    let [empty, full, live] = ["kept:empty", "kept:full", "open:live"].map(str::to_owned).map(|channel| {
        let size = match channel.as_str() {
            "kept:full" => Some(full),
            "kept:empty" => Some(0),
            _ => None,
        };
        (channel, size)
    });
    assert_eq!(sizes(node, "channels?prefix=kept:"), [empty.clone(), full.clone()]);
    let mut top = sizes(node, "channels?top=50");
    top.sort();
    assert_eq!(top, [empty, full.clone(), live]);
    let one = |channel: &str| read(node.address(), &format!("channel?channel={channel}"))["bytes"].clone();
    assert_eq!((one("kept:full"), one("open:live")), (json!(full.1), Value::Null));
    let remove = Asked::post("actions/history_remove", &json!({"channel": "kept:full"})).key(OPERATOR);
    remove.result(node.address());
    assert_eq!((one("kept:full"), one("kept:empty")), (json!(0), json!(0)));
}

#[tokio::test]
async fn the_bytes_of_a_history_are_told_with_its_channel_where_the_node_keeps_it() {
    check_sizes(&Node::start(with_history())).await;
}

#[tokio::test]
async fn the_bytes_of_a_history_are_told_with_its_channel_where_redis_keeps_it() {
    let redis = Redis::start();
    let node = Node::start(with_redis(&redis));
    check_sizes(&node).await;
    // A user who may not ask: everything else is told.
    node.api().publish("kept:full", &payload());
    assert!(redis.ask("ACL SETUSER default -memory").starts_with("+OK"));
    let row = &read(node.address(), "channels?channel=kept:full")[0];
    assert_eq!((&row["bytes"], &row["history_size"]), (&Value::Null, &json!(1)));
    assert!(sizes(&node, "channels?channel=kept:full")[0].1.is_none());
    eventually("it is logged", SOON, || node.output().contains("MEMORY USAGE"));
    assert_eq!(node.output().matches("MEMORY USAGE").count(), 1);
}

#[test]
fn the_row_of_a_server_tells_that_nothing_waits_for_it() {
    let redis = Redis::start();
    let node = Node::start(with_redis(&redis));
    // A canary may be on its way now and then.
    eventually("nothing waits", SOON, || {
        let server = &read(node.address(), "broker")["servers"][0];
        assert!(server["address"].is_string() && server["pending_requests"].is_u64(), "{server}");
        server["pending_requests"] == 0 && server["pending_bytes"] == 0
    });
}

#[test]
fn while_redis_stands_still_each_node_tells_what_waits_for_it_and_that_the_other_is_missing() {
    let redis = Redis::start();
    // Long enough for a look at what waits.
    let settings = || with_redis(&redis).set("broker.redis.request_timeout", "\"8s\"");
    let start = |name: &str| Node::start(settings().set("node.name", format!("\"{name}\"")));
    let nodes = [start("n1"), start("n2")];
    eventually("the nodes know of one another", SOON, || {
        let answer = Asked::get("broker").key(OPERATOR).send(nodes[0].address()).body;
        answer["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 2 && nodes.iter().all(|node| node["answered"] == true))
    });
    redis.pause();
    let api = nodes[0].api();
    let publication = json!({"channel": "kept:full", "data": payload()});
    let waiting = thread::spawn(move || api.call("publish", &publication));
    eventually("the publication waits", SOON, || {
        // More than a canary or the renewal of a lease.
        let metrics = nodes[0].api().get("/metrics").1;
        let bytes = metrics.lines().find_map(|line| line.strip_prefix("gorani_broker_pending_bytes "));
        bytes.unwrap().parse::<usize>().unwrap() >= PAYLOAD
    });
    let answered = Asked::get("broker").key(OPERATOR).send(nodes[0].address()).body;
    let named = |node: &Value| (node["name"].clone(), node["answered"].clone());
    let parts: Vec<_> = answered["nodes"].as_array().unwrap().iter().map(named).collect();
    let expected = [(json!("n1"), json!(true)), (json!("n2"), json!(false))];
    assert_eq!(parts, expected);
    assert_eq!(answered["complete"], false);
    let server = &answered["result"]["servers"][0];
    assert!(server["pending_requests"].as_u64() >= Some(1), "{server}");
    assert!(server["pending_bytes"].as_u64() >= Some(PAYLOAD as u64), "{server}");
    for call in ["slow", "disconnects"] {
        let answered = Asked::get(call).key(OPERATOR).send(nodes[0].address()).body;
        let parts: Vec<_> = answered["nodes"].as_array().unwrap().iter().map(named).collect();
        assert_eq!((parts.as_slice(), &answered["complete"]), (expected.as_slice(), &json!(false)), "{call}");
    }
    assert_eq!(read(nodes[0].address(), "user?user=42")["disconnects"], json!([]));
    redis.resume();
    let (status, _) = waiting.join().unwrap();
    assert!([200, 503].contains(&status), "{status}");
}
