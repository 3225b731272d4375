//! Tests of the decisions: the whole matrix of permissions, and the order of the subscribe check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use serde_json::value::RawValue;

use super::*;
use crate::rules::{ChannelSettings, NamespaceSettings};

const DENIED: Denied = Denied::PermissionDenied;

/// Rules whose channels without a namespace have these options, beside an empty namespace `closed`.
fn rules(options: ChannelOptions) -> ChannelRules {
    let closed = NamespaceSettings { name: "closed".to_owned(), ..NamespaceSettings::default() };
    ChannelRules::new(&ChannelSettings {
        defaults: options,
        namespaces: vec![closed],
        ..ChannelSettings::default()
    })
    .unwrap()
}

/// Rules whose channels without a namespace are open to users, to anonymous clients as well, or to the users in their names.
fn that_permit(for_client: bool, for_anonymous: bool, user_limited: bool) -> ChannelRules {
    rules(ChannelOptions {
        allow_subscribe_for_client: for_client,
        allow_subscribe_for_anonymous: for_anonymous,
        allow_user_limited_channels: user_limited,
        ..ChannelOptions::default()
    })
}

fn with_history() -> ChannelOptions {
    ChannelOptions {
        history_size: 10,
        history_ttl: Duration::from_mins(5),
        presence: true,
        ..ChannelOptions::default()
    }
}

fn request<'a>(channel: &'a str, user: &'a str) -> SubscribeCheck<'a> {
    SubscribeCheck { channel, user, client: "c-1", token: None }
}

/// The step that lets a user subscribe without a token, or the refusal.
fn subscribe(rules: &ChannelRules, channel: &str, user: &str) -> Result<GrantedBy, Denied> {
    rules.may_subscribe(&request(channel, user)).map(|granted| granted.by)
}

/// Every combination of `N` switches.
fn switches<const N: usize>() -> impl Iterator<Item = [bool; N]> {
    (0..1_u32 << N).map(|bits| std::array::from_fn(|at| bits & (1 << at) != 0))
}

#[test]
fn the_whole_matrix_of_subscribing_without_a_token() {
    for [for_client, for_anonymous, user_limited] in switches() {
        let rules = that_permit(for_client, for_anonymous, user_limited);
        let by_options = |allowed: bool| if allowed { Ok(GrantedBy::Options) } else { Err(DENIED) };
        let listed = if user_limited { Ok(GrantedBy::UserLimited) } else { by_options(for_client) };
        for (channel, user, expected) in [
            ("news", "42", by_options(for_client)),
            ("news", "", by_options(for_client && for_anonymous)),
            ("news#42", "42", listed),
            ("news#41,42", "42", listed),
            ("news#42", "43", Err(DENIED)),
            ("news#42", "4", Err(DENIED)),
            ("news#42", "", Err(DENIED)),
            ("news#", "", Err(DENIED)),
            ("$news", "42", Err(DENIED)),
            ("$news", "", Err(DENIED)),
            ("$news#42", "42", Err(DENIED)),
            ("closed:1", "42", Err(DENIED)),
            ("closed:1#42", "42", Err(DENIED)),
            ("nowhere:1", "42", Err(Denied::UnknownChannel)),
            ("$nowhere:1", "42", Err(Denied::UnknownChannel)),
            ("", "42", Err(Denied::BadRequest)),
            ("two\nlines", "42", Err(Denied::BadRequest)),
        ] {
            let case = format!(
                "{channel:?} for {user:?}: client {for_client}, anonymous {for_anonymous}, limited {user_limited}"
            );
            assert_eq!(subscribe(&rules, channel, user), expected, "{case}");
        }
    }
}

/// One of the three commands that have `allow_…_for_…` options.
struct ChannelCommand {
    name: &'static str,
    set: fn(&mut ChannelOptions, [bool; 3]),
    may: for<'r> fn(&'r ChannelRules, &str, &str, bool) -> Result<&'r ChannelOptions, Denied>,
}

