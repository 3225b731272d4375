//! One subscription: what was held back for it, what has no position, and whose epoch it follows.
#![allow(clippy::unwrap_used, reason = "tests")]

use gorani_broker::Publication;

use super::*;
use crate::{
    format::encoding::{Encoding, Framing, Protocol},
    hub::{
        Hub,
        tests::{Client, HISTORY},
    },
};

/// A subscription that tracks its position, and what it is told is counted in.
fn subscription(encoder: &mut Encoder, join_leave: bool) -> (Subscription, Outbox) {
    let client = Client::enter(&mut Hub::new(usize::MAX), "one");
    let request = SubscribeParams { join_leave, ..client.request(HISTORY, true) };
    let encoding = encoder.acquire(&Encoding { protocol: Protocol::Plain, framing: Framing::Raw });
    let outbox = Outbox::new(1 << 20);
    let mut subscription = Subscription::new(outbox.clone(), encoding, &request);
    subscription.set_seen(Position { offset: 5, epoch: "e".into() });
    (subscription, outbox)
}

fn take(
    subscription: &mut Subscription,
    event: ChannelEvent,
    encoder: &mut Encoder,
) -> Result<(), PositionLost> {
    let run = [event];
    encoder.begin();
    subscription.take_run("a", &run, &EventBatch::of(&run), encoder, &mut Unobserved)
}

fn publication(offset: u64) -> ChannelEvent {
    let epoch = if offset > 0 { "e".into() } else { "".into() };
    ChannelEvent::Publication(Arc::new(Publication {
        data: "1".into(),
        offset,
        epoch,
        ..Publication::default()
    }))
}

#[actix_rt::test]
async fn joins_that_came_before_the_reply_are_told_after_it() {
    let mut encoder = Encoder::new(usize::MAX);
    let (mut subscription, outbox) = subscription(&mut encoder, true);
    let info = Arc::new(ClientInfo { client: "two".to_owned(), ..ClientInfo::default() });
    assert_eq!(take(&mut subscription, ChannelEvent::Join(info), &mut encoder), Ok(()));
    assert!(outbox.is_empty(), "it is held back");
    assert_eq!(subscription.release("a", &mut encoder), Ok(()));
    assert!(!outbox.is_empty());
}

#[actix_rt::test]
async fn a_publication_without_a_position_reaches_who_tracks_one_and_moves_nobody() {
    let mut encoder = Encoder::new(usize::MAX);
    let (mut subscription, outbox) = subscription(&mut encoder, false);
    subscription.release("a", &mut encoder).unwrap();
    for offset in [6, 0, 7] {
        assert_eq!(take(&mut subscription, publication(offset), &mut encoder), Ok(()), "{offset}");
        assert!(outbox.pop().is_some(), "{offset}");
    }
    assert_eq!(subscription.last_delivered(), Some(&Position { offset: 7, epoch: "e".into() }));
}

#[actix_rt::test]
async fn only_who_follows_the_epoch_that_ended_goes_over_to_the_next() {
    let mut encoder = Encoder::new(usize::MAX);
    let (mut subscription, _outbox) = subscription(&mut encoder, false);
    let [other, old, new]: [Arc<str>; 3] = ["other".into(), "e".into(), "new".into()];
    assert_eq!(subscription.change_epoch(&other, &new, 9), Ok(false));
    assert_eq!(subscription.last_delivered(), Some(&Position { offset: 5, epoch: old.clone() }));
    assert_eq!(subscription.change_epoch(&old, &new, 4), Err(PositionLost));
    assert_eq!(subscription.change_epoch(&old, &new, 5), Ok(true));
    assert_eq!(subscription.last_delivered(), Some(&Position { offset: 5, epoch: new.clone() }));
    assert!(subscription.end());
    assert_eq!(subscription.change_epoch(&new, &old, 9), Ok(false), "it was told that it lost its place");
}
