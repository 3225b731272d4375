//! Subscribe, publish and rpc where the backend decides or answers.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use gorani_broker::DataKind;

use super::{asking::*, *};
use crate::proxy_call::{
    ProxyAnswer, ProxyFailure, ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult, PublishGrant,
    SubscribeGrant,
};

fn published_as(grant: PublishGrant) -> ProxyOutcome {
    Ok(ProxyAnswer::Result(ProxyResult::Publish(Box::new(grant))))
}

#[test]
fn the_backend_alone_decides_on_a_subscribe_and_an_empty_grant_allows_it() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "subscribe": {"channel": "closed:a", "data": {"d": 1}}}));
    let (ticket, call) = client.next_call();
    assert_eq!(call.proxy, SUBSCRIBE);
    let ProxyRequest::Subscribe { channel, token, data } = call.request else { panic!("no subscribe") };
    assert_eq!((&*channel, token.as_str(), data), ("closed:a", "", Some(json_payload("{\"d\":1}"))));
    assert!(client.answer_to(ticket, subscribed_as(SubscribeGrant::default())).is_empty());
    let (ticket, params) = client.next_subscribe();
    assert_eq!(&*params.channel, "closed:a");
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert!(replies[0].get("subscribe").is_some());
}

#[test]
fn a_grant_sets_options_info_data_and_end_and_the_wishes_of_the_client_count() {
    let mut client = TestClient::let_in(routes());
    client
        .say(json!({"id": 2, "subscribe": {"channel": "history:a", "recoverable": true, "positioned": true,
        "recover": true, "offset": 7, "epoch": "e"}}));
    let mut granted = SubscribeGrant {
        expire_at: START_S + 60,
        info: Bytes::from_static(b"{\"c\":1}"),
        data: Some(json_payload("[1]")),
        ..SubscribeGrant::default()
    };
    granted.overrides.join_leave = Some(false);
    client.answer(subscribed_as(granted));
    let (ticket, params) = client.next_subscribe();
    assert!(params.positioned && !params.announce && params.presence);
    assert_eq!(params.recover, Some(Position { offset: 7, epoch: "e".into() }));
    assert_eq!(&*params.info.channel_info, b"{\"c\":1}");
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(top(9))));
    let result = &replies[0]["subscribe"];
    assert_eq!((&result["recoverable"], &result["ttl"]), (&json!(true), &json!(60)));
    assert_eq!((&result["expires"], &result["data"]), (&json!(true), &json!([1])));
}

#[test]
fn the_presence_that_a_grant_opened_is_read_by_its_subscriber_alone() {
    let mut client = TestClient::let_in(routes());
    let read = json!({"id": 9, "presence": {"channel": "kept:a"}});
    let mut opened = SubscribeGrant::default();
    opened.overrides.presence = Some(true);
    assert_eq!(error_code(&client.say(read.clone())[0]), 108);
    client.say(json!({"id": 2, "subscribe": {"channel": "kept:a"}}));
    client.answer(subscribed_as(opened));
    let (ticket, params) = client.next_subscribe();
    assert!(params.presence);
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert!(matches!(client.next(), Some(Action::Release(_))));
    assert!(client.say(read).is_empty());
    assert!(matches!(client.next(), Some(Action::Presence(..))));
}

#[test]
fn token_private_and_user_limited_channels_are_none_of_the_proxys_business() {
    let mut client = TestClient::let_in(routes());
    for (channel, token, code) in [
        ("$closed:a", String::new(), 103),
        ("closed:a#43", String::new(), 103),
        ("closed:a", "nonsense".to_owned(), 103),
        ("$closed:a", subscription_token("$closed:a", 60), 0),
        ("closed:b", subscription_token("closed:b", 60), 0),
    ] {
        let replies = client.say(json!({"id": 2, "subscribe": {"channel": channel, "token": token}}));
        assert_eq!(replies.first().map_or(0, error_code), code, "{channel}");
        let action = client.next();
        assert!(matches!(action, None | Some(Action::Subscribe(..))), "{channel}: {action:?}");
    }
}

