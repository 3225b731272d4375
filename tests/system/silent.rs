//! Peers that say nothing: no first command, no pong, no answer to a close, half a connection. Each has its time
//! and is freed after it. `docs/protocols/websocket.md` §8, §14, §15.

use std::time::{Duration, Instant};

use gorani_tests::{
    node::{Node, Settings},
    raw::frame,
};
use serde_json::json;

use crate::{connected, eventually, json, subscribed, websocket};

/// Long enough for any timeout that these tests set to 1 s, on a busy machine.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_websocket_without_a_first_command_is_closed_as_stale() {
    let node = Node::start(Settings::open().set("client.connect_timeout", "\"1s\""));
    let start = Instant::now();
    let mut socket = websocket(&node);
    assert_eq!(socket.read_close().unwrap().0, 3502);
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?} already", start.elapsed());
}

#[test]
fn a_peer_that_answers_no_ping_is_closed_and_freed() {
    let settings = Settings::open()
        .set("client.ping_interval", "\"1s\"")
        .set("client.pong_timeout", "\"500ms\"")
        .set("websocket.close_timeout", "\"1s\"");
    let node = Node::start(settings);
    let mut socket = connected(&node);
    let with_it = node.process().descriptors();
    assert_eq!(json(&mut socket), json!({}), "a ping");
    assert_eq!(socket.read_close().unwrap().0, 3012);
    // It does not answer the close either, and does not hang up.
    eventually("the descriptor is freed", SOON, || node.process().descriptors() < with_it);
    drop(socket);
}

#[test]
fn a_peer_that_answers_every_ping_stays() {
    // The test itself is the peer: on a busy machine it may need more than a second for an answer.
    let settings =
        Settings::open().set("client.ping_interval", "\"4s\"").set("client.pong_timeout", "\"3500ms\"");
    let node = Node::start(settings);
    let mut socket = subscribed(&node, "open:quiet");
    for _ in 0..3 {
        assert_eq!(json(&mut socket), json!({}));
        socket.text("{}").unwrap();
    }
    node.api().publish("open:quiet", &json!("there?"));
    assert_eq!(json(&mut socket)["push"]["pub"]["data"], "there?");
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_dropped_after_a_bounded_time() {
    let node = Node::start(Settings::open().set("websocket.close_timeout", "\"1s\""));
    let mut socket = connected(&node);
    socket.write(&frame(true, 0, 3, b"")).unwrap();
    assert_eq!(socket.read_close().unwrap().0, 1002);
    let start = Instant::now();
    socket.read_to_end().expect("the server hangs up");
    assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
}

#[test]
fn a_peer_that_closes_its_half_is_freed_at_once() {
    let node = Node::start(Settings::open());
    let mut socket = subscribed(&node, "open:half");
    let with_it = node.process().descriptors();
    socket.finish();
    eventually("the descriptor is freed", SOON, || node.process().descriptors() < with_it);
    let rest = socket.read_to_end().expect("the server hangs up");
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_peer_that_vanishes_with_a_reset_is_freed_at_once() {
    let node = Node::start(Settings::open());
    let socket = subscribed(&node, "open:reset");
    let with_it = node.process().descriptors();
    socket2::SockRef::from(socket.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    eventually("the descriptor is freed", SOON, || node.process().descriptors() < with_it);
}

#[test]
fn an_idle_keep_alive_connection_is_closed_after_its_time() {
    let node = Node::start(Settings::open().set("http.keep_alive", "\"1s\""));
    let mut socket = gorani_tests::raw::RawSocket::connect(node.address());
    socket
        .write(format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", node.address()).as_bytes())
        .unwrap();
    assert_eq!(socket.read_head().unwrap().status, 200);
    let start = Instant::now();
    socket.read_to_end().expect("the server hangs up");
    assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
}
