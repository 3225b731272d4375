//! The admin API on a cluster with a node of another version, and a node of a version that is too far away.

use std::time::{Duration, Instant};

use gorani_tests::{
    binary,
    node::{Node, Settings},
    redis::Redis,
    redis_data::RedisConnection,
};
use serde_json::json;

use super::{Asked, VIEWER, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(40);
/// For so long a node is waited for that could answer.
const ANSWER_TIMEOUT: &str = "\"15s\"";
const NOT_WAITED: Duration = Duration::from_secs(10);

fn of_cluster(redis: &Redis, name: &str) -> Settings {
    Settings::open()
        .set("node.name", format!("\"{name}\""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("cluster.answer_timeout", ANSWER_TIMEOUT)
}

#[test]
#[ignore = "needs the binary of another version in GORANI_OTHER_BIN: make compat"]
fn a_node_of_another_version_is_not_asked_what_it_does_not_know_and_nobody_waits_for_it() {
    let redis = Redis::start();
    let node = Node::start_program(&binary::node(), settings(of_cluster(&redis, "n1")));
    let other = Node::start_program(&binary::other_node(), of_cluster(&redis, "n2"));
    eventually("the nodes know one another", SOON, || {
        let info = node.api().ok("info", &json!({}));
        info["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
    });
    for call in ["nodes", "overview", "disconnects", "channels"] {
        let asked_at = Instant::now();
        let answer = Asked::get(call).key(VIEWER).send(node.address());
        assert!(asked_at.elapsed() < NOT_WAITED, "{call} waited for it");
        assert_eq!(
            (answer.head.status, &answer.body["complete"]),
            (200, &json!(false)),
            "{call}: {answer:?}"
        );
        let shown =
            answer.body["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "n2").unwrap();
        assert_eq!((&shown["answered"], &shown["unsupported"]), (&json!(false), &json!(true)), "{call}");
    }
    // What both know is answered by both, whichever is asked.
    for node in [&node, &other] {
        assert_eq!(node.api().ok("info", &json!({}))["nodes"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_node_of_a_distant_version_does_not_start_and_names_whom_it_met() {
    let redis = Redis::start();
    let living = Node::start(of_cluster(&redis, "n1"));
    let mut backend = RedisConnection::open(redis.address());
    let description = br#"{"name":"n9","version":"0.9.0","uptime_s":1}"#;
    let deadline = b"9999999999999";
    backend.ask(&[b"HSET", b"gorani:members:{%}", b"0badcafe", description]);
    backend.ask(&[b"ZADD", b"gorani:leases:{%}", deadline, b"0badcafe"]);
    let mut refusing = Node::spawn(of_cluster(&redis, "n2"));
    assert!(!refusing.wait_exit(SOON).expect("it ends").success());
    assert!(refusing.output().contains("n9 (0.9.0)"), "{}", refusing.output());
    // The nodes that run go on.
    assert_eq!(living.api().get("/health/ready").0, 200);
}
