//! Connections that say nothing, and nodes that are full: whoever comes to be served still is, and health and metrics answer to
//! the last. Record 22.

mod timeouts;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use gorani_tests::{
    client::PATH,
    node::{API_KEY, Node, Settings, free_address},
    raw::{RawSocket, handshake},
    stomp::Stomp,
};

use crate::{
    connected, eventually,
    tls::{certified, connect_to, request, start_with},
};

/// Long enough for anything that happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// Strangers, who are other clients than the tests' own 127.0.0.1.
const STRANGERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4)];

/// How a connection that never comes to a request begins.
const BEGINNINGS: [(&str, &[u8]); 4] = [
    ("nothing", b""),
    ("one byte of TLS", b"\x16"),
    ("half a ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("half a request", b"GET /health/live HTTP/1.1\r\nHost: "),
];

/// So many connections without a request, and no time-out closes them in these tests.
fn handshakes(settings: Settings, all: usize, of_an_address: usize) -> Settings {
    settings
        .set("http.max_handshakes", all.to_string())
        .set("http.max_handshakes_per_address", of_an_address.to_string())
        .set("http.request_timeout", "\"300s\"")
        .set("http.keep_alive", "\"300s\"")
        .set("client.connect_timeout", "\"300s\"")
        .set("client.ping_interval", "\"300s\"")
}

/// Waits until a port is listened on: the node's own is a moment before those of STOMP.
fn listens(address: SocketAddr) {
    eventually("the port is listened on", SOON, || TcpStream::connect(address).is_ok());
}

fn open_from(source: Ipv4Addr, address: SocketAddr, beginning: &[u8]) -> RawSocket {
    let mut socket = RawSocket::connect_from(source, address);
    // It may have been closed for the next one already.
    let _ = socket.write(beginning);
    socket
}

/// Whether the node has closed it.
fn is_closed(socket: &RawSocket) -> bool {
    socket.stream().set_nonblocking(true).unwrap();
    let closed = match socket.stream().peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    socket.stream().set_nonblocking(false).unwrap();
    closed
}

/// One whole HTTP/1.1 answer over a connection of its own, and whether the node closed it afterwards.
fn ask(node: &Node, request: &str) -> (u16, bool) {
    let mut socket = RawSocket::connect(node.address());
    let (line, rest) = request.split_once('\n').unwrap_or((request, ""));
    socket
        .write(format!("{line} HTTP/1.1\r\nHost: a\r\nX-API-Key: {API_KEY}\r\n\r\n{rest}").as_bytes())
        .unwrap();
    let head = socket.read_head().unwrap();
    socket.read_body(&head).unwrap();
    (head.status, head.header("connection") == Some("close") && socket.read_to_end().unwrap().is_empty())
}

#[test]
fn connections_that_never_come_to_a_request_keep_nobody_out_whatever_the_listener() {
    let files = [(); 2].map(|()| tempfile::TempDir::new().unwrap());
    let [stomp, stomps] = [free_address(), free_address()];
    let settings = || handshakes(Settings::open(), 40, 40).set("http.workers", "2");
    let over_tls = settings().set("stomp.tcp.address", format!("\"{stomp}\""));
    let (over_tls, trust) = start_with(over_tls, files[0].path());
    let plain = settings().set("stomp.tcp.address", format!("\"{stomps}\""));
    let (plain, trust_stomps) = certified(plain, "stomp.tcp.tls", files[1].path());
    let plain = Node::start(plain);
    [stomp, stomps].into_iter().for_each(listens);

    for (node, address) in
        [(&over_tls, over_tls.address()), (&over_tls, stomp), (&plain, plain.address()), (&plain, stomps)]
    {
        let before = node.process().descriptors();
        for (beginning, bytes) in BEGINNINGS {
            // STOMP without TLS takes any first byte for a client, who then has the time for CONNECT.
            if address == stomp && !bytes.is_empty() {
                continue;
            }
            let held: Vec<_> = (0..700).map(|at| open_from(STRANGERS[at % 3], address, bytes)).collect();
            let closed = || held.iter().filter(|socket| is_closed_after_answer(socket)).count();
            eventually("all but as many as may be new are closed", SOON, || closed() >= 700 - 40);
            assert!(
                request(&over_tls, &trust, "GET /health/live", "").starts_with("HTTP/1.1 200"),
                "{beginning}"
            );
            assert_eq!(plain.api().get("/health/live").0, 200, "{beginning}");
            let mut client = Stomp::open(stomp);
            client.say("CONNECT\naccept-version:1.2\nhost:a\n\n\0");
            assert_eq!(client.frame().command, "CONNECTED", "{beginning}");
            let mut client = Stomp::over(connect_to(stomps, &trust_stomps));
            client.say("CONNECT\naccept-version:1.2\nhost:a\n\n\0");
            assert_eq!(client.frame().command, "CONNECTED", "{beginning}");
            eventually("their descriptors are freed", SOON, || {
                node.process().descriptors() <= before + 40 + 20
            });
        }
    }
}

#[test]
fn an_address_pays_for_its_own_silence_and_a_trusted_proxy_for_nobodys() {
    let [stranger, other, proxy] = STRANGERS;
    let settings =
        handshakes(Settings::open(), 1_000, 8).set("http.trusted_proxies", format!("[\"{proxy}\"]"));
    let node = Node::start(settings);
    let mut others: Vec<_> = (0..8).map(|_| open_from(other, node.address(), b"")).collect();
    let mut proxied: Vec<_> = (0..100).map(|_| open_from(proxy, node.address(), b"")).collect();
    let silent: Vec<_> = (0..100).map(|_| open_from(stranger, node.address(), b"")).collect();
    eventually("the stranger's oldest are closed", SOON, || silent.iter().take(92).all(is_closed));
    for socket in others.iter_mut().chain(&mut proxied) {
        socket.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(socket.read_head().unwrap().status, 200);
    }
    let (_, metrics) = node.api().get("/metrics");
    assert!(metrics.contains("gorani_tcp_connections_shed_total{reason=\"Address\"} 92"), "{metrics}");
}

#[test]
fn on_a_full_node_connections_that_wait_for_their_next_request_make_room_and_others_do_not() {
    let node = Node::start(handshakes(Settings::open(), 10, 10).set("http.max_connections", "10"));
    let mut streaming = RawSocket::connect(node.address());
    streaming.write(b"GET /connection/uni_sse?channels=open:a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(streaming.read_head().unwrap().status, 200);
    let body = r#"{"channel":"open:a","data":1}"#;
    let mut publishing = RawSocket::connect(node.address());
    publishing.write(publish_head(body.len()).as_bytes()).unwrap();
    assert_eq!(publishing.read_head().unwrap().status, 100);
    let client = connected(&node);
    let kept: Vec<_> = (0..60)
        .map(|_| {
            let mut socket = RawSocket::connect(node.address());
            socket.write(b"GET /connection/poll HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let head = socket.read_head().unwrap();
            assert_eq!(head.status, 400, "served, not refused for want of room");
            socket.read_body(&head).unwrap();
            socket
        })
        .collect();
    let is_open = |socket: &&RawSocket| !is_closed(socket);
    eventually("no more stay than the node may hold", SOON, || kept.iter().filter(is_open).count() <= 20);
    assert!(kept.iter().rev().take(10).all(|socket| !is_closed(socket)), "the oldest are closed first");
    publishing.write(body.as_bytes()).unwrap();
    assert_eq!(publishing.read_head().unwrap().status, 200);
    streaming.read_until(b"\"data\":1").unwrap();
    assert!(!is_closed(&client));
}

#[test]
fn connections_that_wait_for_their_next_request_are_no_handshakes() {
    let node = Node::start(handshakes(Settings::open(), 5, 5));
    let mut kept: Vec<_> = (0..50)
        .map(|_| {
            let mut socket = RawSocket::connect(node.address());
            get_live(&mut socket);
            socket
        })
        .collect();
    kept.iter_mut().for_each(get_live);
}

fn get_live(socket: &mut RawSocket) {
    socket.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = socket.read_head().unwrap();
    assert_eq!(head.status, 200);
    socket.read_body(&head).unwrap();
}

/// The head of a request to publish, whose body is waited for.
fn publish_head(length: usize) -> String {
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    )
}

/// Reads what came and tells whether the node has closed.
fn is_closed_after_answer(socket: &RawSocket) -> bool {
    let mut stream = socket.stream();
    stream.set_nonblocking(true).unwrap();
    let closed = loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

#[test]
fn refused_sessions_that_keep_their_connections_keep_nobody_out() {
    let node = Node::start(handshakes(Settings::open(), 20, 20).set("http.max_connections", "10"));
    let sse = b"GET /connection/uni_sse?channels=open:a HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<_> = (0..60)
        .map(|at| {
            let mut client = open_from(Ipv4Addr::LOCALHOST, node.address(), sse);
            assert_eq!(client.read_head().unwrap().status, if at < 10 { 200 } else { 503 });
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(ask(&node, "GET /health/live").0, 200);
        assert_eq!(ask(&node, "GET /metrics").0, 200);
    }
    node.api().publish("open:a", &1.into());
    for client in clients.iter_mut().take(10) {
        client.read_until(b"\"data\":1").unwrap();
    }
}

/// A node all of whose connections are taken: by sessions, and by requests that are under way.
fn full(workers: &str) -> (Node, Vec<RawSocket>) {
    let settings =
        handshakes(Settings::open(), 4, 4).set("http.max_connections", "4").set("http.workers", workers);
    let node = Node::start(settings);
    let mut held: Vec<_> = (0..4).map(|_| connected(&node)).collect();
    for _ in 0..4 {
        let mut busy = RawSocket::connect(node.address());
        busy.write(publish_head(100).as_bytes()).unwrap();
        assert_eq!(busy.read_head().unwrap().status, 100);
        held.push(busy);
    }
    (node, held)
}

#[test]
fn a_node_that_is_full_answers_health_and_metrics_refuses_the_rest_and_closes() {
    let (node, held) = full("1");
    for _ in 0..30 {
        for path in ["/health/live", "/health/ready", "/health", "/metrics"] {
            assert_eq!(ask(&node, &format!("GET {path}")), (200, true), "{path}");
        }
        for path in ["/connection/uni_sse?channels=open:a", "/api/info", "/", "/metrics/more"] {
            assert_eq!(ask(&node, &format!("GET {path}")), (503, true), "{path}");
        }
        let mut socket = RawSocket::connect(node.address());
        socket.write(handshake(node.address(), PATH, "").as_bytes()).unwrap();
        assert_eq!(socket.read_head().unwrap().status, 503);
        socket.read_to_end().expect("the node closes");
    }
    drop(held);
    eventually("there is room again", SOON, || ask(&node, "GET /").0 == 404);
    // The node may have seen the end of some of them alone.
    eventually("there is room for a session, too", SOON, || {
        let mut socket = RawSocket::connect(node.address());
        socket.write(handshake(node.address(), PATH, "").as_bytes()).unwrap();
        socket.read_head().unwrap().status == 101
    });
}

#[test]
fn strangers_cannot_hold_what_is_reserved_for_health() {
    for workers in ["1", "2"] {
        let (node, mut held) = full(workers);
        let unread = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for (at, bytes) in [b"".as_slice(), b"GET /health/live HTTP/1.1\r\n", unread].into_iter().enumerate()
        {
            let strangers: Vec<_> =
                (0..300).map(|_| open_from(STRANGERS[at], node.address(), bytes)).collect();
            for _ in 0..20 {
                assert_eq!(ask(&node, "GET /health/live"), (200, true));
                assert_eq!(ask(&node, "GET /metrics"), (200, true));
            }
            eventually("the oldest strangers are closed", SOON, || {
                strangers.iter().take(200).all(is_closed_after_answer)
            });
        }
        assert!(!is_closed(&held[0]), "whoever was there stays");
        held[0].text(r#"{"id":2,"subscribe":{"channel":"open:a"}}"#).unwrap();
        assert!(crate::json(&mut held[0])["subscribe"].is_object());
    }
}

#[test]
fn a_node_that_is_full_answers_health_over_tls_too() {
    let files = tempfile::TempDir::new().unwrap();
    let settings = handshakes(Settings::open(), 2, 2).set("http.max_connections", "2");
    let (node, trust) = start_with(settings, files.path());
    let _held: Vec<_> = (0..4)
        .map(|_| {
            let mut busy = connect_to(node.address(), &trust);
            busy.write_all(publish_head(100).as_bytes()).unwrap();
            let mut answer = [0; 25];
            busy.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
            busy
        })
        .collect();
    let _strangers: Vec<_> = (0..200)
        .map(|at| open_from(STRANGERS[at % 3], node.address(), BEGINNINGS[at % BEGINNINGS.len()].1))
        .collect();
    for _ in 0..5 {
        for (path, status) in [("/health/live", 200), ("/metrics", 200), ("/api/info", 503)] {
            let answer = request(&node, &trust, &format!("GET {path}"), "");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
    }
}

#[test]
fn a_node_with_few_files_takes_fewer_sessions_and_goes_on_answering() {
    let settings = handshakes(Settings::open(), 1_000, 1_000).set("http.workers", "2");
    let node = Node::start_with_files(settings, 96);
    eventually("it says so", SOON, || node.output().contains("too few for http.max_connections"));
    let statuses: Vec<_> = (0..200)
        .map(|_| {
            let mut socket = RawSocket::connect(node.address());
            socket.write(handshake(node.address(), PATH, "").as_bytes()).unwrap();
            (socket.read_head().unwrap().status, socket)
        })
        .collect();
    let opened = statuses.iter().filter(|(status, _)| *status == 101).count();
    assert!((10..80).contains(&opened), "{opened}");
    assert!(statuses.iter().all(|(status, _)| matches!(status, 101 | 503)));
    for source in STRANGERS {
        let _silent: Vec<_> = (0..200).map(|_| open_from(source, node.address(), b"")).collect();
        for _ in 0..5 {
            assert_eq!(ask(&node, "GET /health/live").0, 200);
            assert_eq!(ask(&node, "GET /metrics").0, 200);
        }
        node.api().publish("open:a", &1.into());
    }
}

#[test]
fn handshakes_under_way_do_not_hold_up_the_end_of_a_node() {
    let files = tempfile::TempDir::new().unwrap();
    let stomp = free_address();
    let settings = handshakes(Settings::open(), 1_000, 1_000)
        .set("stomp.tcp.address", format!("\"{stomp}\""))
        .set("http.shutdown_timeout", "\"300s\"");
    let (mut node, _) = start_with(settings, files.path());
    listens(stomp);
    let mut held: Vec<_> = BEGINNINGS
        .iter()
        .map(|(_, bytes)| open_from(STRANGERS[0], node.address(), bytes))
        .chain([open_from(STRANGERS[0], stomp, b"")])
        .collect();
    eventually("they are accepted", SOON, || {
        let mut probe = RawSocket::connect(node.address());
        probe.stream().write_all(b"no TLS\r\n\r\n").is_ok() && probe.read_to_end().is_ok()
    });
    node.terminate();
    assert!(
        node.wait_exit(SOON).expect("it ends long before the time for handshakes and requests").success()
    );
    for socket in &mut held {
        socket.read_to_end().unwrap();
    }
}