#[test]
fn what_is_wrong_with_a_subscribe_itself_is_told_without_asking() {
    let settings = ClientSettings { max_subscriptions: 1, ..settings() };
    let mut client = TestClient::asking(settings, routes());
    client.let_in_as(grant("42"));
    let mut code =
        |subscribe: Value| client.say(json!({"id": 2, "subscribe": subscribe})).first().map_or(0, error_code);
    assert_eq!(code(json!({"channel": ""})), 107);
    assert_eq!(code(json!({"channel": "unknown:a"})), 102);
    assert_eq!(code(json!({"channel": "closed:a", "type": 1})), 108);
    assert_eq!(code(json!({"channel": "closed:a"})), 0);
    assert_eq!(code(json!({"channel": "closed:b"})), 106);
    client.next_call();
    assert!(client.next().is_none());
}

#[test]
fn a_refused_subscribe_leaves_no_subscription_and_one_that_expired_is_an_error() {
    for (outcome, code, is_end) in refusals(100) {
        let mut client = TestClient::let_in(routes());
        client.say(json!({"id": 2, "subscribe": {"channel": "closed:a"}}));
        let replies = client.answer(outcome);
        if is_end {
            assert_eq!(u64::from(client.closed_with()), code);
        } else {
            assert_eq!((error_code(&replies[0]), client.closed_with()), (code, 0));
            assert_eq!(replies[0]["error"].get("temporary").is_some(), code < 1000);
            assert!(client.session.subscriptions.is_empty());
        }
    }
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "subscribe": {"channel": "closed:a"}}));
    let expired = SubscribeGrant { expire_at: START_S, ..SubscribeGrant::default() };
    assert_eq!(error_code(&client.answer(subscribed_as(expired))[0]), 110);
}

#[test]
fn a_backends_errors_never_end_a_session_for_having_too_many() {
    let settings = ClientSettings { max_errors: 1, ..settings() };
    let mut client = TestClient::asking(settings, routes());
    client.let_in_as(grant("42"));
    for id in 2..9 {
        client.say(json!({"id": id, "rpc": {}}));
        assert_eq!(error_code(&client.answer(Err(ProxyFailure::BadAnswer))[0]), 121);
    }
    assert_eq!(client.closed_with(), 0);
}

#[test]
fn a_subscription_that_the_server_ended_while_the_backend_was_asked_stays_ended() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "subscribe": {"channel": "closed:a"}}));
    let (ticket, _) = client.next_call();
    let pushed = client.signal(Signal::unsubscribe("closed:a"));
    assert_eq!(pushed[0]["push"]["unsubscribe"]["code"], json!(2000));
    assert!(client.next().is_none(), "there was nothing to leave");
    let replies = client.answer_to(ticket, subscribed_as(SubscribeGrant::default()));
    assert_eq!(error_code(&replies[0]), 100, "the command has its answer all the same");
    assert!(client.next().is_none() && client.session.subscriptions.is_empty());
    assert_eq!(client.session.policy.proxy_counts.stale.load(Ordering::Relaxed), 1);
}

#[test]
fn a_publication_is_what_the_backend_makes_of_it_and_its_sender_need_not_be_subscribed() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "publish": {"channel": "closed:a", "data": {"raw": 1}}}));
    let (ticket, call) = client.next_call();
    let ProxyRequest::Publish { channel, data } = call.request else { panic!("no publish") };
    assert_eq!((&*channel, data, call.proxy), ("closed:a", json_payload("{\"raw\":1}"), PUBLISH));
    let granted = PublishGrant {
        data: Some(json_payload("{\"clean\":1}")),
        tags: vec![("k".to_owned(), "v".to_owned())],
        ..PublishGrant::default()
    };
    assert!(
        client.answer_to(ticket, published_as(granted)).is_empty(),
        "the answer comes when it is published"
    );
    let Some(Action::Publish(ticket, channel, publication, _)) = client.next() else { panic!("no publish") };
    assert_eq!((&*channel, &*publication.data), ("closed:a", &b"{\"clean\":1}"[..]));
    assert_eq!((publication.tags.len(), publication.info.unwrap().user.as_str()), (1, "42"));
    let replies = client.settle(ticket, Outcome::Published(Ok(Default::default())));
    assert_eq!(replies, [json!({"id": 2, "publish": {}})]);
}

