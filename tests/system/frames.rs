//! Frames on the wire: `docs/protocols/websocket.md` §5 to §9.

use gorani_tests::{
    node::{Node, Settings},
    raw::{frame, header, opcode},
};

use crate::{connected, json, subscribed, websocket};

/// Sends bytes on a fresh WebSocket; the code of the close frame that answers them.
fn close_code(node: &Node, bytes: &[u8]) -> u16 {
    let mut socket = websocket(node);
    socket.write(bytes).unwrap();
    let (code, _) = socket.read_close().unwrap();
    socket.write(&frame(true, 0, opcode::CLOSE, &code.to_be_bytes())).unwrap();
    let rest = socket.read_to_end().expect("the server ends the connection after the closing handshake");
    assert!(rest.is_empty(), "no frames after close, but {rest:?}");
    code
}

/// A close frame with a code and a reason.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(true, 0, opcode::CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

#[test]
fn server_frames_are_not_masked_and_have_no_reserved_bits() {
    let node = Node::start(Settings::open());
    let mut socket = connected(&node);
    socket.write(&frame(true, 0, opcode::PING, b"x")).unwrap();
    let pong = socket.read_frame().unwrap();
    assert!(pong.fin && !pong.masked && pong.reserved == 0, "{pong:?}");
}

#[test]
fn what_breaks_the_framing_is_closed_with_1002() {
    let node = Node::start(Settings::open());
    let mut unmasked = frame(true, 0, opcode::TEXT, b"{}");
    unmasked[1] &= 0x7F;
    let half_open = || frame(false, 0, opcode::TEXT, b"{");
    let non_minimal = [&[0x81, 0x80 | 126, 0, 5, 0, 0, 0, 0][..], b"hello"].concat();
    let non_minimal_64 = [&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0; 256]].concat();
    for (what, bytes) in [
        ("an unmasked frame", unmasked),
        ("RSV1 without compression", frame(true, 4, opcode::TEXT, b"{}")),
        ("RSV2", frame(true, 2, opcode::TEXT, b"{}")),
        ("RSV3", frame(true, 1, opcode::TEXT, b"{}")),
        ("opcode 3", frame(true, 0, 3, b"")),
        ("opcode 11", frame(true, 0, 11, b"")),
        ("a fragmented ping", frame(false, 0, opcode::PING, b"")),
        ("a ping of 126 bytes", frame(true, 0, opcode::PING, &[0; 126])),
        ("a continuation of nothing", frame(true, 0, opcode::CONTINUATION, b"{}")),
        ("a message inside a message", [half_open(), frame(true, 0, opcode::TEXT, b"}")].concat()),
        ("a length of 5 in 2 bytes", non_minimal),
        ("a length of 256 in 8 bytes", non_minimal_64),
    ] {
        assert_eq!(close_code(&node, &bytes), 1002, "{what}");
    }
}

#[test]
fn text_that_is_not_utf8_is_closed_with_1007_before_its_message_ends() {
    let node = Node::start(Settings::open());
    assert_eq!(close_code(&node, &frame(true, 0, opcode::TEXT, b"\"\xFF\"")), 1007);
    let mut fragments = frame(false, 0, opcode::TEXT, b"\"\xED\xA0");
    assert_eq!(close_code(&node, &fragments), 1007, "a surrogate half, the message still open");
    fragments = frame(false, 0, opcode::TEXT, b"\"\xEA\xB3");
    fragments.extend(frame(false, 0, opcode::CONTINUATION, b"\x20"));
    assert_eq!(close_code(&node, &fragments), 1007, "a character cut by a fragment and not ended");
    assert_eq!(close_code(&node, &close(1000, b"\xFF")), 1007, "a reason for closing");
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009_from_its_header() {
    let node = Node::start(Settings::open().set("client.message_max_bytes", "1024"));
    assert_eq!(close_code(&node, &header(true, 0, opcode::TEXT, 1025)), 1009);
    let mut fragments = frame(false, 0, opcode::TEXT, &[b' '; 1000]);
    fragments.extend(header(true, 0, opcode::CONTINUATION, 25));
    assert_eq!(close_code(&node, &fragments), 1009, "fragments count together");
}

#[test]
fn a_close_is_echoed_with_its_code() {
    let node = Node::start(Settings::open());
    for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
        assert_eq!(close_code(&node, &close(code, b"bye")), code);
    }
    let mut socket = websocket(&node);
    socket.write(&frame(true, 0, opcode::CLOSE, b"")).unwrap();
    let echo = socket.read_frame().unwrap();
    assert_eq!((echo.opcode, echo.payload.as_slice()), (opcode::CLOSE, &b""[..]), "a close without a code");
    socket.read_to_end().unwrap();
}

#[test]
fn a_close_that_must_not_be_sent_is_closed_with_1002() {
    let node = Node::start(Settings::open());
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535] {
        assert_eq!(close_code(&node, &close(code, b"")), 1002, "close code {code}");
    }
    assert_eq!(close_code(&node, &frame(true, 0, opcode::CLOSE, b"\x03")), 1002, "half a code");
}

#[test]
fn nothing_is_taken_after_a_close() {
    let node = Node::start(Settings::open());
    let mut witness = subscribed(&node, "open:after");
    let mut socket = connected(&node);
    let mut bytes = close(1000, b"");
    bytes.extend(frame(true, 0, opcode::TEXT, br#"{"id":2,"subscribe":{"channel":"open:after"}}"#));
    bytes.extend(frame(true, 0, opcode::PING, b"still here?"));
    socket.write(&bytes).unwrap();
    let echo = socket.read_frame().unwrap();
    assert_eq!(echo.close().0, 1000);
    node.api().publish("open:after", &1.into());
    assert_eq!(json(&mut witness)["push"]["pub"]["data"], 1);
    let rest = socket.read_to_end().unwrap();
    assert!(rest.is_empty(), "no reply, no pong, no publication: {rest:?}");
}

#[test]
fn a_ping_is_answered_with_its_payload_even_inside_a_message() {
    let node = Node::start(Settings::open());
    let mut socket = websocket(&node);
    for payload in [&b""[..], b"gorani", &[0xFF; 125]] {
        socket.write(&frame(true, 0, opcode::PING, payload)).unwrap();
        let pong = socket.read_frame().unwrap();
        assert_eq!((pong.opcode, pong.payload.as_slice()), (opcode::PONG, payload));
    }
    socket.write(&frame(false, 0, opcode::TEXT, br#"{"id":1,"#)).unwrap();
    socket.write(&frame(true, 0, opcode::PING, b"between")).unwrap();
    assert_eq!(socket.read_frame().unwrap().payload, b"between");
    socket.write(&frame(true, 0, opcode::PONG, b"nobody asked")).unwrap();
    socket.write(&frame(true, 0, opcode::CONTINUATION, br#""connect":{}}"#)).unwrap();
    assert!(json(&mut socket)["connect"]["client"].is_string());
}

#[test]
fn of_many_pings_at_once_the_newest_is_answered() {
    let node = Node::start(Settings::open());
    let mut socket = websocket(&node);
    let pings: Vec<u8> =
        (0..1000u32).flat_map(|number| frame(true, 0, opcode::PING, &number.to_be_bytes())).collect();
    socket.write(&pings).unwrap();
    let mut answered = None;
    while answered != Some(999) {
        let pong = socket.read_frame().unwrap();
        assert_eq!(pong.opcode, opcode::PONG);
        let number = u32::from_be_bytes(pong.payload.try_into().unwrap());
        assert!(answered < Some(number), "{number} after {answered:?}");
        answered = Some(number);
    }
}
