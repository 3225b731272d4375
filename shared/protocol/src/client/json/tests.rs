//! The check of payloads, and the writing of strings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn string(text: &str) -> String {
    let mut out = BytesMut::new();
    write_string(&mut out, text);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn one_json_value_with_whitespace_around_it_passes() {
    for data in ["null", "0", "-1.5e300", "1e999", r#""x""#, "[]", " {\"a\":[1,{}]}\r\n", r#""\ud800""#] {
        assert_eq!(json_compact_check(data.as_bytes(), JSON_DEPTH), Ok(()), "{data}");
    }
}

#[test]
fn what_is_not_one_json_value_is_refused() {
    for data in [
        "", " ", "{", "[1,]", "{}{}", "1 2", "'x'", "nul", "\"a\nb\"", "\"\\x\"", "NaN", "{a:1}", "[}", "\"[",
    ] {
        let error = json_compact_check(data.as_bytes(), JSON_DEPTH).unwrap_err();
        assert!(matches!(error, JsonError::Syntax { .. }), "{data}: {error:?}");
    }
    assert_eq!(json_compact_check(b"\"\xc0\xaf\"", JSON_DEPTH), Err(JsonError::NotUtf8));
}

#[test]
fn depth_is_allowed_up_to_the_limit() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert_eq!(json_compact_check(&nested(JSON_DEPTH), JSON_DEPTH), Ok(()));
    let too_deep = Err(JsonError::TooDeep { max_depth: JSON_DEPTH });
    assert_eq!(json_compact_check(&nested(JSON_DEPTH + 1), JSON_DEPTH), too_deep);
    assert_eq!(json_compact_check(&nested(100_000), JSON_DEPTH), too_deep);
    assert_eq!(json_compact_check(b"1", 0), Ok(()));
    assert_eq!(json_compact_check(b"[]", 0), Err(JsonError::TooDeep { max_depth: 0 }));
    let siblings = format!("[{}[]]", "[],".repeat(1000));
    assert_eq!(json_compact_check(siblings.as_bytes(), 2), Ok(()));
}

proptest! {
    /// A parser's raw value is whole JSON, so that its depth is all that is left to check.
    #[test]
    fn of_raw_values_the_check_of_depth_says_what_the_whole_check_says(
        text in r#"[\[\]{}:,"\\ 0-9a-fnrtu]{0,24}"#, depth in 0..4_usize,
    ) {
        if let Ok(value) = serde_json::from_str::<&serde_json::value::RawValue>(&text) {
            prop_assert_eq!(json_depth_check(value.get(), depth), json_compact_check(text.as_bytes(), depth));
        }
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        prop_assert_eq!(json_depth_check(&nested, 2).is_ok(), depth <= 2);
    }
}

#[test]
fn a_limit_beyond_the_stack_is_still_safe() {
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(json_compact_check(&nested, usize::MAX), Ok(()));
}

#[test]
fn every_control_character_is_escaped_and_the_rest_is_left_alone() {
    assert_eq!(
        string("\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}"),
        r#""\u0000\b\t\n\u000b\f\r\u001f \"\\/"#.to_owned() + "\u{7f}\""
    );
    assert_eq!(string("고라니 \u{2028} 🦌"), "\"고라니 \u{2028} 🦌\"");
    assert_eq!(string(""), r#""""#);
}

#[test]
fn an_escape_is_seen_wherever_it_stands_in_a_long_string() {
    for at in 0..100 {
        let mut text = "x".repeat(100);
        text.replace_range(at..=at, "\"");
        assert_eq!(string(&text), serde_json::to_string(&text).unwrap());
    }
}

proptest! {
    #[test]
    fn strings_are_written_as_the_library_writes_them(text in any::<String>(), controls in "[\\x00-\\x22a\\\\]{0,80}") {
        prop_assert_eq!(string(&text), serde_json::to_string(&text).unwrap());
        prop_assert_eq!(string(&controls), serde_json::to_string(&controls).unwrap());
    }

    #[test]
    fn the_check_agrees_with_the_library(data in "[\\[\\]{}\",:0-9a-z\\\\ \n]{0,40}") {
        let ours = json_compact_check(data.as_bytes(), usize::MAX).is_ok();
        prop_assert_eq!(ours, serde_json::from_str::<&serde_json::value::RawValue>(&data).is_ok());
    }
}
