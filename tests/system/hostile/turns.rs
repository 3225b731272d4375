//! The input of one client does not hold its worker: what would take long is cut into turns, and others have theirs in
//! between. The node counts turns that are long; each input here would be one by itself.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use flate2::{Compression, write::DeflateEncoder};
use gorani_tests::{
    binary,
    client::PATH,
    node::{Node, Settings, free_address},
    raw::{RawSocket, frame, handshake, opcode},
    sockjs::{Request, session},
    stomp::Stomp,
};

use super::end_of_message;
use crate::{connected, eventually};

/// What a release holds.
const LONG_SECONDS: &str = "0.005";
/// A debug build is up to ten times slower. The time of a turn is looked at there too, so that it is longer only by what the
/// last step is, and by reading a message or its fragments; without cuts, inputs here make turns of 0.07 s and more in it.
const LONG_SECONDS_IN_DEBUG: &str = "0.05";
/// How often each input is played. On a machine with much to do, the kernel stops a worker within its turn now and then; an
/// input that holds it does so every time.
const ROUNDS: u64 = 6;
/// On one with too much to do it does so in many rounds. Then all of them are played again: an input that holds a worker does so
/// whenever it is played.
const ATTEMPTS: usize = 4;
/// One input is played at a time: several would take the cores from one another, and a turn's time is that of the clock.
static ALONE: Mutex<()> = Mutex::new(());
/// Turns are added to the metrics once a second.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

const MIB: usize = 1024 * 1024;
/// Publications in a history that is read whole: as many as one read brings, and a few less.
const PUBLICATIONS: usize = 290;
/// The same settings, and a history that anybody may read.
const WITH_HISTORY: &str = r#"[{ name = "open", history_size = 300, history_ttl = "600s", allow_history_for_client = true, allow_history_for_anonymous = true, allow_publish_for_client = true, allow_publish_for_anonymous = true }]"#;

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_publish_for_client = true, allow_publish_for_anonymous = true }]"#;

fn settings() -> Settings {
    Settings::open().set("channel.namespaces", NAMESPACES)
}

fn value(metrics: &str, name: &str) -> u64 {
    metrics.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |value| value.trim().parse().unwrap())
}

fn metric(node: &Node, name: &str) -> u64 {
    value(&node.api().get("/metrics").1, name)
}

fn is_release() -> bool {
    binary::node().components().any(|part| part.as_os_str() == "release")
}

fn long_seconds() -> &'static str {
    if is_release() { LONG_SECONDS } else { LONG_SECONDS_IN_DEBUG }
}

/// Turns so far that were long.
fn long_turns(node: &Node) -> u64 {
    // Both of one look: turns may be added between two.
    let (_, metrics) = node.api().get("/metrics");
    let short = format!("gorani_worker_turn_seconds_bucket{{le=\"{}\"}} ", long_seconds());
    value(&metrics, "gorani_worker_turn_seconds_count ") - value(&metrics, &short)
}

/// Plays an input again and again, and checks that it does not make a long turn each time.
fn is_cut(node: &Node, mut input: impl FnMut()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let found: Vec<u64> =
        (0..ATTEMPTS).map(|_| long_turns_of(node, &mut input)).take_while(|long| *long >= ROUNDS).collect();
    let (_, metrics) = node.api().get("/metrics");
    let turns = || metrics.lines().filter(|line| line.starts_with("gorani_worker_turn_seconds_bucket"));
    assert!(
        found.len() < ATTEMPTS,
        "{found:?} turns of more than {} s in {ROUNDS} rounds: {:?}",
        long_seconds(),
        turns().collect::<Vec<_>>()
    );
}

/// The long turns of an input that is played again and again.
fn long_turns_of(node: &Node, input: &mut impl FnMut()) -> u64 {
    let before = long_turns(node);
    for _ in 0..ROUNDS {
        input();
    }
    // What is counted is added together, so a message that comes later tells that the turns are there.
    let messages = metric(node, "gorani_messages_received_total ");
    let _later = connected(node);
    eventually("the turns are counted", COUNTED_WITHIN, || {
        metric(node, "gorani_messages_received_total ") > messages
    });
    long_turns(node) - before
}

/// Writes all of it, and reads frames until one has this text.
fn play(mut socket: RawSocket, bytes: Vec<u8>, last: &str) {
    let mut writer = socket.stream().try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&bytes));
    loop {
        let frame = socket.read_frame().unwrap();
        assert_ne!(frame.opcode, opcode::CLOSE, "{:?}", frame.close());
        if String::from_utf8_lossy(&frame.payload).contains(last) {
            break;
        }
    }
    writing.join().unwrap().unwrap();
}

fn text_frames(messages: impl Iterator<Item = String>) -> Vec<u8> {
    messages.flat_map(|message| frame(true, 0, opcode::TEXT, message.as_bytes())).collect()
}

