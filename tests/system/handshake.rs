//! The handshake on the wire: `docs/protocols/websocket.md` §1, §2, §4.

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{ACCEPT, Head, KEY, RawSocket, frame, handshake, opcode},
};

use crate::json;

/// Sends a request as it is and reads the answer's head.
fn answer(node: &Node, request: &str) -> Head {
    let mut socket = RawSocket::connect(node.address());
    socket.write(request.as_bytes()).unwrap();
    socket.read_head().unwrap()
}

/// A correct handshake with one part exchanged.
fn changed(node: &Node, from: &str, to: &str) -> Head {
    let correct = handshake(node.address(), PATH, "");
    assert!(correct.contains(from), "{from:?} is not in {correct:?}");
    answer(node, &correct.replacen(from, to, 1))
}

#[test]
fn the_example_of_the_rfc_is_accepted_with_exactly_the_headers_it_must_have() {
    let node = Node::start(Settings::open());
    let head = answer(&node, &handshake(node.address(), PATH, ""));
    assert_eq!(head.status, 101);
    assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
    assert!(head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")), "{head:?}");
    assert!(head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{head:?}");
    let mut names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "sec-websocket-accept", "upgrade"]);
}

#[test]
fn upgrade_and_connection_are_found_in_lists_and_in_any_case() {
    let node = Node::start(Settings::open());
    assert_eq!(changed(&node, "Upgrade: websocket", "Upgrade: h2c, WebSocket").status, 101);
    assert_eq!(changed(&node, "Connection: Upgrade", "Connection: keep-alive, UPGRADE").status, 101);
    assert_eq!(changed(&node, "Upgrade: websocket", "upgrade: WEBSOCKET").status, 101);
}

#[test]
fn a_handshake_that_lacks_a_part_is_a_bad_request() {
    let node = Node::start(Settings::open());
    let host = format!("Host: {}\r\n", node.address());
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for part in [host.as_str(), &key] {
        assert_eq!(changed(&node, part, "").status, 400, "without {part:?}");
    }
    assert_eq!(changed(&node, "HTTP/1.1", "HTTP/1.0").status, 400);
}

#[test]
fn a_websocket_path_asked_for_without_an_upgrade_says_which_one_it_needs() {
    let node = Node::start(Settings::open());
    for (from, to) in [
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: keep-alive"),
    ] {
        let head = changed(&node, from, to);
        assert_eq!(head.status, 426, "{to:?} for {from:?}");
        let has = |name: &str, value: &str| {
            head.header(name).is_some_and(|found| found.to_ascii_lowercase().contains(value))
        };
        assert!(has("upgrade", "websocket") && has("connection", "upgrade"), "{head:?}");
        assert!(has("sec-websocket-version", "13"), "{head:?}");
    }
}

#[test]
fn a_key_that_is_not_sixteen_bytes_in_base64_is_a_bad_request() {
    let node = Node::start(Settings::open());
    for bad in
        ["", "AAAA", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=AAAA", "!GhlIHNhbXBsZSBub25jZQ=="]
    {
        assert_eq!(changed(&node, KEY, bad).status, 400, "key {bad:?}");
    }
}

#[test]
fn another_method_is_told_which_one_is_right() {
    let node = Node::start(Settings::open());
    let head = changed(&node, "GET ", "PUT ");
    assert_eq!(head.status, 405);
    assert!(head.header("allow").is_some_and(|allow| allow.contains("GET")), "{head:?}");
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let node = Node::start(Settings::open());
    for version in ["8", "14", "0"] {
        let head = changed(&node, "Version: 13", &format!("Version: {version}"));
        assert_eq!(head.status, 426, "version {version}");
        assert_eq!(head.header("sec-websocket-version"), Some("13"));
        assert_eq!(head.header("connection"), Some("Upgrade, close"));
    }
}

#[test]
fn a_page_of_another_origin_is_forbidden_unless_it_is_listed() {
    let origin = |node: &Node, origin: &str| {
        answer(node, &handshake(node.address(), PATH, &format!("Origin: {origin}\r\n"))).status
    };
    let node = Node::start(Settings::open());
    assert_eq!(origin(&node, "https://elsewhere.example"), 403);
    assert_eq!(origin(&node, "null"), 403);
    assert_eq!(origin(&node, &format!("http://{}", node.address())), 101, "its own origin");

    let listed = r#"["https://shop.example", "https://*.team.example"]"#;
    let node = Node::start(Settings::open().set("client.allowed_origins", listed));
    assert_eq!(origin(&node, "https://shop.example"), 101);
    assert_eq!(origin(&node, "https://a.team.example"), 101);
    assert_eq!(origin(&node, "https://shop.example.evil.example"), 403);

    let node = Node::start(Settings::open().set("client.allowed_origins", r#"["*"]"#));
    assert_eq!(origin(&node, "https://elsewhere.example"), 101);
}

#[test]
fn bytes_that_follow_the_request_in_the_same_packet_are_not_lost() {
    let node = Node::start(Settings::open());
    let mut socket = RawSocket::connect(node.address());
    let mut packet = handshake(node.address(), PATH, "").into_bytes();
    packet.extend(frame(true, 0, opcode::TEXT, br#"{"id":1,"connect":{}}"#));
    packet.extend(frame(true, 0, opcode::TEXT, br#"{"id":2,"subscribe":{"channel":"open:early"}}"#));
    socket.write(&packet).unwrap();
    assert_eq!(socket.read_head().unwrap().status, 101);
    // The two replies come in one frame or in two.
    let mut replies = String::new();
    while !replies.contains(r#""id":2"#) {
        replies.push_str(&String::from_utf8(socket.read_frame().unwrap().payload).unwrap());
    }
    assert!(replies.contains(r#""id":1"#) && replies.contains(r#""subscribe""#), "{replies}");
    node.api().publish("open:early", &1.into());
    assert_eq!(json(&mut socket)["push"]["pub"]["data"], 1);
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let node = Node::start(Settings::open());
    let mut socket = RawSocket::connect(node.address());
    for byte in handshake(node.address(), PATH, "").as_bytes() {
        socket.write(&[*byte]).unwrap();
    }
    assert_eq!(socket.read_head().unwrap().status, 101);
}
