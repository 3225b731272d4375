//! Connect, heartbeats, expiry.

use super::*;
use crate::session::{
    shared::login_limit::Credential,
    tests::{Failures, token_without_subject},
};

#[test]
fn a_connect_with_a_token_tells_client_version_expiry_and_heartbeat() {
    let mut client = TestClient::new(settings());
    let replies = client.say(json!({"id": 7, "connect": {"token": token(60, &[])}}));
    let connect = &replies[0]["connect"];
    assert_eq!(replies[0]["id"], 7);
    assert!(connect["client"].as_str().unwrap().starts_with("0badcafe"));
    assert_eq!(connect["expires"], true);
    assert_eq!(connect["ttl"], 60);
    assert_eq!(connect["ping"], 25);
    assert_eq!(connect["pong"], true);
    match client.actions.pop_front() {
        Some(Action::Identify { user, .. }) => assert_eq!(&*user, "42"),
        other => panic!("{other:?}"),
    }
}

/// A connect of user 42, whose connections are limited, and the ticket of the request for a slot.
fn entering() -> (TestClient, Ticket) {
    let settings = ClientSettings {
        max_connections_per_user: 3,
        personal_channels: vec!["open:me".to_owned()],
        ..settings()
    };
    let mut client = TestClient::new(settings);
    assert!(client.say(json!({"id": 1, "connect": {"token": token(60, &[])}})).is_empty());
    let Some(Action::Enter(ticket, 3)) = client.next() else { panic!("nobody asked whether there is room") };
    assert!(client.next().is_none(), "nothing begins before the answer");
    (client, ticket)
}

#[test]
fn where_connections_are_limited_the_reply_and_the_subscriptions_wait_for_a_place() {
    let (mut client, ticket) = entering();
    assert!(client.settle(ticket, Outcome::Entered(Ok(()))).is_empty());
    let (ticket, _) = client.next_subscribe();
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(top(0))));
    assert!(replies[0]["connect"]["client"].is_string(), "{replies:?}");
}

#[test]
fn without_a_place_the_connection_ends_as_the_node_says() {
    for (disconnect, code) in [(Disconnect::CONNECTION_LIMIT, 3504), (Disconnect::INTERNAL, 3004)] {
        let (mut client, ticket) = entering();
        assert!(client.settle(ticket, Outcome::Entered(Err(disconnect))).is_empty());
        assert_eq!(client.closed_with(), code);
        assert!(client.next().is_none());
    }
}

#[test]
fn anonymous_connections_are_not_limited() {
    let mut client = TestClient::new(ClientSettings { max_connections_per_user: 1, ..settings() });
    assert!(client.say(json!({"id": 1, "connect": {}}))[0]["connect"].is_object());
    assert!(client.next().is_none());
}

#[test]
fn anything_but_a_connect_first_is_a_bad_request() {
    for first in
        [r#"{"id":1,"subscribe":{"channel":"open:a"}}"#, "{}", "", "\n\n", "nonsense", r#"{"id":1}"#, "[]"]
    {
        let mut client = TestClient::new(settings());
        client.say_text(first);
        assert_eq!(client.closed_with(), 3501, "{first:?}");
    }
}

#[test]
fn a_second_connect_is_a_bad_request() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "connect": {}}));
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn a_binary_message_is_the_wrong_protocol() {
    let mut client = TestClient::new(settings());
    client.run(|session, now, actions| session.message(Incoming::Binary(b"x"), now, actions));
    assert_eq!(client.closed_with(), 3506);
}

#[test]
fn who_does_not_connect_in_time_is_stale() {
    let mut client = TestClient::new(settings());
    client.pass(10);
    assert_eq!(client.closed_with(), 3502);
    assert_eq!(client.session.deadline(), None);
}

#[test]
fn a_client_whose_connect_takes_too_long_is_to_come_again() {
    let (mut for_a_place, _) = entering();
    let mut for_a_channel = TestClient::new(settings());
    for_a_channel.say(json!({"id": 1, "connect": {"token": token(60, &["open:a"])}}));
    let mut with_a_part = TestClient::new(settings());
    with_a_part.say(json!({"id": 1, "connect": {"token": token(60, &["open:a", "open:b"])}}));
    let (ticket, _) = with_a_part.next_subscribe();
    with_a_part.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    for client in [&mut for_a_place, &mut for_a_channel, &mut with_a_part] {
        client.pass(10);
        assert_eq!(client.closed_with(), 3004);
        assert!(client.closed.as_ref().unwrap().reconnects());
        assert_eq!(client.session.deadline(), None);
    }
}

