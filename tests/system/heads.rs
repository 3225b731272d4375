//! Heads of requests that stop, come in pieces, or leave HTTP behind other requests. RFC 9110 §7.8 and §15.5.9, RFC 9112 §2.2.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::{
    client::PATH,
    node::{API_KEY, Node, Settings},
    raw::{KEY, RawSocket, frame, opcode},
};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::tls;

const GET: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD: &str = "HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
const CHUNKED: &str = "POST /emulation HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n";
/// Heads that stop: within each part of one, and within a line that the node may hold back.
const STOPPED: [&str; 6] = [
    "G",
    "GET /health/live",
    "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n",
    "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgr",
    "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: h2c, webso",
    "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r",
];
/// What nothing may take, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// A node that gives a head three seconds, which the test itself may need some of, and where `news` can be polled.
fn node() -> Node {
    Node::start(settings())
}

fn settings() -> Settings {
    let namespaces = r#"[{ name = "news", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, history_size = 10, history_ttl = "300s", allow_recovery = true }]"#;
    Settings::open()
        .set("channel.namespaces", namespaces)
        .set("http.request_timeout", "\"3s\"")
        .set("http.shutdown_timeout", "\"5s\"")
}

fn publish() -> String {
    let body = json!({"channel": "news:a", "data": 1}).to_string();
    let length = body.len();
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A poll that is answered after this number of seconds.
fn poll(seconds: u32) -> String {
    format!("GET /connection/poll?channels=news:none&wait={seconds} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// A handshake with a list of protocols to upgrade to.
fn handshake_with_list(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c, WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn connect(address: SocketAddr) -> RawSocket {
    let socket = RawSocket::connect(address);
    socket.stream().set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// The statuses of all answers up to the end of the connection, and the last answer.
fn to_the_end(socket: &mut RawSocket) -> (Vec<u16>, String) {
    let said = String::from_utf8_lossy(&socket.read_to_end().unwrap()).into_owned();
    let status = |after: &str| after.get(2..5)?.parse().ok();
    let statuses = said.split("HTTP/1.").skip(1).filter_map(status).collect();
    (statuses, said.rsplit("HTTP/1.").next().unwrap_or_default().to_owned())
}

#[test]
fn a_head_that_stops_is_408_and_the_end_on_every_request_of_a_connection() {
    let node = node();
    let publish = publish();
    let before: [&[&str]; 6] = [&[], &[GET], &[&publish], &[HEAD, GET], &[CHUNKED], &[GET, &publish, GET]];
    let mut sockets = Vec::new();
    for requests in before {
        for stopped in STOPPED {
            for is_one_write in [true, false] {
                let mut socket = connect(node.address());
                let status = |request: &&str| match *request {
                    HEAD => 404,
                    CHUNKED => 400,
                    _ => 200,
                };
                let mut statuses: Vec<_> = requests.iter().map(status).collect();
                if is_one_write {
                    socket.write([&requests.concat(), stopped].concat().as_bytes()).unwrap();
                } else {
                    for request in requests {
                        socket.write(request.as_bytes()).unwrap();
                        let head = socket.read_head().unwrap();
                        if !request.starts_with("HEAD") {
                            socket.read_body(&head).unwrap();
                        }
                    }
                    statuses.clear();
                    socket.write(stopped.as_bytes()).unwrap();
                }
                statuses.push(408);
                sockets.push((socket, statuses, format!("{requests:?} {stopped:?} {is_one_write}")));
            }
        }
    }
    for (mut socket, expected, name) in sockets {
        let (statuses, last) = to_the_end(&mut socket);
        assert_eq!(statuses, expected, "{name}");
        assert!(last.contains("connection: close\r\n") && last.ends_with("takes too long"), "{name}: {last}");
    }
}

#[test]
fn a_later_head_that_trickles_has_a_bounded_time() {
    let node = node();
    let mut socket = connect(node.address());
    socket.write(GET.as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    socket.read_body(&head).unwrap();
    let long = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: {}", "a".repeat(1000));
    let start = Instant::now();
    socket.stream().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = [0; 12];
    for byte in long.as_bytes() {
        // At this pace the head takes most of a minute.
        let _ = socket.write(&[*byte]);
        match socket.stream().read_exact(&mut answer) {
            Ok(()) => break,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "after {:?}: {error}",
                start.elapsed()
            ),
        }
    }
    assert_eq!(&answer, b"HTTP/1.1 408", "after {:?}", start.elapsed());
    assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
}

#[test]
fn no_head_is_timed_while_another_request_is_answered_or_after_an_upgrade() {
    let node = node();
    let mut polled = connect(node.address());
    polled.write(format!("{}GET /health/live HTTP/1.1\r\nHost", poll(6)).as_bytes()).unwrap();
    let mut stream = connect(node.address());
    let receive = "GET /connection/uni_sse?channels=news:a HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write(format!("{receive}GET / HTTP").as_bytes()).unwrap();
    let mut websocket = connect(node.address());
    websocket.write(format!("{GET}{}", handshake_with_list(PATH)).as_bytes()).unwrap();
    let head = websocket.read_head().unwrap();
    websocket.read_body(&head).unwrap();
    assert_eq!(websocket.read_head().unwrap().status, 101);
    websocket.write(&frame(true, 0, opcode::TEXT, br#"{"id":1,"connect":{}}"#)[..10]).unwrap();
    // Three times the limit has gone by when the poll has its answer; the head behind it has its own time from here.
    assert!([200, 304].contains(&polled.read_head().map(|head| head.status).unwrap()));
    polled.write(b": x\r\n\r\n").unwrap();
    let said = String::from_utf8(polled.read_until(b"\"status\"").unwrap()).unwrap_or_default();
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    assert_eq!(stream.read_head().unwrap().status, 200);
    node.api().publish("news:a", &json!("to the stream"));
    stream.read_until(b"to the stream").unwrap();
    websocket.write(&frame(true, 0, opcode::TEXT, br#"{"id":1,"connect":{}}"#)[10..]).unwrap();
    let reply = String::from_utf8(websocket.read_frame().unwrap().payload).unwrap();
    assert!(reply.contains("\"connect\""), "{reply}");
}

#[test]
fn empty_lines_keep_a_connection_no_longer_than_silence_does() {
    let node = Node::start(settings().set("http.keep_alive", "\"1s\""));
    for is_one_write in [true, false] {
        let mut socket = connect(node.address());
        if is_one_write {
            socket.write(format!("{GET}\r\n").as_bytes()).unwrap();
        } else {
            socket.write(GET.as_bytes()).unwrap();
            let head = socket.read_head().unwrap();
            socket.read_body(&head).unwrap();
            socket.write(b"\r\n").unwrap();
        }
        let (statuses, last) = to_the_end(&mut socket);
        assert!(matches!(statuses[..], [] | [200]), "{statuses:?} {last}");
    }
    let mut served = connect(node.address());
    served.write(format!("{GET}\r\n\n{GET}").as_bytes()).unwrap();
    let (statuses, last) = to_the_end(&mut served);
    assert_eq!(statuses, [200, 200], "{last}");
}

#[test]
fn a_head_that_stops_is_408_too_where_keep_alive_is_shorter() {
    let node =
        Node::start(settings().set("http.keep_alive", "\"1s\"").set("http.request_timeout", "\"10s\""));
    let mut socket = connect(node.address());
    socket.write(format!("{GET}{GET}GET / HTTP/1.1\r\n").as_bytes()).unwrap();
    let (statuses, last) = to_the_end(&mut socket);
    assert_eq!(statuses, [200, 200, 408], "{last}");
}

#[test]
fn over_tls_a_head_that_stops_is_408_and_answers_come_before_an_upgrade() {
    let files = tempfile::tempdir().unwrap();
    let (node, config) = tls::start_with(settings(), files.path());
    let mut stream = tls::connect_to(node.address(), &config);
    stream.write_all(format!("{GET}GET / HTTP/1.1\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("HTTP/1.1 408"), "{said}");
    let mut stream = tls::connect_to(node.address(), &config);
    stream.write_all(format!("{GET}{GET}{}", handshake_with_list(PATH)).as_bytes()).unwrap();
    let mut said = String::new();
    while !said.contains("HTTP/1.1 101") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "closed after {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
}

#[test]
fn an_upgrade_list_is_a_websocket_in_whatever_pieces_it_comes() {
    let node = node();
    let handshake = handshake_with_list(PATH);
    let value = handshake.find("h2c").unwrap();
    let cuts: [&[usize]; 4] =
        [&[], &[value - 4], &[value + 6], &[value - 9, value - 8, value - 1, value, value + 1]];
    for before in ["", GET, &publish(), CHUNKED] {
        for cuts in cuts {
            let mut socket = connect(node.address());
            let mut from = 0;
            for to in cuts.iter().copied().chain([handshake.len()]) {
                let before = if from == 0 { before } else { "" };
                socket.write([before, &handshake[from..to]].concat().as_bytes()).unwrap();
                from = to;
                if to < handshake.len() {
                    // Another connection's whole request goes by meanwhile, so the node has read this piece.
                    let mut other = connect(node.address());
                    other.write(GET.as_bytes()).unwrap();
                    other.read_head().unwrap();
                }
            }
            let mut head = socket.read_head().unwrap();
            if !before.is_empty() {
                socket.read_body(&head).unwrap();
                head = socket.read_head().unwrap();
            }
            assert_eq!(head.status, 101, "{before:?} {cuts:?}");
        }
    }
}

/// A connection whose client has room for little that it does not read.
fn connect_narrow(node: &Node) -> Socket {
    let socket = Socket::new(Domain::for_address(node.address()), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&node.address().into()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

#[test]
fn all_answers_before_an_upgrade_are_received() {
    let node = node();
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for (path, upgraded) in [(PATH, 101), ("/nowhere", 404)] {
        for (before, count) in [(GET, 1), (GET, 2), (GET, 15), (GET, 40), (metrics, 3), (metrics, 200)] {
            let mut socket = connect_narrow(&node);
            let stream = [before.repeat(count), handshake_with_list(path)].concat();
            // A client that sends all before it reads.
            socket.write_all(stream.as_bytes()).unwrap();
            let (mut said, mut bytes, mut seen) = (Vec::new(), [0; 4096], 0);
            let end = format!("HTTP/1.1 {upgraded}").into_bytes();
            while count_of(&said[seen..], &end) == 0 {
                seen = said.len().saturating_sub(end.len());
                let read = socket.read(&mut bytes).unwrap();
                assert!(read > 0, "{count} times {before:?}: closed after {} bytes", said.len());
                said.extend_from_slice(&bytes[..read]);
            }
            assert_eq!(count_of(&said, b"HTTP/1.1 "), count + 1, "{before:?}");
        }
    }
}

fn count_of(bytes: &[u8], word: &[u8]) -> usize {
    bytes.windows(word.len()).filter(|window| *window == word).count()
}

#[test]
fn an_answer_that_closes_is_received_and_the_upgrade_behind_it_is_not_done() {
    let node = node();
    for (first, status) in [
        ("GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        ("GET /health/live HTTP/1.0\r\nHost: x\r\n\r\n", 200),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ] {
        for before in ["", GET] {
            let mut socket = connect(node.address());
            let frames = frame(true, 0, opcode::TEXT, &[b' '; 4000]).repeat(20);
            let handshake = handshake_with_list(PATH);
            socket
                .write(&[before.as_bytes(), first.as_bytes(), handshake.as_bytes(), &frames].concat())
                .unwrap();
            let (statuses, last) = to_the_end(&mut socket);
            let expected = [200, status];
            assert_eq!(statuses, expected[usize::from(before.is_empty())..], "{before:?} {first:?}: {last}");
        }
    }
}
