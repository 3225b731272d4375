//! Answers as backends in many languages write them, and those that are none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use gorani_protocol::client::JsonError;

use super::*;

fn result(event: ProxyEvent, body: &str) -> ProxyResult {
    match decode(event, body.as_bytes()).unwrap().answer {
        ProxyAnswer::Result(result) => result,
        other => panic!("{other:?}"),
    }
}

fn payload_of(data: &str) -> Option<ProxyPayload> {
    Some(ProxyPayload { data: data.to_owned().into(), kind: DataKind::Json })
}

#[test]
fn a_disconnect_counts_more_than_an_error_and_an_error_more_than_a_result() {
    let body = r#"{"result":{},"error":{"code":1000,"message":"no","temporary":true},"disconnect":{"code":4500,"reason":"gone"}}"#;
    let answer = decode(ProxyEvent::Rpc, body.as_bytes()).unwrap().answer;
    assert_eq!(answer, ProxyAnswer::Disconnect(Disconnect::new(4500, "gone")));
    let body = r#"{"result":{},"error":{"code":1000,"message":"no","temporary":true},"disconnect":null}"#;
    let answer = decode(ProxyEvent::Rpc, body.as_bytes()).unwrap().answer;
    let error = ProxyError { code: 1000, message: "no".to_owned(), temporary: true };
    assert_eq!(answer, ProxyAnswer::Error(error));
    let body = r#"{"result":{"data":1},"error":null,"disconnect":null,"unknown":[{}]}"#;
    assert_eq!(result(ProxyEvent::Rpc, body), ProxyResult::Rpc(payload_of("1")));
}

#[test]
fn without_a_result_each_kind_has_its_own_meaning() {
    for body in ["{}", "[]", " [ ] ", r#"{"result":null}"#] {
        assert_eq!(result(ProxyEvent::Connect, body), ProxyResult::Connect(None), "{body}");
        assert_eq!(result(ProxyEvent::Refresh, body), ProxyResult::Refresh(None));
        assert_eq!(result(ProxyEvent::SubRefresh, body), ProxyResult::Refresh(None));
        assert_eq!(result(ProxyEvent::Subscribe, body), ProxyResult::Subscribe(Box::default()));
        assert_eq!(result(ProxyEvent::Publish, body), ProxyResult::Publish(Box::default()));
        assert_eq!(result(ProxyEvent::Rpc, body), ProxyResult::Rpc(None));
    }
}

