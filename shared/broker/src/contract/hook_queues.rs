//! The store of hooks: queues of events, their bounds, what comes of a delivery, dead letters.

use std::sync::Arc;

use super::{
    Harness,
    hook_fixture::{
        FIRST, HookNode, PARTITION, SECOND, TwoNodes, draft, failed, ids, plan, queue_plan, short,
    },
};
use crate::{
    BrokerError,
    hook_entry::parse_event_id,
    hook_store::{
        HookChange, HookDelivered, HookDeliveryState, HookEventDraft, HookEventKind, HookQueuePlan,
        HookStorePlan, MAX_TAKEN,
    },
};

/// Appends one publication for each text.
async fn append(node: &HookNode, channels: &[&str]) {
    node.apply(channels.iter().map(|text| node.append(text)).collect()).await;
}

/// The channels of the events at the head.
async fn waiting(node: &HookNode) -> Vec<String> {
    node.events().await.iter().map(|event| event.draft.channel.to_string()).collect()
}

/// Makes dead letters of all that waits.
async fn kill(node: &HookNode, reason: &str) {
    let dead = ids(&node.events().await).into_iter().map(|id| (id, reason.to_owned(), 5)).collect();
    node.complete(FIRST, HookDelivered { dead, ..HookDelivered::default() }).await;
}

pub async fn every_field_of_an_event_survives(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let event = HookEventDraft {
        kind: HookEventKind::Publication,
        time_ms: u64::MAX / 3,
        node: "k".into(),
        client: "c 1".into(),
        user: "조\0e".into(),
        channel: "채팅 방".into(),
        details: (0..=255_u8).collect::<Vec<u8>>().into(),
        meta: (0..=255_u8).rev().collect::<Vec<u8>>().into(),
        endpoints: Arc::from([0, 1]),
    };
    nodes.one.change(HookChange::Append { event: event.clone() }).await;
    for endpoint in [FIRST, SECOND] {
        let events = nodes.other().head(endpoint).await.events;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].draft, HookEventDraft { endpoints: Arc::default(), ..event.clone() });
        assert_eq!((events[0].sequence, events[0].user_sessions, events[0].replayed), (0, 0, false));
    }
    let ids = [FIRST, SECOND].map(async |endpoint| nodes.one.head(endpoint).await.events[0].id.clone());
    let [first, second] = ids;
    assert_eq!(first.await, second.await, "one event has one id");
}

pub async fn ids_ascend_and_name_their_partition(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    for _ in 0..3 {
        append(&node, &["a", "b", "c"]).await;
    }
    node.store().begin(PARTITION, Some(&node.run), draft(HookEventKind::Reset, "one")).await.unwrap();
    let ids = ids(&node.events().await);
    let parts: Vec<(u16, u64, u64)> = ids.iter().map(|id| parse_event_id(id).unwrap()).collect();
    assert_eq!(parts.len(), 10);
    assert!(parts.is_sorted_by(|one, next| one < next), "{ids:?}");
    assert!(parts.iter().all(|(partition, ..)| *partition == PARTITION));
}

pub async fn each_queue_has_the_events_that_are_for_its_endpoint(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let for_endpoints = |channel: &str, endpoints: &[u16]| HookChange::Append {
        event: HookEventDraft {
            channel: channel.into(),
            endpoints: endpoints.into(),
            ..draft(HookEventKind::Publication, "one")
        },
    };
    let changes = vec![
        for_endpoints("a", &[0]),
        for_endpoints("b", &[1]),
        for_endpoints("c", &[0, 1]),
        for_endpoints("d", &[]),
        for_endpoints("e", &[9]),
    ];
    assert_eq!(node.apply(changes).await.len(), 5);
    assert_eq!(waiting(&node).await, ["a", "c"]);
    let second = node.head(SECOND).await.events;
    assert_eq!(second.iter().map(short).collect::<Vec<_>>(), ["Publication b", "Publication c"]);
    kill(&node, "late").await;
    assert_eq!(node.head(SECOND).await.length, 2, "queues do not wait for each other");
    assert_eq!(node.head("unknown").await, Default::default());
}

