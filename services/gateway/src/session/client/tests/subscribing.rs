//! Subscribe, recover, unsubscribe, and what the server does to a subscription.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gorani_auth::OptionOverrides;
use gorani_broker::Publication;

use super::*;
use crate::{
    disconnect::{Disconnect, ErrorCode},
    session_command::{ServerSubscribe, SessionCommand, SessionTarget},
};

#[test]
fn a_subscribe_is_answered_before_its_events_are_released() {
    let mut client = TestClient::connected();
    assert!(client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}})).is_empty());
    let (ticket, request) = client.next_subscribe();
    assert!(!request.positioned && !request.presence && !request.announce);
    assert_eq!(
        client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default()))),
        [json!({"id": 2, "subscribe": {}})]
    );
    assert!(matches!(client.next(), Some(Action::Release(channel)) if &*channel == "open:a"));
}

#[test]
fn refusals_have_their_codes() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let long = format!("open:{}", "x".repeat(255));
    for (channel, code) in
        [("open:a", 105), ("closed:a", 103), ("$open:a", 103), ("nowhere:a", 102), ("", 107), (&*long, 107)]
    {
        let replies = client.say(json!({"id": 3, "subscribe": {"channel": channel}}));
        assert_eq!(error_code(&replies[0]), code, "{channel:?}");
    }
    let replies = client.say(json!({"id": 4, "subscribe": {"channel": "open:b", "tf": {"op": "eq"}}}));
    assert_eq!(error_code(&replies[0]), 108);
    assert!(client.closed.is_none());
}

#[test]
fn more_subscriptions_than_allowed_are_refused() {
    let mut client = TestClient::new(ClientSettings { max_subscriptions: 2, ..settings() });
    client.say(json!({"id": 1, "connect": {}}));
    for id in [2, 3] {
        assert!(client.say(json!({"id": id, "subscribe": {"channel": format!("open:{id}")}})).is_empty());
    }
    assert_eq!(error_code(&client.say(json!({"id": 4, "subscribe": {"channel": "open:4"}}))[0]), 106);
}

#[test]
fn a_subscription_token_opens_a_private_channel_and_expires() {
    let mut client = TestClient::connected();
    let token = subscription_token("$closed:a", 5);
    client.say(json!({"id": 2, "subscribe": {"channel": "$closed:a", "token": token}}));
    let (ticket, _) = client.next_subscribe();
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert_eq!(replies[0]["subscribe"], json!({"expires": true, "ttl": 5}));

    let fresh = subscription_token("$closed:a", 10);
    let replies = client.say(json!({"id": 3, "sub_refresh": {"channel": "$closed:a", "token": fresh}}));
    assert_eq!(replies[0]["sub_refresh"], json!({"expires": true, "ttl": 10}));
    client.pass(25);
    client.say_text("{}");
    let pushes = client.pass(10);
    assert!(pushes.contains(&json!({"push": {"channel": "$closed:a", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}})), "{pushes:?}");
}

#[test]
fn a_sub_refresh_with_an_expired_token_lets_the_client_subscribe_again() {
    let mut client = TestClient::connected();
    let subscribe = json!({"channel": "$closed:a", "token": subscription_token("$closed:a", 60)});
    client.say(json!({"id": 2, "subscribe": subscribe}));
    let (ticket, _) = client.next_subscribe();
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    let late = subscription_token("$closed:a", 5);
    client.now.unix_ms += 6_000;
    let replies = client.say(json!({"id": 3, "sub_refresh": {"channel": "$closed:a", "token": late}}));
    assert_eq!(
        replies[0]["push"]["unsubscribe"]["code"], 2501,
        "before the error, which an SDK would not forgive"
    );
    assert_eq!(replies[1]["error"], json!({"code": 109, "message": "token expired", "temporary": true}));
    assert!(client.closed.is_none());
    let subscribe = json!({"channel": "$closed:a", "token": subscription_token("$closed:a", 60)});
    assert!(client.say(json!({"id": 4, "subscribe": subscribe})).is_empty(), "it is under way");
}