#[test]
fn tokens_are_told_apart_bad_expired_and_missing() {
    let mut client = TestClient::new(settings());
    client.now.unix_ms += 61_000;
    assert_eq!(error_code(&client.say(json!({"id": 1, "connect": {"token": token(60, &[])}}))[0]), 109);
    assert_eq!(client.closed_with(), 0, "the client comes again with a new token");
    client.say(json!({"id": 2, "connect": {"token": format!("{}x", token(60, &[]))}}));
    assert_eq!(client.closed_with(), 3500);

    let mut closed = TestClient::new(ClientSettings::default());
    assert_eq!(error_code(&closed.say(json!({"id": 1, "connect": {}}))[0]), 101);
}

#[test]
fn the_first_ping_comes_in_the_second_half_of_the_interval_and_wants_a_pong() {
    let mut client = TestClient::connected();
    let until_ping = client.session.deadline().unwrap() - client.now.instant;
    assert!(
        (Duration::from_millis(12_500)..=Duration::from_secs(25)).contains(&until_ping),
        "{until_ping:?}"
    );
    assert_eq!(client.pass(25), [json!({})]);
    assert!(client.say_text("{}").is_empty());
    assert_eq!(client.pass(25), [json!({})]);
    client.pass(8);
    assert_eq!(client.closed_with(), 3012);
}

#[test]
fn a_pong_that_nobody_asked_for_is_a_bad_request() {
    let mut client = TestClient::connected();
    client.say_text("{}");
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn a_pong_waits_behind_no_command() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    let (ticket, _) = client.next_subscribe();
    client.say(json!({"id": 3, "unsubscribe": {"channel": "open:a"}}));
    assert_eq!(client.pass(25), [json!({})]);
    client.say_text("{}");
    client.advance(Duration::from_secs(20));
    client.signal(Signal::Timer);
    assert!(client.closed.is_none(), "its pong was taken while the broker let its subscribe wait");
    assert_eq!(client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default()))).len(), 2);
}

#[test]
fn native_pings_replace_the_protocols_own() {
    let mut client = TestClient::new(settings());
    client.session.traits = TransportTraits { native_ping: true, ..TransportTraits::default() };
    let replies = client.say(json!({"id": 1, "connect": {}}));
    let connect = &replies[0]["connect"];
    assert_eq!(
        (&connect["ping"], &connect["pong"]),
        (&Value::Null, &Value::Null),
        "an SDK would wait for them"
    );
    assert!(client.pass(25).is_empty());
    assert!(matches!(client.next(), Some(Action::Ping)));
    client.session.pong(client.now);
    assert!(client.pass(25).is_empty());
    client.pass(8);
    assert_eq!(client.closed_with(), 3012);
}

#[test]
fn an_expired_connection_ends_after_the_grace_and_a_refresh_prolongs_it() {
    let mut client = TestClient::new(settings());
    client.say(json!({"id": 1, "connect": {"token": token(20, &[])}}));
    let reply = client.say(json!({"id": 2, "refresh": {"token": token(30, &[])}}));
    assert_eq!(reply[0]["refresh"]["ttl"], 30);
    client.pass(25);
    client.say_text("{}");
    client.pass(30);
    assert_eq!(client.closed_with(), 3005);
}

#[test]
fn a_refresh_with_a_token_that_is_not_valid_now_ends_no_client_for_good() {
    let mut client = TestClient::connected();
    let late = token(5, &[]);
    client.now.unix_ms += 6_000;
    assert!(client.say(json!({"id": 2, "refresh": {"token": late}})).is_empty());
    assert_eq!(client.closed_with(), 3005);

    let mut client = TestClient::connected();
    let claims = json!({"sub": "42", "nbf": START_S + 60});
    let replies = client.say(json!({"id": 2, "refresh": {"token": sign_claims(&claims)}}));
    assert_eq!(replies[0]["error"], json!({"code": 109, "message": "token expired", "temporary": true}));
    assert_eq!(client.closed_with(), 0);
}

