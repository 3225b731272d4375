//! How long a connection may take to say something.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings, free_address},
    raw::RawSocket,
};

use super::{SOON, listens};
use crate::{connected, eventually, tls::start_with};

#[test]
fn a_client_that_trickles_its_handshake_is_closed_in_time() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, _) = start_with(Settings::open(), files.path());
    let started = Instant::now();
    let mut socket = RawSocket::connect(node.address());
    socket.stream().set_read_timeout(Some(TRICKLE)).unwrap();
    // A record of 512 bytes that holds a ClientHello of 508.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().copied().chain(std::iter::repeat(7));
    for byte in hello.take(400) {
        if socket.write(&[byte]).is_err() || is_closed_within_its_timeout(&mut socket) {
            assert!(started.elapsed() >= Duration::from_secs(9), "after {:?} already", started.elapsed());
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10) + SOON, "still open");
    }
    panic!("still open after {:?}", started.elapsed());
}

/// Pause between two bytes of a client that trickles.
const TRICKLE: Duration = Duration::from_millis(100);

/// Waits for the read time-out of the socket, or for its end.
fn is_closed_within_its_timeout(socket: &mut RawSocket) -> bool {
    match socket.read_some() {
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_stomp_client_that_sends_nothing_is_closed_in_time_and_takes_no_session() {
    let stomp = free_address();
    let settings = Settings::open()
        .set("stomp.tcp.address", format!("\"{stomp}\""))
        .set("client.connect_timeout", "\"8s\"")
        .set("http.max_connections", "3");
    let node = Node::start(settings);
    listens(stomp);
    let mut silent: Vec<_> = (0..20).map(|_| RawSocket::connect(stomp)).collect();
    eventually("all are accepted", SOON, || {
        let (_, metrics) = node.api().get("/metrics");
        let open = metrics.lines().find_map(|line| line.strip_prefix("gorani_tcp_connections "));
        open.is_some_and(|open| open.parse::<usize>().unwrap() >= 20)
    });
    drop([connected(&node), connected(&node), connected(&node)]);
    for socket in &mut silent {
        assert!(socket.read_to_end().expect("the node closes").is_empty());
    }
}
