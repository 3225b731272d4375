//! The room of an inbox, to the byte, and marks in it.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use gorani_broker::{ChannelEvent, ClientInfo, Publication};

use super::{Client, HISTORY, Hub, events, position};
use crate::hub::{
    inbox::{INBOX_ENTRIES, Inbox, InboxEntry},
    subscription::HELD_BACK_EVENTS,
};

const MIB: usize = 1024 * 1024;

#[test]
fn an_inbox_takes_what_comes_until_it_holds_more_than_64_mib() {
    let (inbox, _receiver) = Inbox::new();
    let load = inbox.of_worker().load;
    let channel: Arc<str> = "a".into();
    let large = ChannelEvent::Publication(Arc::new(Publication {
        data: vec![0; MIB].into(),
        ..Publication::default()
    }));
    for _ in 0..65 {
        inbox.event(&channel, large.clone(), Default::default());
    }
    inbox.event(&channel, ChannelEvent::Join(Arc::new(ClientInfo::default())), Default::default());
    assert_eq!((load.bytes.load(Ordering::Relaxed), load.gapped.lock().len()), (65 * MIB, 1));
    let (inbox, _receiver) = Inbox::new();
    let load = inbox.of_worker().load;
    for _ in 0..64 {
        inbox.event(&channel, large.clone(), Default::default());
    }
    let small = Bytes::from_static(b"1");
    inbox.event(
        &channel,
        ChannelEvent::Publication(Arc::new(Publication { data: small, ..Publication::default() })),
        Default::default(),
    );
    assert_eq!((load.bytes.load(Ordering::Relaxed), load.gapped.lock().len()), (64 * MIB + 1, 0));
    inbox.event(&channel, large, Default::default());
    assert_eq!((load.bytes.load(Ordering::Relaxed), load.gapped.lock().len()), (64 * MIB + 1, 1));
}

#[actix_rt::test]
async fn a_mark_stands_behind_what_is_there_or_its_channel_is_gapped() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, None);
    let mark = hub.await_mark("a").unwrap();
    let channel: Arc<str> = "a".into();
    let (inbox, mut receiver) = Inbox::new();
    let own = inbox.of_worker();
    assert!(own.mark(&channel, mark));
    assert!(
        matches!(receiver.try_recv(), Ok(InboxEntry::Mark(marked, found)) if marked == channel && found == mark)
    );
    assert!(own.load.gapped.lock().is_empty());
    for _ in 0..INBOX_ENTRIES {
        inbox.event(&channel, ChannelEvent::Join(client.info.clone()), Default::default());
    }
    assert!(!own.mark(&channel, mark));
    assert_eq!(own.load.gapped.lock().len(), 1);
}

#[actix_rt::test]
async fn what_was_in_the_inbox_before_a_channel_is_wanted_anew_does_not_count() {
    let mut hub = Hub::new(usize::MAX);
    let [one, two] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    one.join(&mut hub, HISTORY, position(0));
    let other = hub.await_mark("a").unwrap();
    let mark = hub.await_mark("a").unwrap();
    two.join(&mut hub, HISTORY, position(0));
    assert_eq!(hub.await_mark("a"), None, "the channel is wanted already");
    assert_eq!(hub.await_mark("unknown"), None);
    assert_eq!(hub.deliver("a", events([1])), None);
    hub.pass_mark("a", other);
    assert_eq!(hub.deliver("a", events([1])), None);
    assert!(one.seen().is_empty());
    hub.pass_mark("a", mark);
    assert_eq!(hub.deliver("a", events([1, 2])), None);
    assert_eq!(
        (one.seen(), two.seen()),
        (vec!["1".to_owned(), "2".to_owned()], vec!["1".to_owned(), "2".to_owned()])
    );
}

#[actix_rt::test]
async fn a_read_hangs_when_more_waits_for_it_than_may_wait() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, position(0));
    hub.gap("a").unwrap();
    let most = HELD_BACK_EVENTS as u64;
    hub.deliver("a", events(2..=most + 1));
    assert!(!client.was_told_insufficient().await);
    hub.deliver("a", events([most + 2]));
    assert!(client.was_told_insufficient().await);
}

#[actix_rt::test]
async fn a_subscription_whose_reply_hangs_holds_back_only_so_much() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.begin(&mut hub, HISTORY, position(0));
    let most = HELD_BACK_EVENTS as u64;
    hub.deliver("a", events(1..=most));
    assert!(!client.was_told_insufficient().await);
    hub.deliver("a", events([most + 1]));
    assert!(client.was_told_insufficient().await);
    hub.release(client.key, "a");
    assert!(client.outbox.is_empty(), "nothing follows a lost place");
}
