//! Presence of clients in a channel. [`crate::Broker::presence`], `docs/protocols/client.md` §8.

use std::sync::Arc;

use super::{
    Harness,
    samples::{LONG, client, live, nodes, two_ends},
};
use crate::{ChannelEvent, ClientInfo, PresenceQuery};

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
        node.broker.presence_add("room", info, LONG, false).await.unwrap();
    }
    for node in &nodes {
        let mut present = node.present_infos("room").await;
        present.sort_by(|one, other| one.client.cmp(&other.client));
        assert_eq!(present, added);
    }
}

pub async fn those_who_were_removed_are_not_present(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    for id in ["a", "b", "c"] {
        one.broker.presence_add("room", client("1", id), LONG, false).await.unwrap();
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
        one.broker.presence_add("room", client(id, id), 4 * span, false).await.unwrap();
    }
    harness.pass(3 * span).await;
    one.broker.presence_add("room", client("refreshed", "refreshed"), 4 * span, false).await.unwrap();
    assert_eq!(other.present("room").await, ["forgotten", "refreshed"]);
    harness.pass(2 * span).await;
    assert_eq!(other.present("room").await, ["refreshed"]);
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (1, 1));
    harness.pass(3 * span).await;
    assert_eq!(other.present("room").await, [""; 0]);
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (0, 0));
    other.broker.presence_add("room", client("1", "forgotten"), 4 * span, false).await.unwrap();
    assert_eq!(one.present("room").await, ["forgotten"]);
}

pub async fn a_refresh_brings_the_newest_info(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let with = |info: &'static str| {
        Arc::new(ClientInfo { connection_info: info.into(), ..client("1", "a").as_ref().clone() })
    };
    one.broker.presence_add("room", with("1"), LONG, false).await.unwrap();
    one.broker.presence_add("room", with("2"), LONG, false).await.unwrap();
    assert_eq!(other.present_infos("room").await, [with("2")]);
}

pub async fn stats_count_clients_and_distinct_users(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.broker.presence_stats("room").await.unwrap(), (0, 0));
    for (user, id) in [("42", "phone"), ("42", "laptop"), ("43", "phone 2")] {
        one.broker.presence_add("room", client(user, id), LONG, false).await.unwrap();
    }
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (3, 2));
    one.broker.presence_add("room", client("42", "phone"), LONG, false).await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (3, 2), "a refresh is no arrival");
    one.broker.presence_remove("room", "phone").await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (2, 2), "the user has another client");
    one.broker.presence_remove("room", "laptop").await.unwrap();
    assert_eq!(other.broker.presence_stats("room").await.unwrap(), (1, 1));
}

pub async fn joins_and_leaves_are_told_by_what_enters_and_takes_out(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("room").await;
    let [one, other] = [client("4:2", "0000000a-1"), client("", "0000000a-2")];
    let broker = &publisher.broker;
    for info in [&one, &other] {
        for _ in 0..2 {
            broker.presence_add("room", Arc::clone(info), LONG, true).await.unwrap();
        }
    }
    broker.presence_add("room", client("1", "0000000a-3"), LONG, false).await.unwrap();
    for id in ["0000000a-1", "0000000a-1", "0000000a-3", "unknown"] {
        broker.presence_remove("room", id).await.unwrap();
    }
    assert_eq!(broker.presence_reap("room", "0000000a", 10).await.unwrap(), [Arc::clone(&other)]);
    assert_eq!(broker.presence_reap("room", "0000000a", 10).await.unwrap(), []);
    publisher.publish("room", "last", live()).await;
    let heard = listener.heard_events("room", 5).await;
    let [joins @ .., left, reaped, _last] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(joins, [ChannelEvent::Join(Arc::clone(&one)), ChannelEvent::Join(Arc::clone(&other))]);
    assert_eq!([left, reaped], [&ChannelEvent::Leave(one), &ChannelEvent::Leave(other)]);
}

