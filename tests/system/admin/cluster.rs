//! The admin API on three nodes and a Redis: every node accepts a session, and each answer says which nodes it lacks.

use std::time::Duration;

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    process::Signal,
    redis::Redis,
};
use serde_json::{Value, json};

use super::{Asked, OPERATOR, PASSWORD, VIEWER, login, read, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(60);

fn start(redis: &Redis) -> Vec<Node> {
    let one = |number: usize| {
        let settings = settings(Settings::open())
            .set("node.name", format!("\"n{number}\""))
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()))
            // A node that only waits for a core answers within that.
            .set("cluster.answer_timeout", "\"5s\"")
            .set("cluster.lease", "\"60s\"");
        Node::start(settings)
    };
    (1..=3).map(one).collect()
}

fn answer(node: &Node, call: &str) -> Value {
    let answered = Asked::get(call).key(VIEWER).send(node.address());
    assert_eq!(answered.head.status, 200, "{call}: {answered:?}");
    answered.body
}

#[tokio::test]
async fn any_node_takes_a_session_and_tells_of_all() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let cookie = login(PASSWORD).send(nodes[0].address()).cookie();
    let session = Asked::get("session").with("cookie", &cookie);
    for node in &nodes {
        assert_eq!(session.result(node.address())["role"], "operator");
    }
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "open:a").await);
    }
    for node in &nodes {
        let row = &read(node.address(), "channels?channel=open:a")[0];
        assert_eq!((&row["subscribers"], &row["nodes"]), (&json!(3), &json!(["n1", "n2", "n3"])));
        let top = &read(node.address(), "channels?top=50")[0];
        assert_eq!((&top["channel"], &top["subscribers"]), (&json!("open:a"), &json!(3)));
        let subscribers = read(node.address(), "subscribers?channel=open:a");
        assert_eq!(subscribers.as_array().unwrap().len(), 3);
        let described = read(node.address(), "nodes");
        let names: Vec<_> = described.as_array().unwrap().iter().map(|node| &node["name"]).collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        assert!(described.as_array().unwrap().iter().all(|node| node["ready"] == true));
    }
    // Pages of one, from node to node.
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = answer(&nodes[1], &format!("connections?channel=open:a&limit=1&cursor={cursor}"));
        let rows = page["result"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["client"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted_by(|one, other| one < other));
    // A logout on one node is one on all.
    let logout = Asked::post("logout", &json!({})).with("cookie", &cookie);
    assert_eq!(logout.send(nodes[2].address()).head.status, 200);
    for node in &nodes {
        assert_eq!(session.send(node.address()).error(), (401, "login_required"));
    }
    let settings = read(nodes[0].address(), "settings");
    let named = |name: &str| {
        settings["settings"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(named("node.name")["differs"].as_array().unwrap().len(), 2);
    assert_eq!(named("http.workers")["differs"], json!([]));
    assert_eq!(named("api.keys")["value"], "1 set");
    assert!(!settings.to_string().contains(OPERATOR));
}

#[tokio::test]
async fn the_part_of_a_node_that_does_not_answer_is_missing_and_not_0() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "open:a").await);
    }
    nodes[2].process().signal(Signal::SIGSTOP);
    let overview = answer(&nodes[0], "overview");
    let channels = answer(&nodes[0], "channels?channel=open:a");
    let dry = Asked::post("actions/publish", &json!({"channel": "open:a", "data": 1, "dry_run": true}))
        .key(OPERATOR)
        .result(nodes[0].address());
    nodes[2].process().signal(Signal::SIGCONT);
    assert_eq!(
        (&overview["result"]["nodes_up"], &overview["result"]["nodes_expected"]),
        (&json!(2), &json!(3))
    );
    for body in [&overview, &channels] {
        assert_eq!(body["complete"], false, "{body}");
        let silent = body["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "n3").unwrap();
        assert_eq!(silent["answered"], false);
    }
    assert_eq!(channels["result"][0]["subscribers"], 2);
    let part = dry["by_node"].as_array().unwrap().iter().find(|part| part["name"] == "n3").unwrap();
    assert_eq!((&part["count"], &part["error"]), (&Value::Null, &json!("no answer")));
}

#[tokio::test]
async fn a_node_is_drained_from_another_one_and_seen_empty() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut client = Client::subscribed(nodes[1].address(), "open:a").await;
    let drain = |dry_run: bool| {
        Asked::post("actions/drain", &json!({"node": "n2", "dry_run": dry_run})).key(OPERATOR)
    };
    let dry = drain(true).result(nodes[0].address());
    assert_eq!(dry["total"], 1);
    drain(false).result(nodes[0].address());
    assert_eq!(client.closed().await.0, 3001);
    eventually("the node is empty", SOON, || {
        let all = read(nodes[0].address(), "nodes");
        let node = all.as_array().unwrap().iter().find(|node| node["name"] == "n2").unwrap().clone();
        node["draining"] == true && node["drain_left"] == 0 && node["ready"] == false
    });
    // It can still be looked at.
    assert_eq!(read(nodes[1].address(), "session")["role"], "viewer");
}

#[tokio::test]
async fn the_numbers_of_the_last_minutes_are_those_of_all_nodes() {
    let mut redis = Redis::start();
    let nodes = start(&redis);
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::subscribed(node.address(), "open:a").await);
    }
    eventually("the series show three connections", SOON, || {
        let overview = read(nodes[0].address(), "overview");
        let series = &overview["series"];
        assert_eq!(series["step_seconds"], 1);
        let connections = series["names"]["connections"].as_array().unwrap().clone();
        // The first nodes began to count before the last one.
        connections.iter().rev().any(|value| *value == 3.0) && overview["connections"] == 3
    });
    redis.kill();
    eventually("no broker is ready", SOON, || {
        read(nodes[0].address(), "overview")["series"]["names"]["broker_ready"]
            .as_array()
            .is_some_and(|ready| ready.last() == Some(&json!(0.0)))
    });
    redis.restart();
    eventually("the time without the broker shows beside the nodes, which stayed", SOON, || {
        let overview = read(nodes[0].address(), "overview");
        let names = &overview["series"]["names"];
        let last_of = |name: &str| names[name].as_array().unwrap().last().cloned();
        let without = names["broker_ready"].as_array().unwrap().iter().filter(|ready| **ready == 0.0).count();
        without > 0
            && ["nodes_up", "broker_ready", "connections"].map(last_of) == [(); 3].map(|()| Some(json!(3.0)))
    });
}