#[test]
fn an_empty_list_of_php_stands_for_an_empty_object() {
    let ProxyResult::Connect(Some(grant)) = result(ProxyEvent::Connect, r#"{"result":[]}"#) else { panic!() };
    assert_eq!(*grant, ConnectGrant::default());
    let body = r#"{"result":{"user":"","subs":[],"channels":[],"meta":[]}}"#;
    let ProxyResult::Connect(Some(grant)) = result(ProxyEvent::Connect, body) else { panic!() };
    assert_eq!((grant.user.as_str(), &grant.meta[..]), ("", &b"[]"[..]));
    let body = r#"{"result":{"override":[],"expire_at":null,"b64info":null}}"#;
    assert_eq!(result(ProxyEvent::Subscribe, body), ProxyResult::Subscribe(Box::default()));
    assert_eq!(
        result(ProxyEvent::Publish, r#"{"result":{"tags":[]}}"#),
        ProxyResult::Publish(Box::default())
    );
}

#[test]
fn an_override_is_an_object_with_a_value_or_a_plain_boolean() {
    let grant = |body: &str| match result(ProxyEvent::Subscribe, body) {
        ProxyResult::Subscribe(grant) => *grant,
        other => panic!("{other:?}"),
    };
    // The bytes of a published package for Laravel.
    let plain = r#"{"result":{"channel_info":null,"override":{"presence":true,"join_leave":false,"force_recovery":true},"data":[]}}"#;
    let boxed = r#"{"result":{"override":{"presence":{"value":true},"join_leave":{"value":false},"force_recovery":{"value":true},"force_positioning":null},"data":[]}}"#;
    let overrides = grant(plain).overrides;
    assert_eq!((overrides.presence, overrides.join_leave), (Some(true), Some(false)));
    assert_eq!((overrides.force_recovery, overrides.force_positioning), (Some(true), None));
    assert_eq!(grant(plain), grant(boxed));
    for bad in [r#""yes""#, "1", r#"{"value":1}"#, "{}"] {
        let body = format!(r#"{{"result":{{"override":{{"presence":{bad}}}}}}}"#);
        assert!(
            matches!(decode(ProxyEvent::Subscribe, body.as_bytes()), Err(AnswerError::Shape(..))),
            "{bad}"
        );
    }
}

#[test]
fn a_connect_result_has_user_time_info_data_channels_subs_and_meta() {
    let body = r#"{"result":{"user":"42","expire_at":1900000000,"info":{"name":"a"},"data":{"b":[1]},"channels":["x"],
        "subs":{"y":{"expire_at":7,"info":1,"data":2,"override":{"presence":{"value":true},"force_recovery":{"value":false}}},"z":null,"n":[]},
        "meta":{"m":1},"more":true}}"#;
    let ProxyResult::Connect(Some(grant)) = result(ProxyEvent::Connect, body) else { panic!() };
    assert_eq!((grant.user.as_str(), grant.expire_at), ("42", 1_900_000_000));
    assert_eq!((&grant.info[..], &grant.meta[..]), (&br#"{"name":"a"}"#[..], &br#"{"m":1}"#[..]));
    assert_eq!((grant.data, grant.channels), (payload_of(r#"{"b":[1]}"#), vec!["x".to_owned()]));
    let channels: Vec<_> = grant.subs.iter().map(|(channel, _)| channel.as_str()).collect();
    assert_eq!(channels, ["n", "y", "z"]);
    let sub = &grant.subs[1].1;
    assert_eq!((sub.expire_at, &sub.info[..], sub.data.clone()), (7, &b"1"[..], payload_of("2")));
    assert_eq!((sub.overrides.presence, sub.overrides.force_recovery), (Some(true), Some(false)));
}

#[test]
fn parts_of_a_paid_version_are_remarked_and_not_followed() {
    let body = r#"{"result":{"user":"1","caps":[{"channels":["x"]}]}}"#;
    assert!(decode(ProxyEvent::Connect, body.as_bytes()).unwrap().remark.is_some());
    let body = r#"{"result":{"user":"1","labels":null}}"#;
    assert!(decode(ProxyEvent::Connect, body.as_bytes()).unwrap().remark.is_none());
}

#[test]
fn base64_counts_more_than_json_except_in_a_publish_result() {
    let body = r#"{"result":{"data":1,"b64data":"eyJhIjoxfQ=="}}"#;
    assert_eq!(result(ProxyEvent::Rpc, body), ProxyResult::Rpc(payload_of(r#"{"a":1}"#)));
    let ProxyResult::Publish(grant) = result(ProxyEvent::Publish, body) else { panic!() };
    assert_eq!(grant.data, payload_of("1"));
    let body = r#"{"result":{"b64data":"/wA="}}"#;
    let bytes = Some(ProxyPayload { data: Bytes::from_static(&[255, 0]), kind: DataKind::Binary });
    assert_eq!(result(ProxyEvent::Rpc, body), ProxyResult::Rpc(bytes.clone()));
    let ProxyResult::Publish(grant) = result(ProxyEvent::Publish, body) else { panic!() };
    assert_eq!(grant.data, bytes);
}

#[test]
fn a_publish_result_changes_what_is_published() {
    let body = r#"{"result":{"data":{"b":2},"skip_history":true,"tags":{"a":"1"},"idempotency_key":"k","drop":true,"delta":true,"version":4}}"#;
    let ProxyResult::Publish(grant) = result(ProxyEvent::Publish, body) else { panic!() };
    let expected = PublishGrant {
        data: payload_of(r#"{"b":2}"#),
        skip_history: true,
        tags: vec![("a".to_owned(), "1".to_owned())],
        idempotency_key: "k".to_owned(),
        drop: true,
    };
    assert_eq!(*grant, expected);
}

#[test]
fn a_disconnect_outside_of_the_backends_codes_is_an_internal_error_with_a_remark() {
    for code in ["3000", "5000", "0", "70000"] {
        let body = format!(r#"{{"disconnect":{{"code":{code},"reason":"x"}}}}"#);
        let decoded = decode(ProxyEvent::Subscribe, body.as_bytes()).unwrap();
        assert_eq!(decoded.answer, ProxyAnswer::Disconnect(Disconnect::INTERNAL), "{code}");
        assert!(decoded.remark.is_some());
    }
    assert!(decode(ProxyEvent::Subscribe, b"{\"disconnect\":[]}").unwrap().remark.is_some());
}

#[test]
fn a_reason_is_cut_at_a_character() {
    let body = format!(r#"{{"disconnect":{{"code":4000,"reason":"{}"}}}}"#, "가".repeat(60));
    let ProxyAnswer::Disconnect(end) = decode(ProxyEvent::Rpc, body.as_bytes()).unwrap().answer else {
        panic!()
    };
    assert_eq!(end.reason, "가".repeat(41));
    assert_eq!(end.reason.len(), REASON_MAX_BYTES);
}

#[test]
fn what_is_no_answer_is_refused_and_shows_nothing_of_itself() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let tags: Vec<String> = (0..33).map(|number| format!(r#""t{number}":"""#)).collect();
    let tags = format!(r#"{{"result":{{"tags":{{{}}}}}}}"#, tags.join(","));
    let key = format!(r#"{{"result":{{"idempotency_key":"{}"}}}}"#, "k".repeat(256));
    for (event, body) in [
        (ProxyEvent::Rpc, ""),
        (ProxyEvent::Rpc, "canary"),
        (ProxyEvent::Rpc, "\"canary\""),
        (ProxyEvent::Rpc, "[1]"),
        (ProxyEvent::Rpc, "null"),
        (ProxyEvent::Rpc, "{\"result\":{}} {}"),
        (ProxyEvent::Rpc, "{\"result\":\"canary\"}"),
        (ProxyEvent::Rpc, "{\"result\":{\"data\":1},\"result\":{}}"),
        (ProxyEvent::Rpc, "{\"error\":{}}"),
        (ProxyEvent::Rpc, "{\"error\":[]}"),
        (ProxyEvent::Rpc, "{\"error\":{\"code\":-1}}"),
        (ProxyEvent::Rpc, "{\"error\":\"canary\"}"),
        (ProxyEvent::Rpc, "{\"result\":{\"b64data\":\"canary!\"}}"),
        (ProxyEvent::Connect, "{\"result\":{\"user\":42}}"),
        (ProxyEvent::Connect, "{\"result\":{\"user\":\"a\",\"expire_at\":-5}}"),
        (ProxyEvent::Connect, "{\"result\":{\"subs\":{\"a\":\"canary\"}}}"),
        (ProxyEvent::Connect, "{\"result\":{\"b64info\":\"/wA=\"}}"),
        (ProxyEvent::Publish, "{\"result\":{\"tags\":{\"a\":1}}}"),
        (ProxyEvent::Publish, &tags),
        (ProxyEvent::Publish, &key),
        (ProxyEvent::Rpc, &deep),
    ] {
        let error = decode(event, body.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{body} gave {error}");
    }
    assert_eq!(
        decode(ProxyEvent::Rpc, b"{\"a\":\"\xff\"}").unwrap_err(),
        AnswerError::Json(JsonError::NotUtf8)
    );
}

/// A good answer of each kind, to be broken.
const GOOD: [&str; 4] = [
    r#"{"result":{"user":"42","expire_at":1,"info":{},"b64data":"e30=","channels":["x"],"subs":{"y":{"override":{"presence":{"value":true}}}},"meta":{}}}"#,
    r#"{"result":{"data":1,"skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","drop":false}}"#,
    r#"{"error":{"code":1000,"message":"m","temporary":true}}"#,
    r#"{"disconnect":{"code":4000,"reason":"r"}}"#,
];

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(which in 0..4usize, at in 0..200usize, insert in proptest::collection::vec(0..=255u8, 0..8), remove in 0..8usize) {
        let mut bytes = GOOD[which].as_bytes().to_vec();
        let at = at.min(bytes.len());
        bytes.splice(at..(at + remove).min(bytes.len()), insert);
        for event in ProxyEvent::ALL {
            if let Ok(decoded) = decode(event, &bytes) && let ProxyAnswer::Disconnect(end) = decoded.answer {
                proptest::prop_assert!(end.reason.len() <= REASON_MAX_BYTES);
            }
        }
    }
}