pub async fn whoever_finds_that_a_clients_time_is_over_tells_that_it_left(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("room").await;
    let span = harness.span();
    let [back, gone] = [client("1", "back"), client("2", "gone")];
    for info in [&back, &gone] {
        publisher.broker.presence_add("room", Arc::clone(info), 2 * span, true).await.unwrap();
    }
    harness.pass(3 * span).await;
    publisher.broker.presence_add("room", Arc::clone(&back), LONG, true).await.unwrap();
    assert_eq!(publisher.broker.presence_stats("room").await.unwrap(), (1, 1));
    let heard = listener.heard_events("room", 5).await;
    let of = |wanted: &Arc<ClientInfo>| {
        let is_of = |event: &&ChannelEvent| matches!(event, ChannelEvent::Join(info) | ChannelEvent::Leave(info) if info == wanted);
        heard.iter().filter(is_of).cloned().collect::<Vec<_>>()
    };
    let [join, leave] = [ChannelEvent::Join, ChannelEvent::Leave];
    assert_eq!(of(&back), [join(Arc::clone(&back)), leave(Arc::clone(&back)), join(Arc::clone(&back))]);
    assert_eq!(of(&gone), [join(Arc::clone(&gone)), leave(Arc::clone(&gone))]);
}

pub async fn presence_of_one_channel_says_nothing_of_another(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    one.broker.presence_add("room:1", client("1", "a"), LONG, false).await.unwrap();
    one.broker.presence_add("room:2", client("1", "a"), LONG, false).await.unwrap();
    one.broker.presence_remove("room:1", "a").await.unwrap();
    assert_eq!(other.present("room:1").await, [""; 0]);
    assert_eq!(other.present("room:2").await, ["a"]);
    assert_eq!(other.present("room").await, [""; 0]);
}

pub async fn clients_of_one_node_are_reaped_and_given(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    for (user, id) in [("1", "0000000a-1"), ("1", "0000000a-2"), ("2", "0000000b-1"), ("2", "0000000a-3")] {
        one.broker.presence_add("room", client(user, id), LONG, false).await.unwrap();
    }
    one.broker.presence_add("other room", client("1", "0000000a-1"), LONG, false).await.unwrap();
    assert_eq!(other.broker.presence_reap("room", "0000000c", 10).await.unwrap(), []);
    let mut reaped = other.broker.presence_reap("room", "0000000a", 2).await.unwrap();
    assert_eq!(reaped.len(), 2, "the limit");
    reaped.extend(one.broker.presence_reap("room", "0000000a", 2).await.unwrap());
    reaped.sort_by(|one, other| one.client.cmp(&other.client));
    assert_eq!(reaped, [client("1", "0000000a-1"), client("1", "0000000a-2"), client("2", "0000000a-3")]);
    assert_eq!(one.present("room").await, ["0000000b-1"]);
    assert_eq!(one.broker.presence_stats("room").await.unwrap(), (1, 1));
    assert_eq!(one.present("other room").await, ["0000000a-1"]);
    assert_eq!(one.broker.presence_reap("room", "0000000a", 2).await.unwrap(), []);
}

pub async fn of_concurrent_reapers_each_client_is_given_to_one(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    for number in 0..100 {
        let info = client("1", &format!("0000000a-{number:03}"));
        nodes[0].broker.presence_add("room", info, LONG, false).await.unwrap();
    }
    let reapers = nodes.iter().cycle().take(12).map(|node| node.broker.presence_reap("room", "0000000a", 10));
    let reaped = futures_util::future::join_all(reapers).await;
    let mut reaped: Vec<_> =
        reaped.into_iter().flat_map(Result::unwrap).map(|info| info.client.clone()).collect();
    reaped.sort();
    let expected: Vec<_> = (0..100).map(|number| format!("0000000a-{number:03}")).collect();
    assert_eq!(reaped, expected);
}

pub async fn those_who_are_forgotten_are_not_reaped(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    one.broker.presence_add("room", client("1", "0000000a-1"), span, false).await.unwrap();
    one.broker.presence_add("room", client("1", "0000000a-2"), LONG, false).await.unwrap();
    harness.pass(2 * span).await;
    assert_eq!(
        other.broker.presence_reap("room", "0000000a", 10).await.unwrap(),
        [client("1", "0000000a-2")]
    );
}

