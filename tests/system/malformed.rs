//! What garbage leaves in the log of a node: no line at ERROR, since nobody is to be woken by a stranger, and a node that works.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use gorani_tests::{
    client::PATH,
    node::{Node, Settings, free_address},
    raw::{RawSocket, frame, handshake, header, opcode},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    eventually,
    tls::{certified, connect_to},
};

/// No answer takes longer, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);
/// A kept connection, or a body that does not come, ends after this at last.
const SHORT: &str = "\"1s\"";

fn settings(stomp: SocketAddr) -> Settings {
    Settings::open()
        .set("stomp.tcp.address", format!("\"{stomp}\""))
        .set("http.request_timeout", SHORT)
        .set("http.keep_alive", SHORT)
        .set("http.shutdown_timeout", SHORT)
        .set("log.format", "\"json\"")
}

/// Sends bytes, ends its side, and reads whatever comes to the end.
fn throw(address: SocketAddr, bytes: &[u8]) {
    let mut socket = RawSocket::connect(address);
    socket.stream().set_read_timeout(Some(SOON)).unwrap();
    // The node may end the connection while it is sent.
    let _ = socket.write(bytes);
    let _ = socket.stream().shutdown(Shutdown::Write);
    let _ = socket.read_to_end();
}

/// Sends bytes and breaks the connection (RST) without reading.
fn throw_and_run(address: SocketAddr, bytes: &[u8]) {
    let mut socket = RawSocket::connect(address);
    let _ = socket.write(bytes);
    let socket = socket2::SockRef::from(socket.stream()).set_linger(Some(Duration::ZERO));
    socket.unwrap();
}

/// Requests that are none, or none of ours.
fn http(address: SocketAddr) -> Vec<Vec<u8>> {
    let get = |rest: &str| format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{rest}\r\n").into_bytes();
    let post = |rest: &str| format!("POST /api/publish HTTP/1.1\r\nHost: x\r\n{rest}").into_bytes();
    vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\0\xff\xfe\x01 \r\n\r\n".to_vec(),
        "GET /고라니 HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes().to_vec(),
        vec![b'A'; 300_000],
        [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 300_000]].concat(),
        get("A header without a colon\r\n"),
        get("Bad\0Name: x\r\n"),
        get(&"X: y\r\n".repeat(200)),
        get("Content-Length: 5\r\nContent-Length: 6\r\n"),
        get("Content-Length: -1\r\n"),
        get("Content-Length: 99999999999999999999\r\n"),
        get("Transfer-Encoding: gzip\r\n"),
        get("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
        post("Transfer-Encoding: chunked\r\n\r\n2;ext\r\n{}XX0\r\n\r\n"),
        post("Content-Length: 100\r\n\r\n{\"cut"),
        post("Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}"),
        post("Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x08ab"),
        get("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"),
        get("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec(),
        b"GET http://[::bad HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [get(""), b"garbage after a request\r\n\r\n".to_vec()].concat(),
        handshake(address, PATH, "").replace("dGhlIHNhbXBsZSBub25jZQ==", "short").into_bytes(),
        handshake(address, PATH, "").replace("Version: 13", "Version: 99").into_bytes(),
        handshake(address, PATH, "Sec-WebSocket-Extensions: ;;;=\r\n").into_bytes(),
        handshake(address, PATH, "").replace("GET", "DELETE").into_bytes(),
        handshake(address, "/nowhere", "").into_bytes(),
    ]
}

/// Frames that break RFC 6455, and messages that are not the protocol.
fn frames() -> Vec<Vec<u8>> {
    vec![
        frame(true, 0b111, opcode::TEXT, b"x"),
        frame(true, 0, 0x3, b"x"),
        frame(true, 0, 0x0, b"a continuation of nothing"),
        frame(false, 0, opcode::PING, b"x"),
        frame(true, 0, opcode::PING, &[0; 126]),
        frame(true, 0, opcode::TEXT, b"\xff\xfe"),
        frame(true, 0, opcode::CLOSE, b"\x03"),
        frame(true, 0, opcode::CLOSE, b"\x00\x01"),
        frame(true, 0, opcode::CLOSE, b"\x03\xe8\xff"),
        header(true, 0, opcode::TEXT, u64::MAX >> 1),
        vec![0x81, 0x02, b'h', b'i'],
        vec![0x81, 0xfe, 0x00, 0x01, 0, 0, 0, 0, b'x'],
        frame(true, 0, opcode::TEXT, b"{\"id\":"),
        frame(true, 0, opcode::BINARY, b"\0\x01\x02"),
        frame(true, 0, opcode::TEXT, "[".repeat(5000).as_bytes()),
    ]
}

