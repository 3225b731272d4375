//! A node that dies takes its clients with it: they vanish from presence, and their leaving is told once, to all.
//! `docs/architecture.md` §4.8, §5.7.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gorani_tests::{client::Client, node::Node, process::Signal, redis::Redis};
use serde_json::{Value, json};

use super::{
    SOON,
    users::{LEASE, connect, settings, start},
};
use crate::eventually;

/// The lease of the settings, and as much again and more for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(LEASE.as_secs() + 14);

async fn subscribed(node: &Node, user: &str, channel: &str) -> (Client, String) {
    let (mut client, id) = connect(node, user).await;
    client.ok("subscribe", json!({"channel": channel, "join_leave": true})).await;
    (client, id)
}

fn present(node: &Node, channel: &str) -> BTreeSet<String> {
    let answer = node.api().ok("presence", &json!({"channel": channel}));
    answer["presence"].as_object().unwrap().keys().cloned().collect()
}

fn stats(node: &Node, channel: &str) -> (Value, Value) {
    let stats = node.api().ok("presence_stats", &json!({"channel": channel}));
    (stats["num_clients"].clone(), stats["num_users"].clone())
}

/// The clients whose leaving was pushed before the publication `end`, in the order of the pushes.
async fn leaves_before(client: &mut Client, end: &str) -> Vec<String> {
    let mut leaves = Vec::new();
    loop {
        let push = client.push().await;
        if push["pub"]["data"] == end {
            return leaves;
        }
        if let Some(left) = push["leave"]["info"]["client"].as_str() {
            leaves.push(left.to_owned());
        }
    }
}

#[tokio::test]
async fn the_clients_of_a_killed_node_leave_presence_and_their_leaving_is_told_once() {
    let redis = Redis::start();
    let mut nodes = start(&settings(&redis));
    let mut watchers = Vec::new();
    for node in nodes.iter().take(2).cycle().take(4) {
        watchers.push(subscribed(node, "watcher", "seen:a").await);
    }
    let mut victims = Vec::new();
    for _ in 0..20 {
        victims.push(subscribed(&nodes[2], "victim", "seen:a").await);
    }
    let victims_ids: BTreeSet<String> = victims.iter().map(|(_, id)| id.clone()).collect();
    let watchers_ids: BTreeSet<String> = watchers.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(present(&nodes[0], "seen:a").len(), 24);
    let killed = Instant::now();
    nodes[2].kill();
    for node in nodes.iter().take(2) {
        eventually("they are gone", NOTICED_WITHIN, || present(node, "seen:a") == watchers_ids);
        assert_eq!(stats(node, "seen:a"), (json!(4), json!(1)));
    }
    assert!(killed.elapsed() < NOTICED_WITHIN);
    // Whatever is told a second time would come from the other node's look at the same moment: wait for both to have looked.
    let reaped = |node: &Node| {
        let metrics = node.api().get("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix("gorani_presence_reaped_total "));
        line.unwrap().parse::<usize>().unwrap()
    };
    eventually("all are taken out", SOON, || {
        nodes.iter().take(2).map(reaped).sum::<usize>() == victims_ids.len()
    });
    for node in nodes.iter().take(2) {
        eventually("it knows of the death", SOON, || {
            node.api().ok("info", &json!({}))["nodes"].as_array().unwrap().len() == 2
        });
    }
    nodes[0].api().ok("publish", &json!({"channel": "seen:a", "data": "end"}));
    for (watcher, _) in &mut watchers {
        let mut leaves = leaves_before(watcher, "end").await;
        leaves.sort();
        assert_eq!(leaves, victims_ids.iter().cloned().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn presence_leaves_out_the_clients_of_a_dead_node_where_nobody_else_is_subscribed() {
    let redis = Redis::start();
    let mut nodes = start(&settings(&redis));
    let (_first, _) = subscribed(&nodes[2], "victim", "seen:lonely").await;
    let (_second, _) = subscribed(&nodes[2], "victim", "seen:lonely").await;
    assert_eq!(present(&nodes[0], "seen:lonely").len(), 2);
    nodes[2].kill();
    eventually("nobody is there", NOTICED_WITHIN, || stats(&nodes[0], "seen:lonely") == (json!(0), json!(0)));
    // A node that comes later never saw the dead one alive.
    let (_other, _) = subscribed(&nodes[1], "other", "seen:other").await;
    nodes[1].kill();
    let late = Node::start(settings(&redis));
    eventually("nobody is there", NOTICED_WITHIN, || present(&late, "seen:other").is_empty());
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_enters_its_clients_again() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let (mut watcher, watcher_id) = subscribed(&nodes[0], "watcher", "seen:a").await;
    let (mut frozen, frozen_id) = subscribed(&nodes[1], "frozen", "seen:a").await;
    assert_eq!(watcher.push().await["join"]["info"]["client"], watcher_id);
    assert_eq!(watcher.push().await["join"]["info"]["client"], frozen_id);
    nodes[1].process().signal(Signal::SIGSTOP);
    assert_eq!(watcher.push().await["leave"]["info"]["client"], frozen_id);
    assert_eq!(present(&nodes[0], "seen:a"), BTreeSet::from([watcher_id.clone()]));
    nodes[1].process().signal(Signal::SIGCONT);
    assert_eq!(watcher.push().await["join"]["info"]["client"], frozen_id);
    assert_eq!(present(&nodes[0], "seen:a"), BTreeSet::from([watcher_id, frozen_id]));
    nodes[0].api().ok("publish", &json!({"channel": "seen:a", "data": "end"}));
    assert!(leaves_before(&mut frozen, "end").await.len() <= 1);
    assert_eq!(watcher.publication().await, "end");
}

#[tokio::test]
async fn a_restart_of_redis_that_outlasts_all_leases_is_nobodys_death() {
    let mut redis = Redis::start();
    // A channel without history ends with the broker's connection: its subscribers are told that they may have missed something.
    let nodes = start(&settings(&redis).set("client.personal_channels", "[]"));
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(subscribed(node, "42", "kept:a").await);
    }
    redis.kill();
    eventually("no node is ready", SOON, || !nodes.iter().any(super::is_ready));
    // Longer than a lease: all of them are over when Redis is back.
    std::thread::sleep(LEASE + Duration::from_millis(500));
    redis.restart();
    eventually("all nodes are ready", SOON, || nodes.iter().all(super::is_ready));
    let until = Instant::now() + LEASE + Duration::from_secs(2);
    eventually("the leases are trusted again", SOON, || Instant::now() > until);
    assert_eq!(present(&nodes[0], "kept:a").len(), 3);
    nodes[0].api().ok("publish", &json!({"channel": "kept:a", "data": 1}));
    for (client, _) in &mut clients {
        loop {
            let push = client.push().await;
            assert!(push["leave"].is_null(), "{push}");
            if push["unsubscribe"]["code"] == 2500 {
                // Joins and leaves may have been lost while Redis was away: the client comes back, and has left for nobody.
                client.ok("subscribe", json!({"channel": "kept:a", "join_leave": true})).await;
                nodes[0].api().ok("publish", &json!({"channel": "kept:a", "data": 2}));
            }
            if push["pub"].is_object() {
                break;
            }
        }
    }
}
