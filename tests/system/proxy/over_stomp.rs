//! The kinds of calls by STOMP, over TCP, WebSocket and SockJS.

use std::io::{self, Read, Write};

use gorani_tests::{
    backend::{Answer, Backend, Request},
    node::{Node, free_address},
    raw::RawSocket,
    stomp::Stomp,
};
use serde_json::{Value, json};

use super::{asking, asking_about_connects, friendly, with_stomp};

/// A WebSocket as a stream of STOMP's bytes: alone, or inside SockJS.
struct Framed {
    socket: RawSocket,
    is_sockjs: bool,
    read: Vec<u8>,
}

impl Framed {
    fn websocket(node: &Node) -> Self {
        let socket = RawSocket::websocket(node.address(), "/stomp", "Sec-WebSocket-Protocol: v12.stomp\r\n");
        Self { socket, is_sockjs: false, read: Vec::new() }
    }

    fn sockjs(node: &Node) -> Self {
        let socket = RawSocket::websocket(node.address(), "/stomp/sockjs/0/asking/websocket", "");
        Self { socket, is_sockjs: true, read: Vec::new() }
    }
}

impl Read for Framed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read.is_empty() {
            let payload = self.socket.read_frame()?.payload;
            if self.is_sockjs {
                if let Some(array) = payload.strip_prefix(b"a") {
                    let texts: Vec<String> = serde_json::from_slice(array).unwrap();
                    self.read = texts.concat().into_bytes();
                }
            } else {
                self.read = payload;
            }
        }
        let count = self.read.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.read[..count]);
        self.read.drain(..count);
        Ok(count)
    }
}

impl Write for Framed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).unwrap();
        let text = if self.is_sockjs { json!([text]).to_string() } else { text.to_owned() };
        self.socket.text(&text).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calls a method and reads what comes of it.
fn calls_and_gets_the_reply<S: Read + Write>(mut client: Stomp<S>, backend: &Backend, transport: &str) {
    client.begin("");
    client.subscribe("r", "/user/queue/sum", "");
    client.subscribe("e", "/user/queue/errors", "");
    client.send("/app/sum", "content-type:application/json\ncorrelation-id:7\nreceipt:s\n", b"[1,2]");
    let message = client.message();
    assert_eq!(
        (message.get("subscription"), message.get("destination")),
        (Some("r"), Some("/user/queue/sum"))
    );
    assert_eq!(
        (message.get("correlation-id"), message.get("content-type")),
        (Some("7"), Some("application/json"))
    );
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(body, json!({ "method": "sum", "got": [1, 2] }));
    client.receipt("s");
    let request = backend.requests().pop().unwrap().json();
    assert_eq!((&request["transport"], &request["protocol"]), (&json!(transport), &json!("stomp")));
    backend.answer_by(|_| Answer::error(422, "no numbers"));
    client.send("/app/sum", "receipt:t\n", b"text");
    let message = client.message();
    assert_eq!((message.get("subscription"), message.get("error-code")), (Some("e"), Some("422")));
    assert_eq!((message.get("message"), message.get("receipt-id")), (Some("no numbers"), Some("t")));
    assert_eq!(backend.requests().pop().unwrap().json()["data"], "text");
    backend.answer_by(friendly);
    client.say("SUBSCRIBE\nid:c\ndestination:/app/config\nreceipt:u\n\n\0");
    assert_eq!(client.message().get("subscription"), Some("c"));
    client.receipt("u");
    client.say("DISCONNECT\nreceipt:d\n\n\0");
    client.receipt("d");
}

#[test]
fn a_method_is_called_over_tcp() {
    let (backend, tcp) = (Backend::start(friendly), free_address());
    let _node = Node::start(with_stomp(asking(&backend), tcp));
    calls_and_gets_the_reply(Stomp::open(tcp), &backend, "stomp_tcp");
}

#[test]
fn a_method_is_called_over_websocket() {
    let backend = Backend::start(friendly);
    let node = Node::start(asking(&backend));
    calls_and_gets_the_reply(Stomp::over(Framed::websocket(&node)), &backend, "stomp");
}

#[test]
fn a_method_is_called_over_sockjs() {
    let backend = Backend::start(friendly);
    let node = Node::start(asking(&backend));
    calls_and_gets_the_reply(Stomp::over(Framed::sockjs(&node)), &backend, "sockjs");
}