pub async fn a_head_is_bounded_in_events_and_bytes_and_has_one(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let texts: Vec<String> = (0..150).map(|number| format!("{number:0>100}")).collect();
    for some in texts.chunks(50) {
        append(&node, &some.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let head = async |events, bytes| node.store().head(PARTITION, FIRST, events, bytes).await.unwrap();
    let few = head(3, u64::MAX).await;
    assert_eq!((few.events.len(), few.length), (3, 150));
    assert_eq!(few.events[0].draft.channel, Arc::from(texts[0].as_str()));
    assert_eq!(head(120, u64::MAX).await.events.len(), 120);
    assert_eq!(head(1000, u64::MAX).await.events.len(), 150);
    assert_eq!(head(1000, 1).await.events.len(), 1, "one in any case");
    // Each has 200 bytes of texts, and some of framing.
    let some = head(1000, 10_000).await.events.len();
    assert!((20..=47).contains(&some), "{some}");
    assert!((150 * 200..150 * 450).contains(&(few.bytes as usize)), "{}", few.bytes);
    assert_eq!(head(0, u64::MAX).await.events.len(), 0);
}

pub async fn an_event_that_a_delivery_names_twice_or_that_is_far_from_the_head_is_taken_once(
    harness: &impl Harness,
) {
    let node = HookNode::join(harness, "one").await;
    append(&node, &["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    let all = ids(&node.events().await);
    let bytes = node.head(FIRST).await.bytes;
    let delivered = HookDelivered {
        taken: vec![all[6].clone(), all[1].clone(), all[6].clone()],
        dead: vec![(all[1].clone(), "late".to_owned(), 5), (all[7].clone(), "late".to_owned(), 5)],
        ..HookDelivered::default()
    };
    node.complete(FIRST, delivered).await;
    assert_eq!(waiting(&node).await, ["a", "c", "d", "e", "f"]);
    let dead = node.dead_letters().await;
    assert_eq!(dead.iter().map(|letter| letter.event.id.as_str()).collect::<Vec<_>>(), [all[7].as_str()]);
    assert_eq!(node.head(FIRST).await.bytes, bytes / 8 * 5, "each has as many");
}

pub async fn what_is_taken_is_gone_and_the_rest_stays_in_order(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let node = &nodes.one;
    append(node, &["a", "b", "c", "d"]).await;
    let all = ids(&node.events().await);
    let taken = vec![all[0].clone(), all[2].clone()];
    let delivered = HookDelivered { taken, ..HookDelivered::default() };
    nodes.other().complete(FIRST, delivered.clone()).await;
    assert_eq!(waiting(node).await, ["b", "d"]);
    append(node, &["e"]).await;
    nodes.other().complete(FIRST, delivered).await;
    assert_eq!(waiting(node).await, ["b", "d", "e"], "repeated it changes nothing");
    let odd = ["", "x", "3-1-1", "0-1-1", "3--", "99999-1-1"].map(str::to_owned);
    node.complete(FIRST, HookDelivered { taken: odd.into(), ..HookDelivered::default() }).await;
    assert_eq!(waiting(node).await, ["b", "d", "e"]);
    let taken = ids(&node.events().await);
    node.complete(FIRST, HookDelivered { taken, ..HookDelivered::default() }).await;
    let head = node.head(FIRST).await;
    assert_eq!((head.length, head.bytes), (0, 0));
    let many = HookDelivered { taken: vec![String::new(); MAX_TAKEN + 1], ..HookDelivered::default() };
    let refused = node.store().complete(PARTITION, FIRST, many).await;
    assert!(matches!(refused, Err(BrokerError::Limit(_))));
    let unknown = node.store().complete(PARTITION, "unknown", HookDelivered::default()).await;
    assert!(matches!(unknown, Err(BrokerError::Limit(_))));
}

pub async fn the_state_of_delivery_is_that_of_all_nodes(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    append(&nodes.one, &["a", "b"]).await;
    let suspect = nodes.one.events().await[1].id.clone();
    nodes.one.complete(FIRST, failed(3, 1_700_000_000_123, &suspect)).await;
    let head = nodes.other().head(FIRST).await;
    let mut state = HookDeliveryState { tries: 3, next_ms: 1_700_000_000_123, suspect, is_paused: false };
    assert_eq!(head.state, state);
    assert_eq!(head.length, 2);
    state.is_paused = true;
    nodes.one.complete(FIRST, HookDelivered { state: state.clone(), ..HookDelivered::default() }).await;
    assert_eq!(nodes.other().head(FIRST).await.state, state);
    assert_eq!(nodes.other().head(SECOND).await.state, HookDeliveryState::default());
    nodes.other().complete(FIRST, HookDelivered::default()).await;
    assert_eq!(nodes.one.head(FIRST).await.state, HookDeliveryState::default());
}

/// A node whose first endpoint may have few events wait.
async fn with_few(harness: &impl Harness, bounds: HookQueuePlan) -> HookNode {
    let endpoints = vec![bounds, queue_plan(SECOND)];
    HookNode::join_with(harness, "one", HookStorePlan { endpoints, ..plan(harness) }).await
}

pub async fn over_its_bound_the_oldest_events_go_and_are_counted(harness: &impl Harness) {
    let node = with_few(harness, HookQueuePlan { max_events: 3, ..queue_plan(FIRST) }).await;
    append(&node, &["a", "b", "c"]).await;
    let whole = node.head(FIRST).await;
    assert_eq!((whole.dropped, whole.dropped_mark, whole.dropped_since_ms), (0, 0, 0));
    let (_, oldest_ms, _) = parse_event_id(&whole.events[0].id).unwrap();
    append(&node, &["d"]).await;
    append(&node, &["e"]).await;
    assert_eq!(waiting(&node).await, ["c", "d", "e"]);
    let head = node.head(FIRST).await;
    assert_eq!((head.dropped, head.dropped_mark, head.dropped_since_ms), (2, 2, oldest_ms));
    let told = HookDelivered { dropped_told: head.dropped_mark, ..HookDelivered::default() };
    node.complete(FIRST, told.clone()).await;
    let head = node.head(FIRST).await;
    assert_eq!((head.dropped, head.dropped_mark, head.dropped_since_ms), (0, 2, 0));
    append(&node, &["f"]).await;
    node.complete(FIRST, told).await;
    assert_eq!(node.head(FIRST).await.dropped, 1, "repeated it hides nothing");
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    append(&node, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(waiting(&node).await, ["97", "98", "99"]);
    assert_eq!(node.head(FIRST).await.dropped, 101);
    let beyond = HookDelivered { dropped_told: 1_000_000, ..HookDelivered::default() };
    node.complete(FIRST, beyond).await;
    append(&node, &["g"]).await;
    assert_eq!(node.head(FIRST).await.dropped, 1, "nor does a mark of a medium that was lost");
}

pub async fn over_its_bytes_the_oldest_events_go(harness: &impl Harness) {
    let node = with_few(harness, HookQueuePlan { max_bytes: 5_000, ..queue_plan(FIRST) }).await;
    let small: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    append(&node, &small.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(node.head(FIRST).await.dropped, 0);
    append(&node, &[&"x".repeat(2_300)]).await;
    let head = node.head(FIRST).await;
    assert!(head.bytes <= 5_000 && head.length > 1, "{} bytes, {} events", head.bytes, head.length);
    assert_eq!(head.dropped + head.length, 11);
    append(&node, &[&"y".repeat(5_000), "last"]).await;
    assert_eq!(waiting(&node).await, ["last"], "one that is too large by itself goes too");
    assert_eq!(node.head(FIRST).await.dropped, 12);
    assert_eq!(node.head(SECOND).await.dropped, 0);
}

pub async fn dead_letters_are_kept_with_their_reason(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let node = &nodes.one;
    node.apply(vec![node.connect("a", "joe"), node.note("a", "joe", "news"), node.append("x")]).await;
    let events = node.events().await;
    let dead = vec![(events[1].id.clone(), "status 400: 좋\n 아 1".to_owned(), 5)];
    let delivered = HookDelivered { taken: ids(&events[..1]), dead, ..HookDelivered::default() };
    node.complete(FIRST, delivered.clone()).await;
    node.complete(FIRST, delivered).await;
    assert_eq!(waiting(node).await, ["x"]);
    let letters = nodes.other().dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event, events[1]);
    assert_eq!((letters[0].reason.as_str(), letters[0].tries), ("status 400: 좋\n 아 1", 5));
    let (_, born_ms, _) = parse_event_id(&events[1].id).unwrap();
    assert!(letters[0].died_ms >= born_ms);
    let head = node.head(FIRST).await;
    assert_eq!((head.dead_letters, head.dead_letters_dropped), (1, 0));
    assert_eq!(node.store().dead_letters(PARTITION, SECOND, "", 9).await.unwrap(), []);
}

pub async fn dead_letters_are_read_in_pages_in_the_order_of_their_events(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    append(&node, &["a", "b", "c", "d", "e"]).await;
    let all = ids(&node.events().await);
    for one in [3, 0, 4, 2, 1] {
        let dead = vec![(all[one].clone(), "late".to_owned(), 1)];
        node.complete(FIRST, HookDelivered { dead, ..HookDelivered::default() }).await;
    }
    let page = async |after: &str, limit| {
        let page = node.store().dead_letters(PARTITION, FIRST, after, limit).await.unwrap();
        page.into_iter().map(|letter| letter.event.id).collect::<Vec<_>>()
    };
    assert_eq!(page("", 2).await, all[..2]);
    assert_eq!(page(&all[1], 2).await, all[2..4]);
    assert_eq!(page(&all[3], 2).await, all[4..]);
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &all[2..3], false).await, Ok(1));
    assert_eq!(page(&all[2], 9).await, all[3..], "one that is gone is a beginning all the same");
    assert_eq!(page(&all[4], 9).await, [""; 0]);
}

pub async fn a_replayed_event_keeps_its_id_and_its_numbers(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    node.apply(vec![node.connect("a", "joe"), node.note("a", "joe", "news")]).await;
    let events = node.events().await;
    kill(&node, "late").await;
    append(&node, &["x"]).await;
    let ids_of_both = ids(&events);
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &ids_of_both, true).await, Ok(2));
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &ids_of_both, true).await, Ok(0));
    let again = node.events().await;
    assert_eq!(again[1..].iter().map(|event| event.id.clone()).collect::<Vec<_>>(), ids_of_both);
    for (again, before) in again[1..].iter().zip(&events) {
        assert!(again.replayed && !before.replayed);
        assert_eq!((&again.draft, again.sequence), (&before.draft, before.sequence));
        assert_eq!(again.user_sessions, before.user_sessions);
    }
    // It is taken by the id that it keeps, and may die again.
    let taken = vec![ids_of_both[0].clone()];
    let dead = vec![(ids_of_both[1].clone(), "again".to_owned(), 6)];
    node.complete(FIRST, HookDelivered { taken, dead, ..HookDelivered::default() }).await;
    assert_eq!(waiting(&node).await, ["x"]);
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].event.id.as_str(), letters[0].event.replayed), (ids_of_both[1].as_str(), true));
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &ids_of_both, false).await, Ok(1));
    assert_eq!(node.dead_letters().await, []);
    let head = node.head(FIRST).await;
    assert_eq!((head.length, head.dead_letters), (1, 0));
}

