//! Times and sizes of `services/gateway/docs/limits.md` that no other test shows.

use gorani_tests::{
    node::{Node, Settings, free_address},
    sockjs::{Request, session},
    stomp::Stomp,
};
use serde_json::json;

use crate::{connected, subscribed};

/// A node with STOMP over TCP, and where.
fn start(key: &str, value: &str) -> (Node, std::net::SocketAddr) {
    let tcp = free_address();
    let settings = Settings::open().set("stomp.tcp.address", format!("\"{tcp}\"")).set(key, value);
    (Node::start(settings), tcp)
}

/// Reads whatever comes until the node closes, which must be within the client's patience.
fn ends(mut client: Stomp) {
    while client.frame_or_end().expect("the node closes in time").is_some() {}
}

#[test]
fn a_stomp_client_that_does_not_connect_in_time_is_ended() {
    let (_node, tcp) = start("stomp.connect_timeout", "\"1s\"");
    let mut client = Stomp::open(tcp);
    client.say("CONNECT\naccept-version:1.2\n");
    assert_eq!(client.frame().command, "ERROR");
    ends(client);
}

#[test]
fn one_client_too_many_for_presence_is_told_to_come_back() {
    let namespace = r#"{ name = "open", presence = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }"#;
    let node = Node::start(
        Settings::open()
            .set("channel.namespaces", format!("[{namespace}]"))
            .set("broker.memory.max_presence", "1"),
    );
    let _present = subscribed(&node, "open:a");
    let mut other = connected(&node);
    other.text(&json!({"id": 2, "subscribe": {"channel": "open:a"}}).to_string()).unwrap();
    let reply = serde_json::from_slice::<serde_json::Value>(&other.read_frame().unwrap().payload).unwrap();
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["temporary"]),
        (&json!(111), &json!(true)),
        "{reply}"
    );
}

#[test]
fn a_stomp_client_that_stays_after_its_disconnect_is_ended() {
    let (_node, tcp) = start("stomp.linger", "\"1s\"");
    let mut client = Stomp::connect(tcp, "");
    client.say("DISCONNECT\nreceipt:bye\n\n\0");
    client.receipt("bye");
    ends(client);
}

#[test]
fn a_streaming_response_of_sockjs_ends_after_its_bytes_and_its_session_does_not() {
    let node = Node::start(Settings::open().set("sockjs.response_max_bytes", "8192"));
    let session = session("connection/sockjs");
    let mut stream = Request::post(format!("{session}/xhr_streaming")).stream(node.address());
    let commands = [
        json!({"id": 1, "connect": {}}).to_string(),
        json!({"id": 2, "subscribe": {"channel": "open:a"}}).to_string(),
    ];
    let sent =
        Request::post(format!("{session}/xhr_send")).body(json!(commands).to_string()).ask(node.address());
    assert_eq!(sent.status(), 204);
    while !stream.chunk().expect("the response goes on").contains("subscribe") {}
    for _ in 0..3 {
        node.api().publish("open:a", &json!("x".repeat(4096)));
    }
    while stream.chunk().is_some() {}
    // What came too late for that response is in the next one.
    let next = Request::post(format!("{session}/xhr_streaming"));
    let mut stream = next.stream(node.address());
    node.api().publish("open:a", &json!("later"));
    while !stream.chunk().expect("the session lives").contains("later") {}
}
