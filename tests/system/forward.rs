//! Sessions over HTTP in a cluster without sticky sessions: requests land on whatever node and reach their session.
//! `docs/protocols/http.md` §13, `docs/protocols/sockjs.md` §8.

mod emulation;
pub(crate) mod gate;
mod sockjs;

use std::{net::SocketAddr, time::Duration};

use gorani_tests::{
    node::{Node, Settings},
    raw::{Head, RawSocket},
    redis::Redis,
};
use serde_json::{Value, json};

/// Nodes of a cluster.
const NODES: usize = 3;
/// Longest wait for an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true,
 allow_publish_for_client = true, allow_publish_for_anonymous = true },
 { name = "kept", history_size = 1000, history_ttl = "60s", force_recovery = true,
 allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;

fn settings(redis: &Redis) -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES.replace('\n', ""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
}

/// Nodes on one Redis. Killing a node leaves the others where they are.
struct Cluster {
    nodes: Vec<Node>,
    redis: Redis,
}

impl Cluster {
    fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    /// The same with other settings.
    fn start_with(change: impl Fn(Settings) -> Settings) -> Self {
        let redis = Redis::start();
        let nodes = (0..NODES).map(|_| Node::start(change(settings(&redis)))).collect();
        Self { nodes, redis }
    }

    fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node % NODES].address()
    }

    /// A counter of a node, zero if it was never moved.
    fn count(&self, node: usize, metric: &str) -> u64 {
        let (_, metrics) = self.nodes[node].api().get("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

/// Sends a request on a connection of its own, as a balancer without keep-alive does.
fn send(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> RawSocket {
    let mut socket = RawSocket::connect(address);
    // Some answers come when a lease ends.
    socket.stream().set_read_timeout(Some(ANSWERED_WITHIN)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: push.example.com\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    socket.write(request.as_bytes()).unwrap();
    socket
}

/// The whole answer.
fn answer(mut socket: RawSocket) -> (Head, String) {
    let head = socket.read_head().unwrap();
    let body = socket.read_body(&head).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A session of the client protocol over `http_stream`.
pub(crate) struct Stream {
    socket: RawSocket,
    session: String,
    node: String,
    lines: Vec<Value>,
    last_id: u64,
}

impl Stream {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let body = json!({"id": 1, "connect": {}}).to_string();
        let mut socket = send(address, "POST", "/connection/http_stream", "", &body);
        assert_eq!(socket.read_head().unwrap().status, 200);
        let mut stream =
            Self { socket, session: String::new(), node: String::new(), lines: Vec::new(), last_id: 1 };
        let reply = stream.object();
        let text =
            |name: &str| reply["connect"][name].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
        (stream.session, stream.node) = (text("session"), text("node"));
        stream
    }

    /// The next object that is no ping.
    fn object(&mut self) -> Value {
        loop {
            while self.lines.is_empty() {
                let chunk = self.socket.read_chunk().unwrap().expect("the stream goes on");
                let text = String::from_utf8(chunk).unwrap();
                self.lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
            match self.lines.remove(0) {
                object if object == json!({}) => {}
                object => return object,
            }
        }
    }

    /// The data of the next publication; replies are skipped.
    fn publication(&mut self) -> Value {
        loop {
            let mut object = self.object();
            if let Some(data) = object["push"]["pub"].get_mut("data") {
                return data.take();
            }
        }
    }

    /// The body of a request with a command.
    fn command(&mut self, name: &str, params: Value) -> String {
        self.last_id += 1;
        let command = json!({"id": self.last_id, name: params}).to_string();
        json!({"session": self.session, "node": self.node, "data": command}).to_string()
    }

    /// Sends a command through a node; the status.
    pub(crate) fn post(&mut self, through: SocketAddr, name: &str, params: Value) -> u16 {
        let body = self.command(name, params);
        emulate(through, &body).0.status
    }
}

fn emulate(through: SocketAddr, body: &str) -> (Head, String) {
    answer(send(
        through,
        "POST",
        "/emulation",
        "Content-Type: application/json\r\nOrigin: http://push.example.com\r\n",
        body,
    ))
}
