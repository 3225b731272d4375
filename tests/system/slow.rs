//! A reader that stalls: it costs at most its outbox, is told 3008, and nobody else notices. `docs/protocols/websocket.md` §16.
//! The failure this guards against is an actor that is not polled while its client does not read.

use std::time::Duration;

use gorani_tests::node::{Node, Settings};
use serde_json::json;

use crate::{eventually, json, neighbour::beside_a_neighbour, subscribed};

/// Bytes of one message in the flood.
const MESSAGE_BYTES: usize = 40_000;
/// So many are more than an outbox of 1 MiB and everything that the kernel's socket buffers take.
const MESSAGES: usize = 400;
/// A slow consumer's connection is gone within this, its farewell included.
const GONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_stalled_reader_is_closed_as_slow_while_its_neighbour_keeps_its_latency() {
    // The close waits for its reader until all is published, which takes long on a busy machine.
    let settings = Settings::open()
        .set("websocket.close_timeout", "\"60s\"")
        // It is its outbox that ends it, however long it answers no ping.
        .set("client.ping_interval", "\"300s\"");
    let node = Node::start(settings);
    let mut stalled = subscribed(&node, "open:flood");
    let filling = "x".repeat(MESSAGE_BYTES);
    let api = node.api();
    let (code, reason) = beside_a_neighbour(&node, || {
        for number in 0..MESSAGES {
            api.publish("open:flood", &json!([number, filling]));
        }
        // Now it reads: first what was on its way, in order and without a gap, then why it ends.
        let mut expected = 0;
        loop {
            let frame = stalled.read_frame().unwrap();
            if frame.opcode == gorani_tests::raw::opcode::CLOSE {
                break frame.close();
            }
            for line in frame.payload.split(|byte| *byte == b'\n') {
                let push: serde_json::Value = serde_json::from_slice(line).unwrap();
                if push != json!({}) {
                    assert_eq!(push["push"]["pub"]["data"][0], expected, "a publication is missing");
                    expected += 1;
                }
            }
        }
    });
    assert_eq!(code, 3008, "{reason}");
}

#[test]
fn a_reader_that_never_reads_again_is_dropped_and_its_descriptor_freed() {
    let node = Node::start(Settings::open().set("websocket.close_timeout", "\"1s\""));
    let mut stalled = subscribed(&node, "open:flood");
    // The API's connection is kept alive, and has to be there before descriptors are counted.
    let api = node.api();
    api.publish("open:flood", &json!("first"));
    assert_eq!(json(&mut stalled)["push"]["pub"]["data"], "first");
    let with_it = node.process().descriptors();
    let filling = "x".repeat(MESSAGE_BYTES);
    for number in 0..MESSAGES {
        api.publish("open:flood", &json!([number, filling]));
    }
    eventually("the stalled connection is gone", GONE_WITHIN, || node.process().descriptors() < with_it);
    drop(stalled);
}

#[test]
fn many_stalled_readers_cost_no_more_than_their_outboxes() {
    /// Readers that stall together.
    const READERS: usize = 20;
    /// The smallest outbox that is allowed to be set.
    const OUTBOX_BYTES: u64 = 65_536;
    // The close waits for its reader until all is published, which takes long on a busy machine.
    let settings = Settings::open()
        .set("websocket.close_timeout", "\"60s\"")
        .set("client.outbox_max_bytes", OUTBOX_BYTES.to_string())
        .set("client.ping_interval", "\"300s\"");
    let node = Node::start(settings);
    let mut stalled: Vec<_> = (0..READERS).map(|_| subscribed(&node, "open:flood")).collect();
    let filling = "x".repeat(MESSAGE_BYTES);
    let api = node.api();
    beside_a_neighbour(&node, || {
        for number in 0..MESSAGES {
            api.publish("open:flood", &json!([number, filling]));
        }
        for socket in &mut stalled {
            assert_eq!(socket.read_close().unwrap().0, 3008);
        }
    });
}
