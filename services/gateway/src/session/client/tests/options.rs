//! The subscription that a channel's options give: every combination of them, for each who may ask.

use gorani_auth::{ChannelOptions, GrantedBy, SubscribeGranted};

use super::*;
use crate::session::{
    client::state::ClientSubscription,
    shared::{policy::raw_bytes, recovery::RequestedFeatures},
};

const OPTIONS: usize = 7;

/// Every combination of the options that matter here.
fn combinations() -> impl Iterator<Item = ChannelOptions> {
    (0..1_u32 << OPTIONS).map(|bits| {
        let is = |bit: u32| bits & (1 << bit) != 0;
        ChannelOptions {
            force_recovery: is(0),
            allow_recovery: is(1),
            force_positioning: is(2),
            allow_positioning: is(3),
            join_leave: is(4),
            force_push_join_leave: is(5),
            history_size: if is(6) { 10 } else { 0 },
            history_ttl: Duration::from_secs(60),
            ..ChannelOptions::default()
        }
    })
}

fn granted(options: &ChannelOptions) -> SubscribeGranted<'static> {
    SubscribeGranted { options: *options, by: GrantedBy::Options, expires_at: None, info: None, data: None }
}

fn traits(subscription: &ClientSubscription) -> [bool; 3] {
    [subscription.recoverable, subscription.positioned, subscription.join_leave]
}

#[test]
fn what_the_server_subscribes_has_all_that_the_options_allow_but_joins_only_where_they_are_forced() {
    let client = TestClient::connected();
    for options in combinations() {
        let forced = options.join_leave && options.force_push_join_leave;
        for (requested, join_leave) in
            [(RequestedFeatures::BY_SERVER, forced), (RequestedFeatures::ALL, options.join_leave)]
        {
            let subscription = client.session.granted_by_server("a", &granted(&options), requested);
            let history = options.has_history();
            let recoverable = history && (options.force_recovery || options.allow_recovery);
            let positioned =
                history && (recoverable || options.force_positioning || options.allow_positioning);
            assert_eq!(traits(&subscription), [recoverable, positioned, join_leave], "{options:?}");
            assert!(subscription.server_side);
        }
    }
}

#[test]
fn a_token_has_its_bearer_told_of_joins_where_it_overrides_the_options() {
    let overridden = |overrides: Value| {
        let mut client = TestClient::new(settings());
        let claims = json!({"sub": "42", "subs": {"history:a": {"override": overrides}}});
        client.say(json!({"id": 1, "connect": {"token": sign_claims(&claims)}}));
        client.next_subscribe().1.join_leave
    };
    assert!(!overridden(json!({})));
    assert!(!overridden(json!({"join_leave": {"value": true}})));
    assert!(overridden(json!({"force_push_join_leave": {"value": true}})));
}

#[test]
fn what_nobody_asks_for_is_had_only_where_the_options_force_it() {
    let client = TestClient::connected();
    for options in combinations() {
        let subscription = client.session.granted("a", &granted(&options), RequestedFeatures::default());
        let history = options.has_history();
        let recoverable = history && options.force_recovery;
        let positioned = history && (options.force_recovery || options.force_positioning);
        let join_leave = options.join_leave && options.force_push_join_leave;
        assert_eq!(traits(&subscription), [recoverable, positioned, join_leave], "{options:?}");
        let mut hidden = subscription;
        hidden.hide();
        let request = hidden.request(10);
        assert!(!request.presence && !request.announce && !request.join_leave);
    }
}

#[test]
fn a_client_is_given_what_it_asks_for_as_far_as_the_options_of_the_channel_allow_it() {
    let asked = |channel: &str, asks: Value| {
        let mut client = TestClient::connected();
        let mut subscribe = json!({"channel": channel});
        subscribe.as_object_mut().unwrap().extend(asks.as_object().unwrap().clone());
        client.say(json!({"id": 2, "subscribe": subscribe}));
        client.next_subscribe();
        traits(client.session.subscription(channel).unwrap())
    };
    assert_eq!(asked("history:a", json!({})), [false, false, false]);
    assert_eq!(asked("history:a", json!({"positioned": true})), [false, true, false]);
    assert_eq!(asked("history:a", json!({"recoverable": true})), [true, true, false]);
    assert_eq!(asked("history:a", json!({"join_leave": true})), [false, false, true]);
    let all = json!({"recoverable": true, "positioned": true, "join_leave": true});
    assert_eq!(asked("history:a", all.clone()), [true, true, true]);
    assert_eq!(asked("open:a", all.clone()), [false, false, false], "nothing of it is there");
    assert_eq!(asked("forced:a", json!({})), [true, true, false]);
    assert_eq!(asked("forced:a", all), [true, true, false]);
}

#[test]
fn an_empty_name_or_token_and_one_byte_too_many_are_bad_requests() {
    let longest = |more: usize| format!("open:{}", "x".repeat(settings().channel_max_bytes - 5 + more));
    let mut client = TestClient::connected();
    for channel in [String::new(), longest(1)] {
        let replies = client.say(json!({"id": 2, "subscribe": {"channel": channel}}));
        assert_eq!(error_code(&replies[0]), 107);
    }
    client.say(json!({"id": 3, "subscribe": {"channel": longest(0)}}));
    client.next_subscribe();
    for (channel, token) in [("", "token"), ("open:a", ""), ("", "")] {
        let replies = client.say(json!({"id": 4, "sub_refresh": {"channel": channel, "token": token}}));
        assert_eq!(error_code(&replies[0]), 107);
    }
}

#[test]
fn raw_json_is_taken_as_it_is_written() {
    let raw = serde_json::value::RawValue::from_string(r#"{"a" : 1}"#.to_owned()).unwrap();
    assert_eq!(raw_bytes(Some(&raw)), r#"{"a" : 1}"#);
}
