//! Sessions and their subscriptions: who is known, and by which subscription somebody is in a channel.

use std::sync::Arc;

use super::{Client, HISTORY, Hub, NO_HISTORY, Signal, events, forks, position};
use crate::format::{
    encoding::{Encoding, Framing, Protocol, SubscriptionFormat},
    message_headers,
    message_headers::MessageKind,
};

#[actix_rt::test]
async fn a_channel_is_known_while_somebody_is_in_it() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    assert_eq!((hub.channel_count(), hub.retention("a"), hub.subscribers("a")), (0, None, None));
    client.join(&mut hub, HISTORY, None);
    assert_eq!((hub.channel_count(), hub.retention("a"), hub.subscribers("a")), (1, Some(HISTORY), Some(1)));
    let other = Client::enter(&mut hub, "two");
    other.join(&mut hub, NO_HISTORY, None);
    assert_eq!(
        (hub.retention("a"), hub.subscribers("a")),
        (Some(NO_HISTORY), Some(2)),
        "the newest is right"
    );
    hub.leave_all(client.key);
    hub.leave_all(other.key);
    assert_eq!((hub.channel_count(), hub.retention("a"), hub.subscribers("a")), (0, None, None));
}

#[actix_rt::test]
async fn what_an_earlier_subscription_does_to_the_broker_is_not_said_of_the_next_one() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    let request = client.request(NO_HISTORY, false);
    let first = hub.join(client.key, &request).unwrap();
    assert!(hub.registry_mut().enter(client.key, "a", first));
    assert!(hub.is_entered(client.key, "a"));
    assert!(hub.leave(client.key, "a").unwrap().is_entered);
    let next = hub.join(client.key, &request).unwrap();
    assert!(!hub.is_current(client.key, "a", first) && hub.is_current(client.key, "a", next));
    assert!(!hub.registry_mut().enter(client.key, "a", first));
    assert!(!hub.registry_mut().enter(client.key, "b", next));
    assert!(!hub.is_entered(client.key, "a"));
    assert!(hub.registry_mut().enter(client.key, "a", next));
    hub.registry_mut().not_entered(client.key, "a", first);
    assert!(hub.is_entered(client.key, "a"));
    hub.registry_mut().not_entered(client.key, "a", next);
    assert!(!hub.is_entered(client.key, "a"));
}

#[actix_rt::test]
async fn a_session_that_is_gone_is_found_in_no_way() {
    let mut hub = Hub::new(usize::MAX);
    let [one, two] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    hub.registry_mut().identify(one.key, "42".into(), "one".into());
    let count = |hub: &Hub| {
        let registry = hub.registry();
        [
            registry.all().count(),
            registry.keys().count(),
            registry.entries().count(),
            registry.identified().count(),
        ]
    };
    assert_eq!(count(&hub), [2; 4]);
    assert_eq!(hub.registry().of(Some("42"), Some("one")).len(), 1);
    assert!(hub.registry().of(Some("42"), Some("two")).is_empty());
    assert!(hub.registry().clients.contains_key("one"));
    hub.registry_mut().remove(one.key);
    assert_eq!(count(&hub), [1; 4]);
    assert!(hub.registry().get(one.key).is_none() && !hub.registry().clients.contains_key("one"));
    assert!(
        hub.registry().of(Some("42"), None).is_empty() && hub.registry().of(None, Some("one")).is_empty()
    );
    assert_eq!(hub.registry().keys().next(), Some(two.key));
    assert!(hub.join(one.key, &one.request(NO_HISTORY, false)).is_none());
}

#[actix_rt::test]
async fn a_lost_place_is_told_once() {
    let mut hub = Hub::new(usize::MAX);
    let ahead = Client::enter(&mut hub, "ahead");
    ahead.join(&mut hub, HISTORY, position(4));
    let gap = hub.gap("a").unwrap();
    assert_eq!(hub.caught_up("a", gap.read, forks::found([3, 4], 2)), None);
    assert!(ahead.was_told_insufficient().await);
    for offset in 5..8 {
        hub.deliver("a", forks::events_after([offset]));
        hub.gap("a");
    }
    tokio::task::yield_now().await;
    assert!(ahead.was_told_insufficient().await);
    let told = |signal: &&Signal| matches!(signal, Signal::Insufficient(_));
    assert_eq!(ahead.signals.0.borrow().iter().filter(told).count(), 1);
}

#[actix_rt::test]
async fn a_session_is_in_no_channel_after_all_were_left() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    client.join(&mut hub, HISTORY, None);
    let removed = hub.leave_all(client.key);
    assert_eq!(removed.iter().map(|removed| &*removed.channel).collect::<Vec<_>>(), ["a"]);
    assert!(hub.registry().get(client.key).unwrap().channel_names().is_empty());
    hub.deliver("a", events([1]));
    assert!(client.outbox.is_empty());
    let channel: Arc<str> = "a".into();
    assert!(!hub.registry().get(client.key).unwrap().is_in(&channel));
}

#[test]
fn a_hub_deflates_from_its_threshold_on() {
    let framing = Framing::WebSocketDeflate { window_bits: 15 };
    let mut hub = Hub::new(1000);
    assert!(hub.encoder_mut().head(framing, MessageKind::Text, 999).is_some());
    assert!(hub.encoder_mut().head(framing, MessageKind::Text, 1000).is_none());
}

#[actix_rt::test]
async fn a_session_is_shown_messages_as_it_asked_last() {
    let mut hub = Hub::new(usize::MAX);
    let client = Client::enter(&mut hub, "one");
    let shown = |id: &str| message_headers::SubscriptionHeaders {
        id: Some(id.into()),
        destination: "/a".into(),
        acks: false,
    };
    let headers = |ids: &[&str]| {
        Arc::new(message_headers::MessageHeaders {
            subscriptions: ids.iter().map(|id| shown(id)).collect(),
            ..message_headers::EMPTY.clone()
        })
    };
    let stomp = Encoding { protocol: Protocol::Stomp(headers(&[])), framing: Framing::Raw };
    hub.registry_mut().get_mut(client.key).unwrap().encoding = stomp;
    let request = crate::session::SubscribeParams {
        format: SubscriptionFormat::Stomp(headers(&["first"])),
        ..client.request(NO_HISTORY, false)
    };
    assert!(hub.join(client.key, &request).is_some());
    hub.release(client.key, "a");
    let mut seen = || {
        hub.deliver("a", events([0]));
        let mut text = String::new();
        while let Some(chunk) = client.outbox.pop() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        let ids = [text.contains("subscription:first"), text.contains("subscription:second")];
        hub.set_format(client.key, "a", &SubscriptionFormat::Stomp(headers(&["first", "second"])));
        ids
    };
    assert_eq!(seen(), [true, false]);
    assert_eq!(seen(), [true, true]);
}
