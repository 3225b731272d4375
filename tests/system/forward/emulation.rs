//! `POST /emulation` at nodes that do not have the session.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Cluster, NODES, Stream, emulate, send, settings};
use crate::eventually;

/// Long enough for a lease to end on a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn commands_reach_their_session_through_every_node_and_in_order() {
    let cluster = Cluster::start();
    for owner in 0..NODES {
        let mut stream = Stream::open(cluster.address(owner));
        for through in 0..NODES {
            let channel = format!("open:{owner}-{through}");
            let status = stream.post(cluster.address(through), "subscribe", json!({"channel": channel}));
            assert_eq!(status, 204, "of node {owner} through {through}");
            let reply = stream.object();
            assert!(reply["subscribe"].is_object(), "{reply}");
        }
        for number in 0..30 {
            let channel = format!("open:{owner}-0");
            let status =
                stream.post(cluster.address(number), "publish", json!({"channel": channel, "data": number}));
            assert_eq!(status, 204);
        }
        let (mut published, mut answered) = (Vec::new(), Vec::new());
        while published.len() < 30 || answered.len() < 30 {
            let object = stream.object();
            match object["push"]["pub"]["data"].as_u64() {
                Some(data) => published.push(data),
                None => answered.push(object["id"].as_u64().unwrap()),
            }
        }
        assert!(published.iter().copied().eq(0..30), "{published:?}");
        answered.sort_unstable();
        assert!(answered.windows(2).all(|pair| pair[0] < pair[1]), "each is answered once: {answered:?}");
    }
    eventually("nothing is under way", SOON, || cluster.count(0, "gorani_forwards_open") == 0);
    assert!(cluster.count(0, "gorani_forwards_total{outcome=\"answered\"}") >= 20);
    assert!(cluster.count(0, "gorani_forwards_received_total{outcome=\"accepted\"}") >= 20);
}

#[test]
fn the_answer_of_the_owner_is_the_answer() {
    let cluster = Cluster::start();
    let mut stream = Stream::open(cluster.address(0));
    let body = stream.command("subscribe", json!({"channel": "open:a"}));
    let (head, _) = emulate(cluster.address(1), &body);
    assert_eq!(head.status, 204);
    assert_eq!(head.header("access-control-allow-origin"), Some("http://push.example.com"));
    for header in ["x-gorani-forward-refused", "transfer-encoding", "connection"] {
        assert_eq!(head.header(header), None, "{head:?}");
    }
    let unknown = json!({"session": "x".repeat(32), "node": stream.node, "data": "{}"}).to_string();
    let (head, told) = emulate(cluster.address(1), &unknown);
    let (own_head, own_told) = emulate(cluster.address(0), &unknown);
    assert_eq!((head.status, &told), (404, &own_told));
    assert_eq!(own_head.status, 404);
    let large =
        json!({"session": stream.session, "node": stream.node, "data": "x".repeat(70_000)}).to_string();
    for node in 0..NODES {
        assert_eq!(emulate(cluster.address(node), &large).0.status, 413);
    }
}

#[test]
fn a_node_that_was_never_there_is_an_unknown_one() {
    let cluster = Cluster::start();
    let stream = Stream::open(cluster.address(0));
    for node in ["00000000", "no such node", "../../x", ""] {
        let body = json!({"session": stream.session, "node": node, "data": "{}"}).to_string();
        assert_eq!(emulate(cluster.address(1), &body).0.status, 404, "{node:?}");
    }
}

#[test]
fn the_session_of_a_killed_node_is_unknown_at_once() {
    // Its lease still runs long after that.
    let mut cluster = Cluster::start_with(|settings| settings.set("cluster.lease", "\"60s\""));
    let mut stream = Stream::open(cluster.address(0));
    assert_eq!(stream.post(cluster.address(1), "subscribe", json!({"channel": "kept:a"})), 204);
    cluster.nodes[0].kill();
    let asked = Instant::now();
    for node in [1, 2, 1, 2] {
        assert_eq!(stream.post(cluster.address(node), "subscribe", json!({"channel": "kept:b"})), 404);
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn a_frozen_node_is_given_up_when_its_lease_ends() {
    let cluster = Cluster::start();
    let mut stream = Stream::open(cluster.address(0));
    assert_eq!(stream.post(cluster.address(1), "subscribe", json!({"channel": "open:a"})), 204);
    cluster.nodes[0].process().signal(gorani_tests::process::Signal::SIGSTOP);
    let body = stream.command("subscribe", json!({"channel": "open:b"}));
    assert_eq!(emulate(cluster.address(1), &body).0.status, 404);
    eventually("nothing is under way", SOON, || cluster.count(1, "gorani_forwards_open") == 0);
}

#[test]
fn whoever_gives_up_at_one_node_is_gone_at_the_other() {
    let cluster = Cluster::start();
    let mut stream = Stream::open(cluster.address(0));
    cluster.nodes[0].process().signal(gorani_tests::process::Signal::SIGSTOP);
    let body = stream.command("subscribe", json!({"channel": "open:a"}));
    let socket = send(cluster.address(1), "POST", "/emulation", "", &body);
    eventually("it is under way", SOON, || cluster.count(1, "gorani_forwards_open") == 1);
    drop(socket);
    eventually("it is given up", SOON, || cluster.count(1, "gorani_forwards_open") == 0);
    cluster.nodes[0].process().signal(gorani_tests::process::Signal::SIGCONT);
}

#[test]
fn nodes_with_one_secret_in_their_settings_understand_one_another_and_no_others() {
    let mut cluster = Cluster::start();
    let with = |secret: &str| {
        gorani_tests::node::Node::start(
            settings(&cluster.redis).set("cluster.secret", format!("\"{secret}\"")),
        )
    };
    let nodes =
        [with("the secret of these two"), with("the secret of these two"), with("the secret of this one")];
    cluster.nodes = nodes.into();
    let mut stream = Stream::open(cluster.address(0));
    assert_eq!(stream.post(cluster.address(1), "subscribe", json!({"channel": "open:a"})), 204);
    assert_eq!(stream.post(cluster.address(2), "subscribe", json!({"channel": "open:b"})), 404);
    assert!(!cluster.nodes.iter().any(|node| node.output().contains("the secret of")));
}

#[test]
fn the_agreed_secret_outlives_a_loss_of_redis_data() {
    let mut cluster = Cluster::start();
    let mut stream = Stream::open(cluster.address(0));
    assert_eq!(stream.post(cluster.address(1), "subscribe", json!({"channel": "open:a"})), 204);
    cluster.redis.forget();
    let newcomer = gorani_tests::node::Node::start(settings(&cluster.redis));
    cluster.nodes[2] = newcomer;
    eventually("it knows the others", SOON, || cluster.count(2, "gorani_cluster_members") == 3);
    for (number, through) in [2, 1, 2].into_iter().enumerate() {
        let status =
            stream.post(cluster.address(through), "subscribe", json!({"channel": format!("open:{number}")}));
        assert_eq!(status, 204, "through {through}");
    }
}
