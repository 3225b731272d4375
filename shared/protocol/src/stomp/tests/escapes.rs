//! Items 6 to 9.

use Version::{V1_0, V1_1, V1_2};
use bytes::BytesMut;

use super::client::{error, frame, opening};
use crate::stomp::{ServerCommand, StompDecodeError, VERSIONS, Version, encode};

fn written(version: Version, name: &str, value: &str) -> String {
    let mut out = BytesMut::new();
    encode::frame(ServerCommand::Message, version, &mut out).header(name, value).end();
    let text = String::from_utf8(out.to_vec()).unwrap();
    text.strip_prefix("MESSAGE\n").unwrap().strip_suffix("\n\0").unwrap().to_owned()
}

#[test]
fn item_6_nothing_is_trimmed_from_1_1_on() {
    for version in [V1_1, V1_2] {
        assert_eq!(frame(version, "SEND\nkey : value \n\n\0").headers.get("key "), Some(" value "));
    }
    let opening = opening("CONNECT\naccept-version:1.2\nlogin: me\n\n\0").unwrap();
    assert_eq!(opening.headers.get("login"), Some(" me"));
}

#[test]
fn item_6_in_1_0_spaces_before_a_value_are_stripped() {
    assert_eq!(frame(V1_0, "SEND\nkey:  a b \n\n\0").headers.get("key"), Some("a b "));
    let opening = opening("CONNECT\nlogin: me\npasscode: secret\n\n\0").unwrap();
    assert_eq!(opening.headers.get("passcode"), Some("secret"));
}

#[test]
fn item_7_escapes_stand_in_names_and_values() {
    let line = r"a\cb:c\nd\\n\ce";
    for version in [V1_1, V1_2] {
        let frame = frame(version, format!("SEND\n{line}\n\n\0"));
        assert_eq!(frame.headers.get("a:b"), Some("c\nd\\n:e"));
    }
    assert_eq!(frame(V1_0, format!("SEND\n{line}\n\n\0")).headers.get(r"a\cb"), Some(r"c\nd\\n\ce"));
    assert_eq!(frame(V1_2, "SEND\na:b\\rc\n\n\0").headers.get("a"), Some("b\rc"));
}

#[test]
fn item_7_any_other_escape_is_an_error() {
    for (version, line) in [
        (V1_1, r"a:\t"),
        (V1_2, r"a:\t"),
        (V1_1, r"a:\r"),
        (V1_1, "a:b\\"),
        (V1_2, "a:b\\"),
        (V1_2, r"\x:a"),
        (V1_2, r"a:\N"),
    ] {
        assert_eq!(
            error(version, format!("SEND\n{line}\n\n\0")),
            StompDecodeError::BadEscape,
            "{version} {line}"
        );
    }
}

#[test]
fn item_8_the_frames_that_open_a_session_are_not_escaped() {
    let opening = opening("CONNECT\naccept-version:1.2\npasscode:a\\b\\n\\t\n\n\0").unwrap();
    assert_eq!(opening.headers.get("passcode"), Some(r"a\b\n\t"));
    for version in VERSIONS {
        let mut out = BytesMut::new();
        encode::frame(ServerCommand::Connected, version, &mut out).header("user-name", "a:b\\c\r\n").end();
        assert_eq!(out, "CONNECTED\nuser-name:a:b\\c\n\n\0");
    }
}

#[test]
fn item_9_values_are_escaped_for_the_readers_version() {
    let value = "a:b\\c\nd\re";
    assert_eq!(written(V1_2, "key", value), "key:a\\cb\\\\c\\nd\\re\n");
    assert_eq!(written(V1_1, "key", value), "key:a\\cb\\\\c\\nde\n");
    assert_eq!(written(V1_0, "key", value), "key:a:b\\cde\n");
}

#[test]
fn item_9_no_header_ever_begins_a_second_one() {
    for version in VERSIONS {
        let line = written(version, "name", "x\ny:z\0\r\nw:v");
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(!line.contains(['\r', '\0']));
        assert!(line.starts_with("name:"));
    }
}

#[test]
fn item_9_a_name_that_cannot_be_said_in_full_is_left_out_with_its_header() {
    // Without its sign each of these would be another name, perhaps one that the server says itself.
    for (name, least) in
        [("content\n-length", Some(V1_1)), ("a:b", Some(V1_1)), ("a\rb", Some(V1_2)), ("a\0b", None)]
    {
        for version in VERSIONS {
            let is_said = least.is_some_and(|least| version >= least);
            assert_eq!(!written(version, name, "value").is_empty(), is_said, "{version} {name:?}");
        }
    }
    assert_eq!(written(V1_2, "", "value"), "");
}
