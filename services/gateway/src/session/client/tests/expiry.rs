//! Connections and subscriptions whose time is over, where the backend is asked if they go on.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{asking::*, *};
use crate::proxy_call::{
    ConnectGrant, ProxyAnswer, ProxyError, ProxyFailure, ProxyOutcome, ProxyRequest, ProxyResult,
    ProxyRoutes, RefreshGrant, SubscribeGrant,
};

fn with_refresh() -> ProxyRoutes {
    ProxyRoutes { refresh: Some(REFRESH), ..routes() }
}

fn refreshed(grant: Option<RefreshGrant>) -> ProxyOutcome {
    Ok(ProxyAnswer::Result(ProxyResult::Refresh(grant)))
}

fn until(expire_at: u64) -> RefreshGrant {
    RefreshGrant { expire_at, ..RefreshGrant::default() }
}

/// A client whose connection expires in ten seconds.
fn expiring() -> TestClient {
    let mut client = TestClient::asking(settings(), with_refresh());
    let reply = client.let_in_as(ConnectGrant { expire_at: START_S + 10, ..grant("42") });
    assert!(reply["connect"].get("expires").is_none() && reply["connect"].get("ttl").is_none(), "{reply}");
    client
}

#[test]
fn at_the_second_of_its_expiry_the_backend_is_asked_and_prolongs_the_connection() {
    let mut client = expiring();
    assert!(client.pass(10).iter().all(|sent| sent.get("refresh").is_none()));
    let (ticket, call) = client.next_call();
    assert!(matches!(call.request, ProxyRequest::Refresh) && call.proxy == REFRESH);
    assert_eq!(&*call.caller.user, "42");
    let renewed = RefreshGrant {
        info: Bytes::from_static(b"\"new\""),
        meta: Bytes::from_static(b"{\"m\":2}"),
        ..until(START_S + 20)
    };
    client.answer_to(ticket, refreshed(Some(renewed)));
    assert_eq!(client.closed_with(), 0);
    client.pass(10);
    let (_, call) = client.next_call();
    assert_eq!(&*call.caller.meta, b"{\"m\":2}");
}

#[test]
fn a_connection_ends_that_the_backend_does_not_prolong() {
    let error = ProxyError { code: 400, message: String::new(), temporary: true };
    for (outcome, code) in [
        (refreshed(None), 3005),
        (refreshed(Some(RefreshGrant { expired: true, ..until(START_S + 99) })), 3005),
        (refreshed(Some(until(START_S + 10))), 3005),
        (Ok(ProxyAnswer::Error(error)), 3005),
        (Ok(ProxyAnswer::Disconnect(Disconnect::new(4502, "go"))), 4502),
    ] {
        let mut client = expiring();
        client.pass(10);
        client.answer(outcome.clone());
        assert_eq!(client.closed_with(), code, "{outcome:?}");
    }
}

#[test]
fn a_backend_that_is_down_ends_no_connection_and_is_asked_again_for_as_long_as_it_takes() {
    let mut client = expiring();
    client.pass(10);
    for _ in 0..4 {
        client.answer(Err(ProxyFailure::BadAnswer));
        assert_eq!(client.closed_with(), 0);
        let again = client.session.clock.expires.unwrap() - client.now.instant;
        assert!((48..72).contains(&again.as_secs()), "{again:?}");
        // A pong of the client's, so that it lives.
        client.advance(again);
        client.session.clock.pings.take_pong();
        client.signal(Signal::Timer);
        client.session.clock.pings.take_pong();
    }
}

#[test]
fn a_refresh_by_the_api_makes_the_answer_that_was_under_way_old() {
    let mut client = expiring();
    client.pass(10);
    let (ticket, _) = client.next_call();
    let pushed = client.signal(Signal::refresh(false, Some(START_S + 100)));
    assert_eq!(pushed[0]["push"]["refresh"], json!({}), "its client has nothing to do");
    client.answer_to(ticket, refreshed(None));
    assert_eq!(client.closed_with(), 0);
    assert_eq!(client.session.policy.proxy_counts.stale.load(Ordering::Relaxed), 1);
}

#[test]
fn a_client_must_not_refresh_what_its_server_refreshes() {
    let mut client = expiring();
    client.say(json!({"id": 2, "refresh": {"token": token(60, &[])}}));
    assert_eq!(client.closed_with(), 3501);
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "sub_refresh": {"channel": "kept:a", "token": "t"}}));
    assert_eq!(client.closed_with(), 3501);
}

/// A client in a channel whose subscription expires in ten seconds.
fn subscribed_for_a_while() -> TestClient {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "subscribe": {"channel": "kept:a"}}));
    client.answer(subscribed_as(SubscribeGrant { expire_at: START_S + 10, ..SubscribeGrant::default() }));
    let (ticket, _) = client.next_subscribe();
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(top(1))));
    assert!(replies[0]["subscribe"].get("expires").is_none(), "{replies:?}");
    assert!(matches!(client.next(), Some(Action::Release(_))));
    client
}

#[test]
fn the_backend_prolongs_a_subscription_and_changes_what_others_see() {
    let mut client = subscribed_for_a_while();
    client.pass(10);
    let (ticket, call) = client.next_call();
    assert!(matches!(&call.request, ProxyRequest::SubRefresh { channel } if &**channel == "kept:a"));
    let renewed = RefreshGrant { info: Bytes::from_static(b"2"), ..until(START_S + 20) };
    client.answer_to(ticket, refreshed(Some(renewed)));
    assert_eq!(&*client.session.subscription("kept:a").unwrap().info.channel_info, b"2");
    client.pass(10);
    client.answer(Err(ProxyFailure::Unknown));
    assert!(client.session.subscription("kept:a").is_some());
    let again = client.session.subscription("kept:a").unwrap().expires.unwrap() - client.now.instant;
    assert!((48..72).contains(&again.as_secs()), "{again:?}");
}

#[test]
fn a_subscription_ends_that_the_backend_does_not_prolong_and_with_a_server_side_one_the_connection() {
    let mut client = subscribed_for_a_while();
    client.pass(10);
    let pushed = client.answer(refreshed(None));
    assert_eq!(pushed[0]["push"]["unsubscribe"]["code"], json!(2501));
    assert!(matches!(client.next(), Some(Action::EndSubscription(..))));

    let mut client = TestClient::asking(settings(), routes());
    client.say(json!({"id": 1, "connect": {}}));
    let short = SubscribeGrant { expire_at: START_S + 10, ..SubscribeGrant::default() };
    client.answer(connected_as(ConnectGrant { subs: vec![("kept:a".to_owned(), short)], ..grant("42") }));
    let (ticket, _) = client.next_subscribe();
    client.settle(ticket, Outcome::Subscribed(Ok(top(1))));
    client.next();
    client.pass(10);
    client.answer(refreshed(None));
    assert_eq!(client.closed_with(), 3006);
}

#[test]
fn an_answer_about_a_subscription_that_ended_and_began_again_meanwhile_is_dropped() {
    let mut client = subscribed_for_a_while();
    client.pass(10);
    let (ticket, _) = client.next_call();
    client.say(json!({"id": 3, "unsubscribe": {"channel": "kept:a"}}));
    client.say(json!({"id": 4, "subscribe": {"channel": "kept:a"}}));
    client.next();
    client.answer(subscribed_as(SubscribeGrant::default()));
    assert!(client.answer_to(ticket, refreshed(None)).is_empty());
    assert!(client.session.subscription("kept:a").is_some());
    assert_eq!(client.session.policy.proxy_counts.stale.load(Ordering::Relaxed), 1);
}