#[test]
fn a_returning_client_has_its_server_side_subscriptions_again_as_far_as_its_user_may_subscribe() {
    let mut client = TestClient::new(settings());
    let position = json!({"recover": true, "offset": 3, "epoch": "e"});
    let subs = json!({
        "history:a": position, "open:b": {}, "closed:c": position, "nowhere:d": position, "two\nlines": position, "": position,
    });
    client.say(json!({"id": 1, "connect": {"token": token(60, &[]), "subs": subs}}));
    let (history, request) = client.next_subscribe();
    assert_eq!((&*request.channel, request.recover.map(|position| position.offset)), ("history:a", Some(3)));
    let (open, request) = client.next_subscribe();
    assert_eq!((&*request.channel, request.recover), ("open:b", None));
    assert!(client.next().is_none(), "others are passed over");
    assert!(client.settle(open, Outcome::Subscribed(Ok(Subscribed::default()))).is_empty());
    let recovered = Subscribed { was_recovering: true, recovered: true, ..top(3) };
    let replies = client.settle(history, Outcome::Subscribed(Ok(recovered)));
    let subs = replies[0]["connect"]["subs"].as_object().unwrap();
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["history:a", "open:b"]);
    assert_eq!(subs["history:a"]["recovered"], true);
}

#[test]
fn a_returning_client_with_more_subscriptions_than_allowed_is_told_so() {
    let mut client = TestClient::new(ClientSettings { max_subscriptions: 2, ..settings() });
    let subs = json!({"open:a": {}, "open:b": {}, "open:c": {}});
    client.say(json!({"id": 1, "connect": {"token": token(60, &[]), "subs": subs}}));
    assert_eq!(client.closed_with(), 3505);
}

#[test]
fn a_refresh_for_another_user_ends_the_connection() {
    let mut client = TestClient::new(settings());
    client.say(json!({"id": 1, "connect": {}}));
    client.say(json!({"id": 2, "refresh": {"token": token(60, &[])}}));
    assert_eq!(client.closed_with(), 3500);
}