const COMMANDS: [ChannelCommand; 3] = [
    ChannelCommand {
        name: "publish",
        set: |options, [subscriber, client, anonymous]| {
            options.allow_publish_for_subscriber = subscriber;
            options.allow_publish_for_client = client;
            options.allow_publish_for_anonymous = anonymous;
        },
        may: ChannelRules::may_publish,
    },
    ChannelCommand {
        name: "presence",
        set: |options, [subscriber, client, anonymous]| {
            options.allow_presence_for_subscriber = subscriber;
            options.allow_presence_for_client = client;
            options.allow_presence_for_anonymous = anonymous;
        },
        may: ChannelRules::may_presence,
    },
    ChannelCommand {
        name: "history",
        set: |options, [subscriber, client, anonymous]| {
            options.allow_history_for_subscriber = subscriber;
            options.allow_history_for_client = client;
            options.allow_history_for_anonymous = anonymous;
        },
        may: ChannelRules::may_history,
    },
];

#[test]
fn the_whole_matrix_of_publishing_presence_and_history() {
    for command in COMMANDS {
        for [subscriber, client, anonymous] in switches() {
            let mut options = with_history();
            (command.set)(&mut options, [subscriber, client, anonymous]);
            let rules = rules(options);
            // (channel, user, is subscribed, expected)
            for (channel, user, is_subscribed, expected) in [
                ("news", "42", true, subscriber || client),
                ("news", "42", false, client),
                ("news", "", true, (subscriber || client) && anonymous),
                ("news", "", false, client && anonymous),
                ("news#42", "42", true, subscriber || client),
                ("news#42", "42", false, client),
                // By a token, or put there by the backend.
                ("news#42", "43", true, subscriber || client),
                ("news#42", "43", false, false),
                ("news#42", "", false, false),
                ("$news", "42", true, subscriber || client),
                ("$news", "42", false, false),
                ("$news#42", "42", false, false),
            ] {
                let case = format!(
                    "{} in {channel} by {user:?}, subscribed {is_subscribed}: options {:?}",
                    command.name,
                    [subscriber, client, anonymous],
                );
                let outcome = (command.may)(&rules, channel, user, is_subscribed).map(|_| ());
                assert_eq!(outcome, if expected { Ok(()) } else { Err(DENIED) }, "{case}");
            }
        }
    }
}

#[test]
fn the_permission_of_one_command_opens_no_other() {
    for opened in COMMANDS {
        let mut options = with_history();
        (opened.set)(&mut options, [true; 3]);
        let rules = rules(options);
        for command in COMMANDS {
            let outcome = (command.may)(&rules, "news", "42", true);
            assert_eq!(outcome.is_ok(), command.name == opened.name, "{} by {}", command.name, opened.name);
        }
        assert_eq!(subscribe(&rules, "news", "42"), Err(DENIED));
    }
}

#[test]
fn names_and_namespaces_are_checked_before_any_permission() {
    let mut options = with_history();
    COMMANDS.iter().for_each(|command| (command.set)(&mut options, [true; 3]));
    let rules = rules(options);
    for command in COMMANDS {
        let may = |channel: &str| (command.may)(&rules, channel, "42", true).map(|_| ());
        assert_eq!(may("news"), Ok(()), "{}", command.name);
        assert_eq!(may("nowhere:1"), Err(Denied::UnknownChannel), "{}", command.name);
        assert_eq!(may(""), Err(Denied::BadRequest), "{}", command.name);
        assert_eq!(may("line\n"), Err(Denied::BadRequest), "{}", command.name);
        assert_eq!(may(&"c".repeat(256)), Err(Denied::BadRequest), "{}", command.name);
    }
}

#[test]
fn presence_and_history_that_are_off_are_not_available_to_anybody() {
    let mut options = ChannelOptions::default();
    COMMANDS.iter().for_each(|command| (command.set)(&mut options, [true; 3]));
    let rules = rules(options);
    for user in ["42", ""] {
        assert_eq!(rules.may_presence("news", user, true), Err(Denied::NotAvailable));
        assert_eq!(rules.may_history("news", user, true), Err(Denied::NotAvailable));
        assert!(rules.may_publish("news", user, true).is_ok());
    }
    assert_eq!(rules.may_presence("closed:1", "42", true), Err(Denied::NotAvailable));
    assert_eq!(rules.may_publish("closed:1", "42", true), Err(DENIED));
}

