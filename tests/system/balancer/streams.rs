//! Streams over plain HTTP through a balancer: what a node writes is at the client at once, although the response never ends.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gorani_tests::{balancer::Kind, raw::TIME_LIMIT};
use serde_json::json;

use super::Cluster;

/// Connects and subscribes in one message: two commands, a line each.
const COMMANDS: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"kept:a\"}}";

/// A response that goes on and on.
struct Stream {
    socket: TcpStream,
    seen: String,
}

impl Stream {
    fn open(address: SocketAddr, head: &str, body: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let length = body.len();
        let request = format!("{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.write_all(request.as_bytes()).unwrap();
        Self { socket, seen: String::new() }
    }

    /// Reads until this has come.
    fn until(&mut self, wanted: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(wanted) {
            let read = self.socket.read(&mut buffer);
            match read.unwrap_or_else(|error| panic!("{error}, and no {wanted} in {}", self.seen)) {
                0 => panic!("the stream ended without {wanted}: {}", self.seen),
                read => self.seen.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
    }
}

#[test]
fn streams_and_events_come_through_at_once() {
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let cluster = Cluster::start(kind);
        let events = format!("GET /connection/sse?cf_connect={}", percent(COMMANDS));
        let mut streams = [
            Stream::open(cluster.address(), "POST /connection/http_stream", COMMANDS),
            Stream::open(cluster.address(), &events, ""),
        ];
        for stream in &mut streams {
            stream.until("\"subscribe\":{");
        }
        for number in [1001, 1002] {
            cluster.api().publish("kept:a", &json!(number));
            for stream in &mut streams {
                stream.until(&format!("\"data\":{number}"));
            }
        }
    }
}

#[test]
fn behind_haproxy_a_node_that_leaves_with_grace_costs_no_publish() {
    let mut cluster = Cluster::with(Kind::Haproxy, |settings| settings.set("drain.grace", "\"8s\""));
    let leaving = cluster.nodes[0].process();
    let api = cluster.api();
    let (mut published, mut statuses) = (0, Vec::new());
    let mut exit = None;
    while exit.is_none() || published < 100 {
        if published == 50 {
            leaving.signal(gorani_tests::process::Signal::SIGTERM);
        }
        let body = json!({"channel": "kept:a", "data": published}).to_string();
        statuses.push(api.post("/api/publish", body.as_bytes()).0);
        published += 1;
        exit = exit.or_else(|| cluster.nodes[0].wait_exit(Duration::from_millis(1)));
        assert!(published < 100_000, "it does not end");
    }
    assert!(exit.is_some_and(|status| status.success()), "{exit:?}");
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(api.publish("kept:a", &json!("last"))["offset"], published + 1);
}