#[test]
fn server_side_subscriptions_come_with_the_connect_reply_and_commands_wait_for_it() {
    let mut client =
        TestClient::new(ClientSettings { personal_channels: vec!["open:me".to_owned()], ..settings() });
    let connect = json!({"id": 1, "connect": {"token": token(60, &["history:a"]),
        "subs": {"history:a": {"recover": true, "offset": 3, "epoch": "e"}}}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": "open:b"}});
    assert!(client.say_text(&format!("{connect}\n{subscribe}")).is_empty());
    let (personal, request) = client.next_subscribe();
    assert_eq!(&*request.channel, "open:me#42");
    let (history, request) = client.next_subscribe();
    assert_eq!(request.recover, Some(Position { offset: 3, epoch: "e".into() }));
    assert!(request.positioned && !request.join_leave, "nobody asked for joins");
    assert!(client.next().is_none(), "the subscribe waits");

    assert!(
        client
            .settle(
                history,
                Outcome::Subscribed(Ok(Subscribed { was_recovering: true, recovered: true, ..top(3) }))
            )
            .is_empty()
    );
    let replies = client.settle(personal, Outcome::Subscribed(Ok(Subscribed::default())));
    let subs = &replies[0]["connect"]["subs"];
    assert_eq!(subs["history:a"]["recovered"], true);
    assert_eq!(subs["history:a"]["offset"], 3);
    assert!(subs["open:me#42"].is_object());
    let released: Vec<_> = std::iter::from_fn(|| client.next()).collect();
    assert!(
        matches!(&released[..], [Action::Release(_), Action::Release(_), Action::Subscribe(..)]),
        "{released:?}"
    );
}

#[test]
fn a_server_side_subscription_that_fails_fails_the_connect_and_leaves_nothing() {
    let mut client = TestClient::new(settings());
    client.say(json!({"id": 1, "connect": {"token": token(60, &["open:a", "open:b"])}}));
    let (first, _) = client.next_subscribe();
    let (second, _) = client.next_subscribe();
    client.settle(first, Outcome::Subscribed(Ok(Subscribed::default())));
    let replies = client.settle(second, Outcome::Subscribed(Err(crate::disconnect::ErrorCode::UNAVAILABLE)));
    assert_eq!(error_code(&replies[0]), 120);
    assert_eq!(replies[0]["error"]["temporary"], true);
    assert!(matches!(client.next(), Some(Action::Unsubscribe(channel)) if &*channel == "open:a"));
    assert!(client.session.subscriptions.is_empty());
}

#[test]
fn a_backend_can_refresh_and_expire_a_connection() {
    let mut client = TestClient::connected();
    let expire_at = Some(START_S + 100);
    let pushes = client.signal(Signal::refresh(false, expire_at));
    assert_eq!(pushes, [json!({"push": {"refresh": {"expires": true, "ttl": 100}}})]);
    client.signal(Signal::refresh(true, None));
    assert_eq!(client.closed_with(), 3005);
}

#[test]
fn invalid_tokens_count_and_after_too_many_a_client_is_told_to_come_back() {
    let limit = Failures::at_most(1);
    let connect = |token: String| {
        let mut client = TestClient::new(settings());
        client.session = client.session.with_login_limit(limit.clone());
        let replies = client.say(json!({"id": 1, "connect": {"token": token}}));
        (replies, client.closed)
    };
    // One that is over was a right one, and is to be had anew.
    assert_eq!(connect(token(0, &[])).0[0]["error"]["code"], 109);
    assert!(limit.counted.lock().is_empty());
    assert_eq!(connect("a.b.c".to_owned()).1, Some(Disconnect::INVALID_TOKEN));
    assert_eq!(*limit.counted.lock(), [Credential::Token]);
    let (replies, closed) = connect(token(60, &[]));
    assert_eq!(
        (&replies[0]["error"]["code"], &replies[0]["error"]["temporary"]),
        (&json!(111), &json!(true))
    );
    assert_eq!(closed, None);
}

#[test]
fn a_session_has_connected_when_its_connect_is_answered() {
    let mut client = TestClient::new(settings());
    assert!(!client.session.has_connected());
    client.say(json!({"id": 1, "connect": {"token": token(60, &[])}}));
    assert!(client.session.has_connected());
    let (client, _) = entering();
    assert!(!client.session.has_connected());
}

#[test]
fn a_user_whose_id_no_channel_can_carry_connects_without_the_personal_channel() {
    for user in ["two\nlines", "\u{fffd}", "CN=x,OU=y", "a#b", &"x".repeat(300)] {
        let mut client =
            TestClient::new(ClientSettings { personal_channels: vec!["open:me".to_owned()], ..settings() });
        let replies = client.say(json!({"id": 1, "connect": {"token": token_of(user)}}));
        assert!(replies[0]["connect"]["client"].is_string(), "{user}: {replies:?}");
        assert!(replies[0]["connect"].get("subs").is_none(), "{user}: {replies:?}");
    }
}

#[test]
fn recoveries_that_come_with_a_connect_share_what_a_reply_may_hold() {
    let most = settings().reply_max_bytes;
    let channels: Vec<String> = (0..8).map(|number| format!("history:{number}")).collect();
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    for (recovering, expected) in [(0, most), (1, most), (4, most / 4)] {
        let mut client = TestClient::new(settings());
        let mut subs = serde_json::Map::new();
        for channel in &channels[..recovering] {
            subs.insert(channel.clone(), json!({"recover": true, "offset": 1, "epoch": "e"}));
        }
        client.say(json!({"id": 1, "connect": {"token": token(60, &names), "subs": subs}}));
        for _ in 0..channels.len() {
            let (_, request) = client.next_subscribe();
            assert_eq!(request.recover_max_bytes, expected, "{recovering} recover");
        }
    }
}

#[test]
fn a_token_without_a_subject_opens_no_connection_where_anonymous_clients_are_refused() {
    let token = token_without_subject(60);
    let mut client = TestClient::new(ClientSettings { allow_anonymous: false, ..settings() });
    let replies = client.say(json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(replies[0]["error"]["code"], 101, "{replies:?}");

    let mut client = TestClient::new(ClientSettings { allow_anonymous: true, ..settings() });
    let replies = client.say(json!({"id": 1, "connect": {"token": token}}));
    assert!(replies[0]["connect"].is_object(), "{replies:?}");

    // An issuer that writes an empty one means an anonymous user.
    let mut client = TestClient::new(ClientSettings { allow_anonymous: false, ..settings() });
    let replies = client.say(json!({"id": 1, "connect": {"token": token_of("")}}));
    assert!(replies[0]["connect"].is_object(), "{replies:?}");
}
