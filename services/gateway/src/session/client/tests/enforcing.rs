//! A reload ends subscriptions that the rules no longer permit, and asks about each again when its turn comes. Record 71.

use gorani_auth::GrantedBy;

use super::{asking::SUBSCRIBE, *};
use crate::{
    disconnect::Unsubscribed,
    proxy_call::{ChannelProxies, ProxyRoutes},
    session::{
        client::receiver::{ReceiveQuery, UniSession},
        shared::{current_policy::CurrentPolicy, enforcement::Enforcement},
    },
    session_command::ServerSubscribe,
};

fn rules(namespaces: Value) -> Policy {
    Arc::into_inner(tests::policy(namespaces, settings())).unwrap()
}

fn open_rules() -> Policy {
    rules(json!([
        {"name": "chat", "allow_subscribe_for_client": true, "allow_user_limited_channels": true},
        {"name": "news", "allow_subscribe_for_client": true}
    ]))
}

/// Nobody may subscribe to `chat` any more but those who stand in the channel's name.
fn closed_rules() -> Policy {
    rules(json!([
        {"name": "chat", "allow_user_limited_channels": true},
        {"name": "news", "allow_subscribe_for_client": true}
    ]))
}

/// User 42, whose token names `chat:signed`.
fn connected(current: &CurrentPolicy) -> TestClient {
    let mut client =
        TestClient::start(|now| ClientSession::new(current.get(), TransportTraits::default(), now));
    client.say(json!({"id": 1, "connect": {"token": token(3600, &["chat:signed"])}}));
    let (ticket, request) = client.next_subscribe();
    assert_eq!(request.by, GrantedBy::ConnectionToken);
    assert_eq!(client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default()))).len(), 1);
    client
}

/// Subscribes, and returns what granted it, as the hub is told.
fn subscribe(client: &mut TestClient, channel: &str, token: &str) -> GrantedBy {
    client.say(json!({"id": 2, "subscribe": {"channel": channel, "token": token}}));
    client.actions.retain(|action| matches!(action, Action::Subscribe(..)));
    let (ticket, request) = client.next_subscribe();
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    request.by
}

/// The channels whose subscriptions end when each is looked at again.
fn ended(client: &mut TestClient, enforcement: &Arc<Enforcement>, channels: &[&str]) -> Vec<String> {
    let mut ended = Vec::new();
    for channel in channels {
        client.actions.clear();
        let pushes = client.signal(Signal::check_permission(channel, enforcement));
        let Some(push) = pushes.first() else {
            assert!(client.actions.is_empty(), "{:?}", client.actions);
            continue;
        };
        assert_eq!(push["push"]["channel"], *channel);
        let expected = json!({"code": 2500, "reason": "no longer permitted"});
        assert_eq!(push["push"]["unsubscribe"], expected);
        let Some(Action::EndSubscription(left, why)) = client.next() else { panic!("nothing is left") };
        assert_eq!((&*left, why), (*channel, Unsubscribed::NOT_PERMITTED));
        ended.push(left.to_string());
    }
    ended
}

#[test]
fn what_the_rules_granted_ends_and_what_a_token_a_backend_or_another_rule_permits_stays() {
    let current = CurrentPolicy::new(open_rules());
    let mut client = connected(&current);
    assert_eq!(subscribe(&mut client, "chat:rule", ""), GrantedBy::Options);
    assert_eq!(subscribe(&mut client, "chat:mine#42", ""), GrantedBy::UserLimited);
    assert_eq!(subscribe(&mut client, "news:rule", ""), GrantedBy::Options);
    let by_token = subscription_token("chat:token", 60);
    assert_eq!(subscribe(&mut client, "chat:token", &by_token), GrantedBy::SubscriptionToken);
    let of_backend = ServerSubscribe { channel: "chat:backend".to_owned(), ..ServerSubscribe::default() };
    client.actions.clear();
    client.signal(Signal::subscribe(of_backend));
    let (ticket, request) = client.next_subscribe();
    assert_eq!(request.by, GrantedBy::ConnectionToken);
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));

    current.replace(closed_rules());
    let enforcement = Enforcement::new(1);
    let all = [
        "chat:rule",
        "chat:mine#42",
        "news:rule",
        "chat:token",
        "chat:backend",
        "chat:signed",
        "chat:nowhere",
    ];
    assert_eq!(ended(&mut client, &enforcement, &all), ["chat:rule"]);
    assert_eq!(enforcement.ended(), 1);
    assert!(ended(&mut client, &enforcement, &all).is_empty(), "it is ended once");

    // It comes back by a token that the backend gives it, and not by itself.
    let refused = client.say(json!({"id": 9, "subscribe": {"channel": "chat:rule"}}));
    assert_eq!(error_code(&refused[0]), 103);
    let by_token = subscription_token("chat:rule", 60);
    assert_eq!(subscribe(&mut client, "chat:rule", &by_token), GrantedBy::SubscriptionToken);
    assert!(ended(&mut client, &enforcement, &all).is_empty());
}

