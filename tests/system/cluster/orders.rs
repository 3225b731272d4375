//! Orders of a backend reach the sessions of all nodes, whichever node it talks to, and are acknowledged or told to be of
//! unknown outcome. `docs/protocols/http.md` §4.8, §4.9.

use gorani_tests::{process::Signal, redis::Redis};
use serde_json::json;

use super::{
    NODES, SOON,
    users::{connect, settings, start},
};
use crate::eventually;

#[tokio::test]
async fn a_users_sessions_on_all_nodes_are_subscribed_and_unsubscribed_through_any_node() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(connect(node, "42").await.0);
    }
    let mut stranger = connect(&nodes[1], "43").await.0;
    for (number, node) in nodes.iter().enumerate() {
        let channel = format!("open:{number}");
        let subscribe = json!({"user": "42", "channel": channel, "data": {"from": number}});
        node.api().ok("subscribe", &subscribe);
        for client in &mut clients {
            let push = client.push().await;
            assert_eq!(
                (&push["channel"], &push["subscribe"]["data"]["from"]),
                (&json!(channel), &json!(number))
            );
        }
        node.api().ok("publish", &json!({"channel": channel, "data": number}));
        node.api().ok("unsubscribe", &json!({"user": "42", "channel": channel}));
        for client in &mut clients {
            assert_eq!(client.push().await["pub"]["data"], number);
            assert_eq!(client.push().await["unsubscribe"]["code"], 2000);
        }
    }
    // Nothing of it concerned anybody else: the first push is this one.
    nodes[0].api().ok("publish", &json!({"user": "43", "channel": "orders", "data": "yours"}));
    assert_eq!(stranger.publication().await, "yours");
}

#[tokio::test]
async fn a_users_publications_reach_their_sessions_on_all_nodes() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(connect(node, "42").await.0);
        clients.push(connect(node, "42").await.0);
    }
    for (number, node) in nodes.iter().enumerate() {
        node.api().ok("publish", &json!({"user": "42", "channel": "orders", "data": number}));
    }
    for client in &mut clients {
        let mut seen = Vec::new();
        for _ in 0..NODES {
            seen.push(client.publication().await);
        }
        // Published one after the other: one order for all.
        assert_eq!(seen, [0, 1, 2]);
    }
}

#[tokio::test]
async fn a_disconnect_ends_a_users_sessions_on_all_nodes_but_for_those_spared() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(connect(node, "42").await);
    }
    let (mut spared, spared_id) = clients.pop().unwrap();
    let disconnect = json!({"user": "42", "code": 4100, "reason": "bye", "whitelist": [spared_id]});
    nodes[2].api().ok("disconnect", &disconnect);
    for (client, _) in &mut clients {
        assert_eq!(client.closed().await, (4100, "bye".to_owned()));
    }
    nodes[0].api().ok("publish", &json!({"user": "42", "channel": "orders", "data": "still here"}));
    assert_eq!(spared.publication().await, "still here");
}

#[tokio::test]
async fn an_order_for_one_client_reaches_it_on_another_node_and_no_other() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let (mut first, _) = connect(&nodes[1], "42").await;
    let (mut second, second_id) = connect(&nodes[1], "42").await;
    let (mut third, third_id) = connect(&nodes[2], "42").await;
    let soon = json!({"user": "42", "client": third_id, "expire_at": 4_000_000_000_u64});
    nodes[0].api().ok("refresh", &soon);
    assert_eq!(third.push().await["refresh"]["expires"], true);
    nodes[0].api().ok("refresh", &json!({"user": "42", "client": second_id, "expired": true}));
    assert_eq!(second.closed().await.0, 3005);
    // Of another user, or nobody's: nothing happens, and that is known.
    nodes[0].api().ok("disconnect", &json!({"user": "43", "client": third_id}));
    nodes[0].api().ok("disconnect", &json!({"user": "42", "client": "00000000aaaaaaaaaaaaaaaa"}));
    nodes[0].api().ok("disconnect", &json!({"user": "42", "client": third_id}));
    assert_eq!(third.closed().await.0, 3503);
    nodes[0].api().ok("publish", &json!({"user": "42", "channel": "orders", "data": "still here"}));
    assert_eq!(first.publication().await, "still here");
}

#[tokio::test]
async fn an_order_that_a_living_node_did_not_take_is_no_success_until_its_lease_is_gone() {
    let redis = Redis::start();
    // Its lease still runs when its answer is missed.
    let nodes = start(&settings(&redis).set("cluster.lease", "\"12s\""));
    let (mut client, _) = connect(&nodes[1], "42").await;
    nodes[2].process().signal(Signal::SIGSTOP);
    let disconnect = json!({"user": "42"});
    let (status, answer) = nodes[0].api().call("disconnect", &disconnect);
    assert_eq!((status, &answer["error"]["code"]), (503, &json!(121)), "{answer}");
    assert_eq!(client.closed().await.0, 3503, "the others carry it out");
    // For a client of a node that answers, the silent one does not matter.
    let (mut other, id) = connect(&nodes[1], "42").await;
    nodes[0].api().ok("disconnect", &json!({"user": "42", "client": id}));
    assert_eq!(other.closed().await.0, 3503);
    eventually("the silent node does not count", SOON, || {
        nodes[0].api().call("disconnect", &disconnect).0 == 200
    });
    nodes[2].process().signal(Signal::SIGCONT);
    eventually("it counts again", SOON, || nodes[0].api().ok("info", &json!({}))["nodes"][2].is_object());
    // Behind what it still had to carry out.
    nodes[0].api().ok("disconnect", &json!({"user": "nobody"}));
    let (mut back, _) = connect(&nodes[2], "42").await;
    nodes[0].api().ok("disconnect", &disconnect);
    assert_eq!(back.closed().await.0, 3503);
}

#[tokio::test]
async fn without_the_broker_orders_for_others_are_refused_and_those_for_the_own_client_are_carried_out() {
    let mut redis = Redis::start();
    let nodes = start(&settings(&redis));
    let (mut client, id) = connect(&nodes[0], "42").await;
    redis.kill();
    eventually("the node knows", SOON, || !super::is_ready(&nodes[0]));
    let (status, answer) = nodes[0].api().call("disconnect", &json!({"user": "42"}));
    assert_eq!((status, &answer["error"]["code"]), (503, &json!(120)), "{answer}");
    nodes[0].api().ok("disconnect", &json!({"user": "42", "client": id}));
    assert_eq!(client.closed().await.0, 3503);
}
