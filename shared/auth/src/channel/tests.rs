//! Tests of channel names and their parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn names_are_1_to_255_bytes_of_any_script_without_control_characters() {
    let longest = "c".repeat(255);
    let longest_hangul = "가".repeat(85);
    for name in [
        "a",
        "!",
        "~",
        "chat:room#42,43",
        "$chat:1",
        "news/today?x=1&y=*",
        "채팅방",
        "채팅:고라니 방#사용자,42",
        "чат:новости",
        "聊天:大厅",
        "چت:\u{200c}اتاق",
        "two words",
        " ",
        "\u{a0}",
        "👩‍👩‍👧",
        "e\u{301}",
        "\u{10ffff}",
        "{a}%7B",
        longest.as_str(),
        longest_hangul.as_str(),
    ] {
        assert_eq!(check_channel_name(name, CHANNEL_NAME_MAX_BYTES), Ok(()), "{name}");
    }
    let too_long = "c".repeat(256);
    let too_long_hangul = "가".repeat(86);
    let control = |at| ChannelNameError::ControlCharacter { at };
    for (name, error) in [
        ("", ChannelNameError::Empty),
        ("line\n", control(4)),
        ("\0", control(0)),
        ("a\u{7f}", control(1)),
        ("방\u{85}", control(3)),
        ("방\u{9f}", control(3)),
        ("방\u{2028}", control(3)),
        ("\u{2029}", control(0)),
        ("방\u{fffd}", ChannelNameError::NotUtf8 { at: 3 }),
        ("queue wake jobs", ChannelNameError::Reserved),
        ("queue wake ", ChannelNameError::Reserved),
        (too_long.as_str(), ChannelNameError::TooLong { bytes: 256, max_bytes: 255 }),
        (too_long_hangul.as_str(), ChannelNameError::TooLong { bytes: 258, max_bytes: 255 }),
    ] {
        assert_eq!(check_channel_name(name, CHANNEL_NAME_MAX_BYTES), Err(error), "{name:?}");
    }
}

#[test]
fn a_smaller_limit_counts_and_a_larger_one_does_not() {
    assert_eq!(check_channel_name("abcd", 4), Ok(()));
    assert_eq!(check_channel_name("abcde", 4), Err(ChannelNameError::TooLong { bytes: 5, max_bytes: 4 }));
    let too_long = "c".repeat(256);
    assert!(check_channel_name(&too_long, 10_000).is_err());
}

#[test]
fn a_name_is_taken_apart() {
    for (name, is_private, namespace, rest, users) in [
        ("news", false, None, "news", None),
        ("$news", true, None, "news", None),
        ("chat:1", false, Some("chat"), "1", None),
        ("$chat:1", true, Some("chat"), "1", None),
        ("chat:a:b", false, Some("chat"), "a:b", None),
        (":a", false, Some(""), "a", None),
        ("chat:", false, Some("chat"), "", None),
        ("orders#42", false, None, "orders", Some(vec!["42"])),
        ("$chat:x#42,43", true, Some("chat"), "x", Some(vec!["42", "43"])),
        // A `:` in a user id is not a namespace.
        ("orders#oauth:42", false, None, "orders", Some(vec!["oauth:42"])),
        ("chat:x#oauth:42", false, Some("chat"), "x", Some(vec!["oauth:42"])),
        ("a#b#c", false, None, "a", Some(vec!["b#c"])),
        ("a#", false, None, "a", Some(vec![""])),
        // Only a first `$` is a prefix.
        ("chat:$1", false, Some("chat"), "$1", None),
        ("", false, None, "", None),
    ] {
        let parts = ChannelName::parse(name);
        assert_eq!((parts.is_private, parts.namespace, parts.rest), (is_private, namespace, rest), "{name}");
        assert_eq!(parts.is_user_limited(), users.is_some(), "{name}");
        assert_eq!(parts.users().collect::<Vec<_>>(), users.unwrap_or_default(), "{name}");
    }
}

#[test]
fn a_list_names_whole_users_and_never_the_anonymous_one() {
    for (name, user, expected) in [
        ("x#42", "42", true),
        ("x#42,43", "43", true),
        ("x#42,43", "4", false),
        ("x#42,43", "42,43", false),
        ("x#42", "", false),
        ("x#", "", false),
        ("x#42,", "", false),
        ("x", "x", false),
        ("x", "", false),
    ] {
        assert_eq!(ChannelName::parse(name).lists_user(user), expected, "{name} for {user:?}");
    }
}

#[test]
fn a_personal_channel_belongs_to_exactly_its_user() {
    let cases = [
        ("orders", "42", Ok("orders#42")),
        ("chat:inbox", "oauth:42", Ok("chat:inbox#oauth:42")),
        ("", "42", Err(ChannelNameError::Empty)),
        ("orders", "", Err(ChannelNameError::NoUser)),
        ("orders", "42,43", Err(ChannelNameError::AmbiguousUser)),
        ("orders", "4#2", Err(ChannelNameError::AmbiguousUser)),
        ("orders#1", "42", Err(ChannelNameError::AmbiguousUser)),
        ("주문", "사용자 42", Ok("주문#사용자 42")),
        ("orders", "a\tb", Err(ChannelNameError::ControlCharacter { at: 8 })),
        ("orders", "\u{fffd}", Err(ChannelNameError::NotUtf8 { at: 7 })),
    ];
    for (name, user, expected) in cases {
        assert_eq!(personal_channel(name, user).as_deref(), expected.as_ref().copied(), "{name} of {user}");
    }
    assert!(personal_channel("orders", &"u".repeat(249)).is_err());
}

proptest! {
    #[test]
    fn a_personal_channel_lists_its_user_alone_and_keeps_its_namespace(
        name in "[!-~가-힣é\u{301} ]{1,40}",
        user in "[!-~가-힣é\u{301} ]{1,40}",
        other in "[!-~가-힣é\u{301} ]{1,40}",
    ) {
        if let Ok(channel) = personal_channel(&name, &user) {
            let parts = ChannelName::parse(&channel);
            prop_assert!(parts.lists_user(&user));
            prop_assert_eq!(parts.lists_user(&other), other == user);
            prop_assert_eq!(parts.namespace, ChannelName::parse(&name).namespace);
            prop_assert_eq!(check_channel_name(&channel, CHANNEL_NAME_MAX_BYTES), Ok(()));
        }
    }

    #[test]
    fn any_text_is_taken_apart_without_a_panic(name in ".*", user in ".*") {
        let is_name = check_channel_name(&name, CHANNEL_NAME_MAX_BYTES).is_ok();
        prop_assert!(!is_name || name.chars().all(|character| !character.is_control()));
        let parts = ChannelName::parse(&name);
        prop_assert!(parts.rest.len() <= name.len());
        prop_assert!(parts.is_user_limited() || !parts.lists_user(&user));
    }
}
