//! A small budget and many who want more than it has: the largest holder ends, everybody else goes on. Decision record 25.

use std::{
    io::{self, ErrorKind, Write},
    thread,
    time::Duration,
};

use gorani_tests::{
    node::{API_KEY, Node, Settings, free_address},
    raw::{RawSocket, frame, header, opcode},
    redis::Redis,
    stomp::Stomp,
};
use serde_json::{Value, json};

use super::{MIB, metric};
use crate::{connected, eventually, json as read_json, subscribed};

/// The smallest budget that there is, in MiB.
const BUDGET: u64 = 16;
/// The growth of a node that goes with it: the budget, what comes between two measurements, and the allocator's fragments.
const GROWTH: u64 = BUDGET * MIB * 5;
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// A client that holds little: part of the budget that all of these leave free.
const SMALL: u64 = 2 * MIB;
/// Clients that hold something that is not finished, and what each does: more than twice the budget.
const UNFINISHED: usize = 40;
const UNFINISHED_BYTES: usize = 900_000;
/// Publishes at a time while Redis is frozen, and the bytes of each: many times what may wait for it.
const FLOOD: usize = 100;
const FLOOD_BYTES: usize = 200_000;
/// An eighth of the budget, and how many of the publishes fit into it.
const PENDING: u64 = BUDGET * MIB / 8;
const WAITING: usize = PENDING as usize / FLOOD_BYTES;

fn small_budget() -> Settings {
    Settings::open().set("memory.max_bytes", (BUDGET * MIB).to_string())
}

fn held(node: &Node, kind: &str) -> u64 {
    metric(node, &format!("gorani_memory_bytes{{kind=\"{kind}\"}} "))
}