#[test]
fn kept_history_recovers_whether_a_client_asks_or_not_unless_it_is_for_reading_only() {
    for (channel, asks, expected) in [
        ("kept:a", false, json!(true)),
        ("kept:b", true, json!(true)),
        ("history:a", false, Value::Null),
        ("history:b", true, json!(true)),
        ("readable:a", false, Value::Null),
        ("readable:b", true, Value::Null),
    ] {
        let mut client = TestClient::connected();
        let wanted = json!({"channel": channel, "recoverable": asks, "positioned": asks});
        client.say(json!({"id": 2, "subscribe": wanted}));
        let (ticket, request) = client.next_subscribe();
        assert_eq!(request.positioned, expected == true, "{channel}");
        let replies = client.settle(ticket, Outcome::Subscribed(Ok(top(5))));
        assert_eq!(replies[0]["subscribe"]["recoverable"], expected, "{channel}");
    }
}

#[test]
fn a_bad_subscription_token_is_refused_and_an_expired_one_said_to_be() {
    let mut client = TestClient::connected();
    let other = subscription_token("$closed:b", 60);
    assert_eq!(
        error_code(&client.say(json!({"id": 2, "subscribe": {"channel": "$closed:a", "token": other}}))[0]),
        103
    );
    let token = subscription_token("$closed:a", 5);
    client.now.unix_ms += 6_000;
    assert_eq!(
        error_code(&client.say(json!({"id": 3, "subscribe": {"channel": "$closed:a", "token": token}}))[0]),
        109
    );
    assert!(client.closed.is_none());
}

#[test]
fn recovery_is_asked_for_and_told_as_the_protocol_has_it() {
    let mut client = TestClient::connected();
    let subscribe =
        json!({"channel": "history:a", "recoverable": true, "recover": true, "offset": 3, "epoch": "e"});
    client.say(json!({"id": 2, "subscribe": subscribe}));
    let (ticket, request) = client.next_subscribe();
    assert_eq!(request.recover, Some(Position { offset: 3, epoch: "e".into() }));
    assert!(request.positioned && request.presence && request.announce);
    let missed = Publication {
        data: Bytes::from_static(b"4"),
        offset: 4,
        epoch: "e".into(),
        ..Publication::default()
    };
    let excluded = client.session.identity.client.to_string();
    let own = Publication { exclude_client: excluded, offset: 5, ..missed.clone() };
    let subscribed = Subscribed {
        was_recovering: true,
        recovered: true,
        publications: vec![Arc::new(missed), Arc::new(own)],
        ..top(5)
    };
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(subscribed)));
    let result = &replies[0]["subscribe"];
    assert_eq!(result["recovered"], true);
    assert_eq!(result["was_recovering"], true);
    assert_eq!(result["offset"], 3, "the offset asked for");
    assert_eq!(result["epoch"], "e");
    assert_eq!(
        result["publications"],
        json!([{"data": 4, "offset": 4}]),
        "without what excludes this client"
    );
}

#[test]
fn a_recovery_that_failed_tells_the_top_or_an_error_if_the_client_wants_that() {
    for (flag, expected) in [(0, 0), (2, 112), (3, 112)] {
        let mut client = TestClient::connected();
        let subscribe =
            json!({"channel": "forced:a", "recover": true, "offset": 3, "epoch": "old", "flag": flag});
        client.say(json!({"id": 2, "subscribe": subscribe}));
        let (ticket, _) = client.next_subscribe();
        let replies =
            client.settle(ticket, Outcome::Subscribed(Ok(Subscribed { was_recovering: true, ..top(9) })));
        assert_eq!(error_code(&replies[0]), expected);
        if expected == 0 {
            let result = &replies[0]["subscribe"];
            assert_eq!((&result["recovered"], &result["offset"]), (&Value::Null, &json!(9)));
            assert_eq!(result["was_recovering"], true);
        } else {
            assert!(matches!(client.next(), Some(Action::Unsubscribe(_))));
            assert!(client.session.subscriptions.is_empty());
        }
    }
}

#[test]
fn a_recovery_that_the_channel_does_not_allow_is_told_like_one_that_failed() {
    for (flag, expected) in [(0, 0), (2, 112)] {
        let mut client = TestClient::connected();
        let subscribe =
            json!({"channel": "open:a", "recover": true, "offset": 3, "epoch": "e", "flag": flag});
        client.say(json!({"id": 2, "subscribe": subscribe}));
        let (ticket, request) = client.next_subscribe();
        assert_eq!(request.recover, None);
        let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
        assert_eq!(error_code(&replies[0]), expected);
        if expected == 0 {
            assert_eq!(replies[0]["subscribe"], json!({"was_recovering": true}));
        }
    }
}

