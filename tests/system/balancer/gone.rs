//! Clients that go away while their request waits at a node: the balancer tells the node at once, so that nothing is done or
//! kept for somebody who is gone. Without that, a stream's session would live until the next ping, and a request that is not
//! answered until a time-out.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    node::free_address,
    raw::TIME_LIMIT,
};

use super::{Cluster, SOON, eventually};

/// Stands in for a node: it is healthy, answers nothing else, and tells when such a request has come, and when its client has
/// gone.
fn silent_node() -> (SocketAddr, mpsc::Receiver<&'static str>) {
    let address = free_address();
    let listener = TcpListener::bind(address).unwrap();
    let (sender, receiver) = mpsc::sync_channel(16);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            thread::spawn(move || serve(stream.unwrap(), &sender));
        }
    });
    (address, receiver)
}

fn serve(mut stream: TcpStream, sender: &mpsc::SyncSender<&'static str>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    if !request.ends_with(b"\r\n\r\n") {
        // A check that was given up before it said anything.
        return;
    }
    if request.starts_with(b"GET /health/") {
        // A check that goes away early is no news.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    // A test that has failed listens no more.
    let _ = sender.send("came");
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    let _ = sender.send("gone");
}

#[test]
fn a_node_is_told_at_once_when_the_client_of_an_unanswered_request_has_gone() {
    const REQUESTS: [&str; 3] = [
        "GET /connection/poll?wait=60 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    ];
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let (node, told) = silent_node();
        let balancer = Balancer::start(kind, [node; 3]);
        for request in REQUESTS {
            let mut client = TcpStream::connect(balancer.address()).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            assert_eq!(told.recv_timeout(SOON), Ok("came"), "{kind:?} {request}");
            drop(client);
            assert_eq!(told.recv_timeout(SOON), Ok("gone"), "{kind:?} {request}");
        }
    }
}

/// Sessions over HTTP of all nodes.
fn sessions(cluster: &Cluster) -> usize {
    let of_line =
        |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
    let of_node = |node: usize| {
        let (_, metrics) = cluster.nodes[node].api().get("/metrics");
        metrics.lines().filter(|line| line.starts_with("gorani_connections{")).map(of_line).sum::<usize>()
    };
    (0..cluster.nodes.len()).map(of_node).sum()
}

#[test]
fn a_stream_ends_at_its_node_when_its_client_has_gone() {
    const CONNECT: &str = "{\"id\":1,\"connect\":{}}";
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for kind in [Kind::Nginx, Kind::Haproxy] {
        // No ping writes to a client that is gone before this test gives up.
        let cluster = Cluster::with(kind, |settings| settings.set("client.ping_interval", "\"300s\""));
        let mut streams = Vec::new();
        for (head, body) in [
            ("POST /connection/http_stream".to_owned(), CONNECT),
            (format!("GET /connection/sse?cf_connect={}", percent(CONNECT)), ""),
        ] {
            let mut stream = TcpStream::connect(cluster.address()).unwrap();
            stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
            let length = body.len();
            let request = format!("{head} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).unwrap();
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("\"connect\":{") {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "{kind:?} {head}: {}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&buffer[..read]);
            }
            streams.push(stream);
        }
        eventually("both are there", SOON, || sessions(&cluster) == 2);
        drop(streams);
        eventually("both are gone", Duration::from_secs(20), || sessions(&cluster) == 0);
    }
}