fn token(channel: &str, user: &str) -> SubscriptionClaims {
    SubscriptionClaims { channel: channel.to_owned(), user: user.to_owned(), ..SubscriptionClaims::default() }
}

#[test]
fn a_token_alone_decides_for_any_channel_that_exists() {
    let closed = rules(ChannelOptions::default());
    for (channel, user) in [
        ("news", "42"),
        ("$news", "42"),
        ("$news", ""),
        ("news#43", "42"),
        ("closed:1", "42"),
        ("$closed:1", "42"),
    ] {
        let claims = token(channel, user);
        let request = SubscribeCheck { token: Some(Ok(&claims)), ..request(channel, user) };
        let by = closed.may_subscribe(&request).map(|granted| granted.by);
        assert_eq!(by, Ok(GrantedBy::SubscriptionToken), "{channel} for {user:?}");
    }
    let claims = token("nowhere:1", "42");
    let request = SubscribeCheck { token: Some(Ok(&claims)), ..request("nowhere:1", "42") };
    assert_eq!(closed.may_subscribe(&request).err(), Some(Denied::UnknownChannel));
}

#[test]
fn a_token_for_somebody_or_something_else_is_denied_even_where_the_options_would_allow() {
    let open = rules(ChannelOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_user_limited_channels: true,
        ..ChannelOptions::default()
    });
    let client = |client: &str| SubscriptionClaims { client: Some(client.to_owned()), ..token("news", "42") };
    for (claims, channel, user, expected, why) in [
        (token("news", "42"), "news", "42", Ok(()), "as signed"),
        (client("c-1"), "news", "42", Ok(()), "for this connection"),
        (token("sports", "42"), "news", "42", Err(DENIED), "another channel"),
        (token("New", "42"), "news", "42", Err(DENIED), "another spelling"),
        (token("news", "43"), "news", "42", Err(DENIED), "another user"),
        (token("news", ""), "news", "42", Err(DENIED), "an anonymous user's token"),
        (token("news", "42"), "news", "", Err(DENIED), "a user's token for an anonymous one"),
        (client("c-2"), "news", "42", Err(DENIED), "another connection"),
        (token("news#43", "42"), "news#42", "42", Err(DENIED), "another list of users"),
    ] {
        let request = SubscribeCheck { token: Some(Ok(&claims)), ..request(channel, user) };
        assert_eq!(open.may_subscribe(&request).map(|_| ()), expected, "{why}");
    }
}

#[test]
fn a_token_that_is_refused_is_not_passed_over() {
    let open = rules(ChannelOptions { allow_subscribe_for_client: true, ..ChannelOptions::default() });
    for (error, expected, code) in [
        (TokenError::Expired, Denied::TokenExpired, 109),
        (TokenError::NotYetValid, Denied::TokenExpired, 109),
        (TokenError::UnknownKey, Denied::UnknownKey, 103),
        (TokenError::Invalid(InvalidToken::Signature), Denied::InvalidToken(InvalidToken::Signature), 103),
    ] {
        for channel in ["news", "$news"] {
            let request = SubscribeCheck { token: Some(Err(&error)), ..request(channel, "42") };
            let denied = open.may_subscribe(&request).unwrap_err();
            assert_eq!((denied, denied.code()), (expected, code), "{channel}");
        }
    }
}

#[test]
fn a_grant_carries_what_the_token_says() {
    let rules = rules(with_history());
    let raw = |json: &str| Some(RawValue::from_string(json.to_owned()).unwrap());
    let claims = SubscriptionClaims {
        expires_at: Some(99),
        info: raw("[1]"),
        data: raw("[2]"),
        overrides: OptionOverrides {
            presence: Some(false),
            join_leave: Some(true),
            force_recovery: Some(true),
            ..OptionOverrides::default()
        },
        ..token("news", "42")
    };
    let request = SubscribeCheck { token: Some(Ok(&claims)), ..request("news", "42") };
    let granted = rules.may_subscribe(&request).unwrap();
    assert_eq!(granted.expires_at, Some(99));
    assert_eq!(granted.info.unwrap().get(), "[1]");
    assert_eq!(granted.data.unwrap().get(), "[2]");
    let expected =
        ChannelOptions { presence: false, join_leave: true, force_recovery: true, ..with_history() };
    assert_eq!(granted.options, expected);
    // The rules themselves are as before.
    assert_eq!(rules.options("news"), Ok(&with_history()));
}

