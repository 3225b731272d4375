//! Tests of the keys and of the headers that carry them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn keys(list: &[&str]) -> ApiKeys {
    ApiKeys::new(list.iter().map(|&key| key.to_owned()).collect()).unwrap()
}

#[test]
fn each_of_several_keys_opens_and_nothing_else_does() {
    let keys = keys(&["first-key", "second"]);
    for (presented, expected, why) in [
        ("first-key", true, "the first key"),
        ("second", true, "the second key"),
        ("", false, "nothing"),
        ("secon", false, "a beginning of a key"),
        ("second ", false, "a key and a space"),
        ("second\0", false, "a key and a zero byte, which is what keys are padded with"),
        ("secondsecond", false, "a key twice"),
        ("SECOND", false, "a key in another case"),
        ("first-kez", false, "a key with another last byte"),
    ] {
        assert_eq!(keys.check(presented.as_bytes()), expected, "{why}");
    }
}

#[test]
fn without_keys_nothing_matches() {
    let none = ApiKeys::default();
    assert!(none.is_empty());
    for presented in [&b""[..], b"\0", b"key", &[0; API_KEY_MAX_BYTES]] {
        assert!(!none.check(presented));
    }
}

#[test]
fn a_presented_key_over_the_limit_is_refused_and_one_at_the_limit_is_compared() {
    let longest = "k".repeat(API_KEY_MAX_BYTES);
    let keys = keys(&[&longest]);
    assert!(keys.check(longest.as_bytes()));
    assert!(!keys.check(&longest.as_bytes()[1..]));
    assert!(!keys.check(format!("{longest}k").as_bytes()));
}

#[test]
fn keys_that_could_never_match_or_would_match_everybody_are_refused_by_their_number() {
    let new = |key: &str| ApiKeys::new(vec!["good".to_owned(), key.to_owned()]).unwrap_err();
    assert_eq!(new(""), ApiKeyError::Empty { number: 2 });
    assert_eq!(new(&"k".repeat(API_KEY_MAX_BYTES + 1)), ApiKeyError::TooLong { number: 2 });
    for key in ["two words", "line\n", "고라니", " "] {
        assert_eq!(new(key), ApiKeyError::NotPrintable { number: 2 }, "{key:?}");
    }
}

#[test]
fn neither_errors_nor_debug_output_show_a_key() {
    let error = ApiKeys::new(vec!["top secret".to_owned()]).unwrap_err();
    let shown = format!("{error} {error:?} {:?}", keys(&["hidden"]));
    assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    assert!(shown.contains("API key number 1"), "{shown}");
}

#[test]
fn a_key_is_found_in_either_header() {
    let cases: &[(Option<&str>, Option<&str>, Option<&str>)] = &[
        (Some("k"), None, Some("k")),
        (Some("  k\t"), None, Some("k")),
        (None, Some("apikey k"), Some("k")),
        (None, Some("ApiKey k"), Some("k")),
        (None, Some("APIKEY   k "), Some("k")),
        (None, Some("apikey\tk"), Some("k")),
        (Some("x"), Some("apikey k"), Some("x")),
        (Some(""), Some("apikey k"), Some("k")),
        (None, Some("apikeyk"), None),
        (None, Some("apikey"), None),
        (None, Some("apikey  "), None),
        (None, Some("Bearer k"), None),
        (None, Some("Basic apikey k"), None),
        (None, Some(""), None),
        (Some(" "), None, None),
        (None, None, None),
    ];
    for &(x_api_key, authorization, expected) in cases {
        let found = from_headers(x_api_key.map(str::as_bytes), authorization.map(str::as_bytes));
        assert_eq!(
            found,
            expected.map(str::as_bytes),
            "X-API-Key: {x_api_key:?}, Authorization: {authorization:?}"
        );
    }
}

#[test]
fn header_bytes_that_are_not_text_are_only_bytes() {
    assert_eq!(from_headers(None, Some(b"apikey \xff\xfe")), Some(&b"\xff\xfe"[..]));
    assert_eq!(from_headers(None, Some(b"\xff\xfe\xff\xfe\xff\xfe\xff")), None);
    assert!(!keys(&["k"]).check(b"\xff\xfe"));
}
