//! The protobuf form of the client protocol on the wire: how it is chosen, what its frames are, and what ends it.
//! `docs/protocols/client.md` §14. [`recorded`] plays SDKs that cannot run here.

mod recorded;

use std::net::SocketAddr;

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{Frame, RawSocket, frame, handshake, opcode},
};
use serde_json::{Value, json};

use crate::neighbour::beside_a_neighbour;

const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n";
const MESSAGE_MAX_BYTES: usize = 65_536;

fn settings() -> Settings {
    let namespace = r#"{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true,
        allow_publish_for_subscriber = true, allow_publish_for_anonymous = true }"#;
    Settings::open().set("channel.namespaces", format!("[{}]", namespace.replace('\n', " ")))
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn delimited(message: &[u8]) -> Vec<u8> {
    [varint(message.len()), message.to_vec()].concat()
}

/// A field of bytes, text or a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], delimited(value)].concat()
}

/// A command: the field of its request as the schema numbers it, and the request's fields.
fn command(id: u8, request: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    delimited(&[vec![1 << 3, id], field(request, &fields.concat())].concat())
}

fn connect() -> Vec<u8> {
    command(1, 4, &[])
}

fn subscribe(id: u8, channel: &str) -> Vec<u8> {
    command(id, 5, &[field(1, channel.as_bytes())])
}

fn publish(id: u8, channel: &str, data: &[u8]) -> Vec<u8> {
    command(id, 7, &[field(1, channel.as_bytes()), field(2, data)])
}

/// Cuts a frame into its messages. Lengths here are below 2^14.
fn messages(mut frame: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((&first, rest)) = frame.split_first() {
        let (length, rest) = match first {
            short @ 0..0x80 => (usize::from(short), rest),
            low => (usize::from(low & 0x7f) | usize::from(rest[0]) << 7, &rest[1..]),
        };
        all.push(rest[..length].to_vec());
        frame = &rest[length..];
    }
    all
}

