//! Who is in a channel. [`crate::Broker::presence`], specs/client-protocol.md (presence, presence_stats).

use std::sync::Arc;

use super::{
    Harness,
    samples::{LONG, client, nodes, two_ends},
};
use crate::ClientInfo;

pub async fn those_who_were_added_are_present_on_every_node(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    let mut added: Vec<Arc<ClientInfo>> = Vec::new();
    for (number, node) in nodes.iter().cycle().take(6).enumerate() {
        let info = Arc::new(ClientInfo {
            connection_info: format!("{{\"name\":\"고라니 {number}\"}}").into(),
            channel_info: format!("[{number}]").into(),
            ..client(&format!("user {number}"), &format!("client {number}")).as_ref().clone()
        });
        added.push(Arc::clone(&info));
        node.broker.presence_add("room", info, LONG).await.unwrap();
    }
    for node in &nodes {
        let mut present = node.broker.presence("room").await.unwrap();
        present.sort_by(|one, other| one.client.cmp(&other.client));
        assert_eq!(present, added);
    }
}

pub async fn those_who_were_removed_are_not_present(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    for id in ["a", "b", "c"] {
        one.broker.presence_add("room", client("1", id), LONG).await.unwrap();
    }
    other.broker.presence_remove("room", "b").await.unwrap();
    assert_eq!(one.present("room").await, ["a", "c"]);
    one.broker.presence_remove("room", "unknown").await.unwrap();
    one.broker.presence_remove("unknown room", "a").await.unwrap();
    one.broker.presence_remove("room", "a").await.unwrap();
    one.broker.presence_remove("room", "c").await.unwrap();
    assert_eq!(other.present("room").await, [""; 0]);
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (0, 0));
}

pub async fn those_who_are_not_refreshed_are_forgotten(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    for id in ["refreshed", "forgotten"] {
        one.broker.presence_add("room", client(id, id), 4 * span).await.unwrap();
    }
    harness.pass(3 * span).await;
    one.broker.presence_add("room", client("refreshed", "refreshed"), 4 * span).await.unwrap();
    assert_eq!(other.present("room").await, ["forgotten", "refreshed"]);
    harness.pass(2 * span).await;
    assert_eq!(other.present("room").await, ["refreshed"]);
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (1, 1));
    harness.pass(3 * span).await;
    assert_eq!(other.present("room").await, [""; 0]);
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (0, 0));
    other.broker.presence_add("room", client("1", "forgotten"), 4 * span).await.unwrap();
    assert_eq!(one.present("room").await, ["forgotten"]);
}

pub async fn a_refresh_brings_the_newest_info(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let with = |info: &'static str| {
        Arc::new(ClientInfo { connection_info: info.into(), ..client("1", "a").as_ref().clone() })
    };
    one.broker.presence_add("room", with("1"), LONG).await.unwrap();
    one.broker.presence_add("room", with("2"), LONG).await.unwrap();
    assert_eq!(other.broker.presence("room").await.unwrap(), [with("2")]);
}

pub async fn stats_count_clients_and_distinct_users(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.broker.presence_stats("room").await.unwrap(), (0, 0));
    for (user, id) in [("42", "phone"), ("42", "laptop"), ("43", "phone 2")] {
        one.broker.presence_add("room", client(user, id), LONG).await.unwrap();
    }
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (3, 2));
    one.broker.presence_add("room", client("42", "phone"), LONG).await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (3, 2), "a refresh is no arrival");
    one.broker.presence_remove("room", "phone").await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (2, 2), "the user has another client");
    one.broker.presence_remove("room", "laptop").await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (1, 1));
}

pub async fn presence_of_one_channel_says_nothing_of_another(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    one.broker.presence_add("room:1", client("1", "a"), LONG).await.unwrap();
    one.broker.presence_add("room:2", client("1", "a"), LONG).await.unwrap();
    one.broker.presence_remove("room:1", "a").await.unwrap();
    assert_eq!(other.present("room:1").await, [""; 0]);
    assert_eq!(other.present("room:2").await, ["a"]);
    assert_eq!(other.present("room").await, [""; 0]);
}
