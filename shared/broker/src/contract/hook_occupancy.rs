//! The store of hooks: channels and members, on which node first and last, with and without grace.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    Harness,
    hook_fixture::{HookNode, PARTITION, TwoNodes, channel, draft, member, texts},
};
use crate::hook_store::{HookChange, HookEventKind, OccupancyKey};

const AT_ONCE: Duration = Duration::ZERO;

/// A change as if `name` had made it.
fn under(name: &str, change: HookChange) -> HookChange {
    let renamed = |event: crate::hook_store::HookEventDraft| crate::hook_store::HookEventDraft {
        node: name.into(),
        ..event
    };
    match change {
        HookChange::Enter { key, event } => HookChange::Enter { key, event: renamed(event) },
        HookChange::Leave { key, grace, event } => HookChange::Leave { key, grace, event: renamed(event) },
        other => other,
    }
}

pub async fn the_first_and_the_last_node_of_a_channel_are_told(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let news = channel("news");
    assert!(one.change(under("n1", one.enter(&news))).await);
    assert!(!one.change(under("n1", one.enter(&news))).await, "a node counts once");
    assert!(!other.change(under("n2", other.enter(&news))).await);
    assert!(!one.change(under("n1", one.leave(&news, AT_ONCE))).await, "another node has it");
    assert!(!one.change(under("n1", one.leave(&news, AT_ONCE))).await);
    assert!(!one.change(under("n3", one.leave(&news, AT_ONCE))).await, "one that never had it");
    assert!(other.change(under("n2", other.leave(&news, AT_ONCE))).await);
    assert!(!other.change(under("n2", other.leave(&news, AT_ONCE))).await);
    assert!(other.change(under("n2", other.enter(&news))).await);
    assert_eq!(one.take().await, texts(&["Occupied news", "Vacated news", "Occupied news"]));
}

pub async fn members_are_told_by_user_and_apart_from_their_channel(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let (news, joe, ann) = (channel("news"), member("news", "joe"), member("news", "ann"));
    node.apply(vec![node.enter(&news), node.enter(&joe), node.enter(&ann), node.enter(&joe)]).await;
    node.apply(vec![node.leave(&joe, AT_ONCE), node.enter(&member("sport", "joe"))]).await;
    node.apply(vec![node.leave(&ann, AT_ONCE), node.leave(&news, AT_ONCE)]).await;
    let events = [
        "Occupied news",
        "MemberAdded news joe",
        "MemberAdded news ann",
        "MemberRemoved news joe",
        "MemberAdded sport joe",
        "MemberRemoved news ann",
        "Vacated news",
    ];
    assert_eq!(node.take().await, texts(&events));
}

pub async fn a_return_within_the_grace_is_told_by_nothing(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let (news, grace) = (channel("news"), 2 * harness.span());
    one.change(under("n1", one.enter(&news))).await;
    assert!(!one.change(under("n1", one.leave(&news, grace))).await);
    assert_eq!(one.due().await, [], "its time is not over");
    assert!(!one.change(one.end_due(&news)).await);
    assert!(!other.change(under("n2", other.enter(&news))).await, "its end was not told");
    harness.pass(3 * harness.span()).await;
    assert_eq!(one.due().await, []);
    assert!(!one.change(one.end_due(&news)).await);
    assert_eq!(one.take().await, texts(&["Occupied news"]));
}

pub async fn an_end_is_told_once_when_its_grace_is_over(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let (news, joe) = (channel("news"), member("news", "joe"));
    one.apply(vec![one.enter(&news), one.enter(&joe)]).await;
    one.apply(vec![one.leave(&joe, harness.span()), one.leave(&news, 8 * harness.span())]).await;
    harness.pass(harness.span()).await;
    assert_eq!(other.due().await, std::slice::from_ref(&joe));
    let told = join_all([one, other, one, other].map(|node| node.change(node.end_due(&joe)))).await;
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "{told:?}");
    assert_eq!(one.due().await, []);
    assert!(one.change(one.enter(&joe)).await, "its end was told, so is its beginning");
    let events = ["Occupied news", "MemberAdded news joe", "MemberRemoved news joe", "MemberAdded news joe"];
    assert_eq!(one.take().await, texts(&events));
}

pub async fn the_latest_leave_counts_for_the_grace(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let news = channel("news");
    node.apply(vec![node.enter(&news), node.leave(&news, harness.span())]).await;
    node.apply(vec![node.enter(&news), node.leave(&news, 4 * harness.span())]).await;
    harness.pass(2 * harness.span()).await;
    assert_eq!(node.due().await, []);
    assert!(!node.change(node.end_due(&news)).await);
    harness.pass(2 * harness.span()).await;
    assert_eq!(node.due().await, std::slice::from_ref(&news));
    assert!(node.change(node.end_due(&news)).await);
    assert_eq!(node.take().await, texts(&["Occupied news", "Vacated news"]));
}

pub async fn ends_are_due_in_the_order_of_their_times(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let keys: Vec<OccupancyKey> = ["c", "a", "b"].map(channel).into();
    node.apply(keys.iter().map(|key| node.enter(key)).collect()).await;
    for (key, spans) in keys.iter().zip([1, 2, 3]) {
        node.change(node.leave(key, spans * harness.span())).await;
    }
    harness.pass(4 * harness.span()).await;
    let due = node.store().due(PARTITION, 2).await.unwrap();
    assert_eq!(due.keys, keys[..2]);
    assert_eq!(due.run, Some(Arc::clone(&node.run)));
    assert_eq!(node.due().await, keys);
    let ends: Vec<HookChange> = keys.iter().map(|key| node.end_due(key)).collect();
    assert_eq!(node.apply(ends).await, [true; 3]);
    assert_eq!(node.due().await, []);
}

pub async fn an_event_for_no_endpoint_changes_the_store_and_is_not_told(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let news = channel("news");
    let silent = |kind| crate::hook_store::HookEventDraft { endpoints: Arc::from([]), ..draft(kind, "one") };
    let enter = HookChange::Enter { key: news.clone(), event: silent(HookEventKind::Occupied) };
    assert!(node.change(enter).await, "it would have been told");
    assert_eq!(node.entries_of("one", 9).await.occupancies, std::slice::from_ref(&news));
    assert_eq!(node.take().await, texts(&[]));
    assert!(node.change(node.leave(&news, AT_ONCE)).await);
    assert_eq!(node.take().await, texts(&["Vacated news"]));
}
