//! A STOMP client that does not read costs at most its outbox, is ended and counted as slow, and nobody else notices.

use std::{net::SocketAddr, thread, time::Duration};

use gorani_tests::{
    node::{Node, free_address},
    raw::RawSocket,
    stomp::Stomp,
};

use super::{node, settings};
use crate::{eventually, neighbour::beside_a_neighbour};

/// Bytes of one message in the flood.
const MESSAGE_BYTES: usize = 40_000;
/// So many are more than an outbox of 1 MiB and everything that the kernel's socket buffers take.
const MESSAGES: usize = 400;
/// A slow consumer is gone within this, its farewell included.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// Sessions that ended as slow consumers, as /metrics has them.
const SLOW: &str = "gorani_disconnects_total{code=\"3008\"} ";

fn ended_as_slow(node: &Node) -> usize {
    let (_, text) = node.api().get("/metrics");
    text.lines().find_map(|line| line.strip_prefix(SLOW)).map_or(0, |value| value.trim().parse().unwrap())
}

/// Publishes to `open:flood` what no stalled reader can take, while another STOMP client gets all of it.
fn flood(node: &Node, tcp: SocketAddr) {
    let mut reader = Stomp::connect(tcp, "");
    reader.subscribe("0", "/topic/open:flood", "");
    let reader = thread::spawn(move || {
        for number in 0..MESSAGES {
            let start = format!("[{number},");
            assert!(reader.message().text().starts_with(&start), "message {number} is missing");
        }
    });
    let (api, filling) = (node.api(), "x".repeat(MESSAGE_BYTES));
    for number in 0..MESSAGES {
        api.publish("open:flood", &serde_json::json!([number, filling]));
    }
    reader.join().expect("who reads gets everything");
}

#[test]
fn over_tcp_a_stalled_reader_is_ended_as_slow_while_others_get_everything() {
    let (node, tcp) = node();
    let mut stalled = Stomp::connect(tcp, "");
    stalled.subscribe("0", "/topic/open:flood", "");
    beside_a_neighbour(&node, || {
        flood(&node, tcp);
        // Over before it reads again.
        eventually("the stalled reader is ended", GONE_WITHIN, || ended_as_slow(&node) == 1);
    });
    // What was on its way comes in order, then the end, which may cut a frame.
    let mut expected = 0;
    while let Ok(Some(frame)) = stalled.frame_or_end() {
        assert!(frame.text().starts_with(&format!("[{expected},")), "a publication is missing");
        expected += 1;
    }
    assert!(expected < MESSAGES);
}

#[test]
fn over_websocket_a_stalled_reader_is_told_that_it_is_slow_while_others_get_everything() {
    let tcp = free_address();
    // It begins to read when all are published, which a busy machine takes longer for than 5 seconds.
    let node = Node::start(settings(tcp).set("websocket.close_timeout", "\"60s\""));
    let mut stalled = RawSocket::websocket(node.address(), "/stomp", "");
    stalled.text("CONNECT\naccept-version:1.2\n\n\0").unwrap();
    stalled.read_frame().unwrap();
    stalled.text("SUBSCRIBE\nid:0\ndestination:/topic/open:flood\nreceipt:r\n\n\0").unwrap();
    assert!(stalled.read_frame().unwrap().payload.starts_with(b"RECEIPT\n"));
    beside_a_neighbour(&node, || {
        flood(&node, tcp);
        assert_eq!(stalled.read_close().unwrap(), (3008, "slow".to_owned()));
        drop(stalled);
        eventually("it is counted", GONE_WITHIN, || ended_as_slow(&node) == 1);
    });
}
