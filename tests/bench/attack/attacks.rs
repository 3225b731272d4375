//! The attacks, one entry each: what a hostile client opens, sends and leaves unread, and at what pace.

use std::{io::Write as _, sync::LazyLock, time::Duration};

use flate2::{Compression, write::DeflateEncoder};
use gorani_tests::{
    client::PATH,
    node::API_KEY,
    raw::{frame, handshake, header, opcode},
};
use serde_json::json;

/// The channel whose history is large.
pub(crate) const LARGE_CHANNEL: &str = "large:history";
/// Publications in it, and the size of each: one recovery takes 8 MB.
pub(crate) const LARGE_PUBLICATIONS: usize = 125;
pub(crate) const LARGE_BYTES: usize = 65_000;
/// Part of a SockJS message over WebSocket that never ends: most of sockjs.batch_max_bytes.
const UNFINISHED_BYTES: usize = 900_000;
/// A request's `Host`; the node does not look at it.
const HOST: &str = "localhost";

/// Which port of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Http,
    Stomp,
    /// The TLS port, as plain bytes.
    Tls,
    /// The TLS port with TLS, asking for HTTP/2.
    H2,
}

/// What a connection sends over and over: by the connection's number and the number of the repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    pub(crate) every: Duration,
    pub(crate) bytes: fn(usize, u64) -> Vec<u8>,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) port: Port,
    /// Connections at a time; those that end are opened anew.
    pub(crate) connections: usize,
    pub(crate) opens_per_second: u32,
    /// What a connection sends first, by its number: each after an answer to the one before.
    pub(crate) opening: fn(usize) -> Vec<Vec<u8>>,
    pub(crate) again: Option<Again>,
    /// Whether it reads what comes after the opening.
    pub(crate) reads: bool,
    /// After so long the client closes a connection by itself.
    pub(crate) lasts: Option<Duration>,
    /// It takes every place of one node, as clients that may: nobody new gets in there, and health must be answered.
    pub(crate) fills: bool,
}

impl Attack {
    /// The same with one of so many of its connections, opened and repeated that much slower.
    pub(crate) fn divided(self, by: u32) -> Self {
        let again = self.again.map(|again| Again { every: again.every * by, ..again });
        let connections = self.connections.div_ceil(by as usize);
        Self { connections, opens_per_second: self.opens_per_second.div_ceil(by), again, ..self }
    }
}

const SILENT: Attack = Attack {
    name: "silent-tcp",
    port: Port::Http,
    connections: 300,
    opens_per_second: 200,
    opening: |_| Vec::new(),
    again: None,
    reads: true,
    lasts: None,
    fills: false,
};

