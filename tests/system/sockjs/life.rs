//! The life of a session: who may receive, what an end is and how long it is told. Items 10, 12 to 19.

use std::{
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::Node,
    raw::RawSocket,
    sockjs::{Request, session},
};

use super::{SOON, node, open, poll, send, sent, settings};
use crate::eventually;

const SECOND_RECEIVER: &str = "c[2010,\"Another connection still open\"]\n";
const INTERRUPTED: &str = "c[1002,\"Connection interrupted\"]\n";

#[test]
fn item_10_a_session_is_found_by_its_id_whatever_stands_before_it() {
    let node = node();
    open(&node, "/echo/000/same");
    sent(&node, "/echo/aaa%20a/same", "[\"a\"]");
    assert_eq!(poll(&node, "/echo/999/same").body, "a[\"a\"]\n");
    // Under another endpoint it is another one.
    assert_eq!(send(&node, "/broadcast/000/same", "[\"a\"]").status(), 404);
}

#[test]
fn item_13_messages_between_polls_come_in_order_in_one_frame() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    sent(&node, &session, "[\"1\",\"2\"]");
    sent(&node, &session, "[]");
    sent(&node, &session, "\"3\"");
    sent(&node, &session, "[\"4\"]");
    assert_eq!(poll(&node, &session).body, "a[\"1\",\"2\",\"3\",\"4\"]\n");
}

#[test]
fn item_14_a_second_receiver_is_turned_away_and_the_first_goes_on() {
    let node = node();
    let session = session("echo");
    let mut first = Request::post(format!("{session}/xhr_streaming")).stream(node.address());
    first.chunk().unwrap();
    assert_eq!(first.chunk().unwrap(), "o\n");

    let mut second = Request::post(format!("{session}/xhr_streaming")).stream(node.address());
    assert_eq!(second.head.status, 200);
    second.chunk().unwrap();
    assert_eq!(second.chunk().unwrap(), SECOND_RECEIVER);
    assert_eq!(second.chunk(), None);
    assert_eq!(poll(&node, &session).body, SECOND_RECEIVER);

    sent(&node, &session, "[\"still here\"]");
    assert_eq!(first.chunk().unwrap(), "a[\"still here\"]\n");
}

#[test]
fn item_15_an_end_is_told_to_every_receiver_and_a_stream_ends_with_it() {
    let node = node();
    let session = session("close");
    let mut stream = Request::post(format!("{session}/xhr_streaming")).stream(node.address());
    stream.chunk().unwrap();
    assert_eq!(stream.chunk().unwrap(), "o\n");
    assert_eq!(stream.chunk().unwrap(), "c[3000,\"Go away!\"]\n");
    assert_eq!(stream.chunk(), None);
    for _ in 0..3 {
        assert_eq!(poll(&node, &session).body, "c[3000,\"Go away!\"]\n");
    }
    let mut stream = Request::post(format!("{session}/xhr_streaming")).stream(node.address());
    stream.chunk().unwrap();
    assert_eq!(stream.chunk().unwrap(), "c[3000,\"Go away!\"]\n");
    assert_eq!(stream.chunk(), None);
    // Nothing is taken for it any more.
    assert_eq!(send(&node, &session, "[\"x\"]").status(), 404);
}

#[test]
fn item_15_an_end_is_forgotten_after_the_delay() {
    let node = Node::start(settings().set("sockjs.disconnect_delay", "\"1s\""));
    let session = session("close");
    let start = Instant::now();
    open(&node, &session);
    eventually("a new session", SOON, || poll(&node, &session).body == "o\n");
    assert!(start.elapsed() > Duration::from_millis(800), "after {:?}", start.elapsed());
}

/// Whether an answer has come.
fn has_answer(socket: &mut RawSocket) -> bool {
    socket.stream().set_nonblocking(true).unwrap();
    let peeked = socket.stream().peek(&mut [0]);
    socket.stream().set_nonblocking(false).unwrap();
    peeked.is_ok_and(|bytes| bytes > 0)
}

/// Opens a session, begins to receive, breaks that off, and polls at once.
fn after_an_abort(node: &Node, transport: &str) -> String {
    let session = session("echo");
    if transport == "xhr" {
        open(node, &session);
        let poll = || Request::post(format!("{session}/xhr")).begin(node.address());
        // Of two polls one is turned away: then the other one has arrived.
        let mut both = [poll(), poll()];
        let mut turned_away = None;
        eventually("one is turned away", SOON, || {
            turned_away = both.iter_mut().position(has_answer);
            turned_away.is_some()
        });
        let receiving = &both[1 - turned_away.unwrap()];
        receiving.stream().shutdown(Shutdown::Both).unwrap();
    } else {
        let mut stream = Request::post(format!("{session}/{transport}")).stream(node.address());
        stream.chunk().unwrap();
        stream.chunk().unwrap();
        drop(stream);
    }
    poll(node, &session).body
}

