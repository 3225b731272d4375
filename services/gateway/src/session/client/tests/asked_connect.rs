//! Connects that the backend decides on.

use bytes::Bytes;
use gorani_broker::DataKind;

use super::{asking::*, *};
use crate::{
    proxy_call::{ConnectGrant, ProxyAnswer, ProxyPayload, ProxyRequest, ProxyResult, SubscribeGrant},
    session::shared::policy::ClientIdentity,
};

fn no_anonymous() -> ClientSettings {
    ClientSettings { allow_anonymous: false, ..ClientSettings::default() }
}

#[test]
fn the_backend_is_asked_who_a_client_without_a_token_is_and_everything_waits() {
    let mut client = TestClient::asking(no_anonymous(), routes());
    let connect = json!({"data": {"a": [1, 2]}, "name": "js", "version": "1.0",
        "headers": {"Authorization": "Bearer x", "X-Other": "1"}, "subs": {"closed:a": {}}});
    assert!(client.say(json!({"id": 1, "connect": connect})).is_empty());
    assert!(client.say(json!({"id": 2, "rpc": {"method": "m"}})).is_empty());
    let (ticket, call) = client.next_call();
    assert!(client.next().is_none(), "it has no identity yet");
    assert_eq!((call.proxy, call.number), (CONNECT, 1));
    assert_eq!((&*call.caller.user, call.caller.transport, call.caller.protocol), ("", "websocket", "json"));
    assert_eq!(call.caller.headers.emulated, [("authorization".into(), "Bearer x".into())]);
    assert_eq!(call.caller.headers.http.len(), 1);
    let ProxyRequest::Connect { data, name, version, channels } = call.request else { panic!("no connect") };
    assert_eq!(data.unwrap(), json_payload(r#"{"a":[1,2]}"#));
    assert_eq!((name.as_str(), version.as_str(), channels), ("js", "1.0", vec!["closed:a".to_owned()]));

    let grant = ConnectGrant {
        info: Bytes::from_static(b"{\"i\":1}"),
        data: Some(json_payload("{\"hello\":1}")),
        meta: Bytes::from_static(b"{\"m\":1}"),
        ..grant("42")
    };
    let replies = client.answer_to(ticket, connected_as(grant));
    assert_eq!(replies[0]["connect"]["client"], json!(*call.caller.client));
    assert_eq!(replies[0]["connect"]["data"], json!({"hello": 1}));
    assert!(replies[0]["connect"].get("expires").is_none());
    let identified = client.actions.pop_front();
    assert!(
        matches!(&identified, Some(Action::Identify { user, client }) if &**user == "42" && *client == call.caller.client),
        "{identified:?}"
    );
    // What waited runs, as this user and with what the backend keeps.
    let (_, call) = client.next_call();
    assert_eq!((&*call.caller.user, &*call.caller.meta, call.number), ("42", &b"{\"m\":1}"[..], 2));
    assert_eq!(call.caller.headers.emulated.len(), 1);
}

#[test]
fn what_the_backend_keeps_with_a_connection_goes_to_its_calls_and_to_hooks_that_want_it() {
    let claims = json!({"sub": "42", "exp": tests::START_S + 60, "meta": {"m": 1}});
    for (hooks_want_meta, with_proxies) in [(true, true), (true, false), (false, true)] {
        let proxies = if with_proxies { routes() } else { Default::default() };
        let mut client = TestClient::start(|now| {
            let policy = Arc::into_inner(asking_policy(no_anonymous(), proxies)).unwrap();
            let policy = Arc::new(Policy { hooks_want_meta, ..policy });
            ClientSession::new(policy, TransportTraits::default(), now)
        });
        client.say(json!({"id": 1, "connect": {"token": sign_claims(&claims)}}));
        match client.next() {
            Some(Action::KeepMeta(meta)) => {
                assert_eq!((hooks_want_meta, &meta[..]), (true, &b"{\"m\":1}"[..]))
            }
            None => assert!(!hooks_want_meta),
            other => panic!("{other:?}"),
        }
        let calls = client.session.calls.as_ref();
        let meta = calls.map(|calls| calls.session.caller().meta.clone());
        assert_eq!(meta, with_proxies.then(|| Bytes::from_static(b"{\"m\":1}")));
    }
    let empty = json!({"sub": "42", "exp": tests::START_S + 60});
    let mut client = TestClient::start(|now| {
        let policy = Arc::into_inner(policy(no_anonymous())).unwrap();
        let policy = Arc::new(Policy { hooks_want_meta: true, ..policy });
        ClientSession::new(policy, TransportTraits::default(), now)
    });
    client.say(json!({"id": 1, "connect": {"token": sign_claims(&empty)}}));
    assert!(client.next().is_none());
}

#[test]
fn a_token_alone_decides_where_there_is_one() {
    let mut client = TestClient::asking(no_anonymous(), routes());
    let replies = client.say(json!({"id": 1, "connect": {"token": token(60, &[])}}));
    assert!(replies[0]["connect"]["client"].is_string());
    assert!(client.next().is_none());
    let mut client = TestClient::asking(no_anonymous(), routes());
    client.say(json!({"id": 1, "connect": {"token": "nonsense"}}));
    assert_eq!(client.closed_with(), 3500);
}

#[test]
fn an_answer_without_a_result_is_no_credentials_and_an_empty_user_is_an_anonymous_one() {
    for (settings, is_let_in) in [(settings(), true), (no_anonymous(), false)] {
        let mut client = TestClient::asking(settings, routes());
        client.say(json!({"id": 1, "connect": {}}));
        let replies = client.answer(Ok(ProxyAnswer::Result(ProxyResult::Connect(None))));
        assert_eq!(replies.len(), usize::from(is_let_in));
        assert_eq!(client.closed_with(), if is_let_in { 0 } else { 3501 });
    }
    let mut client = TestClient::asking(no_anonymous(), routes());
    assert!(client.let_in_as(grant("")).get("connect").is_some());
}

#[test]
fn what_the_backend_refuses_is_an_error_or_the_end_and_a_client_may_try_again_after_an_error() {
    for (outcome, code, is_end) in refusals(100) {
        let mut client = TestClient::asking(settings(), routes());
        client.say(json!({"id": 1, "connect": {}}));
        let replies = client.answer(outcome);
        if is_end {
            assert_eq!((u64::from(client.closed_with()), replies.len()), (code, 0));
        } else {
            assert_eq!((client.closed_with(), error_code(&replies[0])), (0, code), "{replies:?}");
            client.let_in_as(grant("42"));
        }
    }
}

#[test]
fn a_grant_subscribes_with_its_options_its_data_and_the_position_of_the_client() {
    let mut client = TestClient::asking(settings(), routes());
    let subs = json!({"history:a": {"recover": true, "offset": 3, "epoch": "e"}});
    client.say(json!({"id": 1, "connect": {"subs": subs}}));
    let mut options = SubscribeGrant {
        info: Bytes::from_static(b"1"),
        data: Some(ProxyPayload { data: Bytes::from_static(b"text"), kind: DataKind::Text }),
        ..SubscribeGrant::default()
    };
    options.overrides.presence = Some(false);
    let grant = ConnectGrant {
        subs: vec![("history:a".to_owned(), options)],
        channels: vec!["closed:b".to_owned(), "history:a".to_owned()],
        ..grant("42")
    };
    assert!(client.answer(connected_as(grant)).is_empty());
    let (first, params) = client.next_subscribe();
    assert_eq!((&*params.channel, params.presence), ("history:a", false));
    assert_eq!(params.recover, Some(Position { offset: 3, epoch: "e".into() }));
    assert_eq!((&*params.info.channel_info, params.info.user.as_str()), (&b"1"[..], "42"));
    let (second, params) = client.next_subscribe();
    assert_eq!(&*params.channel, "closed:b");
    client.settle(first, Outcome::Subscribed(Ok(top(4))));
    let replies = client.settle(second, Outcome::Subscribed(Ok(Subscribed::default())));
    assert_eq!(replies[0]["connect"]["subs"]["history:a"]["data"], json!("text"));
}

#[test]
fn a_grant_that_cannot_be_carried_out_is_refused() {
    let refused = |grant: ConnectGrant| {
        let settings = ClientSettings { max_subscriptions: 2, ..settings() };
        let mut client = TestClient::asking(settings, routes());
        client.say(json!({"id": 1, "connect": {}}));
        let replies = client.answer(connected_as(grant));
        let code = replies.first().map_or(0, error_code);
        assert!(client.next().is_none(), "nothing is begun");
        if code > 0 { code } else { u64::from(client.closed_with()) }
    };
    let channels = |names: &[&str]| ConnectGrant {
        channels: names.iter().map(ToString::to_string).collect(),
        ..grant("42")
    };
    assert_eq!(refused(channels(&["unknown:a"])), 102);
    assert_eq!(refused(channels(&[&"x".repeat(300)])), 107);
    assert_eq!(refused(channels(&["closed:a", "closed:b", "closed:c"])), 3505);
    assert_eq!(refused(ConnectGrant { expire_at: START_S, ..grant("42") }), 110);
    let expired = SubscribeGrant { expire_at: START_S - 1, ..SubscribeGrant::default() };
    assert_eq!(refused(ConnectGrant { subs: vec![("closed:a".to_owned(), expired)], ..grant("42") }), 110);
}

#[test]
fn a_client_refreshes_by_token_what_the_backend_let_expire() {
    let mut client = TestClient::asking(settings(), routes());
    let reply = client.let_in_as(ConnectGrant { expire_at: START_S + 60, ..grant("42") });
    assert_eq!((&reply["connect"]["expires"], &reply["connect"]["ttl"]), (&json!(true), &json!(60)));
    let replies = client.say(json!({"id": 2, "refresh": {"token": token(120, &[])}}));
    assert_eq!(replies[0]["refresh"]["ttl"], json!(120));
}

#[test]
fn a_connect_that_takes_too_long_ends_so_that_its_client_comes_again() {
    let mut client = TestClient::asking(settings(), routes());
    client.say(json!({"id": 1, "connect": {}}));
    client.pass(ClientSettings::default().connect_timeout.as_secs());
    assert_eq!(client.closed_with(), 3004);
    let (ticket, _) = client.next_call();
    assert!(client.answer_to(ticket, connected_as(grant("42"))).is_empty());
    assert!(client.actions.is_empty(), "an answer that comes later changes nothing");
}

#[test]
fn emulated_headers_that_break_a_request_apart_end_the_session() {
    let mut client = TestClient::asking(settings(), routes());
    client.say(json!({"id": 1, "connect": {"headers": {"Authorization": "a\r\nb"}}}));
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn a_session_without_proxies_keeps_nothing_for_them() {
    let client = TestClient::connected();
    assert!(client.session.calls.is_none());
    assert_eq!(size_of_val(&client.session.calls), size_of::<usize>());
}

#[test]
fn an_identity_of_a_grant_is_seen_by_others_as_the_backend_says() {
    let grant = ConnectGrant { info: Bytes::from_static(b"{}"), ..grant("42") };
    let info = ClientIdentity::of_grant(&grant, "c".into()).info_for(Bytes::new());
    assert_eq!((info.user.as_str(), info.client.as_str(), &*info.connection_info), ("42", "c", &b"{}"[..]));
}
