//! Pushes on the wire, to the byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::client::json::json_compact_check;

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn parsed(write: impl FnOnce(&mut BytesMut)) -> Value {
    serde_json::from_str(&written(write)).unwrap()
}

fn json_view(data: &[u8]) -> PublicationFields<'_> {
    PublicationFields { data, ..PublicationFields::default() }
}

const INFO: ClientInfoFields<'_> =
    ClientInfoFields { user: "42", client: "c1", conn_info: br#"{"name":"Kim"}"#, chan_info: b"[1]" };

#[test]
fn a_publication_without_history_is_channel_and_data() {
    let text = written(|out| push_publication("news", &json_view(br#"{"a": 1}"#), out));
    assert_eq!(text, r#"{"push":{"channel":"news","pub":{"data":{"a": 1}}}}"#);
}

#[test]
fn a_publication_shows_every_field_it_has_in_a_fixed_order() {
    let tags = [("k".to_owned(), "v".to_owned()), ("q\"".to_owned(), String::new())];
    let publication = PublicationFields {
        data: b"1",
        kind: PayloadKind::Json,
        offset: 9_007_199_254_740_991,
        tags: &tags,
        info: Some(INFO),
        time_ms: 1_700_000_000_123,
    };
    assert_eq!(
        written(|out| push_publication("a", &publication, out)),
        concat!(
            r#"{"push":{"channel":"a","pub":{"data":1,"#,
            r#""info":{"user":"42","client":"c1","conn_info":{"name":"Kim"},"chan_info":[1]},"#,
            r#""offset":9007199254740991,"tags":{"k":"v","q\"":""},"time":1700000000123}}}"#
        )
    );
}

#[test]
fn newlines_between_tokens_of_a_payload_are_stripped_and_nothing_else() {
    let data = b"{\r\n  \"a\":\t\"x\\ny\",\n\"b\":[1,\r2]\n}\n";
    let text = written(|out| push_publication("a", &json_view(data), out));
    assert_eq!(text, "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{  \"a\":\t\"x\\ny\",\"b\":[1,2]}}}}");
}

#[test]
fn text_becomes_a_json_string_even_when_empty() {
    let text = |data: &'static [u8]| {
        let publication = PublicationFields { data, kind: PayloadKind::Text, ..PublicationFields::default() };
        written(|out| push_publication("a", &publication, out))
    };
    assert_eq!(text(b"a\n\"b\"\\"), r#"{"push":{"channel":"a","pub":{"data":"a\n\"b\"\\"}}}"#);
    assert_eq!(text(b""), r#"{"push":{"channel":"a","pub":{"data":""}}}"#);
    assert_eq!(text(b"a\xffb"), "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":\"a\u{fffd}b\"}}}");
}

#[test]
fn binary_becomes_padded_base64() {
    let binary = |data: &'static [u8]| written(|out| write_payload(out, data, PayloadKind::Binary));
    assert_eq!(binary(b""), r#""""#);
    assert_eq!(binary(b"\xff"), r#""/w==""#);
    assert_eq!(binary(b"\xff\xfe"), r#""//4=""#);
    assert_eq!(binary(b"\xff\xfe\xfd"), r#""//79""#);
}

#[test]
fn joins_and_leaves_carry_the_client_and_an_anonymous_user_is_an_empty_string() {
    assert_eq!(
        written(|out| push_join("a", &INFO, out)),
        concat!(
            r#"{"push":{"channel":"a","join":{"info":{"user":"42","client":"c1","#,
            r#""conn_info":{"name":"Kim"},"chan_info":[1]}}}}"#
        )
    );
    let anonymous = ClientInfoFields { client: "c2", ..ClientInfoFields::default() };
    assert_eq!(
        written(|out| push_leave("a", &anonymous, out)),
        r#"{"push":{"channel":"a","leave":{"info":{"user":"","client":"c2"}}}}"#
    );
}

#[test]
fn the_other_pushes_leave_out_what_is_zero_or_empty() {
    assert_eq!(
        written(|out| push_unsubscribe("a", 2500, "insufficient state", out)),
        r#"{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    let subscription =
        SubscribePush { recoverable: true, epoch: "e", offset: 7, positioned: true, data: Some(b"{}") };
    assert_eq!(
        written(|out| push_subscribe("a", &subscription, out)),
        concat!(
            r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"epoch":"e","offset":7,"#,
            r#""positioned":true,"data":{}}}}"#
        )
    );
    assert_eq!(
        written(|out| push_subscribe("a", &SubscribePush::default(), out)),
        r#"{"push":{"channel":"a","subscribe":{}}}"#
    );
    assert_eq!(written(|out| push_message(b"[1]", out)), r#"{"push":{"message":{"data":[1]}}}"#);
    assert_eq!(
        written(|out| push_disconnect(3001, "shutdown", out)),
        r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#
    );
    assert_eq!(
        written(|out| push_refresh(true, 60, out)),
        r#"{"push":{"refresh":{"expires":true,"ttl":60}}}"#
    );
    assert_eq!(written(|out| push_refresh(false, 0, out)), r#"{"push":{"refresh":{}}}"#);
}

#[test]
fn objects_of_one_frame_are_separated_by_one_newline() {
    let mut frame = BytesMut::new();
    crate::client::push_line(&mut frame, PING);
    crate::client::push_line(&mut frame, b"{\"id\":1}");
    crate::client::start_line(&mut frame);
    push_message(b"1", &mut frame);
    assert_eq!(&frame[..], b"{}\n{\"id\":1}\n{\"push\":{\"message\":{\"data\":1}}}");
}

/// Any JSON value, not too deep.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_comes_back_as_it_went(text in any::<String>(), channel in any::<String>()) {
        let publication =
            PublicationFields { data: text.as_bytes(), kind: PayloadKind::Text, offset: 1, ..PublicationFields::default() };
        let push = parsed(|out| push_publication(&channel, &publication, out));
        prop_assert_eq!(&push["push"]["pub"]["data"], &json!(text));
        prop_assert_eq!(push["push"].get("channel").and_then(Value::as_str).unwrap_or_default(), channel);
    }

    #[test]
    fn any_json_value_passes_through_unchanged_in_meaning_and_in_one_line(value in any_json()) {
        for data in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            prop_assert_eq!(json_compact_check(&data, 32), Ok(()));
            let text = written(|out| push_publication("a", &json_view(&data), out));
            prop_assert!(!text.contains('\n'));
            let push: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&push["push"]["pub"]["data"], &value);
        }
    }

    #[test]
    fn any_bytes_come_back_from_base64(data in any::<Vec<u8>>()) {
        use base64::Engine as _;
        let text: String = serde_json::from_str(&written(|out| write_payload(out, &data, PayloadKind::Binary))).unwrap();
        prop_assert_eq!(base64::engine::general_purpose::STANDARD.decode(text).unwrap(), data);
    }
}
