//! Requests without an end: a header that goes on, one that trickles, a body that is announced and not sent.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{RawSocket, handshake},
};

use crate::neighbour::beside_a_neighbour;

/// What a server may swallow of an endless header before it hangs up: its limit is 16 KiB, the rest is what the
/// kernel's buffers on both sides take.
const SWALLOWED_BYTES: usize = 16 * 1024 * 1024;

/// Writes `piece` again and again until the server hangs up; how many bytes it took, and what it answered.
fn write_without_end(mut stream: TcpStream, start: &[u8], piece: &[u8]) -> (usize, String) {
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(start).unwrap();
    let mut written = start.len();
    while written < 1024 * 1024 * 1024 {
        match stream.write(piece) {
            Ok(count) => written += count,
            Err(error) => {
                let expected = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
                assert!(expected, "the server neither takes more nor hangs up: {error}");
                break;
            }
        }
    }
    let mut answer = Vec::new();
    // A reset after the answer is an error here, and what came before it is kept.
    let _ = stream.read_to_end(&mut answer);
    (written, String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_header_without_an_end_is_cut_off_at_its_limit() {
    let node = Node::start(Settings::open());
    let piece = [b'a'; 64 * 1024];
    let mut start = handshake(node.address(), PATH, "X-Long: ");
    start.truncate(start.len() - 2);
    beside_a_neighbour(&node, || {
        for start in [start.as_bytes(), b"GET /", b"GET / HTTP/1.1\r\nX-Long: ", b""] {
            let stream = TcpStream::connect(node.address()).unwrap();
            let (taken, answer) = write_without_end(stream, start, &piece);
            assert!(
                taken < SWALLOWED_BYTES,
                "{taken} bytes were taken after {:?}",
                String::from_utf8_lossy(start)
            );
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    });
}

#[test]
fn headers_without_number_are_cut_off_at_the_limit() {
    let node = Node::start(Settings::open());
    let piece = "X-Many: a\r\n".repeat(5000);
    beside_a_neighbour(&node, || {
        let stream = TcpStream::connect(node.address()).unwrap();
        let (taken, answer) = write_without_end(stream, b"GET / HTTP/1.1\r\n", piece.as_bytes());
        assert!(taken < SWALLOWED_BYTES, "{taken} bytes were taken");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    });
}

#[test]
fn a_handshake_that_trickles_in_has_a_bounded_time() {
    /// Slow peers at the same time.
    const PEERS: usize = 50;
    let node = Node::start(Settings::open().set("http.request_timeout", "\"1s\""));
    let request = handshake(node.address(), PATH, &"X-Slow: and slower still\r\n".repeat(20));
    beside_a_neighbour(&node, || {
        let start = Instant::now();
        let mut peers: Vec<TcpStream> =
            (0..PEERS).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
        for peer in &peers {
            peer.set_nonblocking(true).unwrap();
        }
        // A byte from each and a pause; at this pace a request takes half a minute.
        for byte in request.as_bytes() {
            peers.retain_mut(|peer| {
                let mut answer = [0; 1024];
                let gone =
                    !matches!(peer.read(&mut answer), Err(error) if error.kind() == ErrorKind::WouldBlock);
                !gone && peer.write(&[*byte]).is_ok()
            });
            if peers.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let lasted = start.elapsed();
        assert!(peers.is_empty(), "{} are still there after {lasted:?}", peers.len());
        assert!(lasted < Duration::from_secs(20), "the last was cut off after {lasted:?}");
    });
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_without_reading_it() {
    let node = Node::start(Settings::open());
    beside_a_neighbour(&node, || {
        let mut socket = RawSocket::connect(node.address());
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000000000\r\n\r\n{{",
            node.address(),
            gorani_tests::node::API_KEY
        );
        socket.write(request.as_bytes()).unwrap();
        assert_eq!(socket.read_head().unwrap().status, 413);
    });
}
