//! STOMP against the real binary, over TCP and WebSocket. `docs/protocols/stomp.md`.
//!
//! - [`pairs`]: every protocol reaches every other.
//! - [`malformed`]: what is wrong is told.
//! - [`line_ends`]: behind frames.
//! - [`queues`]: work queues.
//! - [`secure`]: connections over TLS.
//! - [`slow`]: who does not read.
//! - [`users`]: whom a user's destination reaches.

mod away;
mod line_ends;
mod malformed;
mod pairs;
mod queues;
mod secure;
mod slow;
mod users;

use std::{net::SocketAddr, time::Duration};

use gorani_tests::{
    node::{Node, Settings, free_address},
    process::Signal,
    raw::{RawSocket, opcode},
    stomp::Stomp,
};

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_publish_for_client = true, allow_publish_for_anonymous = true }, { name = "kept", history_size = 100, history_ttl = "60s", allow_recovery = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }, { name = "closed" }]"#;

/// Headers of a backend's CONNECT.
const BACKEND: &str = "login:shop\npasscode:hush\n";

fn settings(tcp: SocketAddr) -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES)
        .set("stomp.users", r#"[{ name = "shop", password = "hush" }]"#)
        .set("stomp.tcp.address", format!("\"{tcp}\""))
}

/// A node, and where it speaks STOMP over TCP.
fn node() -> (Node, SocketAddr) {
    let tcp = free_address();
    (Node::start(settings(tcp)), tcp)
}

#[test]
fn item_58_a_backend_subscribes_sends_and_leaves_over_tcp() {
    let (_node, tcp) = node();
    let mut client = Stomp::connect(tcp, BACKEND);
    client.subscribe("0", "/topic/closed:a", "");
    client.send("/topic/closed:a", "priority:9\nreceipt:r\n", b"one\0two");
    let frames = [client.frame(), client.frame()];
    let message = frames.iter().find(|frame| frame.command == "MESSAGE").unwrap();
    assert_eq!((message.get("subscription"), message.get("priority")), (Some("0"), Some("9")));
    assert_eq!(message.body, b"one\0two");
    assert!(frames.iter().any(|frame| frame.get("receipt-id") == Some("r")));
    client.say("DISCONNECT\nreceipt:bye\n\n\0");
    client.receipt("bye");
    assert_eq!(client.frame_or_end().unwrap(), None);
}

#[test]
fn item_28_heart_beats_flow_both_ways() {
    let tcp = free_address();
    let _node = Node::start(
        settings(tcp).set("stomp.heart_beat_send", "\"1s\"").set("stomp.heart_beat_receive", "\"1s\""),
    );
    let mut client = Stomp::connect(tcp, "heart-beat:1000,1000\n");
    client.wait_at_most(Duration::from_secs(15));
    // The client says nothing more: after its time the node gives it up, and says why.
    let frame = client.frame();
    assert_eq!(
        (frame.command.as_str(), frame.get("message")),
        ("ERROR", Some("no heart-beat from the client"))
    );
    assert_eq!(client.frame_or_end().unwrap(), None);
}