#[test]
fn a_reply_is_for_the_session_that_asked_and_no_other_of_the_user() {
    let (backend, tcp) = (Backend::start(friendly), free_address());
    let settings = asking_about_connects(&backend);
    let node = Node::start(with_stomp(
        settings.set("rpc.namespaces", r#"[{ name = "open", proxy_enabled = true }]"#),
        tcp,
    ));
    let (mut asks, mut other) = (Stomp::connect(tcp, ""), Stomp::connect(tcp, ""));
    for client in [&mut asks, &mut other] {
        client.subscribe("r", "/user/queue/open:sum", "");
    }
    asks.send("/app/open:sum", "", b"1");
    assert_eq!(asks.message().get("subscription"), Some("r"));
    // What is published to the user comes to both; the reply did not.
    node.api().publish("open:sum#42", &json!("for all"));
    assert_eq!(other.message().text(), "\"for all\"");
    assert_eq!(asks.message().text(), "\"for all\"");
}

#[test]
fn the_backend_decides_who_connects_subscribes_and_sends() {
    let (backend, tcp) = (Backend::start(friendly), free_address());
    let _node = Node::start(with_stomp(asking_about_connects(&backend), tcp));
    let mut client = Stomp::open(tcp);
    client.say("CONNECT\naccept-version:1.2\nclient-name:shop\nx-tenant:acme\n\n\0");
    let connected = client.frame();
    assert_eq!((connected.command.as_str(), connected.get("user-name")), ("CONNECTED", Some("42")));
    let request = backend.wait_for_requests(1).remove(0);
    assert_eq!((request.header("x-tenant"), &request.json()["name"]), (Some("acme"), &json!("shop")));
    client.subscribe("0", "/topic/open:given", "");
    client.subscribe("1", "/topic/asked:a", "");
    client.send("/topic/asked:a", "receipt:s\n", b"hello");
    let frames = [client.frame(), client.frame()];
    assert!(frames.iter().any(|frame| frame.command == "MESSAGE" && frame.text() == "hello"), "{frames:?}");
    let paths: Vec<String> = backend.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/connect", "/subscribe", "/publish"]);
    backend.answer_by(|_| Answer::error(403, "not yours"));
    client.say("SUBSCRIBE\nid:2\ndestination:/topic/asked:b\nreceipt:t\n\n\0");
    let error = client.frame();
    assert_eq!((error.command.as_str(), error.get("code")), ("ERROR", Some("403")));
    assert_eq!((error.get("message"), error.get("receipt-id")), (Some("not yours"), Some("t")));
    assert_eq!(client.frame_or_end().unwrap(), None);
    let mut refused = Stomp::open(tcp);
    refused.say("CONNECT\naccept-version:1.2\n\n\0");
    assert_eq!(refused.frame().command, "ERROR");
}

#[test]
fn a_disconnect_waits_for_its_calls() {
    let held = |request: &Request| friendly(request).held();
    let (backend, tcp) = (Backend::start(held), free_address());
    let _node = Node::start(with_stomp(asking(&backend), tcp).set("rpc.proxy.timeout", "\"20s\""));
    let mut client = Stomp::connect(tcp, "");
    client.subscribe("r", "/user/queue/sum", "");
    client.send("/app/sum", "receipt:s\n", b"1");
    client.say("DISCONNECT\nreceipt:d\n\n\0");
    backend.wait_for_requests(1);
    backend.release();
    assert_eq!(client.message().get("receipt-id"), Some("s"));
    client.receipt("s");
    client.receipt("d");
}

#[test]
fn heart_beats_go_on_while_a_call_is_pending() {
    let (backend, tcp) = (Backend::in_order(vec![Answer::result(json!({})).held()]), free_address());
    let settings = with_stomp(asking(&backend), tcp).set("rpc.proxy.timeout", "\"20s\"");
    let _node = Node::start(settings.set("stomp.heart_beat_send", "\"100ms\""));
    let mut client = RawSocket::connect(tcp);
    client
        .write(b"CONNECT\naccept-version:1.2\nheart-beat:0,100\n\n\0SEND\ndestination:/app/a\n\n\0")
        .unwrap();
    client.read_until(b"\0\n").unwrap();
    backend.wait_for_requests(1);
    // Three beats, and no answer before them.
    assert_eq!(client.read_exactly(3).unwrap(), b"\n\n\n");
    assert_eq!(backend.answered(), 0);
    backend.release();
}
