//! Commands as clients send them, and what is not a command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depth;
mod receiver;
mod unreadable;

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::client::json::{JSON_DEPTH, JsonError};
use crate::client::push::tests::any_json;

fn read(line: &str) -> ClientCommand<'_> {
    decode(line.as_bytes(), JSON_DEPTH).unwrap()
}

fn fault(line: &[u8]) -> DecodeError {
    decode(line, JSON_DEPTH).unwrap_err()
}

fn written(command: &ClientCommand<'_>) -> String {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// Reads a line and writes it again; both must agree, so that every field is proved to be read and named right.
fn there_and_back(line: &str) -> ClientCommand<'_> {
    let command = read(line);
    assert_eq!(written(&command), line);
    command
}

#[test]
fn an_empty_object_is_a_pong() {
    assert!(matches!(there_and_back("{}"), ClientCommand { id: 0, request: ClientRequest::Pong }));
    assert!(matches!(read(" { } "), ClientCommand { id: 0, request: ClientRequest::Pong }));
}

#[test]
fn connect_is_read_with_all_its_fields() {
    let command = there_and_back(concat!(
        r#"{"id":1,"connect":{"token":"t","data":{"x": 1},"name":"js","version":"1","#,
        r#""headers":{"A":"b","C\n":""},"#,
        r#""subs":{"c":{"recover":true,"offset":5,"epoch":"e"},"d":{}},"flag":-1}}"#
    ));
    assert_eq!(command.id, 1);
    let ClientRequest::Connect(connect) = command.request else { panic!("{command:?}") };
    assert_eq!((&*connect.token, &*connect.name, &*connect.version, connect.flag), ("t", "js", "1", -1));
    assert_eq!(*connect.data.unwrap().data, *br#"{"x": 1}"#);
    assert_eq!((&*connect.headers["A"], &*connect.headers["C\n"]), ("b", ""));
    assert_eq!(
        (connect.subs["c"].recover, connect.subs["c"].offset, &*connect.subs["c"].epoch),
        (true, 5, "e")
    );
    assert!(!connect.subs["d"].recover);
}

#[test]
fn subscribe_is_read_with_all_its_fields() {
    let command = there_and_back(concat!(
        r#"{"id":2,"subscribe":{"channel":"a:b","token":"t","data":[1],"recover":true,"offset":9007199254740991,"#,
        r#""epoch":"e","positioned":true,"recoverable":true,"join_leave":true,"flag":3,"delta":"fossil","#,
        r#""tf":{"op":"and","nodes":[]},"type":4}}"#
    ));
    let ClientRequest::Subscribe(subscribe) = command.request else { panic!("{command:?}") };
    assert_eq!((&*subscribe.channel, &*subscribe.token, &*subscribe.epoch), ("a:b", "t", "e"));
    assert_eq!((subscribe.offset, subscribe.kind, &*subscribe.delta), ((1 << 53) - 1, 4, "fossil"));
    assert!(subscribe.recover && subscribe.positioned && subscribe.recoverable && subscribe.join_leave);
    assert!(subscribe.rejects_unrecovered());
    assert_eq!(*subscribe.filter.unwrap().data, *br#"{"op":"and","nodes":[]}"#);
    let ClientRequest::Subscribe(plain) =
        there_and_back(r#"{"id":2,"subscribe":{"channel":"a","flag":1}}"#).request
    else {
        panic!("not a subscribe")
    };
    assert!(!plain.rejects_unrecovered() && !plain.recover && plain.data.is_none() && plain.filter.is_none());
}

#[test]
fn the_small_commands_are_read() {
    there_and_back(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    let ClientRequest::Publish(publish) =
        there_and_back(r#"{"id":4,"publish":{"channel":"a","data":"x"}}"#).request
    else {
        panic!("not a publish")
    };
    assert_eq!((&*publish.channel, &*publish.data.data), ("a", &br#""x""#[..]));
    assert!(matches!(
        there_and_back(r#"{"id":5,"presence":{"channel":"a"}}"#).request,
        ClientRequest::Presence { .. }
    ));
    let stats = there_and_back(r#"{"id":6,"presence_stats":{"channel":"a"}}"#);
    assert!(matches!(stats.request, ClientRequest::PresenceStats { .. }));
    there_and_back(r#"{"id":7,"rpc":{"method":"m","data":{"n":1}}}"#);
    assert!(matches!(there_and_back(r#"{"id":7,"rpc":{}}"#).request, ClientRequest::Rpc { data: None, .. }));
    there_and_back(r#"{"id":8,"refresh":{"token":"t"}}"#);
    there_and_back(r#"{"id":4294967295,"sub_refresh":{"channel":"a","token":"t"}}"#);
}

#[test]
fn send_needs_no_id() {
    assert!(matches!(
        there_and_back(r#"{"send":{"data":1}}"#).request,
        ClientRequest::Send { data: Some(_) }
    ));
    assert!(matches!(there_and_back(r#"{"send":{}}"#).request, ClientRequest::Send { data: None }));
    assert_eq!(there_and_back(r#"{"id":3,"send":{"data":1}}"#).id, 3);
}

#[test]
fn history_is_read_with_and_without_a_position() {
    let command = there_and_back(
        r#"{"id":1,"history":{"channel":"a","limit":-1,"since":{"offset":7,"epoch":"e"},"reverse":true}}"#,
    );
    let ClientRequest::History(history) = command.request else { panic!("{command:?}") };
    assert_eq!((history.limit, history.reverse), (-1, true));
    assert_eq!(history.since.unwrap().offset, 7);
    let ClientRequest::History(top) = there_and_back(r#"{"id":1,"history":{"channel":"a"}}"#).request else {
        panic!("not a history")
    };
    assert!(top.since.is_none() && top.limit == 0);
    let start = there_and_back(r#"{"id":1,"history":{"channel":"a","since":{}}}"#);
    assert!(matches!(start.request, ClientRequest::History(History { since: Some(_), .. })));
}

#[test]
fn strings_are_borrowed_from_the_line_unless_they_hold_escapes() {
    let ClientRequest::Connect(connect) = read(
        r#"{"id":1,"connect":{"token":"t","name":"\u0041","headers":{"k":"v"},"subs":{"c":{"epoch":"e"}}}}"#,
    )
    .request
    else {
        panic!("not a connect")
    };
    assert!(matches!(connect.token, Cow::Borrowed("t")));
    assert!(matches!(&connect.name, Cow::Owned(name) if name == "A"));
    assert!(connect.headers.iter().all(|entry| matches!(entry, (Cow::Borrowed("k"), Cow::Borrowed("v")))));
    assert!(connect.subs.iter().all(|(channel, position)| {
        matches!(channel, Cow::Borrowed("c")) && matches!(position.epoch, Cow::Borrowed("e"))
    }));
}

#[test]
fn unknown_fields_are_ignored_at_every_level() {
    let command = read(
        r#"{"later":[{}],"id":1,"subscribe":{"channel":"a","cursor":"","limit":5,"asc":true},"x":null}"#,
    );
    assert!(matches!(command.request, ClientRequest::Subscribe(subscribe) if subscribe.channel == "a"));
    let ClientRequest::Connect(connect) =
        read(r#"{"id":1,"connect":{"dict":"d","subs":{"a":{"type":1}}}}"#).request
    else {
        panic!("not a connect")
    };
    assert!(connect.subs.contains_key("a"));
}

#[test]
fn null_counts_as_absent() {
    let line = r#"{"id":1,"connect":{"token":null,"data":null,"headers":null,"subs":{"c":null},"flag":null},"subscribe":null}"#;
    assert_eq!(written(&read(line)), r#"{"id":1,"connect":{"subs":{"c":{}}}}"#);
    assert_eq!(
        written(&read(r#"{"id":1,"history":{"channel":"a","since":null,"reverse":null}}"#)),
        r#"{"id":1,"history":{"channel":"a"}}"#
    );
    assert!(matches!(read(r#"{"id":null}"#).request, ClientRequest::Pong));
}

#[test]
fn the_id_may_come_after_the_request() {
    assert_eq!(read(r#"{"publish":{"data":1,"channel":"a"},"id":9}"#).id, 9);
    let error = fault(br#"{"publish":{"channel":"a"},"id":9}"#);
    assert_eq!(error, DecodeError::Invalid { id: 9, reason: Invalid::NoData });
}

#[test]
fn publish_without_data_is_invalid_but_not_malformed() {
    for line in [r#"{"id":4,"publish":{"channel":"a"}}"#, r#"{"id":4,"publish":{}}"#] {
        assert_eq!(fault(line.as_bytes()), DecodeError::Invalid { id: 4, reason: Invalid::NoData }, "{line}");
    }
}

#[test]
fn null_can_be_published() {
    let ClientRequest::Publish(publish) = read(r#"{"id":4,"publish":{"channel":"a","data":null}}"#).request
    else {
        panic!("not a publish")
    };
    assert_eq!(*publish.data.data, *b"null");
}

#[test]
fn kinds_that_we_do_not_have_are_told_apart() {
    for line in [
        r#"{"id":4,"publish":{"channel":"a","type":1,"key":"k","data":1}}"#,
        r#"{"id":4,"publish":{"channel":"a","type":1,"key":"k","removed":true}}"#,
        r#"{"id":4,"sub_refresh":{"channel":"a","type":1,"items":[]}}"#,
    ] {
        assert_eq!(
            fault(line.as_bytes()),
            DecodeError::Invalid { id: 4, reason: Invalid::NotAvailable },
            "{line}"
        );
    }
}

#[test]
fn a_request_without_an_id_is_malformed() {
    for line in [
        r#"{"connect":{}}"#,
        r#"{"id":0,"connect":{}}"#,
        r#"{"publish":{"channel":"a"}}"#,
        r#"{"sub_refresh":{"type":1}}"#,
    ] {
        assert_eq!(fault(line.as_bytes()), Malformed::NoId.into(), "{line}");
    }
}

#[test]
fn two_requests_in_one_command_are_malformed() {
    for line in [
        r#"{"id":1,"connect":{},"subscribe":{}}"#,
        r#"{"id":1,"connect":{},"connect":{}}"#,
        r#"{"send":{},"rpc":{}}"#,
    ] {
        assert_eq!(fault(line.as_bytes()), Malformed::TwoRequests.into(), "{line}");
    }
}

#[test]
fn an_id_without_a_request_is_malformed() {
    for line in [r#"{"id":1}"#, r#"{"id":1,"method":1,"params":{}}"#, r#"{"id":1,"connect":null}"#] {
        assert_eq!(fault(line.as_bytes()), Malformed::NoRequest.into(), "{line}");
    }
}

#[test]
fn another_type_or_range_is_malformed() {
    for line in [
        "[]",
        "null",
        "1",
        r#""connect""#,
        r#"{"id":-1}"#,
        r#"{"id":1.5}"#,
        r#"{"id":"1"}"#,
        r#"{"id":4294967296}"#,
        r#"{"id":1,"id":2}"#,
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":["token"]}"#,
        r#"{"id":1,"connect":1}"#,
        r#"{"id":1,"connect":{"token":5}}"#,
        r#"{"id":1,"connect":{"token":"a","token":"b"}}"#,
        r#"{"id":1,"connect":{"headers":{"a":1}}}"#,
        r#"{"id":1,"connect":{"subs":{"a":[true]}}}"#,
        r#"{"id":1,"subscribe":{"offset":-1}}"#,
        r#"{"id":1,"subscribe":{"recover":1}}"#,
        r#"{"id":1,"history":{"since":[1,"e"]}}"#,
        r#"{"id":1,"history":{"limit":3000000000}}"#,
    ] {
        assert!(matches!(fault(line.as_bytes()), DecodeError::Malformed(Malformed::Shape { .. })), "{line}");
    }
}

#[test]
fn what_is_not_one_json_object_is_malformed() {
    for line in [
        "",
        " ",
        "{",
        "{}}",
        "{} {}",
        "{}x",
        "{}\0",
        r#"{"id":1"#,
        r#"{"id":01}"#,
        r#"{"id":1,}"#,
        "{\"id\":1,\"rpc\":{\"method\":\"\u{1}\"}}",
        r#"{"rpc":{"method":"\ud800"}}"#,
        r#"{"id":1,"rpc":{"data":tru}}"#,
        "\u{feff}{}",
    ] {
        let error = fault(line.as_bytes());
        assert!(
            matches!(error, DecodeError::Malformed(Malformed::Json(JsonError::Syntax { .. }))),
            "{line}: {error:?}"
        );
    }
    assert_eq!(fault(b"{\"id\":1,\"rpc\":{\"data\":\"\xff\"}}"), Malformed::Json(JsonError::NotUtf8).into());
}

#[test]
fn no_error_repeats_what_the_client_sent() {
    for line in [
        r#"{"id":"s3cret"}"#,
        r#"{"id":1,"connect":{"flag":"s3cret"}}"#,
        r#"{"id":1,"connect":{"token":"s3cret}}"#,
    ] {
        let error = fault(line.as_bytes());
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[test]
fn a_command_in_a_log_shows_no_token_header_or_payload() {
    for line in [
        r#"{"id":1,"connect":{"token":"s3cret","data":"s3cret","headers":{"a":"s3cret"}}}"#,
        r#"{"id":1,"subscribe":{"channel":"a","token":"s3cret","data":"s3cret","tf":"s3cret"}}"#,
        r#"{"id":1,"publish":{"channel":"a","data":"s3cret"}}"#,
        r#"{"id":1,"rpc":{"method":"a","data":"s3cret"}}"#,
        r#"{"id":1,"send":{"data":"s3cret"}}"#,
        r#"{"id":1,"refresh":{"token":"s3cret"}}"#,
        r#"{"id":1,"sub_refresh":{"channel":"a","token":"s3cret"}}"#,
    ] {
        let command = read(line);
        let shown = format!("{command:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.to_lowercase().contains(&command.request.kind().to_lowercase()), "{shown}");
        assert!(line.contains(&format!("\"{}\":", command.request.kind())), "{line}");
    }
}

#[test]
fn a_frame_is_cut_into_its_objects() {
    let cut = |frame: &'static [u8]| lines(frame).collect::<Vec<_>>();
    assert_eq!(cut(b"{}"), [b"{}"]);
    assert_eq!(cut(b"{\"id\":1}\n{}\n"), [&b"{\"id\":1}"[..], b"{}"]);
    assert_eq!(cut(b"\n\n{}\r\n \t\n{}"), [&b"{}\r"[..], b"{}"]);
    assert!(cut(b"").is_empty());
    assert!(cut(b"\n \r\n").is_empty());
}

proptest! {
    #[test]
    fn any_strings_and_data_survive_writing_and_reading(
        strings in any::<[String; 4]>(), data in any_json(), offset in any::<u64>(), flag in any::<i64>(),
    ) {
        let raw = serde_json::value::to_raw_value(&data).unwrap();
        let kind = crate::client::PayloadKind::Json;
        let payload = Payload { data: raw.get().as_bytes().into(), kind };
        let [channel, token, epoch, delta] = strings.each_ref().map(|text| Cow::Borrowed(text.as_str()));
        let subscribe = Subscribe {
            channel, token, epoch, delta, offset, flag, data: Some(payload), recover: true, ..Subscribe::default()
        };
        let line = written(&ClientCommand { id: 1, request: ClientRequest::Subscribe(subscribe) });
        prop_assert!(!line.contains('\n'));
        let ClientRequest::Subscribe(back) = read(&line).request else { panic!("not a subscribe") };
        prop_assert_eq!([&*back.channel, &*back.token, &*back.epoch, &*back.delta], strings.each_ref().map(String::as_str));
        prop_assert_eq!((back.offset, back.flag), (offset, flag));
        let expected = if data.is_null() { None } else { Some(raw.get().as_bytes()) };
        prop_assert_eq!(back.data.as_ref().map(|payload| &*payload.data), expected);
    }

    #[test]
    fn whatever_a_reader_of_json_sees_in_a_command_we_see_too(value in any_json(), method in any::<String>()) {
        let line = json!({"id": 7, "rpc": {"method": method, "data": value}}).to_string();
        let ClientRequest::Rpc { method: read_method, data } = read(&line).request else { panic!("not an rpc") };
        prop_assert_eq!(&*read_method, &method);
        let seen = data.map_or(serde_json::Value::Null, |raw| serde_json::from_slice(&raw.data).unwrap());
        prop_assert_eq!(seen, value);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_and_what_decodes_reads_the_same_again(
        line in prop_oneof![any::<Vec<u8>>(), "[\\[\\]{}\",:0-9a-z\\\\ ]{0,64}".prop_map(String::into_bytes)],
    ) {
        if let Ok(command) = decode(&line, JSON_DEPTH) {
            let once = written(&command);
            prop_assert_eq!(written(&read(&once)), once);
        }
    }
}