#[test]
fn commands_of_a_channel_wait_for_its_subscribe_and_keep_their_order() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    let (ticket, _) = client.next_subscribe();
    assert!(client.say(json!({"id": 3, "unsubscribe": {"channel": "open:a"}})).is_empty());
    assert!(client.say(json!({"id": 4, "rpc": {"method": "x"}})).is_empty(), "behind it nothing overtakes");
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    let ids: Vec<_> = replies.iter().map(|reply| reply["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [2, 3, 4]);
    let rest: Vec<_> = std::iter::from_fn(|| client.next()).collect();
    // It was in the channel for no time: what was held back for it must not follow the reply to its unsubscribe.
    assert!(matches!(&rest[..], [Action::Unsubscribe(_)]), "{rest:?}");
}

#[test]
fn what_waits_is_bounded_by_not_reading_on() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    for id in 3..300 {
        client.say(json!({"id": id, "unsubscribe": {"channel": "open:a"}}));
    }
    assert!(client.session.is_blocked());
    let (ticket, _) = client.next_subscribe();
    assert_eq!(client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default()))).len(), 298);
    assert!(!client.session.is_blocked());
}

#[test]
fn a_pong_that_could_not_be_read_is_awaited_until_it_can_be() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    let (ticket, _) = client.next_subscribe();
    for id in 3..300 {
        client.say(json!({"id": id, "unsubscribe": {"channel": "open:a"}}));
    }
    assert!(client.session.is_blocked());
    client.pass(25);
    client.pass(8);
    assert!(client.closed.is_none());
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert!(!client.session.is_blocked());
    client.pass(8);
    assert_eq!(client.closed_with(), 3012);
}

#[test]
fn a_lost_place_is_told_so_that_the_client_comes_back() {
    let mut client = TestClient::subscribed("forced:a", top(1));
    let pushes = client.signal(Signal::Insufficient("forced:a".into()));
    assert_eq!(pushes[0]["push"]["unsubscribe"]["code"], 2500);
    assert!(client.session.subscriptions.is_empty());
}

#[test]
fn a_server_side_subscription_that_lost_its_place_ends_the_connection() {
    let mut client = TestClient::connected();
    let subscribe = ServerSubscribe {
        channel: "history:a".to_owned(),
        data: Bytes::from_static(b"{}"),
        ..ServerSubscribe::default()
    };
    client.signal(Signal::subscribe(subscribe));
    let (ticket, _) = client.next_subscribe();
    let pushes = client.settle(ticket, Outcome::Subscribed(Ok(top(4))));
    let expected = json!({"channel": "history:a", "subscribe":
        {"recoverable": true, "epoch": "e", "offset": 4, "positioned": true, "data": {}}});
    assert_eq!(pushes, [json!({"push": expected})]);
    client.signal(Signal::Insufficient("history:a".into()));
    assert_eq!(client.closed_with(), 3010);
}

#[test]
fn a_backends_subscription_has_its_changed_options_and_ends_the_connection_when_it_expires() {
    let mut client = TestClient::connected();
    let overrides =
        OptionOverrides { presence: Some(true), join_leave: Some(true), ..OptionOverrides::default() };
    let subscribe = ServerSubscribe {
        channel: "history:a".to_owned(),
        expire_at: Some(client.now.unix_s() + 30),
        overrides,
        ..ServerSubscribe::default()
    };
    client.signal(Signal::subscribe(subscribe));
    let (ticket, request) = client.next_subscribe();
    assert!(request.presence && request.announce, "{request:?}");
    client.settle(ticket, Outcome::Subscribed(Ok(top(4))));
    let deadline = client.session.clock.subscription_expires.unwrap();
    let grace = client.session.policy.settings.expiry_grace;
    assert_eq!(deadline, client.now.instant + Duration::from_secs(30) + grace);
    client.now.instant = deadline;
    client.signal(Signal::Timer);
    assert_eq!(client.closed_with(), 3006);
}

