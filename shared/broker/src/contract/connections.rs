//! A user's connections, counted over all nodes. [`crate::Cluster::connection_enter`].

use futures_util::future::join_all;

use super::{
    ContractNode, Harness,
    samples::{LONG, nodes, two_ends},
};
use crate::ConnectionEntry::{self, Entered, Full};

impl ContractNode {
    async fn enter(&self, user: &str, client: &str, limit: u32) -> ConnectionEntry {
        self.cluster().connection_enter(user, client, LONG, limit).await.unwrap()
    }

    async fn holders(&self, user: &str) -> Vec<String> {
        self.cluster().connection_holders(user).await.unwrap()
    }
}

fn full(holders: &[&str]) -> ConnectionEntry {
    Full { holders: holders.iter().map(|holder| (*holder).to_owned()).collect() }
}

pub async fn as_many_enter_as_the_limit_allows(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.holders("42").await, [""; 0]);
    assert_eq!(one.enter("42", "b", 2).await, Entered);
    assert_eq!(other.enter("42", "a", 2).await, Entered);
    assert_eq!(one.enter("42", "c", 2).await, full(&["a", "b"]));
    assert_eq!(other.holders("42").await, ["a", "b"]);
    assert_eq!(one.enter("42", "c", 3).await, Entered);
    assert_eq!(one.enter("42", "d", 0).await, full(&["a", "b", "c"]));
}

pub async fn whoever_is_there_may_enter_again(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.enter("42", "a", 1).await, Entered);
    assert_eq!(other.enter("42", "a", 1).await, Entered);
    assert_eq!(one.holders("42").await, ["a"]);
}

pub async fn whoever_left_makes_room(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.enter("42", "a", 1).await, Entered);
    other.cluster().connection_leave("42", "unknown").await.unwrap();
    other.cluster().connection_leave("unknown", "a").await.unwrap();
    assert_eq!(one.enter("42", "b", 1).await, full(&["a"]));
    other.cluster().connection_leave("42", "a").await.unwrap();
    assert_eq!(one.holders("42").await, [""; 0]);
    assert_eq!(one.enter("42", "b", 1).await, Entered);
}

pub async fn those_who_are_not_refreshed_do_not_count(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    for client in ["refreshed", "forgotten"] {
        one.cluster().connection_enter("42", client, 4 * span, 2).await.unwrap();
    }
    harness.pass(3 * span).await;
    let missing = other.cluster().connection_refresh("42", &["refreshed"], 4 * span).await.unwrap();
    assert_eq!(missing, [""; 0]);
    assert_eq!(one.enter("42", "new", 2).await, full(&["forgotten", "refreshed"]));
    harness.pass(2 * span).await;
    assert_eq!(one.holders("42").await, ["refreshed"]);
    assert_eq!(one.enter("42", "new", 2).await, Entered);
    harness.pass(3 * span).await;
    assert_eq!(other.holders("42").await, ["new"]);
}

pub async fn a_refresh_tells_who_is_not_there(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    assert_eq!(one.cluster().connection_refresh("42", &["a"], LONG).await.unwrap(), ["a"]);
    assert_eq!(one.holders("42").await, [""; 0], "a refresh enters nobody");
    one.cluster().connection_enter("42", "a", LONG, 9).await.unwrap();
    one.cluster().connection_enter("42", "b", span, 9).await.unwrap();
    harness.pass(2 * span).await;
    let missing = other.cluster().connection_refresh("42", &["b", "a", "c"], LONG).await.unwrap();
    assert_eq!(missing, ["b", "c"]);
    assert_eq!(one.cluster().connection_refresh("42", &[], LONG).await.unwrap(), [""; 0]);
}

pub async fn users_count_their_connections_apart(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    for user in ["42", "43", "", "{42}", "4 2"] {
        assert_eq!(one.enter(user, "a", 1).await, Entered, "{user:?}");
        assert_eq!(other.enter(user, "b", 1).await, full(&["a"]), "{user:?}");
    }
}

pub async fn of_concurrent_clients_as_many_enter_as_there_is_room(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    let clients: Vec<String> = (0..60).map(|number| format!("{number:02}")).collect();
    let entries = clients.iter().zip(nodes.iter().cycle()).map(|(client, node)| node.enter("42", client, 7));
    let entries = join_all(entries).await;
    assert_eq!(entries.iter().filter(|entry| **entry == Entered).count(), 7);
    assert_eq!(nodes[0].holders("42").await.len(), 7);
}