/// Enters so many clients of a node, many calls at a time.
async fn enter_many(node: &super::ContractNode, of: &str, count: usize, ttl: std::time::Duration) {
    for first in (0..count).step_by(100) {
        let added = (first..count.min(first + 100)).map(|number| {
            node.broker.presence_add(
                "room",
                client(&format!("user {}", number % 50), &format!("{of}-{number}")),
                ttl,
                false,
            )
        });
        for added in futures_util::future::join_all(added).await {
            added.unwrap();
        }
    }
}

pub async fn many_clients_are_read_in_pages(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    enter_many(&one, "n", 3000, LONG).await;
    let (present, largest) = other.present_in_pages("room", 100).await;
    assert_eq!(present.len(), 3000);
    // About the limit: a page may have a few more.
    assert!(largest < 400, "{largest} in a page of about 100");
    assert_eq!(other.broker.presence_stats("room").await, Ok((3000, 50)));
}

pub async fn bytes_bound_a_page_of_presence(harness: &impl Harness) {
    const INFO_BYTES: usize = 10_000;
    let (one, other) = two_ends(harness).await;
    let large = |number: usize| {
        let info = "x".repeat(INFO_BYTES).into();
        Arc::new(ClientInfo { connection_info: info, ..client("1", &format!("n-{number}")).as_ref().clone() })
    };
    for number in 0..600 {
        one.broker.presence_add("room", large(number), LONG, false).await.unwrap();
    }
    let mut query = PresenceQuery { max_bytes: 30 * INFO_BYTES as u64, ..PresenceQuery::default() };
    let mut present = std::collections::BTreeSet::new();
    loop {
        let page = other.broker.presence("room", query.clone()).await.unwrap();
        // About the bytes: a page may have a few more clients.
        assert!(page.clients.len() < 150, "{}", page.clients.len());
        present.extend(page.clients.into_iter().map(|info| info.client.clone()));
        match page.cursor {
            Some(cursor) => query.cursor = cursor,
            None => break,
        }
    }
    assert_eq!(present.len(), 600);
    // One at least.
    let page =
        other.broker.presence("room", PresenceQuery { max_bytes: 1, ..PresenceQuery::default() }).await;
    assert!((1..100).contains(&page.unwrap().clients.len()));
}

pub async fn of_many_whose_time_is_over_none_is_shown(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    enter_many(&one, "gone", 1000, harness.span() * 3).await;
    one.broker.presence_add("room", client("1", "here"), LONG, false).await.unwrap();
    harness.pass(harness.span() * 5).await;
    assert_eq!(other.broker.presence_stats("room").await, Ok((1, 1)));
    assert_eq!(other.present("room").await, ["here"]);
}

pub async fn all_clients_of_one_node_are_reaped_among_many(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    enter_many(&one, "here", 1500, LONG).await;
    enter_many(&one, "dead", 700, LONG).await;
    let mut reaped = std::collections::HashSet::new();
    loop {
        let some = other.broker.presence_reap("room", "dead", 200).await.unwrap();
        let count = some.len();
        assert!(count <= 200);
        reaped.extend(some.into_iter().map(|info| info.client.clone()));
        if count < 200 {
            break;
        }
    }
    assert_eq!(reaped.len(), 700);
    assert_eq!(one.broker.presence_stats("room").await, Ok((1500, 50)));
}

pub async fn nodes_with_clients_are_told_each_once(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let nodes = |of: &[&str]| -> std::collections::BTreeSet<String> {
        of.iter().map(|node| (*node).to_owned()).collect()
    };
    assert_eq!(other.broker.presence_nodes("room", 8).await, Ok(nodes(&[])));
    enter_many(&one, "0000000a", 1500, LONG).await;
    enter_many(&one, "0000000b", 1500, LONG).await;
    for id in ["0000000c-1", "short"] {
        one.broker.presence_add("room", client("1", id), LONG, false).await.unwrap();
    }
    one.broker.presence_add("other room", client("1", "0000000d-1"), LONG, false).await.unwrap();
    let told = other.broker.presence_nodes("room", 8).await.unwrap();
    assert_eq!(told, nodes(&["0000000a", "0000000b", "0000000c", "short"]));
    while !one.broker.presence_reap("room", "0000000b", 500).await.unwrap().is_empty() {}
    let told = other.broker.presence_nodes("room", 8).await.unwrap();
    assert!(told.contains("0000000a") && !told.contains("0000000b"), "{told:?}");
}
