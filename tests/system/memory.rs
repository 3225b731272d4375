//! The memory of a node stays bounded whatever its clients leave unread or unfinished. Decision record 25.

mod budget;

use std::{
    io::{ErrorKind, Write},
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings, free_address},
    raw::RawSocket,
    redis::Redis,
    stomp::Stomp,
};
use serde_json::{Value, json};

use crate::{connected, eventually};

const MIB: u64 = 1024 * 1024;
/// Clients that recover and do not read, and bytes that each would hold without a bound.
const STALLED: usize = 60;
const PUBLICATIONS: usize = 125;
const PUBLICATION_BYTES: usize = 60_000;
/// What they may cost all together: 64 MiB of replies, and the copies of those being encoded.
const REPLIES_GROWTH: u64 = 200 * MIB;
/// Reads that are answered with an error, many more than there is room for.
const WRONG_READS: usize = 40;
/// What receipts of one client may cost.
const RECEIPTS_GROWTH: u64 = 60 * MIB;
/// How long the client of the receipts tries to send more.
const PUSHING: Duration = Duration::from_secs(2);

fn with_history() -> Settings {
    let namespace = r#"{ name = "open", history_size = 200, history_ttl = "600s", allow_recovery = true, allow_history_for_subscriber = true, allow_history_for_client = true, allow_history_for_anonymous = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }"#;
    Settings::open()
        .set("channel.namespaces", format!("[{namespace}]"))
        .set("client.reply_max_bytes", (8 * MIB).to_string())
}

/// Fills `open:big` with more than 7 MiB; returns its epoch.
fn fill(node: &Node) -> String {
    let (api, filling) = (node.api(), "x".repeat(PUBLICATION_BYTES));
    let mut epoch = Value::Null;
    for _ in 0..PUBLICATIONS {
        epoch = api.publish("open:big", &json!(filling))["epoch"].clone();
    }
    epoch.as_str().unwrap().to_owned()
}

fn metric(node: &Node, name: &str) -> u64 {
    let (_, text) = node.api().get("/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.trim().parse().unwrap()
}

#[test]
fn readers_that_stall_on_large_recoveries_do_not_fill_the_node() {
    let node = Node::start(with_history());
    let epoch = fill(&node);
    let before = node.process().resident_bytes();
    let ask = json!({"id": 2, "subscribe": {
        "channel": "open:big", "recoverable": true, "recover": true, "offset": 0, "epoch": epoch,
    }});
    let mut stalled: Vec<RawSocket> = (0..STALLED).map(|_| connected(&node)).collect();
    for socket in &mut stalled {
        socket.text(&ask.to_string()).unwrap();
    }
    eventually("replies are refused", Duration::from_secs(60), || {
        metric(&node, "gorani_memory_replies_refused_total ") > 0
    });
    let after = node.process().resident_bytes();
    assert!(after < before + REPLIES_GROWTH, "{} MiB, then {} MiB", before / MIB, after / MIB);
    // The stalled ones do not keep others from recovering: one that asks again succeeds.
    let mut reader = connected(&node);
    eventually("a client that reads recovers", Duration::from_secs(60), || {
        reader.text(&ask.to_string()).unwrap();
        let mut reply = reader.read_frame().unwrap();
        while reply.payload == b"{}" {
            reader.text("{}").unwrap();
            reply = reader.read_frame().unwrap();
        }
        let is_refused = reply.payload.len() < 1000;
        assert!(!is_refused || String::from_utf8_lossy(&reply.payload).contains("111"), "{reply:?}");
        !is_refused
    });
    drop((stalled, reader));
    eventually("everything is given back", Duration::from_secs(30), || {
        metric(&node, "gorani_memory_bytes{kind=\"reply\"} ") == 0
            && metric(&node, "gorani_memory_bytes{kind=\"outbox\"} ") == 0
    });
}

#[test]
fn reads_that_are_answered_with_an_error_leave_no_reply_counted() {
    let node = Node::start(with_history());
    let epoch = fill(&node);
    let mut reader = connected(&node);
    let history = |id: usize, epoch: &str| {
        let since = json!({"offset": 0, "epoch": epoch});
        json!({"id": id, "history": {"channel": "open:big", "limit": 200, "since": since}}).to_string()
    };
    // Eight of them would use up all that large replies may hold, were they kept.
    for id in 0..WRONG_READS {
        reader.text(&history(id + 2, "another")).unwrap();
        let reply = reader.read_frame().unwrap();
        assert!(String::from_utf8_lossy(&reply.payload).contains("\"code\":112"), "{reply:?}");
    }
    assert_eq!(metric(&node, "gorani_memory_bytes{kind=\"reply\"} "), 0);
    reader.text(&history(WRONG_READS + 2, &epoch)).unwrap();
    assert!(reader.read_frame().unwrap().payload.len() > PUBLICATIONS * PUBLICATION_BYTES);
    let mut other = connected(&node);
    let recovery =
        json!({"channel": "open:big", "recoverable": true, "recover": true, "offset": 0, "epoch": epoch});
    other.text(&json!({"id": 2, "subscribe": recovery}).to_string()).unwrap();
    assert!(other.read_frame().unwrap().payload.len() > PUBLICATIONS * PUBLICATION_BYTES);
    drop((reader, other));
    eventually("everything is given back", Duration::from_secs(30), || {
        metric(&node, "gorani_memory_bytes{kind=\"reply\"} ") == 0
    });
}

#[test]
fn receipts_behind_a_send_that_waits_do_not_fill_the_node() {
    let redis = Redis::start();
    let tcp = free_address();
    let namespace =
        r#"{ name = "open", allow_publish_for_client = true, allow_publish_for_anonymous = true }"#;
    let settings = Settings::open()
        .set("channel.namespaces", format!("[{namespace}]"))
        .set("stomp.tcp.address", format!("\"{tcp}\""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()));
    let node = Node::start(settings);
    drop(Stomp::connect(tcp, ""));
    let mut socket = RawSocket::connect(tcp);
    socket.write(b"CONNECT\naccept-version:1.2\nhost:x\n\n\0").unwrap();
    socket.read_until(b"\0").unwrap();
    let before = node.process().resident_bytes();
    redis.pause();
    socket.write(b"SEND\ndestination:/topic/open:a\n\nx\0").unwrap();
    let receipt = "r".repeat(16_000);
    let pair =
        format!("BEGIN\ntransaction:t\nreceipt:{receipt}\n\n\0ABORT\ntransaction:t\nreceipt:{receipt}\n\n\0");
    let mut stream = socket.stream();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let (end, mut at, mut most) = (Instant::now() + PUSHING, 0, 0);
    while Instant::now() < end {
        match stream.write(&pair.as_bytes()[at..]) {
            Ok(count) => at = (at + count) % pair.len(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        most = most.max(node.process().resident_bytes());
    }
    redis.resume();
    assert!(most < before + RECEIPTS_GROWTH, "{} MiB, then {} MiB", before / MIB, most / MIB);
}
