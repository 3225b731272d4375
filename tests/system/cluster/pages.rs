//! What a backend sees of the whole cluster, page by page, whichever node it talks to. `docs/protocols/http.md` §5.16.

use std::collections::{BTreeMap, BTreeSet};

use gorani_tests::{client::Client, http::Api, redis::Redis};
use serde_json::{Value, json};

use super::{
    NODES, SOON,
    users::{connect, settings, start},
};
use crate::eventually;

/// The pages of a listing, from the first to the last.
fn pages(api: &Api, method: &str, mut request: Value, limit: usize) -> Vec<Value> {
    request["limit"] = limit.into();
    let mut pages = Vec::new();
    loop {
        let page = api.ok(method, &request);
        assert!(page[method].as_object().unwrap().len() <= limit);
        let next = page["next_cursor"].clone();
        pages.push(page);
        if next.is_null() || next == "" {
            return pages;
        }
        request["cursor"] = next;
    }
}

/// The entries of all pages; each came once.
fn all(pages: &[Value], key: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (name, entry) in pages.iter().flat_map(|page| page[key].as_object().unwrap()) {
        assert!(all.insert(name.clone(), entry.clone()).is_none(), "{name} came twice");
    }
    all
}

#[tokio::test]
async fn connections_of_all_nodes_are_listed_in_pages_while_others_come_and_go() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    for (number, node) in nodes.iter().cycle().take(4 * NODES).enumerate() {
        let user = if number % 2 == 0 { "42" } else { "43" };
        clients.push(connect(node, user).await);
    }
    let ids: BTreeSet<String> = clients.iter().map(|(_, id)| id.clone()).collect();
    for node in &nodes {
        for limit in [1, 5, 100] {
            let listed = all(&pages(&node.api(), "connections", json!({}), limit), "connections");
            assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), ids);
            for (id, view) in &listed {
                assert!(id.starts_with(view["node"].as_str().unwrap()), "{id}: {view}");
            }
            let holders: BTreeSet<&str> =
                listed.values().map(|view| view["node"].as_str().unwrap()).collect();
            assert_eq!(holders.len(), NODES);
        }
    }
    let of_user = all(&pages(&nodes[0].api(), "connections", json!({"user": "42"}), 2), "connections");
    assert_eq!(of_user.len(), 2 * NODES);
    // Between two pages somebody comes and somebody goes: those who stay are listed once all the same.
    let first = nodes[1].api().ok("connections", &json!({"limit": 3}));
    let leaver = ids.first().unwrap();
    let at = clients.iter().position(|(_, id)| id == leaver).unwrap();
    clients.swap_remove(at).0.close().await;
    let comer = connect(&nodes[2], "44").await;
    let rest = json!({"cursor": first["next_cursor"]});
    let rest = pages(&nodes[1].api(), "connections", rest, 3);
    let mut seen = all(&[vec![first], rest].concat(), "connections");
    assert!(seen.remove(leaver).is_some(), "it was on the first page");
    seen.remove(&comer.1);
    let stayed: BTreeSet<String> = clients.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), stayed);
}

#[tokio::test]
async fn channels_of_all_nodes_are_counted_together_and_listed_in_pages() {
    let redis = Redis::start();
    let nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    for number in 0..9 {
        let channel = format!("kept:{number}");
        // On one node, on two, on all three.
        let nodes_with = nodes.iter().cycle().skip(number).take(1 + number % NODES);
        for node in nodes_with {
            clients.push(Client::subscribed(node.address(), &channel).await);
        }
        expected.insert(channel, json!({"num_clients": 1 + number % NODES}));
    }
    clients.push(Client::subscribed(nodes[0].address(), "open:a").await);
    for node in &nodes {
        for limit in [1, 4, 100] {
            let request = json!({"pattern": "kept:*"});
            assert_eq!(all(&pages(&node.api(), "channels", request, limit), "channels"), expected);
        }
        let everything = all(&pages(&node.api(), "channels", json!({}), 4), "channels");
        assert_eq!(everything.len(), expected.len() + 1);
        // A publisher is told the same, and 0 for a name that nobody has.
        for number in 0..9 {
            let request = json!({"channel": format!("kept:{number}"), "data": 1, "num_subscribers": true});
            assert_eq!(node.api().ok("publish", &request)["num_subscribers"], 1 + number % NODES);
        }
        let misspelt = json!({"channel": "kept:O", "data": 1, "num_subscribers": true});
        assert_eq!(node.api().ok("publish", &misspelt)["num_subscribers"], 0);
    }
}

#[tokio::test]
async fn info_shows_all_nodes_with_their_numbers_and_forgets_those_that_end() {
    let redis = Redis::start();
    let mut nodes = start(&settings(&redis));
    let mut clients = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        for _ in 0..=number {
            clients.push(connect(node, "42").await.0);
        }
    }
    for node in &nodes {
        let info = node.api().ok("info", &json!({}));
        let shown = info["nodes"].as_array().unwrap();
        let mut counts: Vec<u64> = shown.iter().map(|node| node["num_clients"].as_u64().unwrap()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 3]);
        for node in shown {
            assert_eq!((&node["num_users"], &node["num_channels"]), (&json!(1), &json!(1)), "{node}");
            assert_eq!(node["num_subs"], node["num_clients"]);
            assert!(!node["version"].as_str().unwrap().is_empty());
        }
    }
    let count = |node: &gorani_tests::node::Node| {
        node.api().ok("info", &json!({}))["nodes"].as_array().unwrap().len()
    };
    // One that ends by itself takes its lease back before its process ends.
    nodes[2].terminate();
    nodes[2].wait_exit(SOON).expect("it ends");
    assert_eq!(count(&nodes[0]), 2);
    nodes[1].kill();
    eventually("the killed node is forgotten", SOON, || count(&nodes[0]) == 1);
}
