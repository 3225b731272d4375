//! `xhr_send` and `jsonp_send`. Items 12, 24, 28, and limits.

use gorani_tests::{
    node::Node,
    sockjs::{Request, session},
};

use super::{has_no_cookie, is_not_kept, is_open_to_origins, node, open, poll, send, sent, settings};

#[test]
fn item_12_what_is_sent_to_an_unknown_session_is_404_and_opens_none() {
    let node = node();
    for path in ["xhr_send", "jsonp_send"] {
        let session = session("echo");
        for _ in 0..2 {
            let answer = Request::post(format!("{session}/{path}")).body("[\"x\"]").ask(node.address());
            assert_eq!(answer.status(), 404, "{path}");
            has_no_cookie(&answer);
        }
        open(&node, &session);
    }
}

#[test]
fn item_24_a_batch_is_answered_with_204_and_nothing() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    let answer = send(&node, &session, "[\"a\"]");
    assert_eq!((answer.status(), answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    is_not_kept(&answer);
    has_no_cookie(&answer);
    is_open_to_origins(&node, || Request::post(format!("{session}/xhr_send")).body("[]"));
    assert_eq!(poll(&node, &session).body, "a[\"a\"]\n");
}

#[test]
fn item_24_any_type_of_body_is_taken_and_also_none() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    let types = [
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "",
        "application/json; charset=utf-8",
        "text/xml; charset=utf-8",
        "text/xml",
    ];
    for content_type in types {
        let request =
            Request::post(format!("{session}/xhr_send")).header("Content-Type", content_type).body("[\"a\"]");
        assert_eq!(request.ask(node.address()).status(), 204, "{content_type}");
    }
    sent(&node, &session, "[\"a\"]");
    assert_eq!(poll(&node, &session).body, format!("a[{}]\n", ["\"a\""; 9].join(",")));
}

#[test]
fn items_24_and_28_broken_json_and_nothing_are_500_and_the_session_goes_on() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    let form = |body: &str| {
        Request::post(format!("{session}/jsonp_send"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body)
    };
    let plain = |path: &str, body: &str| Request::post(format!("{session}/{path}")).body(body);
    for request in
        [plain("xhr_send", "[\"x"), plain("jsonp_send", "[\"x"), form("d=%5B%22x"), plain("xhr_send", "[1]")]
    {
        let answer = request.ask(node.address());
        assert_eq!(answer.status(), 500, "{request:?}");
        assert!(answer.body.contains("Broken JSON encoding."), "{answer:?}");
    }
    for request in [
        plain("xhr_send", ""),
        Request::post(format!("{session}/xhr_send")),
        plain("jsonp_send", ""),
        form("d="),
        form("p=p"),
    ] {
        let answer = request.ask(node.address());
        assert_eq!(answer.status(), 500, "{request:?}");
        assert!(answer.body.contains("Payload expected."), "{answer:?}");
    }
    sent(&node, &session, "[\"a\"]");
    assert_eq!(poll(&node, &session).body, "a[\"a\"]\n");
}

#[test]
fn item_28_jsonp_send_takes_a_form_and_plain_text() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    for (content_type, body) in
        [("application/x-www-form-urlencoded", "d=%5B%22abc%22%5D"), ("text/plain", "[\"%61bc\"]")]
    {
        let request =
            Request::post(format!("{session}/jsonp_send")).header("Content-Type", content_type).body(body);
        let answer = request.ask(node.address());
        assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"), "{content_type}");
    }
    assert_eq!(poll(&node, &session).body, "a[\"abc\",\"%61bc\"]\n");
}

#[test]
fn what_is_too_large_or_too_much_is_413_and_nothing_of_it_is_taken() {
    let node = Node::start(
        settings()
            .set("client.message_max_bytes", "1024")
            .set("sockjs.batch_max_bytes", "4096")
            .set("sockjs.batch_max_messages", "8"),
    );
    let session = session("broadcast");
    open(&node, &session);
    let large = format!("[\"ok\",\"{}\"]", "x".repeat(1025));
    let many = format!("[{}\"x\"]", "\"x\",".repeat(8));
    let long = format!("[\"{}\"]", "x".repeat(8000));
    for batch in [large, many, long] {
        assert_eq!(send(&node, &session, &batch).status(), 413, "{} bytes", batch.len());
    }
    sent(&node, &session, "[\"a\"]");
    assert_eq!(poll(&node, &session).body, "a[\"a\"]\n");
}