/// Whether the server has closed the connection or sent something, without waiting.
fn has_news(socket: &RawSocket) -> bool {
    let stream = socket.stream();
    stream.set_nonblocking(true).unwrap();
    let news = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(news, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Those of the connections on which something came, once something has.
fn with_news(sockets: Vec<RawSocket>) -> Vec<RawSocket> {
    eventually("one is told", TIME_LIMIT, || sockets.iter().any(has_news));
    sockets.into_iter().filter(has_news).collect()
}

#[test]
fn the_largest_holder_of_the_node_is_ended_and_its_neighbours_lose_nothing() {
    const NEWS: u64 = 200;
    let settings = small_budget()
        .set("http.workers", "2")
        .set("client.outbox_max_bytes", "1000000000")
        // Who does not read answers no ping, and its window stays shut.
        .set("client.ping_interval", "\"600s\"")
        .set("http.tcp_user_timeout", "\"600s\"");
    let node = Node::start(settings);
    let api = node.api();
    let text = "x".repeat(300_000);
    // Over the budget a large body is refused for a moment.
    let fill = |channel: &str| {
        let (status, answer) = api.call("publish", &json!({"channel": channel, "data": text}));
        assert!(status == 200 || (status == 503 && answer["error"]["code"] == 111), "{status} {answer}");
        status == 200
    };
    let mut small = Vec::new();
    for index in 0..3 {
        let channel = format!("open:small{index}");
        let socket = subscribed(&node, &channel);
        let before = held(&node, "outbox");
        let mut published = 0;
        eventually("it holds its share", TIME_LIMIT, || {
            published += usize::from(fill(&channel));
            held(&node, "outbox") >= before + SMALL
        });
        small.push((socket, published));
    }
    let mut neighbour = subscribed(&node, "open:news");
    for round in 1..=3 {
        let mut large = subscribed(&node, "open:large");
        for number in 0..NEWS {
            api.publish("open:news", &json!(number));
        }
        eventually("the budget is used up", TIME_LIMIT, || {
            fill("open:large");
            metric(&node, "gorani_memory_ended_total ") >= round
        });
        assert_eq!(large.read_close().unwrap().0, 3008);
        assert_eq!(metric(&node, "gorani_memory_ended_total "), round, "no other one is ended");
        for number in 0..NEWS {
            assert_eq!(read_json(&mut neighbour)["push"]["pub"]["data"], number);
        }
    }
    for (mut socket, published) in small {
        for _ in 0..published {
            assert_eq!(read_json(&mut socket)["push"]["pub"]["data"], text);
        }
    }
    eventually("everything is given back", TIME_LIMIT, || held(&node, "outbox") == 0);
}

#[test]
fn messages_that_nobody_finishes_stay_within_the_budget() {
    let node = Node::start(small_budget().set("client.message_max_bytes", "1000000"));
    let before = node.process().resident_bytes();
    let mut neighbour = subscribed(&node, "open:news");
    let mut unfinished: Vec<RawSocket> = (0..UNFINISHED).map(|_| connected(&node)).collect();
    for (index, socket) in unfinished.iter_mut().enumerate() {
        let text = vec![b' '; UNFINISHED_BYTES];
        let written = if index % 2 == 0 {
            // One frame that stops, and a message in fragments.
            let mut bytes = header(true, 0, opcode::TEXT, UNFINISHED_BYTES as u64 + 1);
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&text);
            socket.write(&bytes)
        } else {
            socket.write(&frame(false, 0, opcode::TEXT, &text))
        };
        // Who comes late may be ended while it writes.
        assert!(written.is_ok() || metric(&node, "gorani_memory_ended_total ") > 0, "{written:?}");
    }
    eventually("the largest are ended", TIME_LIMIT, || {
        metric(&node, "gorani_memory_ended_total ") > 0 && held(&node, "input") < BUDGET * MIB
    });
    assert!(held(&node, "input") > BUDGET * MIB / 4, "not more are ended than have to be");
    let after = node.process().resident_bytes();
    assert!(after < before + GROWTH, "{} MiB, then {} MiB", before / MIB, after / MIB);
    for mut ended in with_news(unfinished) {
        assert_eq!(ended.read_close().unwrap().0, 3008);
    }
    node.api().publish("open:news", &json!("on"));
    assert_eq!(read_json(&mut neighbour)["push"]["pub"]["data"], "on");
    eventually("everything is given back", TIME_LIMIT, || held(&node, "input") == 0);
}

#[test]
fn transactions_and_frames_of_stomp_that_nobody_ends_stay_within_the_budget() {
    let tcp = free_address();
    let namespace =
        r#"{ name = "open", allow_publish_for_client = true, allow_publish_for_anonymous = true }"#;
    let settings = small_budget()
        .set("channel.namespaces", format!("[{namespace}]"))
        .set("stomp.body_max_bytes", "1000000")
        .set("stomp.transaction_max_bytes", "1000000")
        .set("stomp.tcp.address", format!("\"{tcp}\""));
    let node = Node::start(settings);
    let before = node.process().resident_bytes();
    let body = "x".repeat(UNFINISHED_BYTES);
    let mut unfinished = Vec::new();
    for index in 0..UNFINISHED {
        let mut socket = RawSocket::connect(tcp);
        socket.write(b"CONNECT\naccept-version:1.2\nhost:x\n\n\0").unwrap();
        socket.read_until(b"\0").unwrap();
        let frames = if index % 2 == 0 {
            let send = format!("SEND\ndestination:/topic/open:a\ntransaction:t\n\n{body}\0");
            format!("BEGIN\ntransaction:t\n\n\0{send}")
        } else {
            format!("SEND\ndestination:/topic/open:a\n\n{body}")
        };
        let written = socket.write(frames.as_bytes());
        assert!(written.is_ok() || metric(&node, "gorani_memory_ended_total ") > 0, "{written:?}");
        unfinished.push(socket);
    }
    eventually("the largest are ended", TIME_LIMIT, || {
        metric(&node, "gorani_memory_ended_total ") > 0 && held(&node, "input") < BUDGET * MIB
    });
    assert!(held(&node, "input") > BUDGET * MIB / 4, "not more are ended than have to be");
    let after = node.process().resident_bytes();
    assert!(after < before + GROWTH, "{} MiB, then {} MiB", before / MIB, after / MIB);
    drop(Stomp::connect(tcp, ""));
    drop(unfinished);
    eventually("everything is given back", TIME_LIMIT, || held(&node, "input") == 0);
}

#[test]
fn bodies_that_stop_stay_within_the_budget_and_the_largest_are_told_to_come_back() {
    for path in ["/api/publish", "/connection/sockjs/a/session/xhr_send"] {
        let node = Node::start(small_budget());
        let before = node.process().resident_bytes();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {}\r\n\r\n{}",
            UNFINISHED_BYTES + 1,
            " ".repeat(UNFINISHED_BYTES)
        );
        let mut unfinished: Vec<RawSocket> =
            (0..UNFINISHED).map(|_| RawSocket::connect(node.address())).collect();
        for socket in &mut unfinished {
            let written = socket.write(request.as_bytes());
            assert!(
                written.is_ok() || metric(&node, "gorani_memory_bodies_refused_total ") > 0,
                "{written:?}"
            );
        }
        eventually("the largest are refused", TIME_LIMIT, || {
            metric(&node, "gorani_memory_bodies_refused_total ") > 0 && held(&node, "body") < BUDGET * MIB
        });
        assert!(held(&node, "body") > BUDGET * MIB / 4, "not more are refused than have to be");
        let after = node.process().resident_bytes();
        assert!(after < before + GROWTH, "{} MiB, then {} MiB", before / MIB, after / MIB);
        for mut refused in with_news(unfinished) {
            let head = refused.read_head().unwrap();
            assert_eq!((head.status, head.header("retry-after")), (503, Some("1")), "{path}");
            let body = refused.read_body(&head).unwrap();
            if path == "/api/publish" {
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["error"]["code"], 111, "{body}");
            }
        }
        eventually("everything is given back", TIME_LIMIT, || held(&node, "body") == 0);
        node.api().publish("open:a", &json!("x".repeat(500_000)));
    }
}

