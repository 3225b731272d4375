//! What stands between frames: over TCP one EOL behind each NUL, over WebSocket nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use gorani_tests::{
    node::{Node, free_address},
    raw::{RawSocket, TIME_LIMIT, opcode},
};

use super::{BACKEND, node, settings};

/// A reader like that of php-stomp: it takes the two bytes behind a body for NUL and EOL, whatever they are. What another
/// reader would take for the first letter of the next frame is lost to it.
struct TwoByteReader(TcpStream);

impl TwoByteReader {
    fn connect(address: SocketAddr, headers: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let mut reader = Self(stream);
        reader.say(&format!("CONNECT\naccept-version:1.0,1.1,1.2\n{headers}\n\0"));
        reader
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Up to this byte, without it.
    fn until(&mut self, end: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.bytes(1)[0] {
                byte if byte == end => return bytes,
                byte => bytes.push(byte),
            }
        }
    }

    /// The command of the next frame, and its body.
    fn frame(&mut self) -> (String, Vec<u8>) {
        let command = String::from_utf8(self.until(b'\n')).unwrap();
        let mut length = None;
        loop {
            let line = String::from_utf8(self.until(b'\n')).unwrap();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.parse().unwrap());
            }
        }
        let body = match length {
            Some(length) => {
                let body = self.bytes(length);
                assert_eq!(self.bytes(2), b"\0\n", "behind the body of {command}");
                body
            }
            None => {
                let body = self.until(b'\0');
                assert_eq!(self.bytes(1), b"\n", "behind the NUL of {command}");
                body
            }
        };
        (command, body)
    }

    fn expect(&mut self, wanted: &str) -> Vec<u8> {
        let (command, body) = self.frame();
        assert_eq!(command, wanted, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Nothing follows any more.
    fn end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn over_tcp_an_eol_follows_every_frame() {
    let (node, tcp) = node();
    let mut reader = TwoByteReader::connect(tcp, BACKEND);
    reader.expect("CONNECTED");
    reader.say("SUBSCRIBE\nid:0\ndestination:/topic/kept:a\nreceipt:s\n\n\0");
    reader.expect("RECEIPT");
    // Small and large ones, from one turn and from several: shared frames, and frames in two pieces.
    let large = "x".repeat(3000);
    for body in ["1", "", &large, "2", "3"] {
        reader.say(&format!("SEND\ndestination:/topic/kept:a\ncontent-type:text/plain\n\n{body}\0"));
    }
    for body in ["1", "", &large, "2", "3"] {
        assert_eq!(reader.expect("MESSAGE"), body.as_bytes());
    }
    // What is read from history.
    let mut late = TwoByteReader::connect(tcp, BACKEND);
    late.expect("CONNECTED");
    late.say("SUBSCRIBE\nid:0\ndestination:/topic/kept:a\noffset:0\nreceipt:s\n\n\0");
    for body in ["1", "", &large, "2", "3"] {
        assert_eq!(late.expect("MESSAGE"), body.as_bytes());
    }
    late.expect("RECEIPT");
    // A message of a work queue, and what an end says.
    late.say(
        "SEND\ndestination:/queue/closed:jobs\n\njob\0SUBSCRIBE\nid:1\ndestination:/queue/closed:jobs\n\n\0",
    );
    assert_eq!(late.expect("MESSAGE"), b"job");
    late.say("SUBSCRIBE\nid:0\ndestination:/nowhere\n\n\0");
    late.expect("ERROR");
    late.end();
    drop(node);
}

#[test]
fn over_tcp_an_eol_follows_the_error_of_a_client_that_is_refused() {
    let tcp = free_address();
    let _node = Node::start(settings(tcp).set("http.handshakes_per_second", "1"));
    // At some time one of them is over the limit, however slow this machine is.
    let refused = (0..1000).find_map(|_| {
        let mut reader = TwoByteReader(TcpStream::connect(tcp).unwrap());
        reader.0.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        // A client that is not refused would be told nothing before its CONNECT, which this is too.
        let _ = reader.0.write_all(b"CONNECT\naccept-version:1.2\n\n\0");
        let (command, _) = reader.frame();
        (command == "ERROR").then_some(reader)
    });
    refused.expect("a client is refused").end();
}

#[test]
fn over_websocket_a_message_ends_with_the_nul_of_its_frame() {
    let (node, _) = node();
    let mut socket = RawSocket::websocket(node.address(), "/stomp", "");
    let mut ask = |text: &str| {
        socket.text(text).unwrap();
        let frame = socket.read_frame().unwrap();
        assert_eq!(frame.opcode, opcode::TEXT);
        let text = String::from_utf8(frame.payload).unwrap();
        assert!(text.ends_with('\0') && text.matches('\0').count() == 1, "{text:?}");
        text
    };
    assert!(ask(&format!("CONNECT\naccept-version:1.2\n{BACKEND}\n\0")).starts_with("CONNECTED"));
    let subscribed = ask("SUBSCRIBE\nid:0\ndestination:/topic/kept:a\nreceipt:s\n\n\0");
    assert!(subscribed.starts_with("RECEIPT"));
    assert!(ask("SEND\ndestination:/topic/kept:a\n\n1\0").starts_with("MESSAGE"));
    assert!(ask("SUBSCRIBE\nid:0\ndestination:/nowhere\n\n\0").starts_with("ERROR"));
}
