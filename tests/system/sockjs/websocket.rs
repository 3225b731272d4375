//! SockJS over WebSocket, with frames and raw. Items 8, 11, 21, 22.

use gorani_tests::{
    node::Node,
    raw::{RawSocket, opcode},
    sockjs::{Request, session},
};

use super::{node, open};

fn framed(node: &Node, session: &str) -> RawSocket {
    let mut socket = RawSocket::websocket(node.address(), &format!("{session}/websocket"), "");
    assert_eq!(text(&mut socket), "o");
    socket
}

fn text(socket: &mut RawSocket) -> String {
    let frame = socket.read_frame().unwrap();
    assert_eq!((frame.opcode, frame.fin), (opcode::TEXT, true), "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

#[test]
fn item_11_a_websocket_path_without_an_upgrade_is_400_and_another_method_405() {
    let node = node();
    let plain = Request::get("/echo/0/0/websocket").ask(node.address());
    assert_eq!(plain.status(), 400);
    assert!(plain.body.contains("Can \"Upgrade\" only to \"WebSocket\"."), "{plain:?}");
    let closing = Request::get("/echo/0/0/websocket")
        .header("Upgrade", "WebSocket")
        .header("Connection", "close")
        .ask(node.address());
    assert_eq!(closing.status(), 400);
    let post = || Request::post("/echo/0/0/websocket");
    for post in
        [post().body("x"), post().body("").header("Upgrade", "WebSocket").header("Connection", "Upgrade")]
    {
        let answer = post.ask(node.address());
        assert_eq!(
            (answer.status(), answer.body.as_str(), answer.header("content-type")),
            (405, "", None),
            "{post:?}"
        );
        assert!(answer.header("allow").is_some());
    }
}

#[test]
fn item_21_batches_and_single_strings_are_echoed_and_nothing_is_ignored() {
    let node = node();
    let mut socket = framed(&node, &session("echo"));
    for ignored in ["", "[]"] {
        socket.text(ignored).unwrap();
    }
    socket.text("[\"a\"]").unwrap();
    assert_eq!(text(&mut socket), "a[\"a\"]");
    socket.text("\"b\u{ffff}\"").unwrap();
    assert_eq!(text(&mut socket), "a[\"b\\uffff\"]");
    socket.text("[\"c\",\"d\\ud800\"]").unwrap();
    assert_eq!(text(&mut socket), "a[\"c\"]");
    assert_eq!(text(&mut socket), "a[\"d\\ufffd\"]");
}

#[test]
fn item_21_broken_json_ends_the_connection_without_a_word() {
    let node = node();
    for broken in ["[\"a", "{}", "[1]"] {
        let mut socket = framed(&node, &session("echo"));
        socket.text(broken).unwrap();
        assert_eq!(socket.read_to_end().unwrap(), b"", "{broken}");
    }
}

#[test]
fn item_21_a_session_id_means_nothing_and_two_connections_may_have_the_same() {
    let node = node();
    let session = session("echo");
    let mut first = framed(&node, &session);
    let mut second = framed(&node, &session);
    first.text("\"1\"").unwrap();
    assert_eq!(text(&mut first), "a[\"1\"]");
    second.text("\"2\"").unwrap();
    assert_eq!(text(&mut second), "a[\"2\"]");
    first.finish();
    second.text("\"3\"").unwrap();
    assert_eq!(text(&mut second), "a[\"3\"]");
    open(&node, &session);
}

#[test]
fn item_21_an_end_is_told_in_a_frame_and_then_by_the_websocket() {
    let node = node();
    let mut socket = framed(&node, &session("close"));
    assert_eq!(text(&mut socket), "c[3000,\"Go away!\"]");
    assert_eq!(socket.read_close().unwrap(), (3000, "Go away!".to_owned()));
}

#[test]
fn items_11_and_21_the_drafts_of_old_browsers_are_taken_for_the_protocol_here_and_their_origin_counts() {
    let node = Node::start(super::settings().set("client.allowed_origins", r#"["https://app.example.com"]"#));
    let ask = |path: &str, version: &str, origin: &str| {
        Request::get(path)
            .header("Upgrade", "WebSocket")
            .header("Connection", "keep-alive, Upgrade")
            .header("Sec-WebSocket-Version", version)
            .header("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")
            .header("Sec-WebSocket-Origin", origin)
            .stream(node.address())
            .head
    };
    for version in ["7", "8", "13"] {
        let head = ask("/echo/000/s/websocket", version, "http://asd");
        assert_eq!(head.status, 101, "{version}");
        assert_eq!(head.header("sec-websocket-accept"), Some("HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
        assert_eq!(head.header("content-length"), None);
    }
    assert_eq!(ask("/connection/sockjs/0/s/websocket", "8", "https://app.example.com").status, 101);
    assert_eq!(ask("/connection/sockjs/0/s/websocket", "8", "https://evil.example").status, 403);
    assert_eq!(ask("/connection/websocket", "8", "https://app.example.com").status, 426);
}

#[test]
fn item_22_the_raw_websocket_has_no_frames_and_closes_with_the_reason() {
    let node = node();
    let mut socket = RawSocket::websocket(node.address(), "/echo/websocket", "");
    for message in ["Hello world!\u{ffff}", "[\"x\"]", "\"x\""] {
        socket.text(message).unwrap();
        assert_eq!(text(&mut socket), message);
    }
    let mut socket = RawSocket::websocket(node.address(), "/close/websocket", "");
    assert_eq!(socket.read_close().unwrap(), (3000, "Go away!".to_owned()));
}

#[test]
fn item_21_binary_is_not_taken() {
    let node = node();
    let mut socket = framed(&node, &session("echo"));
    socket.write(&gorani_tests::raw::frame(true, 0, opcode::BINARY, b"\x00\xff")).unwrap();
    assert_eq!(text(&mut socket), "c[1003,\"binary is not accepted here\"]");
    assert_eq!(socket.read_close().unwrap().0, 1003);
}

#[test]
fn broadcast_reaches_sessions_of_every_transport_and_the_ticker_ticks() {
    let node = node();
    let polling = session("broadcast");
    open(&node, &polling);
    let mut raw = RawSocket::websocket(node.address(), "/broadcast/websocket", "");
    let mut socket = framed(&node, &session("broadcast"));
    socket.text("[\"all\"]").unwrap();
    assert_eq!(text(&mut socket), "a[\"all\"]");
    assert_eq!(text(&mut raw), "all");
    assert_eq!(super::poll(&node, &polling).body, "a[\"all\"]\n");
    let mut ticker = framed(&node, &session("ticker"));
    for _ in 0..2 {
        assert_eq!(text(&mut ticker), "a[\"tick!\"]");
    }
}

#[test]
fn amplify_doubles_within_its_bounds() {
    let node = node();
    let mut socket = framed(&node, &session("amplify"));
    for (asked, letters) in [("1", 2), ("5", 32), ("18", 1 << 18), ("0", 2), ("19", 2), ("x", 2)] {
        socket.text(&format!("[\"{asked}\"]")).unwrap();
        assert_eq!(text(&mut socket).len(), letters + 5, "{asked}");
    }
}