#[test]
fn a_command_for_one_session_passes_others_by() {
    let session =
        |session: &str| SessionTarget { session: Some(session.to_owned()), ..SessionTarget::default() };
    let disconnect = |target| {
        let command =
            SessionCommand::Disconnect { target, disconnect: Disconnect::EXPIRED, spared: Vec::new() };
        Signal::Command(Arc::new(command))
    };
    let mut client = TestClient::connected();
    assert!(client.signal(disconnect(session("mine"))).is_empty(), "it has no session id");
    client.session.traits.emulation = Some("mine".into());
    assert!(client.signal(disconnect(session("other"))).is_empty());
    assert!(client.session.is_connected());
    client.signal(disconnect(session("mine")));
    assert_eq!(client.closed_with(), 3005);
}

#[test]
fn a_backend_renews_the_info_that_others_see_of_the_connection() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let refresh = SessionCommand::Refresh {
        target: SessionTarget::default(),
        expired: false,
        expire_at: None,
        info: Bytes::from_static(b"{\"name\":\"B\"}"),
    };
    client.signal(Signal::Command(Arc::new(refresh)));
    while client.next().is_some() {}
    client.say(json!({"id": 8, "subscribe": {"channel": "open:b"}}));
    let (_, request) = client.next_subscribe();
    assert_eq!(request.info.connection_info, "{\"name\":\"B\"}");
    assert_eq!(client.session.subscription("open:a").unwrap().info.connection_info, "{\"name\":\"B\"}");
    client.signal(Signal::refresh(false, None));
    assert_eq!(client.session.subscription("open:a").unwrap().info.connection_info, "{\"name\":\"B\"}");
}

#[test]
fn a_subscribe_that_the_server_ends_before_it_has_begun_is_answered() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    let (ticket, _) = client.next_subscribe();
    assert_eq!(client.signal(Signal::unsubscribe("open:a")).len(), 1);
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert_eq!(error_code(&replies[0]), 100);
}

#[test]
fn an_outcome_acts_on_its_own_subscription_and_not_on_a_newer_one_of_the_channel() {
    for (outcome, code) in [(Err(ErrorCode::UNAVAILABLE), 120), (Ok(top(3)), 100)] {
        let mut client = TestClient::connected();
        client.say(json!({"id": 2, "subscribe": {"channel": "history:a"}}));
        let (first, _) = client.next_subscribe();
        client.signal(Signal::unsubscribe("history:a"));
        assert!(matches!(client.next(), Some(Action::EndSubscription(..))));
        client.say(json!({"id": 3, "subscribe": {"channel": "history:a"}}));
        let (second, _) = client.next_subscribe();
        assert_eq!(error_code(&client.settle(first, Outcome::Subscribed(outcome))[0]), code);
        assert!(client.next().is_none(), "nothing is released or left");
        let replies = client.settle(second, Outcome::Subscribed(Ok(top(5))));
        assert_eq!(replies[0]["id"], 3);
        assert!(replies[0].get("subscribe").is_some(), "{replies:?}");
        assert!(matches!(client.next(), Some(Action::Release(_))));
    }
}

#[test]
fn a_backend_can_end_a_subscription() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let pushes = client.signal(Signal::unsubscribe("open:a"));
    assert_eq!(pushes[0]["push"]["unsubscribe"]["code"], 2000);
    assert!(client.signal(Signal::unsubscribe("open:a")).is_empty());
}

#[test]
fn the_name_of_a_channel_is_bounded() {
    let mut client = TestClient::connected();
    let longest = format!("open:{}", "c".repeat(250));
    let longest_hangul = format!("open:{}c", "가".repeat(83));
    for (id, name) in [(2, &longest), (3, &longest_hangul)] {
        client.say(json!({"id": id, "subscribe": {"channel": name}}));
        assert_eq!(&*client.next_subscribe().1.channel, name);
    }
    for name in [
        format!("{longest}c"),
        format!("{longest_hangul}c"),
        "open:two\nlines".to_owned(),
        "open:\u{85}".to_owned(),
        "open:\u{fffd}".to_owned(),
        String::new(),
    ] {
        let replies = client.say(json!({"id": 3, "subscribe": {"channel": name}}));
        assert_eq!(error_code(&replies[0]), 107, "{name}");
    }
}
