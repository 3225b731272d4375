//! Messages that mean harm: each gets its error, memory stays flat, and a neighbour on the same worker sees
//! nothing of it (`docs/architecture.md` §6).
//!
//! [`turns`]: input that would hold a worker for long. [`attack`]: all of them at once, against a cluster under load.

mod attack;
mod turns;

use std::io::Write;

use flate2::{Compression, write::DeflateEncoder};
use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{RawSocket, frame, header, opcode},
};
use serde_json::Value;

use crate::{connected, neighbour::beside_a_neighbour, websocket};

/// How often an attack is repeated, so that what it leaves behind would add up.
const TIMES: usize = 100;

#[test]
fn a_frame_that_announces_two_to_the_63_bytes_is_refused_from_its_header() {
    let node = Node::start(Settings::open());
    beside_a_neighbour(&node, || {
        for _ in 0..TIMES {
            for (length, code) in [(1 << 63, 1002), ((1 << 63) - 1, 1009), (1 << 31, 1009), (u64::MAX, 1002)]
            {
                let mut socket = websocket(&node);
                socket.write(&header(true, 0, opcode::BINARY, length)).unwrap();
                assert_eq!(socket.read_close().unwrap().0, code, "{length:#x} bytes");
            }
        }
    });
}

#[test]
fn a_deflate_bomb_is_refused_while_it_inflates() {
    // 48 MiB of blanks in less than the 64 KiB that a message may have.
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    for _ in 0..48 {
        deflate.write_all(&vec![b' '; 1024 * 1024]).unwrap();
    }
    let bomb = end_of_message(deflate);
    assert!(bomb.len() < 60 * 1024, "{} bytes", bomb.len());

    let node = Node::start(Settings::open().set("websocket.compression", "true"));
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    beside_a_neighbour(&node, || {
        for _ in 0..TIMES {
            let mut socket = RawSocket::connect(node.address());
            socket.write(gorani_tests::raw::handshake(node.address(), PATH, offer).as_bytes()).unwrap();
            let head = socket.read_head().unwrap();
            assert!(
                head.header("sec-websocket-extensions").is_some(),
                "compression was not agreed on: {head:?}"
            );
            socket.write(&frame(true, 4, opcode::TEXT, &bomb)).unwrap();
            assert_eq!(socket.read_close().unwrap().0, 1009);
        }
    });
}

#[test]
fn ten_thousand_fragments_end_in_the_error_that_their_sum_deserves() {
    let node = Node::start(Settings::open());
    let fragments = |payload: &[u8], count: usize| {
        let mut bytes = frame(false, 0, opcode::TEXT, payload);
        for _ in 2..count {
            bytes.extend(frame(false, 0, opcode::CONTINUATION, payload));
        }
        bytes.extend(frame(true, 0, opcode::CONTINUATION, payload));
        bytes
    };
    let over_the_limit = fragments(b"        ", 10_000);
    let under_the_limit = fragments(b" ", 10_000);
    let empty = fragments(b"", 10_000);
    beside_a_neighbour(&node, || {
        for _ in 0..10 {
            for (bytes, code) in [(&over_the_limit, 1009), (&under_the_limit, 3501), (&empty, 3501)] {
                let mut socket = websocket(&node);
                // The refusal may come, and the socket go, before all of it is written.
                let _ = socket.write(bytes);
                assert_eq!(socket.read_close().unwrap().0, code);
            }
        }
    });
}

#[test]
fn a_token_of_a_megabyte_is_refused() {
    let node = Node::start(Settings::open());
    let connect = |token_bytes: usize| {
        frame(
            true,
            0,
            opcode::TEXT,
            format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, "e".repeat(token_bytes)).as_bytes(),
        )
    };
    let (over_the_limit, under_the_limit) = (connect(1_000_000), connect(60_000));
    beside_a_neighbour(&node, || {
        for _ in 0..TIMES {
            for (bytes, code) in [(&over_the_limit, 1009), (&under_the_limit, 3500)] {
                let mut socket = websocket(&node);
                let _ = socket.write(bytes);
                assert_eq!(socket.read_close().unwrap().0, code);
            }
        }
    });
}