#[test]
fn item_51_the_highest_offered_version_is_the_subprotocol() {
    let (node, _) = node();
    for (offered, chosen) in [
        ("v10.stomp, v11.stomp, my-team-custom", Some("v11.stomp")),
        ("v12.stomp, v11.stomp, v10.stomp", Some("v12.stomp")),
        ("v10.stomp", Some("v10.stomp")),
    ] {
        let mut socket = RawSocket::connect(node.address());
        let extra = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        socket.write(gorani_tests::raw::handshake(node.address(), "/stomp", &extra).as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        assert_eq!((head.status, head.header("sec-websocket-protocol")), (101, chosen));
    }
    let mut socket = RawSocket::connect(node.address());
    let extra = "Sec-WebSocket-Protocol: my-team-custom\r\n";
    socket.write(gorani_tests::raw::handshake(node.address(), "/stomp", extra).as_bytes()).unwrap();
    assert_eq!(socket.read_head().unwrap().status, 400);
}

#[test]
fn items_52_and_54_without_a_token_stomp_is_spoken_and_a_token_binds_no_version() {
    let (node, _) = node();
    for extra in ["", "Sec-WebSocket-Protocol: v12.stomp\r\n"] {
        let mut socket = RawSocket::websocket(node.address(), "/stomp", extra);
        socket.text("CONNECT\naccept-version:1.1\n\n\0").unwrap();
        let frame = socket.read_frame().unwrap();
        assert_eq!(frame.opcode, opcode::TEXT);
        assert!(String::from_utf8(frame.payload).unwrap().starts_with("CONNECTED\nversion:1.1\n"));
    }
}

#[test]
fn item_47_over_websocket_the_receipt_is_the_last_message_and_the_close_is_1000() {
    let (node, _) = node();
    let mut socket = RawSocket::websocket(node.address(), "/stomp", "");
    socket.text("CONNECT\naccept-version:1.2\n\n\0").unwrap();
    socket.read_frame().unwrap();
    socket.text("DISCONNECT\nreceipt:bye\n\n\0").unwrap();
    assert_eq!(socket.read_frame().unwrap().payload, b"RECEIPT\nreceipt-id:bye\n\n\0");
    assert_eq!(socket.read_close().unwrap().0, 1000);
}

#[test]
fn a_node_that_goes_down_tells_its_stomp_clients_and_closes() {
    let (node, tcp) = node();
    let mut client = Stomp::connect(tcp, "");
    node.process().signal(Signal::SIGTERM);
    let frame = client.frame();
    assert_eq!((frame.command.as_str(), frame.get("reconnect")), ("ERROR", Some("true")));
    assert_eq!(client.frame_or_end().unwrap(), None);
}

#[test]
fn a_draining_node_refuses_stomp_connections_while_it_waits_for_those_that_it_has() {
    let tcp = free_address();
    let mut node = Node::start(
        settings(tcp).set("websocket.close_timeout", "\"20s\"").set("http.shutdown_timeout", "\"20s\""),
    );
    let mut lingering = Stomp::connect(tcp, "");
    node.terminate();
    // It does not close after the last frame, so the node waits for it.
    assert_eq!(lingering.frame().command, "ERROR");
    assert!(crate::ending::is_refused(tcp));
    drop(lingering);
    assert!(node.wait_exit(Duration::from_secs(10)).expect("it ends").success());
}

#[test]
fn without_heart_beats_a_websocket_that_answers_no_ping_is_ended() {
    let node = Node::start(
        settings(free_address())
            .set("client.ping_interval", "\"1s\"")
            .set("client.pong_timeout", "\"500ms\""),
    );
    let mut socket = RawSocket::websocket(node.address(), "/stomp", "");
    socket.text("CONNECT\naccept-version:1.2\n\n\0").unwrap();
    assert!(socket.read_frame().unwrap().payload.starts_with(b"CONNECTED\n"));
    assert_eq!(socket.read_frame().unwrap().opcode, opcode::PING);
    assert!(socket.read_frame().unwrap().payload.starts_with(b"ERROR\n"));
    assert_eq!(socket.read_close().unwrap(), (3012, "no pong".to_owned()));
}

#[test]
fn item_56_a_client_that_comes_back_gets_what_it_missed() {
    let (node, tcp) = node();
    let mut client = Stomp::connect(tcp, "");
    let told = client.subscribe("0", "/topic/kept:a", "");
    let (offset, epoch) = (told.get("offset").unwrap().to_owned(), told.get("epoch").unwrap().to_owned());
    drop(client);
    for number in 1..=3 {
        node.api().publish("kept:a", &number.into());
    }
    let mut client = Stomp::connect(tcp, "");
    client.say(&format!(
        "SUBSCRIBE\nid:0\ndestination:/topic/kept:a\noffset:{offset}\nepoch:{epoch}\nreceipt:r\n\n\0"
    ));
    for number in 1..=3 {
        let message = client.message();
        assert_eq!(message.text(), number.to_string());
        assert_eq!(
            (message.get("offset"), message.get("epoch")),
            (Some(&*number.to_string()), Some(&*epoch))
        );
    }
    assert_eq!(client.receipt("r").get("recovered"), Some("true"));
    node.api().publish("kept:a", &4.into());
    assert_eq!(client.message().text(), "4");
}