#[test]
fn item_16_a_broken_receiver_is_known_at_once_and_its_session_is_over() {
    let node = node();
    for transport in ["xhr", "xhr_streaming"] {
        for _ in 0..20 {
            let answer = after_an_abort(&node, transport);
            assert!(answer == INTERRUPTED || answer == "o\n", "{transport}: {answer}");
        }
    }
}

#[test]
fn items_17_and_19_silence_is_broken_by_a_heartbeat_which_completes_a_poll() {
    let node = Node::start(settings().set("sockjs.heartbeat", "\"1s\""));
    let polled = session("echo");
    let start = Instant::now();
    open(&node, &polled);
    assert_eq!(poll(&node, &polled).body, "h\n");
    assert!(start.elapsed() > Duration::from_millis(800), "after {:?}", start.elapsed());

    let streamed = session("echo");
    let mut stream = Request::post(format!("{streamed}/xhr_streaming")).stream(node.address());
    stream.chunk().unwrap();
    assert_eq!(stream.chunk().unwrap(), "o\n");
    assert_eq!(stream.chunk().unwrap(), "h\n");
    sent(&node, &streamed, "[\"x\"]");
    let mut chunk = stream.chunk().unwrap();
    while chunk == "h\n" {
        chunk = stream.chunk().unwrap();
    }
    assert_eq!(chunk, "a[\"x\"]\n");
    assert_eq!(stream.chunk().unwrap(), "h\n");
}

#[test]
fn a_handlers_session_lives_on_without_pongs_as_long_as_its_client_comes_back() {
    let node = Node::start(
        settings()
            .set("client.ping_interval", "\"1s\"")
            .set("client.pong_timeout", "\"500ms\"")
            .set("sockjs.heartbeat", "\"1s\""),
    );
    let session = session("echo");
    open(&node, &session);
    for _ in 0..3 {
        assert_eq!(poll(&node, &session).body, "h\n");
    }
    sent(&node, &session, "[\"x\"]");
    assert_eq!(poll(&node, &session).body, "a[\"x\"]\n");
}

#[test]
fn item_18_a_session_that_nobody_polls_is_forgotten_after_the_delay_also_if_none_ever_did() {
    let node = Node::start(settings().set("sockjs.disconnect_delay", "\"4s\""));
    let polled = session("echo");
    open(&node, &polled);
    sent(&node, &polled, "[\"x\"]");
    assert_eq!(poll(&node, &polled).body, "a[\"x\"]\n");
    let once = session("echo");
    open(&node, &once);
    for session in [&polled, &once] {
        eventually("it is forgotten", SOON, || send(&node, session, "[]").status() == 404);
        open(&node, session);
    }
    // One that is polled again and again lives.
    let alive = session("echo");
    open(&node, &alive);
    for round in 0..6 {
        thread::sleep(Duration::from_secs(1));
        sent(&node, &alive, &format!("[\"{round}\"]"));
        assert_eq!(poll(&node, &alive).body, format!("a[\"{round}\"]\n"));
    }
}

#[test]
fn sessions_that_may_wait_are_bounded() {
    let node = Node::start(settings().set("sockjs.max_waiting", "2"));
    let sessions: Vec<_> = (0..3).map(|_| session("echo")).collect();
    for session in &sessions {
        open(&node, session);
    }
    assert_eq!(poll(&node, &sessions[2]).body, "c[3013,\"too many sessions wait\"]\n");
    sent(&node, &sessions[0], "[\"x\"]");
    assert_eq!(poll(&node, &sessions[0]).body, "a[\"x\"]\n");
}

#[test]
fn a_client_that_never_polls_is_a_slow_consumer_and_is_told() {
    let node = Node::start(settings().set("client.outbox_max_bytes", "4096"));
    let session = session("broadcast");
    open(&node, &session);
    let message = format!("[\"{}\"]", "x".repeat(1000));
    eventually("it is closed", SOON, || send(&node, &session, &message).status() == 404);
    assert_eq!(poll(&node, &session).body, "c[3008,\"slow\"]\n");
}

#[test]
fn a_node_that_goes_down_tells_its_sessions_and_does_not_wait_for_those_that_are_over() {
    let mut node = Node::start(
        settings()
            .set("sockjs.disconnect_delay", "\"60s\"")
            .set("drain.grace", "\"0s\"")
            .set("drain.seconds", "0")
            .set("http.shutdown_timeout", "\"60s\""),
    );
    open(&node, &session("close"));
    let streamed = session("echo");
    let mut stream = Request::post(format!("{streamed}/xhr_streaming")).stream(node.address());
    stream.chunk().unwrap();
    assert_eq!(stream.chunk().unwrap(), "o\n");
    node.terminate();
    assert_eq!(stream.chunk().unwrap(), "c[3001,\"shutdown\"]\n");
    assert_eq!(stream.chunk(), None);
    assert!(node.wait_exit(SOON).is_some(), "it waits for a session that is over");
}