#[test]
fn a_token_of_a_megabyte_is_refused_where_messages_may_be_larger() {
    let node = Node::start(Settings::open().set("client.message_max_bytes", "4194304"));
    let token = "e".repeat(1_000_000);
    beside_a_neighbour(&node, || {
        for _ in 0..10 {
            let mut socket = websocket(&node);
            socket.text(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)).unwrap();
            assert_eq!(socket.read_close().unwrap().0, 3500);
        }
    });
}

#[test]
fn json_nested_a_hundred_thousand_deep_is_a_bad_request() {
    let node = Node::start(Settings::open().set("client.message_max_bytes", "1048576"));
    let nested = "[".repeat(100_000);
    let closed = format!("{nested}{}", "]".repeat(100_000));
    beside_a_neighbour(&node, || {
        for (data, is_whole) in [(&nested, false), (&closed, true)] {
            for _ in 0..10 {
                let mut socket = websocket(&node);
                socket.text(&format!(r#"{{"id":1,"connect":{{"data":{data}}}}}"#)).unwrap();
                if is_whole {
                    let reply: Value = serde_json::from_slice(&socket.read_frame().unwrap().payload).unwrap();
                    assert_eq!((&reply["id"], &reply["error"]["code"]), (&1.into(), &107.into()), "{reply}");
                } else {
                    assert_eq!(socket.read_close().unwrap().0, 3501);
                }
                let body = format!(r#"{{"channel":"open:deep","data":{data}}}"#);
                let (status, answer) = node.api().post("/api/publish", body.as_bytes());
                assert_eq!(status, 400, "{answer}");
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(answer["error"]["code"], 107, "{answer}");
            }
        }
    });
}

#[test]
fn a_hundred_thousand_subscribes_on_one_connection_stop_at_the_limit() {
    const COMMANDS: u32 = 100_000;
    /// The default of `client.max_subscriptions`.
    const ALLOWED: usize = 128;
    /// The error for one too many.
    const LIMIT_EXCEEDED: u64 = 106;
    let node = Node::start(Settings::open());
    let mut commands = Vec::new();
    for id in 2..COMMANDS + 2 {
        let command = format!(r#"{{"id":{id},"subscribe":{{"channel":"open:{id}"}}}}"#);
        commands.extend(frame(true, 0, opcode::TEXT, command.as_bytes()));
    }
    let (granted, refused, (code, _)) = beside_a_neighbour(&node, || {
        let mut socket = connected(&node);
        let mut writer = socket.stream().try_clone().unwrap();
        // On a thread of its own: replies have to be read while commands are written. It ends when all is
        // written or the server has closed.
        let writing = std::thread::spawn(move || writer.write_all(&commands));
        let (mut granted, mut refused) = (0, 0);
        let close = loop {
            let frame = socket.read_frame().unwrap();
            if frame.opcode == opcode::CLOSE {
                break frame.close();
            }
            for line in frame.payload.split(|byte| *byte == b'\n') {
                let reply: Value = serde_json::from_slice(line).unwrap();
                match reply["error"]["code"].as_u64() {
                    Some(LIMIT_EXCEEDED) => refused += 1,
                    None if reply["subscribe"].is_object() => granted += 1,
                    None if reply == serde_json::json!({}) => {}
                    _ => panic!("unexpected: {reply}"),
                }
            }
        };
        drop(socket);
        let _ = writing.join().unwrap();
        (granted, refused, close)
    });
    assert_eq!(granted, ALLOWED);
    assert_eq!(code, 3509, "too many errors, after {refused} refusals");
}

/// Ends a DEFLATE stream as permessage-deflate does: flushed to a whole byte, without the four last bytes.
fn end_of_message(mut deflate: DeflateEncoder<Vec<u8>>) -> Vec<u8> {
    deflate.flush().unwrap();
    let mut bytes = deflate.get_ref().clone();
    assert!(bytes.ends_with(&[0, 0, 0xFF, 0xFF]), "a sync flush ends like that");
    bytes.truncate(bytes.len() - 4);
    bytes
}
