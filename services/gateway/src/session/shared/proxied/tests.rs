//! The consequences of a backend's answers, for every protocol.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use actix_http::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;
use crate::{
    proxy_call::{ProxyError, ProxyFailure, ProxyRoutes, RefreshGrant},
    session::tests::{self, START_S},
    settings::ClientSettings,
};

fn policy(proxies: ProxyRoutes) -> Policy {
    let namespaces = json!([{"name": "n", "history_size": 10, "history_ttl": "60s"}]);
    let policy = Arc::into_inner(tests::policy(namespaces, ClientSettings::default())).unwrap();
    Policy { proxies, ..policy }
}

fn routes() -> ProxyRoutes {
    ProxyRoutes {
        connect: Some(ProxyId(0)),
        http_headers: vec![HeaderName::from_static("cookie"), HeaderName::from_static("x-many")],
        emulated_headers: vec!["authorization".into()],
        ..ProxyRoutes::default()
    }
}

fn now() -> Now {
    Now { unix_ms: START_S * 1000, ..Now::read() }
}

#[test]
fn a_session_has_no_calls_where_no_proxy_is_configured() {
    let none =
        SessionCalls::of_request(&policy(ProxyRoutes::default()), "sse", "json", &HeaderMap::new(), None);
    assert!(none.is_none());
}

#[test]
fn of_the_requests_headers_those_are_kept_that_some_proxy_forwards_with_all_their_values() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("cookie", "a=b"), ("x-many", "1"), ("x-many", "2"), ("authorization", "secret")] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let peer = Some("[::ffff:198.51.100.7]:80".parse().unwrap());
    let calls = SessionCalls::of_request(&policy(routes()), "websocket", "json", &headers, peer).unwrap();
    let kept: Vec<_> = calls
        .caller()
        .headers
        .http
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(kept, [("cookie", "a=b"), ("x-many", "1"), ("x-many", "2")]);
    assert_eq!(calls.caller().headers.address, Some("198.51.100.7".parse().unwrap()));
    assert_eq!((calls.caller().transport, calls.caller().protocol), ("websocket", "json"));
}

#[test]
fn of_emulated_headers_the_listed_ones_are_kept_whatever_the_case_of_their_names() {
    let policy = policy(routes());
    let mut calls = SessionCalls::default();
    calls.emulate(&policy, [("Authorization", "Bearer x"), ("Cookie", "a")].into_iter()).unwrap();
    assert_eq!(calls.caller().headers.emulated, [("authorization".into(), "Bearer x".into())]);
}

#[test]
fn emulated_headers_that_would_break_a_request_apart_or_are_too_many_end_the_session() {
    let policy = policy(routes());
    let refused = |headers: &[(&str, &str)]| {
        SessionCalls::default().emulate(&policy, headers.iter().copied()).is_err_and(|end| end.code == 3501)
    };
    for value in ["a\r", "a\nb", "\0"] {
        assert!(refused(&[("authorization", value)]), "{value:?}");
    }
    let (large, half) = ("x".repeat(EMULATED_VALUE_MAX_BYTES + 1), "x".repeat(EMULATED_VALUE_MAX_BYTES));
    assert!(refused(&[("authorization", &large)]));
    assert!(!refused(&[("authorization", &half)]));
    assert!(refused(&[("a", &half), ("b", &half)]));
    assert!(refused(&[("a", ""); EMULATED_MAX + 1]));
    assert!(!refused(&[("a", ""); EMULATED_MAX]));
}

