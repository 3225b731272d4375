//! A reload ends subscriptions that the rules no longer permit. Record 71; `docs/protocols/stomp.md` §10.

use gorani_auth::GrantedBy;

use super::*;
use crate::{
    disconnect::Unsubscribed,
    session::shared::{current_policy::CurrentPolicy, enforcement::Enforcement},
};

fn rules(namespaces: serde_json::Value) -> Policy {
    Arc::into_inner(tests::policy(namespaces, ClientSettings::default())).unwrap()
}

/// A session of user 42 whose rules let every user into `open`.
fn connected() -> (TestClient, CurrentPolicy) {
    let current = CurrentPolicy::new(rules(json!([{"name": "open", "allow_subscribe_for_client": true}])));
    let settings = Arc::new(stomp_settings());
    let mut client =
        TestClient::start(|now| StompSession::new(current.get(), settings, StompTraits::default(), now));
    let frame = format!("CONNECT\naccept-version:1.2\npasscode:{}\n\n\0", token(3600, &[]));
    assert_eq!(client.say(&frame)[0].command, "CONNECTED");
    (client, current)
}

fn subscribe(client: &mut TestClient, id: u32, token: &str) {
    let more = if token.is_empty() { String::new() } else { format!("token:{token}\n") };
    client.say(&format!("SUBSCRIBE\nid:{id}\ndestination:/topic/open:a\n{more}\n\0"));
}

/// The same with a subscription to `open:a` by the rules.
fn subscribed() -> (TestClient, CurrentPolicy) {
    let (mut client, current) = connected();
    subscribe(&mut client, 0, "");
    client.grant(Subscribed::default());
    client.actions.clear();
    (client, current)
}

fn grants(client: &mut TestClient) -> Vec<GrantedBy> {
    let grants = client.actions.drain(..).filter_map(|action| match action {
        Action::SetGrant(_, by) => Some(by),
        _ => None,
    });
    grants.collect()
}

#[test]
fn the_connection_ends_with_an_error_that_names_the_channel_once_it_is_no_longer_permitted() {
    let (mut client, current) = subscribed();
    let enforcement = Enforcement::new(1);
    assert_eq!(client.signal(Signal::check_permission("open:a", &enforcement)), []);
    current.replace(rules(json!([{"name": "open"}])));
    let sent = client.signal(Signal::check_permission("open:a", &enforcement));
    assert_eq!((sent.len(), sent[0].command.as_str()), (1, "ERROR"));
    assert_eq!(sent[0].get("message"), Some("no longer permitted"));
    assert!(sent[0].body.contains("/topic/open:a"), "{:?}", sent[0]);
    assert_eq!((client.code(), enforcement.ended()), (3010, 1));
    let Some(Action::EndSubscription(channel, why)) = client.actions.pop_front() else {
        panic!("{:?}", client.actions)
    };
    assert_eq!((&*channel, why), ("open:a", Unsubscribed::NOT_PERMITTED));
}

#[test]
fn of_two_subscriptions_to_a_channel_the_one_with_a_token_keeps_the_session_in_it() {
    let (mut client, current) = subscribed();
    subscribe(&mut client, 1, &subscription_token("open:a", 3600));
    assert_eq!(grants(&mut client), [GrantedBy::SubscriptionToken]);
    current.replace(rules(json!([{"name": "open"}])));
    let enforcement = Enforcement::new(1);
    assert_eq!(client.signal(Signal::check_permission("open:a", &enforcement)), []);
    client.say("UNSUBSCRIBE\nid:1\n\n\0");
    assert_eq!(grants(&mut client), [GrantedBy::Options], "the one by the rules is left");
    assert_eq!(client.signal(Signal::check_permission("open:a", &enforcement))[0].command, "ERROR");
}