pub async fn dead_letters_are_bounded_and_the_oldest_go(harness: &impl Harness) {
    let node = with_few(harness, HookQueuePlan { max_dead_letters: 3, ..queue_plan(FIRST) }).await;
    append(&node, &["a", "b", "c", "d", "e"]).await;
    kill(&node, "late").await;
    let left = node.dead_letters().await;
    let channels: Vec<&str> = left.iter().map(|letter| &*letter.event.draft.channel).collect();
    assert_eq!(channels, ["c", "d", "e"]);
    let head = node.head(FIRST).await;
    assert_eq!((head.dead_letters, head.dead_letters_dropped, head.dropped), (3, 2, 0));
    let odd = ["", "x", "3-1-1", "0-1-1"].map(str::to_owned);
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &odd, true).await, Ok(0));
    let many = vec![String::new(); MAX_TAKEN + 1];
    let refused = node.store().take_dead_letters(PARTITION, FIRST, &many, false).await;
    assert!(matches!(refused, Err(BrokerError::Limit(_))));
}

pub async fn replayed_events_are_bounded_as_others(harness: &impl Harness) {
    let node = with_few(harness, HookQueuePlan { max_events: 2, ..queue_plan(FIRST) }).await;
    append(&node, &["a", "b"]).await;
    let both = ids(&node.events().await);
    kill(&node, "late").await;
    append(&node, &["c", "d"]).await;
    assert_eq!(node.store().take_dead_letters(PARTITION, FIRST, &both, true).await, Ok(2));
    assert_eq!(waiting(&node).await, ["a", "b"]);
    append(&node, &["e"]).await;
    assert_eq!(waiting(&node).await, ["b", "e"]);
    node.complete(FIRST, HookDelivered { taken: both, ..HookDelivered::default() }).await;
    assert_eq!(waiting(&node).await, ["e"]);
    assert_eq!(node.head(FIRST).await.dropped, 3);
}