#[test]
fn a_token_cannot_force_recovery_where_nothing_is_kept() {
    let rules = rules(ChannelOptions::default());
    let overrides = OptionOverrides {
        force_recovery: Some(true),
        force_positioning: Some(true),
        ..OptionOverrides::default()
    };
    let claims = SubscriptionClaims { overrides, ..token("news", "42") };
    let request = SubscribeCheck { token: Some(Ok(&claims)), ..request("news", "42") };
    assert_eq!(rules.may_subscribe(&request).unwrap().options, ChannelOptions::default());
}

#[test]
fn a_connection_token_opens_its_channels_if_they_exist() {
    let rules = rules(ChannelOptions::default());
    for (channel, expected) in [
        ("news", Ok(GrantedBy::ConnectionToken)),
        ("$closed:1#42", Ok(GrantedBy::ConnectionToken)),
        ("nowhere:1", Err(Denied::UnknownChannel)),
        ("two\nlines", Err(Denied::BadRequest)),
        ("", Err(Denied::BadRequest)),
    ] {
        assert_eq!(rules.server_side(channel, None).map(|granted| granted.by), expected, "{channel}");
    }
    let claims = SubscribeClaims {
        overrides: OptionOverrides { presence: Some(true), ..OptionOverrides::default() },
        info: Some(RawValue::from_string("[1]".to_owned()).unwrap()),
        ..SubscribeClaims::default()
    };
    let granted = rules.server_side("news", Some(&claims)).unwrap();
    assert!(granted.options.presence && granted.expires_at.is_none() && granted.data.is_none());
    assert_eq!(granted.info.unwrap().get(), "[1]");
}

#[test]
fn contexts_are_looked_for_where_some_channels_are_traced_by_them() {
    let traced = ChannelOptions { trace_sampled: true, ..ChannelOptions::default() };
    let of = |defaults, options| {
        let namespaces =
            vec![NamespaceSettings { name: "a".to_owned(), options, ..NamespaceSettings::default() }];
        let settings: ChannelSettings =
            ChannelSettings::<()> { defaults, namespaces, ..ChannelSettings::default() };
        settings.rules().unwrap().traces_sampled()
    };
    let off = ChannelOptions::default();
    assert_eq!([of(off, off), of(off, traced), of(traced, off)], [false, true, true]);
}

#[test]
fn every_denial_has_its_code() {
    for (denied, code) in [
        (Denied::UnknownChannel, 102),
        (Denied::PermissionDenied, 103),
        (Denied::BadRequest, 107),
        (Denied::NotAvailable, 108),
        (Denied::TokenExpired, 109),
    ] {
        assert_eq!(denied.code(), code, "{denied}");
    }
}

#[test]
fn what_the_rules_granted_goes_on_while_any_of_them_permits_it_and_what_was_signed_while_its_channel_exists()
{
    for [for_client, for_anonymous, user_limited] in switches() {
        let rules = that_permit(for_client, for_anonymous, user_limited);
        for (channel, user) in [
            ("news", "42"),
            ("news", ""),
            ("news#42", "42"),
            ("news#42", "43"),
            ("$news", "42"),
            ("nowhere:1", "42"),
        ] {
            let would_begin = subscribe(&rules, channel, user).is_ok();
            let exists = channel != "nowhere:1";
            for (by, expected) in [
                (GrantedBy::Options, would_begin),
                (GrantedBy::UserLimited, would_begin),
                (GrantedBy::SubscriptionToken, exists),
                (GrantedBy::ConnectionToken, exists),
            ] {
                assert_eq!(rules.still_permits(channel, user, by), expected, "{channel} {user:?} {by:?}");
            }
        }
    }
}
