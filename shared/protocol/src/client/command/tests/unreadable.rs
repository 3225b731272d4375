//! Commands that are well-formed JSON and cannot be read: their error has a reply where the line shows whose it is.

use super::*;

/// A list that nests too deep.
fn deep() -> String {
    format!("{}1{}", "[".repeat(JSON_DEPTH), "]".repeat(JSON_DEPTH))
}

/// Requests that cannot be read, each for another reason.
fn unreadable() -> Vec<(&'static str, String)> {
    vec![
        ("publish", format!(r#"{{"channel":"a","data":{}}}"#, deep())),
        ("publish", r#"{"channel":"\ud83d","data":1}"#.to_owned()),
        ("rpc", r#"{"method":"\udc00","data":1}"#.to_owned()),
        ("connect", r#"{"token":"\ud83d\ud83d"}"#.to_owned()),
        ("connect", r#"{"headers":{"\ud83d":"x"}}"#.to_owned()),
        ("connect", r#"{"subs":{"\ud83d":{}}}"#.to_owned()),
        ("subscribe", r#"{"channel":"a","epoch":"x\ud83dx"}"#.to_owned()),
        ("history", r#"{"since":{"epoch":"\ud83d"}}"#.to_owned()),
        ("subscribe", r#"{"channel":"a","offset":1e999}"#.to_owned()),
        ("sub_refresh", r#"{"channel":"a","token":"\ud83d"}"#.to_owned()),
    ]
}

#[test]
fn a_request_that_cannot_be_read_is_the_error_of_its_command() {
    for (kind, request) in unreadable() {
        for line in [
            format!(r#"{{"id":7,"{kind}":{request}}}"#),
            format!(r#" {{"{kind}":{request},"id":7,"send":null}} "#),
            format!(r#"{{"later":{},"id":7,"{kind}":{request}}}"#, deep()),
        ] {
            let error = DecodeError::Invalid { id: 7, reason: Invalid::Unreadable };
            assert_eq!(fault(line.as_bytes()), error, "{line}");
        }
    }
}

#[test]
fn without_an_id_or_with_two_requests_nobody_can_be_answered() {
    for (kind, request) in unreadable() {
        for line in [
            format!(r#"{{"{kind}":{request}}}"#),
            format!(r#"{{"id":0,"{kind}":{request}}}"#),
            format!(r#"{{"id":null,"{kind}":{request}}}"#),
            format!(r#"{{"id":7,"id":7,"{kind}":{request}}}"#),
            format!(r#"{{"id":7,"{kind}":{request},"unsubscribe":{{}}}}"#),
            format!(r#"{{"id":7,"nothing":{request}}}{{"#),
            format!(r#"{{"id":7,"{kind}":{request}}}x"#),
            format!(r#"{{"id":7,"{kind}":{request}"#),
        ] {
            assert!(matches!(fault(line.as_bytes()), DecodeError::Malformed(_)), "{line}");
        }
    }
}

#[test]
fn the_name_and_the_version_of_a_client_may_be_cut_in_the_middle_of_an_emoji() {
    let command = read(r#"{"id":1,"connect":{"name":"js \ud83d","version":"\ud83d\ude00 1 \ud83d"}}"#);
    let ClientRequest::Connect(connect) = command.request else { panic!("{command:?}") };
    assert!(connect.name.starts_with("js \u{fffd}"), "{}", connect.name);
    assert!(connect.version.starts_with("\u{1f600} 1 \u{fffd}"), "{}", connect.version);
    for other in ["1", "[106,115]", "{}", "true"] {
        let line = format!(r#"{{"id":1,"connect":{{"name":{other}}}}}"#);
        assert!(matches!(fault(line.as_bytes()), DecodeError::Malformed(Malformed::Shape { .. })), "{line}");
    }
}

#[test]
fn half_a_pair_in_a_payload_is_passed_on_as_it_is() {
    let line = r#"{"id":1,"publish":{"channel":"a","data":{"cut":"\ud83d"}}}"#;
    let ClientRequest::Publish(publish) = read(line).request else { panic!("no publish") };
    assert_eq!(*publish.data.data, *br#"{"cut":"\ud83d"}"#);
}