pub async fn endpoints_of_no_plan_are_forgotten_when_their_time_is_over(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let event = HookEventDraft { endpoints: Arc::from([0, 1]), ..draft(HookEventKind::Publication, "one") };
    node.change(HookChange::Append { event }).await;
    kill(&node, "late").await;
    let endpoints = vec![queue_plan(SECOND), queue_plan("third")];
    let later = HookStorePlan { endpoints, ..plan(harness) };
    node.store().open(later.clone()).await.unwrap();
    let forget = async |kept| node.store().forget_endpoints(PARTITION, kept).await.unwrap();
    assert_eq!(forget(4 * harness.span()).await, [""; 0]);
    harness.pass(harness.span()).await;
    assert_eq!(node.dead_letters().await.len(), 1);
    assert_eq!(forget(harness.span() / 2).await, [FIRST]);
    assert_eq!(node.dead_letters().await, []);
    assert_eq!(node.head(FIRST).await, Default::default());
    assert_eq!(forget(harness.span() / 2).await, [""; 0]);
    assert_eq!(node.head(SECOND).await.length, 1, "that of a plan stays, however long it waits");
    node.store().open(plan(harness)).await.unwrap();
    append(&node, &["x"]).await;
    assert_eq!(waiting(&node).await, ["x"], "one that returns begins empty");
}