#[test]
fn calls_of_a_session_are_numbered_from_one() {
    let mut calls = SessionCalls::default();
    let numbers: Vec<u64> = (0..3).map(|_| calls.ask(ProxyId(0), ProxyRequest::Refresh).number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn what_could_not_be_asked_is_temporary_and_what_may_have_been_carried_out_says_so() {
    let code = |refused: Result<ProxyResult, Refused>| match refused {
        Err(Refused::Backend(error)) => (error.code, error.temporary),
        other => panic!("{other:?}"),
    };
    for (failure, of_decision, of_effect) in [
        (ProxyFailure::NotProcessed(ErrorCode::INTERNAL), 100, 100),
        (ProxyFailure::NotProcessed(ErrorCode::TOO_MANY_REQUESTS), 111, 111),
        (ProxyFailure::Unknown, 100, 121),
        (ProxyFailure::BadAnswer, 100, 121),
    ] {
        assert_eq!(code(decided(Err(failure))), (of_decision, true), "{failure:?}");
        assert_eq!(code(carried_out(Err(failure))), (of_effect, true), "{failure:?}");
    }
    let own = ProxyError { code: 1000, message: "no".to_owned(), temporary: false };
    assert_eq!(decided(Ok(ProxyAnswer::Error(own.clone()))), Err(Refused::Backend(own)));
}

#[test]
fn a_refresh_goes_on_only_until_a_time_to_come() {
    let until = |expire_at, expired| RefreshGrant { expire_at, expired, ..RefreshGrant::default() };
    let refreshed = |grant| Prolonged::of(Ok(ProxyAnswer::Result(ProxyResult::Refresh(grant))), now());
    assert!(
        matches!(refreshed(Some(until(START_S + 9, false))), Prolonged::Until { expire_at, .. } if expire_at == START_S + 9)
    );
    for grant in [None, Some(until(START_S + 9, true)), Some(until(START_S, false)), Some(until(0, false))] {
        assert!(matches!(refreshed(grant.clone()), Prolonged::Expired), "{grant:?}");
    }
    assert!(matches!(Prolonged::of(Err(ProxyFailure::BadAnswer), now()), Prolonged::Deferred));
    let ended = Prolonged::of(Ok(ProxyAnswer::Disconnect(Disconnect::new(4500, "go"))), now());
    assert!(matches!(ended, Prolonged::Ended(end) if end.code == 4500));
    let error = ProxyError { code: 400, message: String::new(), temporary: true };
    assert!(matches!(Prolonged::of(Ok(ProxyAnswer::Error(error)), now()), Prolonged::Expired));
}

#[test]
fn a_failed_refresh_is_asked_again_after_a_minute_give_or_take_a_fifth() {
    let waits: Vec<f64> = (0..200).map(|_| ask_again_after().as_secs_f64()).collect();
    assert!(waits.iter().all(|wait| (48.0..72.0).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < 54.0) && waits.iter().any(|wait| *wait > 66.0), "{waits:?}");
}

#[test]
fn a_grant_overrides_the_options_of_its_channel_and_must_not_have_expired() {
    let policy = policy(routes());
    let mut grant = SubscribeGrant { expire_at: START_S + 1, ..SubscribeGrant::default() };
    grant.overrides.force_recovery = Some(true);
    let granted = policy.granted_by_proxy("n:a", &grant, now()).unwrap();
    assert_eq!((granted.options.force_recovery, granted.expires_at), (true, Some(START_S + 1)));
    grant.expire_at = START_S;
    let refused = |channel: &str| policy.granted_by_proxy(channel, &grant, now()).map(|_| ()).unwrap_err();
    assert_eq!(refused("n:a"), ErrorCode::EXPIRED.into());
    assert_eq!(refused("unknown:a"), ErrorCode::UNKNOWN_CHANNEL.into());
    assert_eq!(refused(&"x".repeat(1000)), ErrorCode::BAD_REQUEST.into());
}

fn sent() -> ProxyPayload {
    ProxyPayload { data: Bytes::from_static(b"1"), kind: DataKind::Json }
}

#[test]
fn the_backend_changes_what_is_published_and_how_or_has_it_dropped() {
    let policy = policy(routes());
    let same = policy.publication_by_proxy("n:a", sent(), PublishGrant::default()).unwrap().unwrap();
    assert_eq!((&*same.0.data, same.1.retention.size, same.1.skip_history), (&b"1"[..], 10, false));
    let grant = PublishGrant {
        data: Some(ProxyPayload { data: Bytes::from_static(b"\xff"), kind: DataKind::Binary }),
        skip_history: true,
        tags: vec![("k".to_owned(), "v".to_owned())],
        idempotency_key: "once".to_owned(),
        drop: false,
    };
    let (publication, options) = policy.publication_by_proxy("n:a", sent(), grant.clone()).unwrap().unwrap();
    assert_eq!((&*publication.data, publication.kind), (&b"\xff"[..], DataKind::Binary));
    assert_eq!(publication.tags, grant.tags);
    assert_eq!((options.skip_history, options.idempotency.unwrap().key.as_str()), (true, "once"));
    let dropped = PublishGrant { drop: true, ..grant };
    assert_eq!(policy.publication_by_proxy("n:a", sent(), dropped).unwrap(), None);
    assert_eq!(policy.proxy_counts.dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn an_answer_beyond_the_bounds_of_publications_is_an_error() {
    let policy = policy(routes());
    let tags = vec![(String::new(), String::new()); TAGS_MAX + 1];
    let large =
        ProxyPayload { data: vec![b'1'; policy.settings.message_max_bytes + 1].into(), kind: DataKind::Json };
    for grant in [
        PublishGrant { tags, ..PublishGrant::default() },
        PublishGrant { tags: vec![("k".repeat(TAGS_MAX_BYTES), "v".to_owned())], ..PublishGrant::default() },
        PublishGrant { data: Some(large), ..PublishGrant::default() },
        PublishGrant { idempotency_key: "k".repeat(256), ..PublishGrant::default() },
    ] {
        let refused = policy.publication_by_proxy("n:a", sent(), grant).map(|_| ()).unwrap_err();
        assert_eq!(refused, ErrorCode::INTERNAL.into());
    }
}

#[test]
fn a_channel_that_is_named_twice_in_a_grant_is_subscribed_once_with_its_options() {
    let grant = ConnectGrant {
        channels: vec!["a".to_owned(), "b".to_owned(), "b".to_owned()],
        subs: vec![("a".to_owned(), SubscribeGrant { expire_at: 7, ..SubscribeGrant::default() })],
        ..ConnectGrant::default()
    };
    let all: Vec<_> =
        grant.subscriptions().into_iter().map(|(channel, grant)| (channel, grant.expire_at)).collect();
    assert_eq!(all, [("a", 7), ("b", 0)]);
}

#[test]
fn a_payload_that_is_no_json_is_a_string_in_a_json_reply() {
    let json = |data: &'static [u8], kind| ProxyPayload { data: Bytes::from_static(data), kind }.to_json();
    assert_eq!(json(b"{\"a\":1}", DataKind::Json), "{\"a\":1}");
    assert_eq!(json(b"a\"", DataKind::Text), "\"a\\\"\"");
    assert_eq!(json(b"\xff\xfe", DataKind::Binary), "\"//4=\"");
}
