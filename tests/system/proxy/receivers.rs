//! Receivers and polls that the backend decides on: their connects, the channels that they name, and what is done to their users
//! while it is asked.

use gorani_tests::{
    backend::{Answer, Backend, Request},
    node::Node,
    raw::RawSocket,
    stream::{Stream, send},
};
use serde_json::{Value, json};

use super::{asking, asking_about_connects, friendly};

/// A namespace of channels that polls can read.
const KEPT: &str =
    r#"{ name = "asked", subscribe_proxy_enabled = true, history_size = 10, history_ttl = "60s" }"#;

/// Lets everyone in, and into all channels but `asked:no`.
fn picky(request: &Request) -> Answer {
    match request.json()["channel"].as_str() {
        Some("asked:no") => Answer::error(1001, "not there"),
        _ => friendly(request),
    }
}

fn status_and_code(stream: &mut Stream) -> (u16, Value) {
    let body: Value = serde_json::from_str(&stream.rest().unwrap()).unwrap();
    (stream.head.status, body["error"]["code"].clone())
}

/// A `uni_websocket` that names a channel.
fn receive(node: &Node, channel: &str) -> RawSocket {
    RawSocket::websocket(node.address(), &format!("/connection/uni_websocket?channel={channel}"), "")
}

#[test]
fn a_receiver_gets_the_channels_that_it_names_if_the_backend_says_so() {
    let backend = Backend::start(picky);
    let node = Node::start(asking(&backend));
    for path in ["uni_sse", "uni_http_stream"] {
        let target = |channel: &str| format!("/connection/{path}?channel={channel}");
        let mut stream = Stream::open(node.address(), "GET", &target("asked:yes"), "", "");
        assert_eq!(stream.head.status, 200, "{path}");
        let first = match path {
            "uni_sse" => stream.event().unwrap().unwrap().data,
            _ => stream.line().unwrap().unwrap(),
        };
        let first: Value = serde_json::from_str(&first).unwrap();
        assert!(first["connect"]["subs"]["asked:yes"].is_object(), "{path}: {first}");
        let mut refused = Stream::open(node.address(), "GET", &target("asked:no"), "", "");
        assert_eq!(status_and_code(&mut refused), (403, json!(1001)), "{path}");
    }
    let first: Value =
        serde_json::from_slice(&receive(&node, "asked:yes").read_frame().unwrap().payload).unwrap();
    assert!(first["connect"]["subs"]["asked:yes"].is_object(), "{first}");
    let asked =
        backend.requests().iter().map(|request| request.json()["transport"].clone()).collect::<Vec<_>>();
    assert_eq!(asked, ["uni_sse", "uni_sse", "uni_http_stream", "uni_http_stream", "uni_websocket"]);
}

#[test]
fn a_poll_reads_the_channels_that_the_backend_grants() {
    let backend = Backend::start(picky);
    let node = Node::start(asking(&backend).set("channel.namespaces", format!("[{KEPT}]")));
    node.api().publish("asked:yes", &json!(7));
    let poll = |channel: &str| {
        Stream::open(node.address(), "GET", &format!("/connection/poll?channel={channel}"), "", "")
    };
    let mut read = poll("asked:yes");
    assert_eq!(read.head.status, 200);
    assert!(read.rest().unwrap().contains("\"data\":7"));
    assert_eq!(backend.requests()[0].json()["transport"], "poll");
    assert_eq!(status_and_code(&mut poll("asked:no")), (403, json!(1001)));
}

#[test]
fn a_poll_whose_user_is_disconnected_while_the_backend_is_asked_gets_nothing() {
    for path in ["/connect", "/subscribe"] {
        let backend = Backend::start(move |request| match request.path.as_str() {
            asked if asked == path => friendly(request).held(),
            _ => friendly(request),
        });
        let settings = asking_about_connects(&backend)
            .set("channel.namespaces", format!("[{{ name = \"open\" }}, {KEPT}]"))
            .set("client.proxy.connect.timeout", "\"20s\"")
            .set("channel.proxy.subscribe.timeout", "\"20s\"");
        let node = Node::start(settings);
        node.api().publish("asked:yes", &json!(7));
        let channel = if path == "/connect" { "open:given" } else { "asked:yes" };
        let socket = send(node.address(), "GET", &format!("/connection/poll?channel={channel}"), "", "");
        backend.wait_for_requests(if path == "/connect" { 1 } else { 2 });
        node.api().ok("disconnect", &json!({ "user": "42" }));
        backend.release();
        let mut refused = Stream::read(socket).unwrap();
        let body = refused.rest().unwrap();
        assert_eq!(refused.head.status, 403, "{path}: {body}");
        assert!(body.contains("3503"), "{path}: {body}");
    }
}

#[test]
fn a_receiver_over_websocket_is_closed_with_the_code_that_the_settings_give_to_an_error_of_its_connect() {
    let backend = Backend::start(|_| Answer::error(1001, "banned"));
    let transforms = r#"[{ code = 1001, to = { code = 4500, reason = "blocked" } }]"#;
    let settings = asking_about_connects(&backend)
        .set("client.connect_code_to_unidirectional_disconnect.enabled", "true")
        .set("client.connect_code_to_unidirectional_disconnect.transforms", transforms);
    let node = Node::start(settings);
    assert_eq!(receive(&node, "open:a").read_close().unwrap(), (4500, "blocked".to_owned()));
    backend.answer_by(|_| Answer::error(1002, "other"));
    assert_ne!(receive(&node, "open:a").read_close().unwrap().0, 4500, "another error has its own code");
}