fn unsubscribe(id: u32) -> String {
    format!(r#"{{"id":{id},"unsubscribe":{{"channel":"x"}}}}"#)
}

#[test]
fn messages_of_more_than_a_thousand_commands_are_cut() {
    let node = Node::start(settings());
    let lines: Vec<String> = (2..30_000).map(unsubscribe).collect();
    let messages = text_frames(lines.chunks(1300).map(|lines| lines.join("\n")));
    is_cut(&node, || play(connected(&node), messages.clone(), "{\"id\":29999,"));
}

#[test]
fn tens_of_thousands_of_messages_in_one_write_are_cut() {
    let node = Node::start(settings());
    let publish = |id| format!(r#"{{"id":{id},"publish":{{"channel":"open:a","data":{id}}}}}"#);
    let messages = text_frames((2..20_000).map(publish));
    is_cut(&node, || play(connected(&node), messages.clone(), "{\"id\":19999,"));
}

#[test]
fn a_storm_of_subscribes_and_unsubscribes_is_cut() {
    let node = Node::start(settings());
    let pair = |id: u32| {
        let (verb, id) = if id.is_multiple_of(2) { ("subscribe", id) } else { ("unsubscribe", id) };
        format!(r#"{{"id":{id},"{verb}":{{"channel":"open:{}"}}}}"#, id / 2 % 128)
    };
    let messages = text_frames((2..10_000).map(pair));
    is_cut(&node, || play(connected(&node), messages.clone(), "{\"id\":9999,"));
}

#[test]
fn tens_of_thousands_of_deflated_messages_in_one_write_are_cut() {
    let node = Node::start(settings().set("websocket.compression", "true"));
    let mut messages = Vec::new();
    for id in 2..20_000 {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(unsubscribe(id).as_bytes()).unwrap();
        messages.extend(frame(true, 4, opcode::TEXT, &end_of_message(deflate)));
    }
    is_cut(&node, || {
        let mut socket = RawSocket::connect(node.address());
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        socket.write(handshake(node.address(), PATH, offer).as_bytes()).unwrap();
        assert_eq!(socket.read_head().unwrap().status, 101);
        socket.text(r#"{"id":1,"connect":{}}"#).unwrap();
        play(socket, messages.clone(), "{\"id\":19999,");
    });
}

#[test]
fn tens_of_thousands_of_pings_and_thousands_of_empty_fragments_in_one_write_are_cut() {
    let node = Node::start(settings());
    let mut frames = Vec::new();
    for _ in 0..50_000 {
        frames.extend(frame(true, 0, opcode::PING, b""));
    }
    frames.extend(frame(false, 0, opcode::TEXT, unsubscribe(2).as_bytes()));
    // The decoder joins the fragments of one read without a pause, which is slow in a debug build alone.
    for _ in 0..2000 {
        frames.extend(frame(false, 0, opcode::CONTINUATION, b""));
    }
    frames.extend(frame(true, 0, opcode::CONTINUATION, b""));
    is_cut(&node, || play(connected(&node), frames.clone(), "{\"id\":2,"));
}

#[test]
fn a_connect_with_thousands_of_channels_in_its_positions_is_cut_short() {
    let node = Node::start(settings());
    let subs: Vec<String> =
        (0..1500).map(|number| format!(r#""nowhere:{number}":{{"recover":true,"offset":1}}"#)).collect();
    let connect = format!(r#"{{"id":1,"connect":{{"subs":{{{}}}}}}}"#, subs.join(","));
    let connect = frame(true, 0, opcode::TEXT, connect.as_bytes());
    is_cut(&node, || play(RawSocket::websocket(node.address(), PATH, ""), connect.clone(), "{\"id\":1,"));
}

#[test]
fn tens_of_thousands_of_stomp_frames_in_one_write_are_cut() {
    let tcp = free_address();
    let node = Node::start(settings().set("stomp.tcp.address", format!("\"{tcp}\"")));
    let send = |number: usize| format!("SEND\ndestination:/topic/open:{}\n\n{number}\0", number % 100);
    let mut frames: String = (0..20_000).map(send).collect();
    frames.push_str("BEGIN\ntransaction:t\nreceipt:last\n\n\0");
    is_cut(&node, || {
        let mut client = Stomp::connect(tcp, "");
        client.say(&frames);
        client.receipt("last");
    });
}

#[test]
fn stomp_frames_with_every_header_that_fits_are_cut() {
    let tcp = free_address();
    let node = Node::start(settings().set("stomp.tcp.address", format!("\"{tcp}\"")));
    let headers: String = (0..20).map(|number| format!("h{number}:{number}\n")).collect();
    let frame = format!("SEND\ndestination:/topic/open:a\n{headers}\n\0");
    let mut frames = frame.repeat(2000);
    frames.push_str("BEGIN\ntransaction:t\nreceipt:last\n\n\0");
    is_cut(&node, || {
        let mut client = Stomp::connect(tcp, "");
        client.say(&frames);
        client.receipt("last");
    });
}

#[test]
fn a_sockjs_batch_of_ten_thousand_messages_is_cut() {
    let node = Node::start(settings());
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let messages: Vec<String> = (2..10_000).map(|id| quoted(unsubscribe(id))).collect();
    let batch = format!("[{}]", messages.join(","));
    is_cut(&node, || {
        let session = session("connection/sockjs");
        let xhr = |path: &str, body: &str| {
            Request::post(format!("{session}/{path}")).body(body).ask(node.address())
        };
        assert_eq!(xhr("xhr", "").body, "o\n");
        let connect = serde_json::json!([r#"{"id":1,"connect":{}}"#]).to_string();
        assert_eq!(xhr("xhr_send", &connect).status(), 204);
        assert_eq!(xhr("xhr_send", &batch).status(), 204);
        let mut seen = String::new();
        while !seen.contains("\\\"id\\\":9999,") {
            seen = xhr("xhr", "").body;
            assert!(seen.starts_with('a'), "{seen}");
        }
    });
}

#[test]
fn a_sockjs_batch_over_websocket_is_cut() {
    let node = Node::start(settings());
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let messages: Vec<String> = (2..9000).map(|id| quoted(unsubscribe(id))).collect();
    let batch = frame(true, 0, opcode::TEXT, format!("[{}]", messages.join(",")).as_bytes());
    is_cut(&node, || {
        let path = format!("{}/websocket", session("connection/sockjs"));
        let mut socket = RawSocket::websocket(node.address(), &path, "");
        socket.text(&serde_json::json!([r#"{"id":1,"connect":{}}"#]).to_string()).unwrap();
        play(socket, batch.clone(), "\\\"id\\\":8999,");
    });
}

/// A node whose channels `open:…` have histories as large as a reply may be there, each of another content; what their names are.
fn with_large_histories() -> (Node, [&'static str; 4]) {
    // The default. A debug build takes tens of times as long to escape and to deflate, so that its replies are smaller.
    let most_bytes = if is_release() { 8 * MIB } else { MIB / 16 };
    let tcp = free_address();
    let settings = Settings::open()
        .set("channel.namespaces", WITH_HISTORY)
        .set("stomp.tcp.address", format!("\"{tcp}\""))
        .set("websocket.compression", "true")
        .set("client.reply_max_bytes", most_bytes.to_string());
    let node = Node::start(settings);
    let fill = |text: &str| text.repeat((most_bytes / PUBLICATIONS).div_ceil(text.len()));
    let contents = [
        ("open:json", "application/json", format!("[{}0]", fill(r#"{"symbol":"ABC","price":12.5},"#))),
        ("open:quotes", "text/plain", fill("\"")),
        ("open:controls", "text/plain", fill("\u{1}")),
        ("open:binary", "application/octet-stream", fill("x")),
    ];
    let mut client = Stomp::connect(tcp, "");
    for (channel, kind, content) in &contents {
        let head = format!("SEND\ndestination:/topic/{channel}\ncontent-type:{kind}\nreceipt:{channel}");
        for _ in 0..PUBLICATIONS {
            client.say(&format!("{head}\ncontent-length:{}\n\n{content}\0", content.len()));
            client.receipt(channel);
        }
    }
    (node, contents.map(|(channel, ..)| channel))
}

fn ask_for_history(channel: &str) -> String {
    format!(r#"{{"id":2,"history":{{"channel":"{channel}","limit":300}}}}"#)
}

#[test]
fn the_largest_replies_are_written_in_time_whatever_they_hold() {
    let (node, channels) = with_large_histories();
    for channel in channels {
        let ask = frame(true, 0, opcode::TEXT, ask_for_history(channel).as_bytes());
        is_cut(&node, || play(connected(&node), ask.clone(), "\"history\""));
    }
}

#[test]
fn the_largest_replies_are_written_in_time_where_messages_are_deflated() {
    let (node, channels) = with_large_histories();
    for channel in channels {
        is_cut(&node, || {
            let mut socket = RawSocket::connect(node.address());
            let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
            socket.write(handshake(node.address(), PATH, offer).as_bytes()).unwrap();
            assert_eq!(socket.read_head().unwrap().status, 101);
            socket.text(r#"{"id":1,"connect":{}}"#).unwrap();
            assert_eq!(socket.read_frame().unwrap().opcode, opcode::TEXT);
            socket.text(&ask_for_history(channel)).unwrap();
            assert_eq!(socket.read_frame().unwrap().opcode, opcode::TEXT);
        });
    }
}

#[test]
fn the_largest_replies_are_written_in_time_over_sockjs() {
    let (node, channels) = with_large_histories();
    for channel in channels {
        is_cut(&node, || {
            let path = format!("{}/websocket", session("connection/sockjs"));
            let mut socket = RawSocket::websocket(node.address(), &path, "");
            socket.text(&serde_json::json!([r#"{"id":1,"connect":{}}"#]).to_string()).unwrap();
            let ask = serde_json::json!([ask_for_history(channel)]).to_string();
            play(socket, frame(true, 0, opcode::TEXT, ask.as_bytes()), "\\\"history\\\"");
        });
    }
}