/// All of them.
pub(crate) const ATTACKS: &[Attack] = &[
    SILENT,
    Attack { name: "silent-tls", port: Port::Tls, connections: 700, opens_per_second: 400, ..SILENT },
    // The first eleven bytes of a ClientHello of 512.
    Attack {
        name: "half-client-hello",
        port: Port::Tls,
        connections: 100,
        opens_per_second: 100,
        opening: |_| vec![vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]],
        ..SILENT
    },
    Attack {
        name: "sockjs-opens",
        connections: 4,
        again: every(50, |connection, repeat| {
            pipelined(25, |i| post(&format!("/connection/sockjs/0/o{connection}-{repeat}-{i}/xhr"), "", ""))
        }),
        ..SILENT
    },
    Attack {
        name: "guessed-sockjs-ids",
        connections: 4,
        again: every(50, |_, repeat| {
            pipelined(20, |i| {
                post(&format!("/connection/sockjs/0/{:08}/xhr_send", repeat * 20 + i), "", r#"["{}"]"#)
            })
        }),
        ..SILENT
    },
    Attack {
        name: "half-bodies",
        connections: 60,
        opening: |_| {
            let head = format!(
                "POST /api/publish HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {API_KEY}\r\nContent-Length: 500\r\n\r\n"
            );
            vec![format!("{head}{{\"channel\"").into_bytes()]
        },
        ..SILENT
    },
    Attack {
        name: "trickled-heads",
        connections: 60,
        opening: |_| vec![format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ").into_bytes()],
        again: every(500, |_, _| b"a".to_vec()),
        ..SILENT
    },
    Attack {
        name: "long-heads",
        connections: 4,
        opens_per_second: 20,
        opening: |_| {
            vec![get("/connection/poll?channels=noise:a", &format!("X-Long: {}\r\n", "a".repeat(20_000)))]
        },
        lasts: Some(Duration::from_millis(300)),
        ..SILENT
    },
    Attack {
        name: "streams-to-the-limit",
        connections: 1_000,
        opens_per_second: 300,
        opening: |_| vec![get("/connection/uni_sse?channels=noise:idle", "")],
        fills: true,
        ..SILENT
    },
    Attack {
        name: "recover-and-do-not-read",
        connections: 60,
        opens_per_second: 30,
        opening: |_| {
            let subscribe = json!({"channel": LARGE_CHANNEL, "recoverable": true});
            let history = json!({"id": 3, "history": {"channel": LARGE_CHANNEL, "limit": -1}});
            let first = json!({"id": 2, "subscribe": subscribe});
            client(vec![text(&format!("{first}\n{history}"))])
        },
        reads: false,
        ..SILENT
    },
    Attack {
        name: "history-batch",
        connections: 2,
        opening: |_| client(Vec::new()),
        again: every(1_000, |_, _| text(&histories(64))),
        ..SILENT
    },
    Attack {
        name: "behind-a-full-outbox",
        connections: 2,
        opens_per_second: 2,
        opening: |_| client(Vec::new()),
        again: every(2_000, |_, _| text(&histories(1_100))),
        reads: false,
        ..SILENT
    },
    Attack {
        name: "subscribe-storm",
        connections: 4,
        opening: |_| client(Vec::new()),
        again: every(100, |connection, repeat| {
            let both = |i: u64| {
                let channel = format!("noise:{connection}-{}", (repeat * 32 + i) % 10_000);
                let ids = 2 + 2 * i;
                format!(
                    "{}\n{}",
                    json!({"id": ids, "subscribe": {"channel": channel}}),
                    json!({"id": ids + 1, "unsubscribe": {"channel": channel}}),
                )
            };
            text(&(0..32).map(both).collect::<Vec<_>>().join("\n"))
        }),
        ..SILENT
    },
    Attack {
        name: "churn",
        connections: 20,
        opens_per_second: 50,
        opening: |_| client(vec![text(r#"{"id":2,"subscribe":{"channel":"noise:churn"}}"#)]),
        lasts: Some(Duration::from_millis(300)),
        ..SILENT
    },
    Attack {
        name: "unfinished-messages",
        connections: 60,
        opens_per_second: 60,
        opening: |connection| {
            let path = format!("/connection/sockjs/0/unfinished-{connection}/websocket");
            let part = [
                header(false, 0, opcode::TEXT, UNFINISHED_BYTES as u64),
                vec![0; 4],
                vec![b'['; UNFINISHED_BYTES],
            ]
            .concat();
            vec![handshake_at(&path, ""), part]
        },
        ..SILENT
    },
    Attack {
        name: "deflate-bombs",
        connections: 4,
        opens_per_second: 10,
        opening: |_| {
            let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
            vec![handshake_at(PATH, offer), frame(true, 4, opcode::TEXT, &BOMB)]
        },
        lasts: Some(Duration::from_secs(1)),
        ..SILENT
    },
    Attack {
        name: "malformed-frames",
        connections: 8,
        opens_per_second: 40,
        opening: |connection| {
            let bad = match connection % 5 {
                0 => frame(true, 0, 3, b""),
                1 => frame(true, 0, opcode::TEXT, &[0xFF, 0xFE]),
                2 => header(true, 0, opcode::BINARY, u64::MAX),
                3 => frame(false, 0, opcode::PING, b"x"),
                _ => vec![0x81, 0x02, b'{', b'}'],
            };
            vec![handshake_at(PATH, ""), bad]
        },
        lasts: Some(Duration::from_millis(500)),
        ..SILENT
    },
    Attack {
        name: "wrong-keys",
        connections: 4,
        again: every(50, |_, repeat| {
            pipelined(10, |i| post("/api/publish", &format!("X-API-Key: wrong-{repeat}-{i}\r\n"), "{}"))
        }),
        ..SILENT
    },
    // A backend's own mistake: it has the key.
    Attack {
        name: "list-patterns",
        connections: 2,
        again: every(200, |_, _| {
            let key = format!("X-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n");
            post("/api/channels", &key, &json!({"pattern": "*a*b*c*d*e*f*g*h*"}).to_string())
        }),
        ..SILENT
    },
    Attack {
        name: "wrong-logins",
        port: Port::Stomp,
        connections: 10,
        opens_per_second: 40,
        opening: |connection| {
            vec![
                format!("CONNECT\naccept-version:1.2\nhost:x\nlogin:shop\npasscode:wrong-{connection}\n\n\0")
                    .into_bytes(),
            ]
        },
        lasts: Some(Duration::from_millis(500)),
        ..SILENT
    },
    Attack {
        name: "receipts-behind-a-send",
        port: Port::Stomp,
        connections: 2,
        opens_per_second: 4,
        opening: |_| stomp(Vec::new()),
        again: every(100, |_, _| {
            let receipt = "r".repeat(16_000);
            let pair = format!(
                "BEGIN\ntransaction:t\nreceipt:{receipt}\n\n\0ABORT\ntransaction:t\nreceipt:{receipt}\n\n\0"
            );
            format!("SEND\ndestination:/topic/noise:a\n\nx\0{}", pair.repeat(8)).into_bytes()
        }),
        reads: false,
        ..SILENT
    },
    Attack {
        name: "forged-headers",
        port: Port::Stomp,
        connections: 2,
        opening: |_| stomp(b"SUBSCRIBE\nid:0\ndestination:/topic/noise:forged\n\n\0".to_vec()),
        again: every(100, |_, _| {
            let body = "x\0MESSAGE\nsubscription:1\nmessage-id:f\ndestination:/topic/noise:admin\n\n{}\0";
            let head = format!(
                "SEND\ndestination:/topic/noise:forged\ncontent\\r-length:1\ncontent-length:{}\n\n",
                body.len()
            );
            format!("{head}{body}\0").into_bytes()
        }),
        ..SILENT
    },
    Attack {
        name: "ids-of-their-own",
        port: Port::Stomp,
        connections: 200,
        opens_per_second: 100,
        opening: |connection| {
            let subscribe = format!("SUBSCRIBE\nid:of-{connection}\ndestination:/topic/noise:fan\n\n\0");
            stomp(subscribe.into_bytes())
        },
        again: every(20_000, |_, _| b"SEND\ndestination:/topic/noise:fan\n\nx\0".to_vec()),
        ..SILENT
    },
    Attack {
        name: "http2-streams",
        port: Port::H2,
        connections: 1,
        opening: |_| vec![[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), h2(4, 0, 0, b"")].concat()],
        again: every(50, |_, repeat| {
            let path = b"/connection/uni_sse?channels=noise:a";
            let head = [b"\x82\x87\x04".as_slice(), &[path.len() as u8], path, b"\x01\x09localhost"].concat();
            (0..20).flat_map(|i| h2(1, 5, 2 * (repeat as u32 * 20 + i) + 1, &head)).collect()
        }),
        ..SILENT
    },
];

const fn every(milliseconds: u64, bytes: fn(usize, u64) -> Vec<u8>) -> Option<Again> {
    Some(Again { every: Duration::from_millis(milliseconds), bytes })
}

fn pipelined(count: u64, request: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(request).collect()
}

fn get(target: &str, extra: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{extra}\r\n").into_bytes()
}

fn post(target: &str, extra: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n{extra}\r\n{body}")
        .into_bytes()
}

fn handshake_at(path: &str, extra: &str) -> Vec<u8> {
    handshake(([127, 0, 0, 1], 80).into(), path, extra).into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    frame(true, 0, opcode::TEXT, text.as_bytes())
}

/// A client of the client protocol, connected, and what it sends next.
fn client(next: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    [vec![handshake_at(PATH, ""), text(r#"{"id":1,"connect":{}}"#)], next].concat()
}

/// A client of STOMP, connected, and what it sends next.
fn stomp(next: Vec<u8>) -> Vec<Vec<u8>> {
    vec![b"CONNECT\naccept-version:1.2\nhost:x\n\n\0".to_vec(), next]
}

fn histories(count: u32) -> String {
    let one = |number: u32| {
        format!(r#"{{"id":{},"history":{{"channel":"{LARGE_CHANNEL}","limit":-1}}}}"#, number % 9 + 1)
    };
    (0..count).map(one).collect::<Vec<_>>().join("\n")
}

/// A compressed message of 60 KiB that is 60 MiB long, made once.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    let spaces = vec![b' '; 1024 * 1024];
    for _ in 0..60 {
        deflate.write_all(&spaces).expect("a vector takes bytes");
    }
    deflate.finish().expect("a vector takes bytes")
});

/// A frame of HTTP/2.
fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