#[test]
fn a_subscription_that_was_counted_stays_if_another_reload_or_a_token_permits_it_before_its_turn() {
    let current = CurrentPolicy::new(open_rules());
    let mut client = connected(&current);
    subscribe(&mut client, "chat:a", "");
    subscribe(&mut client, "chat:b", "");
    current.replace(closed_rules());
    let enforcement = Enforcement::new(2);
    client.actions.clear();
    let refreshed = client.say(
        json!({"id": 3, "sub_refresh": {"channel": "chat:a", "token": subscription_token("chat:a", 60)}}),
    );
    assert!(refreshed[0].get("sub_refresh").is_some(), "{refreshed:?}");
    let Some(Action::SetGrant(channel, by)) = client.next() else { panic!("the hub is not told") };
    assert_eq!((&*channel, by), ("chat:a", GrantedBy::SubscriptionToken));
    assert!(ended(&mut client, &enforcement, &["chat:a"]).is_empty(), "a token came");
    current.replace(open_rules());
    assert!(ended(&mut client, &enforcement, &["chat:b"]).is_empty(), "the rules of now hold");
    current.replace(closed_rules());
    assert_eq!(ended(&mut client, &enforcement, &["chat:b"]), ["chat:b"]);
    assert_eq!(enforcement.ended(), 1);
}

#[test]
fn a_namespace_that_is_gone_permits_nothing_and_one_with_a_proxy_only_what_the_backend_decides() {
    let current = CurrentPolicy::new(open_rules());
    let mut client = connected(&current);
    subscribe(&mut client, "chat:rule", "");
    subscribe(&mut client, "news:token", &subscription_token("news:token", 60));
    let of_chat = ChannelProxies { subscribe: Some(SUBSCRIBE), publish: None, sub_refresh: None };
    let proxies = ProxyRoutes { namespaces: [("chat".into(), of_chat)].into(), ..ProxyRoutes::default() };
    current.replace(Policy { proxies, ..open_rules() });
    let enforcement = Enforcement::new(3);
    let all = ["chat:rule", "news:token", "chat:signed"];
    assert_eq!(ended(&mut client, &enforcement, &all), ["chat:rule"], "the proxy is to be asked");
    current.replace(rules(json!([{"name": "chat"}])));
    assert_eq!(ended(&mut client, &enforcement, &all), ["news:token"], "its namespace is gone");
}

#[test]
fn a_receiver_is_told_that_a_channel_it_named_is_no_longer_permitted_and_goes_on() {
    type TestReceiver = TestSession<UniSession>;
    let current = CurrentPolicy::new(open_rules());
    let query = ReceiveQuery {
        token: token(3600, &["chat:signed"]),
        channels: vec!["chat:rule".to_owned()],
        ..ReceiveQuery::default()
    };
    let traits = TransportTraits { format: super::super::OutputFormat::Plain, ..TransportTraits::default() };
    let mut receiver = TestReceiver::start(|now| UniSession::new(current.get(), traits, query, now));
    receiver.run(|session, now, actions| session.opened(now, actions));
    let tickets: Vec<Ticket> = receiver
        .actions
        .drain(..)
        .filter_map(|action| if let Action::Subscribe(ticket, _) = action { Some(ticket) } else { None })
        .collect();
    assert_eq!(tickets.len(), 2);
    for ticket in tickets {
        receiver.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    }
    receiver.actions.clear();
    current.replace(closed_rules());
    let enforcement = Enforcement::new(1);
    assert!(receiver.signal(Signal::check_permission("chat:signed", &enforcement)).is_empty());
    let told = receiver.signal(Signal::check_permission("chat:rule", &enforcement));
    assert_eq!(
        told,
        [json!({"channel": "chat:rule", "unsubscribe": {"code": 2500, "reason": "no longer permitted"}})]
    );
    assert!(receiver.closed.is_none());
    assert_eq!(enforcement.ended(), 1);
}