/// The fields of a message by their numbers: numbers as they are, anything else as bytes.
fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    let number = |message: &mut &[u8]| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let (&byte, rest) = message.split_first().expect("a whole number");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    while !message.is_empty() {
        let tag = number(&mut message);
        let value = match tag & 7 {
            0 => number(&mut message).to_be_bytes().to_vec(),
            2 => {
                let length = usize::try_from(number(&mut message)).unwrap();
                let (value, rest) = message.split_at(length);
                message = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        all.push(((tag >> 3) as u8, value));
    }
    all
}

fn get(message: &[u8], path: &[u8]) -> Vec<u8> {
    path.iter().fold(message.to_vec(), |message, number| {
        let all = fields(&message);
        all.into_iter()
            .find_map(|(known, value)| (known == *number).then_some(value))
            .unwrap_or_else(|| panic!("no field {number} in {message:?}"))
    })
}

struct ProtobufSocket(RawSocket);

impl ProtobufSocket {
    fn open(node: &Node) -> Self {
        Self(RawSocket::websocket(node.address(), PATH, SUBPROTOCOL))
    }

    fn connected(node: &Node) -> Self {
        let mut socket = Self::open(node);
        socket.send(&connect());
        let reply = socket.read();
        assert!(reply.len() == 1 && !get(&reply[0], &[5, 1]).is_empty(), "{reply:?}");
        socket
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write(&frame(true, 0, opcode::BINARY, bytes)).unwrap();
    }

    fn read(&mut self) -> Vec<Vec<u8>> {
        let Frame { opcode, payload, .. } = self.0.read_frame().unwrap();
        assert_eq!(opcode, opcode::BINARY, "{payload:?}");
        messages(&payload)
    }

    fn closed_with(mut self) -> u16 {
        self.0.read_close().unwrap().0
    }
}

/// A subscriber in the protobuf form.
pub(crate) struct Subscriber(ProtobufSocket);

impl Subscriber {
    pub(crate) fn open(node: &Node, channel: &str) -> Self {
        let mut socket = ProtobufSocket::connected(node);
        socket.send(&subscribe(2, channel));
        let reply = &socket.read()[0];
        assert!(fields(reply).iter().all(|(number, _)| *number != 2), "{channel:?}: {reply:?}");
        Self(socket)
    }

    /// Publishes, without waiting for the reply.
    pub(crate) fn publish(&mut self, channel: &str, data: &[u8]) {
        self.0.send(&publish(3, channel, data));
    }

    /// The next publication: its channel and its data.
    pub(crate) fn publication(&mut self) -> (String, String) {
        let push = get(&self.0.read()[0], &[4]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(get(&push, &[2])), text(get(&push, &[4, 4])))
    }
}

/// Status of the answer to a handshake, and its subprotocol.
fn shake(node: &Node, path: &str, extra: &str) -> (u16, Option<String>) {
    let mut socket = RawSocket::connect(node.address());
    socket.write(handshake(node.address(), path, extra).as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    (head.status, head.header("sec-websocket-protocol").map(str::to_owned))
}

#[test]
fn a_known_subprotocol_is_echoed_and_an_empty_offer_is_none() {
    let node = Node::start(settings());
    for known in ["centrifuge-json", "centrifuge-protobuf"] {
        let offer = format!("Sec-WebSocket-Protocol: other, {known}\r\n");
        assert_eq!(shake(&node, PATH, &offer), (101, Some(known.to_owned())));
    }
    for none in ["", "Sec-WebSocket-Protocol: \r\n"] {
        assert_eq!(shake(&node, PATH, none), (101, None), "{none:?}");
    }
    assert_eq!(shake(&node, PATH, "Sec-WebSocket-Protocol: other\r\n").0, 400);
}

#[test]
fn where_there_is_no_protobuf_form_asking_for_it_is_refused() {
    let node = Node::start(settings());
    for query in ["format=protobuf", "a=b&cf_protocol=protobuf"] {
        for path in [
            "/connection/uni_websocket",
            "/connection/sockjs/websocket",
            "/connection/sockjs/000/abcdefgh/websocket",
            "/stomp",
        ] {
            assert_eq!(shake(&node, &format!("{path}?{query}"), "").0, 400, "{path}?{query}");
        }
        let connect = r#"{"id":1,"connect":{}}"#;
        for (method, target, body) in [
            ("GET", "/connection/sse?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D&", ""),
            ("GET", "/connection/uni_sse?channels=open:a&", ""),
            ("GET", "/connection/uni_http_stream?channels=open:a&", ""),
            ("GET", "/connection/poll?channels=open:a&", ""),
            ("POST", "/connection/http_stream?", connect),
            ("POST", "/connection/sockjs/000/abcdefgh/xhr?", ""),
        ] {
            let (status, _) =
                request(node.address(), method, &format!("{target}{query}"), "", body.as_bytes());
            assert_eq!(status, 400, "{target}{query}");
        }
    }
}

/// Sends a request and reads its status, and the socket to read on.
fn request(address: SocketAddr, method: &str, target: &str, extra: &str, body: &[u8]) -> (u16, RawSocket) {
    let mut socket = RawSocket::connect(address);
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{extra}\r\n");
    socket.write(&[head.as_bytes(), body].concat()).unwrap();
    let head = socket.read_head().unwrap();
    if head.status == 200 && head.header("transfer-encoding").is_some() {
        let expected = extra.contains("octet").then_some("application/octet-stream");
        assert_eq!(head.header("content-type"), expected);
    }
    (head.status, socket)
}

#[test]
fn commands_of_one_frame_are_answered_in_their_order_and_a_ping_may_stand_between_them() {
    let node = Node::start(settings());
    let mut socket = ProtobufSocket::open(&node);
    let unsubscribes = [2, 3].map(|id| command(id, 6, &[field(1, b"open:a")])).concat();
    socket.send(&[connect(), unsubscribes].concat());
    let mut replies = Vec::new();
    while replies.len() < 3 {
        replies.extend(socket.read());
    }
    assert_eq!(get(&replies[0], &[5, 2]), env!("CARGO_PKG_VERSION").as_bytes());
    // A result without fields is written all the same.
    assert_eq!(replies[1..], [vec![8, 2, 0x3a, 0], vec![8, 3, 0x3a, 0]]);
}

#[test]
fn json_and_protobuf_clients_of_a_channel_get_each_others_publications() {
    let node = Node::start(settings());
    let mut json_client = crate::subscribed(&node, "open:mixed");
    let mut client = ProtobufSocket::connected(&node);
    client.send(&subscribe(2, "open:mixed"));
    assert_eq!(fields(&client.read()[0])[1].0, 6);
    let large = format!("\"{}\"", "x".repeat(5000));
    let published: [(&[u8], Value); 5] = [
        (b"{\"a\":\n1}", json!({"a": 1})),
        (b"null", json!(null)),
        ("글".as_bytes(), json!("글")),
        (b"\xff\x00", json!("/wA=")),
        (large.as_bytes(), json!("x".repeat(5000))),
    ];
    for (data, shown) in published {
        client.send(&publish(3, "open:mixed", data));
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(client.read());
        }
        // The push and the reply, in either order.
        got.sort_by_key(|message| fields(message)[0].0 == 1);
        assert_eq!(get(&got[0], &[4, 2]), b"open:mixed");
        assert_eq!(get(&got[0], &[4, 4, 4]), data);
        assert_eq!(got[1], [8, 3, 0x42, 0]);
        assert_eq!(crate::json(&mut json_client)["push"]["pub"]["data"], shown);
    }
    json_client.text(r#"{"id":9,"publish":{"channel":"open:mixed","data":[ "json" ]}}"#).unwrap();
    assert_eq!(get(&client.read()[0], &[4, 4, 4]), br#"[ "json" ]"#);
}

#[test]
fn an_empty_publication_is_a_bad_request_and_an_unknown_field_is_skipped() {
    let node = Node::start(settings());
    let mut socket = ProtobufSocket::connected(&node);
    socket.send(&command(2, 7, &[field(1, b"open:a"), vec![0xfa, 0x07, 1, 0]]));
    let reply = socket.read();
    assert_eq!(get(&reply[0], &[2, 1]), 107u64.to_be_bytes());
}

#[test]
fn bytes_that_are_no_messages_end_the_connection_and_disturb_nobody() {
    let node = Node::start(settings());
    let whole = connect();
    let frames: Vec<(Vec<u8>, u16)> = vec![
        (Vec::new(), 3501),
        (whole[..whole.len() - 1].to_vec(), 3501),
        // Lengths of gigabytes, of all bits, and of no number.
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1], 3501),
        ([vec![0xff; 9], vec![1]].concat(), 3501),
        (vec![0xff; 64], 3501),
        // A group, a field of another type, text that is not UTF-8.
        (delimited(&[0x0b, 0x0c]), 3501),
        (delimited(&[8, 1, 0x20, 1]), 3501),
        (command(1, 4, &[field(1, b"\xff")]), 3501),
        // A megabyte of pongs that nobody asked for, and a frame over the limit.
        (vec![0; MESSAGE_MAX_BYTES], 3501),
        (vec![0; MESSAGE_MAX_BYTES + 1], 1009),
        // A message that promises more of a field than it has.
        (delimited(&[8, 1, 0x22, 0xff, 0xff, 0xff, 0xff, 0x07]), 3501),
    ];
    beside_a_neighbour(&node, || {
        for (bytes, code) in frames {
            let mut socket = ProtobufSocket::open(&node);
            socket.send(&bytes);
            assert_eq!(socket.closed_with(), code, "{:?}", &bytes[..bytes.len().min(16)]);
        }
        for cut in 1..whole.len() {
            let mut socket = ProtobufSocket::open(&node);
            socket.send(&whole[..cut]);
            assert_eq!(socket.closed_with(), 3501, "cut after {cut}");
        }
    });
    let mut text = ProtobufSocket::connected(&node);
    text.0.text("{}").unwrap();
    assert_eq!(text.closed_with(), 3506);
}

#[test]
fn a_stream_of_protobuf_takes_commands_by_emulation_and_says_why_it_ends() {
    let node = Node::start(settings());
    let octets = "Content-Type: application/octet-stream\r\n";
    let (status, mut stream) = request(node.address(), "POST", "/connection/http_stream", octets, &connect());
    assert_eq!(status, 200);
    let mut bytes = Vec::new();
    let mut read = |count: usize| {
        // The bytes of a response may be cut anywhere.
        while messages_so_far(&bytes).len() < count {
            bytes.extend(stream.read_chunk().unwrap().expect("the stream goes on"));
        }
        messages_so_far(&bytes)
    };
    let reply = read(1).remove(0);
    let (session, id) = (get(&reply, &[5, 9]), get(&reply, &[5, 10]));
    let emulate = |commands: &[u8]| {
        let body = [field(1, &id), field(2, &session), field(3, commands)].concat();
        request(node.address(), "POST", "/emulation", octets, &body).0
    };
    assert_eq!(emulate(&[subscribe(2, "open:stream"), publish(3, "open:stream", b"\xff")].concat()), 204);
    let all = read(4);
    assert!(all.iter().any(|message| fields(message)[0].0 == 4 && get(message, &[4, 4, 4]) == b"\xff"));
    assert_eq!((emulate(b""), emulate(&vec![0; MESSAGE_MAX_BYTES + 1])), (400, 413));
    let bad = |body: &[u8]| request(node.address(), "POST", "/emulation", octets, body).0;
    assert_eq!((bad(b"\x0a\x7fa"), bad(b"")), (400, 400));
    // JSON for a session of protobuf ends it.
    let text = json!({"session": String::from_utf8(session.clone()).unwrap(),
        "node": String::from_utf8(id.clone()).unwrap(), "data": "{}"});
    let (status, _) = request(
        node.address(),
        "POST",
        "/emulation",
        "Content-Type: application/json\r\n",
        text.to_string().as_bytes(),
    );
    assert_eq!(status, 204);
    let last = read(5).remove(4);
    assert_eq!(get(&last, &[4, 11, 1]), 3506u64.to_be_bytes());
}

/// The whole messages of a stream.
fn messages_so_far(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut end = 0;
    while let Some(&first) = bytes.get(end) {
        let (length, header) = match (first, bytes.get(end + 1)) {
            (short @ 0..0x80, _) => (usize::from(short), 1),
            (low, Some(&high)) => (usize::from(low & 0x7f) | usize::from(high) << 7, 2),
            _ => break,
        };
        if bytes.len() < end + header + length {
            break;
        }
        end += header + length;
    }
    messages(&bytes[..end])
}
