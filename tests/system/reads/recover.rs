//! Many clients come back at once, each with a position of its own: reads that cannot be shared.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{node::Node, raw::opcode, redis::Redis};
use serde_json::{Value, json};

use super::{Beside, MIB, TIME_LIMIT, fill, settings};
use crate::connected;

const CLIENTS: usize = 96;
const PUBLICATIONS: usize = 100;
const PUBLICATION_BYTES: usize = 20_000;
/// Of replies under way at a time, of which one client brings up to 2 MiB.
const REPLIES: u64 = 8 * MIB;
/// What the node may grow by: the replies, their pages, and what the allocator keeps. All replies together have 100 MiB.
const GROWTH: u64 = 60 * MIB;
/// As libraries do after a temporary error.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Recovers from an offset, and comes back as often as it is told to. Gives how often.
fn recover(node: &Node, offset: usize, epoch: &str) -> usize {
    let ask = json!({"id": 2, "subscribe": {
        "channel": "open:big", "recoverable": true, "recover": true, "offset": offset, "epoch": epoch,
    }});
    let give_up = Instant::now() + TIME_LIMIT;
    let mut told = 0;
    let connected = || {
        let socket = connected(node);
        socket.stream().set_read_timeout(Some(TIME_LIMIT)).unwrap();
        socket
    };
    let mut socket = connected();
    loop {
        assert!(Instant::now() < give_up, "told {told} times to come back, and never recovered");
        socket.text(&ask.to_string()).unwrap();
        let frame = socket.read_frame().unwrap();
        if frame.opcode == opcode::CLOSE {
            assert_eq!(frame.close().0, 3008, "{:?}", frame.close());
            socket = connected();
            told += 1;
            continue;
        }
        let reply: Value = serde_json::from_slice(&frame.payload).unwrap();
        if reply["error"].is_object() {
            assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(111), &json!(true)));
            told += 1;
            thread::sleep(ASK_AGAIN_AFTER);
            continue;
        }
        let result = &reply["subscribe"];
        assert_eq!(result["recovered"], true, "{}", result["error"]);
        let offsets =
            result["publications"].as_array().unwrap().iter().map(|one| one["offset"].as_u64().unwrap());
        let expected = offset as u64 + 1..=PUBLICATIONS as u64;
        assert!(offsets.eq(expected), "each once, in order");
        return told;
    }
}

#[test]
fn many_clients_that_come_back_at_once_all_recover_or_are_told_to_ask_again() {
    let redis = Redis::start();
    let settings = settings(&redis)
        .set("http.workers", "2")
        .set("memory.replies_max_bytes", REPLIES.to_string())
        .set("reads.clients", "4")
        .set("reads.large", "2");
    let (node, other) = (Node::start(settings.clone()), Node::start(settings));
    let epoch = fill(&other.api(), "open:big", PUBLICATIONS, PUBLICATION_BYTES);
    let beside = Beside::start(&other, &[&node, &other]);
    let told = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (node, told, epoch) = (&node, &told, &epoch);
            scope.spawn(move || {
                told.fetch_add(recover(node, number % PUBLICATIONS, epoch), Ordering::Relaxed)
            });
        }
    });
    let (growth, reads) = beside.finish();
    assert!(growth < GROWTH, "{} MiB, told to come back {told:?} times", growth / MIB);
    // First pages, and large reads.
    assert!(reads <= 4 + 2, "{reads} reads under way");
}

#[test]
fn more_than_one_reply_holds_is_told_as_not_recovered_and_read_in_parts() {
    const REPLY_MAX_BYTES: usize = 100_000;
    let redis = Redis::start();
    let node = Node::start(settings(&redis).set("client.reply_max_bytes", REPLY_MAX_BYTES.to_string()));
    let epoch = fill(&node.api(), "open:big", PUBLICATIONS, PUBLICATION_BYTES);
    let mut socket = connected(&node);
    let mut ask = |command: Value| {
        socket.text(&command.to_string()).unwrap();
        let frame = socket.read_frame().unwrap();
        assert!(frame.payload.len() < REPLY_MAX_BYTES + 4096, "{}", frame.payload.len());
        serde_json::from_slice::<Value>(&frame.payload).unwrap()
    };
    let recovery =
        json!({"channel": "open:big", "recoverable": true, "recover": true, "offset": 0, "epoch": epoch});
    let reply = ask(json!({"id": 2, "subscribe": recovery}));
    let result = &reply["subscribe"];
    assert!(result["recovered"].is_null() && result["publications"].is_null(), "{result}");
    assert_eq!((&result["was_recovering"], &result["offset"]), (&json!(true), &json!(PUBLICATIONS)));
    // What it missed is there to be read, a part at a time.
    let mut offset = 0;
    while offset < PUBLICATIONS as u64 {
        let since = json!({"offset": offset, "epoch": epoch});
        let reply = ask(json!({"id": 3, "history": {"channel": "open:big", "limit": -1, "since": since}}));
        let publications = reply["history"]["publications"].as_array().unwrap();
        assert!(!publications.is_empty(), "{reply}");
        for publication in publications {
            assert_eq!(publication["offset"], offset + 1);
            offset += 1;
        }
    }
}
