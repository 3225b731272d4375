//! Who is let in: limits on connections, handshakes and headers, each with its own answer. `docs/architecture.md` §6.

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{RawSocket, handshake},
};

use crate::{connected, websocket};

/// The status that a handshake with these extra headers gets.
fn status(node: &Node, extra: &str) -> u16 {
    let mut socket = RawSocket::connect(node.address());
    socket.write(handshake(node.address(), PATH, extra).as_bytes()).unwrap();
    socket.read_head().unwrap().status
}

#[test]
fn more_connections_than_allowed_are_refused_until_one_leaves() {
    let node = Node::start(Settings::open().set("http.max_connections", "3"));
    let held = [connected(&node), connected(&node), connected(&node)];
    assert_eq!(status(&node, ""), 503);
    drop(held);
    crate::eventually("a place is free", std::time::Duration::from_secs(20), || status(&node, "") == 101);
}

#[test]
fn an_address_that_shakes_hands_too_often_is_told_so() {
    let node = Node::start(Settings::open().set("http.handshakes_per_second", "1"));
    let statuses: Vec<u16> = (0..20).map(|_| status(&node, "")).collect();
    assert_eq!(statuses.first(), Some(&101));
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn headers_over_the_limit_are_told_to_be() {
    let node = Node::start(Settings::open());
    let padding = |bytes: usize| format!("X-Padding: {}\r\n", "x".repeat(bytes));
    assert_eq!(status(&node, &padding(12 * 1024)), 101);
    assert_eq!(status(&node, &padding(17 * 1024)), 431);
}

#[test]
fn subprotocols_that_nobody_knows_are_refused_unless_the_settings_are_lenient() {
    const OFFER: &str = "Sec-WebSocket-Protocol: v10.stomp, v11.stomp, my-team-custom\r\n";
    assert_eq!(status(&Node::start(Settings::open()), OFFER), 400);
    let lenient = Node::start(Settings::open().set("websocket.subprotocols", "\"lenient\""));
    let mut socket = RawSocket::connect(lenient.address());
    socket.write(handshake(lenient.address(), PATH, OFFER).as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    assert_eq!((head.status, head.header("sec-websocket-protocol")), (101, None));
}

#[test]
fn a_path_without_a_websocket_says_so() {
    let node = Node::start(Settings::open());
    for path in ["/", "/health/live", "/connection/websocket/", "/api/publish"] {
        let mut socket = RawSocket::connect(node.address());
        socket.write(handshake(node.address(), path, "").as_bytes()).unwrap();
        assert_eq!(socket.read_head().unwrap().status, 404, "{path}");
    }
    drop(websocket(&node));
}
