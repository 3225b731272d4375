//! A stream that goes on in another epoch after a failover: those that have not come further than both have in common go on.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, Position, Publication};

use super::{CatchUpResult, Client, HISTORY, Hub, Signal, events, position, publication};

/// Publications of the epoch after the failover.
pub(super) fn events_after(offsets: impl IntoIterator<Item = u64>) -> Vec<ChannelEvent> {
    let of_next = |offset| Publication { epoch: "next".into(), ..publication(offset) };
    offsets.into_iter().map(|offset| ChannelEvent::Publication(Arc::new(of_next(offset)))).collect()
}

pub(super) fn found(offsets: impl IntoIterator<Item = u64>, shared: u64) -> Option<CatchUpResult> {
    let ancestors = vec![Position { offset: shared, epoch: "e".into() }];
    Some(CatchUpResult { events: events_after(offsets), epoch: "next".into(), ancestors })
}

#[actix_rt::test]
async fn subscribers_go_on_in_the_epoch_after_a_failover_if_they_had_nothing_that_was_forgotten() {
    let mut hub = Hub::new(usize::MAX);
    let [one, ahead] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "ahead")];
    one.join(&mut hub, HISTORY, position(2));
    let gap = hub.gap("a").unwrap();
    // It has read what is forgotten now.
    ahead.join(&mut hub, HISTORY, position(4));
    assert_eq!(hub.caught_up("a", gap.read, found([3, 4], 2)), None);
    assert_eq!(one.seen(), ["3", "4"]);
    assert_eq!(hub.deliver("a", events_after([5])), None);
    assert_eq!(one.seen(), ["5"]);
    assert!(!one.was_told_insufficient().await);
    let is_ended = |signal: &Signal| matches!(signal, Signal::EpochEnded(ended) if *ended.epoch == *"e" && *ended.next == *"next");
    assert_eq!(one.signals.0.borrow().iter().filter(|signal| is_ended(signal)).count(), 1);
    assert!(ahead.was_told_insufficient().await);
    assert!(ahead.seen().is_empty());
}

#[actix_rt::test]
async fn a_publication_of_another_epoch_is_delivered_when_history_has_told_what_became_of_the_stream() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(1));
    let missing = hub.deliver("a", events_after([2])).unwrap();
    assert_eq!(Some(missing.after), position(1));
    assert_eq!(hub.caught_up("a", missing.read, found([2], 1)), None);
    assert_eq!(client.seen(), ["2"]);
    // One that was on its way before.
    let missing = hub.deliver("a", events([2])).unwrap();
    assert_eq!(hub.caught_up("a", missing.read, found([], 1)), None);
    assert_eq!(hub.deliver("a", events_after([3])), None);
    assert_eq!(client.seen(), ["3"]);
    assert!(!client.was_told_insufficient().await);
}

#[actix_rt::test]
async fn what_came_before_the_failover_and_waited_for_the_read_is_not_delivered_in_the_next_epoch() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(1));
    let gap = hub.gap("a").unwrap();
    // 2 was accepted and forgotten: another publication has its offset.
    assert_eq!(hub.deliver("a", events([2])), None);
    assert_eq!(hub.deliver("a", events_after([3])), None);
    assert_eq!(hub.caught_up("a", gap.read, found([2], 1)), None);
    assert_eq!(client.seen(), ["2", "3"]);
    assert!(!client.was_told_insufficient().await);
}