/// STOMP that is none.
fn stomp() -> Vec<Vec<u8>> {
    vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"CONNECT\nno colon\n\n\0".to_vec(),
        b"CONNECT\naccept-version:9\n\n\0".to_vec(),
        b"CONNECT\ncontent-length:99999999999999999999\n\n".to_vec(),
        b"SEND\ndestination:/topic/a\n\nbefore a CONNECT\0".to_vec(),
        vec![0xff; 100_000],
        vec![b'\n'; 100_000],
        b"CONNECT\nhost:\\z\n\n\0".to_vec(),
        b"CONNECT\naccept-version:1.2\nhost:x\n\n\0CONNECT\n\n\0".to_vec(),
        b"CONNECT\naccept-version:1.2\nhost:x\n\n\0FOO\n\n\0".to_vec(),
    ]
}

/// Lines of the log at ERROR, and those that are no line of a log at all.
fn complaints(node: &Node) -> Vec<String> {
    let output = node.output();
    let is_bad = |line: &&str| {
        let line = serde_json::from_str::<Value>(line).unwrap_or_default();
        !matches!(line["level"].as_str(), Some("WARN" | "INFO" | "DEBUG" | "TRACE"))
    };
    // The last line may not have come whole.
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter(|line| !line.trim().is_empty()).filter(is_bad).map(str::to_owned).collect()
}

/// Waits for the end of what was thrown.
fn settled(node: &Node) {
    eventually("all of them are gone", SOON, || {
        let text = node.api().get("/metrics").1;
        let mut gauges = text.lines().filter(|line| line.starts_with("gorani_connections{"));
        gauges.all(|gauge| gauge.ends_with(" 0"))
    });
    assert_eq!(node.api().get("/health/ready").0, 200);
}

#[test]
fn strangers_that_send_garbage_write_no_error_into_the_log() {
    let tcp = free_address();
    let node = Node::start(settings(tcp));
    let address = node.address();
    for bytes in http(address) {
        throw(address, &bytes);
        throw_and_run(address, &bytes);
        throw(address, &bytes[..bytes.len() / 2]);
    }
    for path in [PATH, "/connection/uni_websocket?channels=open:a", "/stomp"] {
        for bytes in frames() {
            let bytes = [handshake(address, path, "").into_bytes(), bytes].concat();
            throw(address, &bytes);
            throw_and_run(address, &bytes);
        }
    }
    for bytes in stomp() {
        throw(tcp, &bytes);
        throw_and_run(tcp, &bytes);
        let framed = frame(true, 0, opcode::TEXT, &bytes[..bytes.len().min(1000)]);
        throw(address, &[handshake(address, "/stomp", "").into_bytes(), framed].concat());
    }
    settled(&node);
    assert_eq!(complaints(&node), [""; 0]);
}

#[test]
fn strangers_that_send_garbage_to_tls_write_no_error_into_the_log() {
    let (tcp, files) = (free_address(), [TempDir::new().unwrap(), TempDir::new().unwrap()]);
    let (settings, trust) = certified(settings(tcp), "http.tls", files[0].path());
    let (settings, trust_stomp) = certified(settings, "stomp.tcp.tls", files[1].path());
    let node = Node::spawn(settings);
    let address = node.address();
    eventually("the node listens", SOON, || RawSocket::try_connect(address).is_ok());
    let hello: &[u8] = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03";
    for port in [address, tcp] {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"CONNECT\n\n\0".to_vec(),
            hello.to_vec(),
            [hello, &[0; 200][..]].concat(),
            b"\x16\x03\x01\xff\xff".to_vec(),
            b"\x15\x03\x01\x00\x02\x02\x28".to_vec(),
            b"\x80\x2e\x01\x00\x02 an SSL 2.0 hello".to_vec(),
            vec![0; 70_000],
            vec![0xff; 70_000],
            Vec::new(),
        ] {
            throw(port, &bytes);
            throw_and_run(port, &bytes);
        }
    }
    // And within TLS.
    for (port, trust, all) in [(address, &trust, http(address)), (tcp, &trust_stomp, stomp())] {
        for bytes in all {
            let mut stream = connect_to(port, trust);
            let _ = stream.write_all(&bytes);
            stream.conn.send_close_notify();
            let _ = stream.flush();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    // Some that go without an end.
    for _ in 0..5 {
        let mut stream = connect_to(address, &trust);
        let _ = stream.write_all(b"GET /health/live HTTP/1.1\r\n");
        let _ = stream.sock.shutdown(Shutdown::Both);
    }
    assert_eq!(complaints(&node), [""; 0]);
}