/// What a publish was answered: status and code of the error, 0 without.
fn publish(node: &Node, text: &str) -> io::Result<(u16, u64)> {
    let body = json!({"channel": "open:a", "data": text}).to_string();
    let mut socket = RawSocket::try_connect(node.address())?;
    let length = body.len();
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.stream().write_all(head.as_bytes())?;
    socket.write(body.as_bytes())?;
    let head = socket.read_head()?;
    let answer: Value = serde_json::from_slice(&socket.read_body(&head)?)?;
    Ok((head.status, answer["error"]["code"].as_u64().unwrap_or_default()))
}

#[test]
fn a_flood_of_publishes_at_a_frozen_redis_stays_within_its_part_and_is_told() {
    let redis = Redis::start();
    let settings = small_budget()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        // Those that wait do so until Redis goes on, however busy the machine is.
        .set("broker.redis.request_timeout", "\"120s\"");
    let node = Node::start(settings);
    let text = "x".repeat(FLOOD_BYTES);
    assert_eq!(publish(&node, &text).unwrap(), (200, 0));
    let before = node.process().resident_bytes();
    redis.pause();
    let (mut most, mut pending) = (0, 0);
    let answers: Vec<(u16, u64)> = thread::scope(|scope| {
        let publishes: Vec<_> = (0..FLOOD).map(|_| scope.spawn(|| publish(&node, &text).unwrap())).collect();
        eventually("those for which there is no room are refused", TIME_LIMIT, || {
            most = most.max(node.process().resident_bytes());
            pending = pending.max(held(&node, "pending"));
            let answered = publishes.iter().filter(|publish| publish.is_finished()).count();
            answered >= FLOOD - WAITING && pending > 0
        });
        redis.resume();
        publishes.into_iter().map(|publish| publish.join().unwrap()).collect()
    });
    let accepted = answers.iter().filter(|answer| **answer == (200, 0)).count();
    assert!((1..=WAITING).contains(&accepted), "what waited is not lost: {answers:?}");
    let is_told = |answer: &&(u16, u64)| matches!(answer, (429 | 503, 111));
    assert_eq!(answers.iter().filter(is_told).count(), FLOOD - accepted, "{answers:?}");
    assert!(pending <= PENDING, "{pending}");
    assert!(most < before + GROWTH, "{} MiB, then {} MiB", before / MIB, most / MIB);
    eventually("it goes on", TIME_LIMIT, || publish(&node, &text).unwrap() == (200, 0));
    eventually("everything is given back", TIME_LIMIT, || held(&node, "pending") < FLOOD_BYTES as u64);
}