#[test]
fn a_dropped_publication_looks_published_and_is_counted() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "publish": {"channel": "closed:a", "data": 1}}));
    let replies = client.answer(published_as(PublishGrant { drop: true, ..PublishGrant::default() }));
    assert_eq!(replies, [json!({"id": 2, "publish": {}})]);
    assert!(client.next().is_none());
    assert_eq!(client.session.policy.proxy_counts.dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_lost_answer_to_publish_or_rpc_says_that_the_outcome_is_unknown() {
    for command in
        [json!({"publish": {"channel": "closed:a", "data": 1}}), json!({"rpc": {"method": "on:m"}})]
    {
        for (outcome, code, is_end) in refusals(121) {
            let mut client = TestClient::let_in(routes());
            let mut command = command.clone();
            command["id"] = json!(2);
            client.say(command);
            let replies = client.answer(outcome);
            let told = if is_end { u64::from(client.closed_with()) } else { error_code(&replies[0]) };
            assert_eq!(told, code);
            assert!(client.next().is_none());
        }
    }
}

#[test]
fn an_rpc_is_answered_with_the_backends_data() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {"method": "on:m", "data": {"q": 1}}}));
    let (ticket, call) = client.next_call();
    let ProxyRequest::Rpc { method, data, .. } = call.request else { panic!("no rpc") };
    assert_eq!((method.as_str(), data, call.proxy), ("on:m", Some(json_payload("{\"q\":1}")), RPC));
    assert_eq!(
        client.answer_to(ticket, called(Some("{\"a\":1}"))),
        [json!({"id": 2, "rpc": {"data": {"a": 1}}})]
    );
    client.say(json!({"id": 3, "rpc": {}}));
    assert_eq!(client.answer(called(None)), [json!({"id": 3, "rpc": {}})]);
    client.say(json!({"id": 4, "rpc": {}}));
    let bytes = ProxyPayload { data: Bytes::from_static(b"\xff\xfe"), kind: DataKind::Binary };
    let replies = client.answer(Ok(ProxyAnswer::Result(ProxyResult::Rpc(Some(bytes)))));
    assert_eq!(replies, [json!({"id": 4, "rpc": {"data": "//4="}})]);
}

#[test]
fn a_method_that_nobody_answers_is_an_error_and_a_send_is_refused() {
    let mut client = TestClient::let_in(routes());
    for (method, code) in [("unknown:m", 104), ("off:m", 108)] {
        assert_eq!(error_code(&client.say(json!({"id": 2, "rpc": {"method": method}}))[0]), code);
    }
    client.say(json!({"send": {"data": 1}}));
    assert_eq!(client.closed_with(), 3508);
    let mut client = TestClient::connected();
    assert_eq!(error_code(&client.say(json!({"id": 2, "rpc": {"method": "m"}}))[0]), 108);
}

#[test]
fn payloads_of_calls_under_way_draw_on_the_memory_budget_until_they_are_answered() {
    let mut client = TestClient::let_in(routes());
    let before = client.session.input_bytes();
    client.say(json!({"id": 2, "rpc": {"data": "x".repeat(1000)}}));
    assert_eq!(client.session.input_bytes(), before + 1002);
    client.answer(called(None));
    assert_eq!(client.session.input_bytes(), before);
}

#[test]
fn an_answer_of_another_kind_than_was_asked_for_is_an_error() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {}}));
    assert_eq!(error_code(&client.answer(subscribed_as(SubscribeGrant::default()))[0]), 100);
    client.say(json!({"id": 3, "subscribe": {"channel": "closed:a"}}));
    assert_eq!(error_code(&client.answer(called(None))[0]), 100);
    assert!(client.session.subscriptions.is_empty());
}
