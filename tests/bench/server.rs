//! The two servers that are compared, each a child process with one worker, and how to talk to each.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    binary,
    http::Api,
    node::{API_KEY, Node, Settings, free_address},
    process::{Process, pin_to_core, unpin},
};

use crate::swarm::Target;

/// The channel of every fan-out.
const CHANNEL: &str = "bench:1";
/// A channel that nobody is subscribed to: for the cost of publishing alone.
const IDLE_CHANNEL: &str = "bench:idle";
/// Servers run on this core and the load client on the next, so that they do not take each other's time.
const SERVER_CORE: usize = 0;
/// See [`SERVER_CORE`].
pub(crate) const CLIENT_CORE: usize = 1;
/// How long a server may take to start.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The node.
    Gateway,
    /// The `stock` binary beside this program.
    Stock,
}

/// How the servers are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// Server and client each on a core of their own.
    pub(crate) pinned: bool,
    /// The baseline shares a message's text between subscribers, instead of a copy for each.
    pub(crate) shared_text: bool,
    /// Another binary of the node takes the baseline's place.
    pub(crate) old: Option<&'static Path>,
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Gateway(Node),
    Stock(Stock),
}

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) fn start(kind: Kind, how: Start) -> Self {
        if let (Kind::Stock, Some(old)) = (kind, how.old) {
            let node = on_server_core(how.pinned, || Node::start_program(old, gateway_settings()));
            return Self::of_node(node);
        }
        // Built before this thread is pinned, or the compiler would be as well.
        let program = match kind {
            Kind::Gateway => binary::node(),
            Kind::Stock => binary::built("stock"),
        };
        let running = on_server_core(how.pinned, || match kind {
            Kind::Gateway => Running::Gateway(Node::start(gateway_settings())),
            Kind::Stock => Running::Stock(Stock::start(Command::new(program), how.shared_text)),
        });
        Self { kind, running }
    }

    /// A node that was started with settings of its own.
    pub(crate) fn of_node(node: Node) -> Self {
        Self { kind: Kind::Gateway, running: Running::Gateway(node) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.running {
            Running::Gateway(node) => node.address(),
            Running::Stock(stock) => stock.address,
        }
    }

    pub(crate) fn process(&self) -> Process {
        match &self.running {
            Running::Gateway(node) => node.process(),
            Running::Stock(stock) => Process::new(stock.child.id()),
        }
    }

    /// Where subscribers connect, and how.
    pub(crate) fn target(&self) -> Target {
        match self.kind {
            Kind::Gateway => Target::channel(self.address(), CHANNEL),
            Kind::Stock => {
                Target { address: self.address(), path: "/ws", subscribing: None, one_each: false }
            }
        }
    }

    /// Where subscribers of STOMP connect; only a node has them.
    pub(crate) fn stomp_target(&self) -> Target {
        Target::topic(self.address(), CHANNEL)
    }

    /// The HTTP request that publishes `payload_bytes` of data to all subscribers.
    pub(crate) fn publish_request(&self, payload_bytes: usize) -> Vec<u8> {
        match self.kind {
            Kind::Gateway => self.request("/api/publish", &command(CHANNEL, payload_bytes)),
            Kind::Stock => self.request("/pub", &data(payload_bytes)),
        }
    }

    /// The HTTP request that publishes to nobody; from the baseline, the echo of the same body.
    pub(crate) fn idle_publish_request(&self, payload_bytes: usize) -> Vec<u8> {
        let body = command(IDLE_CHANNEL, payload_bytes);
        self.request(if self.kind == Kind::Gateway { "/api/publish" } else { "/echo" }, &body)
    }

    /// The HTTP request that publishes `count` times to nobody; from the baseline, the echo of the same body.
    pub(crate) fn batch_request(&self, payload_bytes: usize, count: usize) -> Vec<u8> {
        let one = format!(r#"{{"publish":{}}}"#, command(IDLE_CHANNEL, payload_bytes));
        let body = format!(r#"{{"commands":[{}]}}"#, vec![one; count].join(","));
        self.request(if self.kind == Kind::Gateway { "/api/batch" } else { "/echo" }, &body)
    }

    fn request(&self, path: &str, body: &str) -> Vec<u8> {
        post(self.address(), path, body)
    }
}

/// Starts a node with settings of its own where servers run, and waits until it answers.
pub(crate) fn start_node(settings: Settings, pinned: bool) -> Node {
    on_server_core(pinned, || Node::start(settings))
}

/// The same of another binary than the one under test.
pub(crate) fn start_program(program: &Path, settings: Settings, pinned: bool) -> Node {
    on_server_core(pinned, || Node::start_program(program, settings))
}

/// What is started meanwhile stays on the servers' core.
fn on_server_core<T>(pinned: bool, start: impl FnOnce() -> T) -> T {
    let before = if pinned { pin_to_core(SERVER_CORE) } else { None };
    let started = start();
    if let Some(before) = before {
        unpin(&before);
    }
    started
}

/// A request to the HTTP API, whole.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nX-API-Key: {API_KEY}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One worker, an API key, and a namespace without history that anybody may subscribe to.
pub(crate) fn gateway_settings() -> Settings {
    let namespace =
        r#"{ name = "bench", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }"#;
    // No heartbeats: they are not what is measured, and the light clients do not answer those of every protocol.
    Settings::open()
        .set("channel.namespaces", format!("[{namespace}]"))
        .set("client.ping_interval", "\"3600s\"")
}

/// A JSON string that is `bytes` long, its quotes included.
fn data(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))
}

pub(crate) fn command(channel: &str, payload_bytes: usize) -> String {
    format!(r#"{{"channel":"{channel}","data":{}}}"#, data(payload_bytes))
}

#[derive(Debug)]
struct Stock {
    child: Child,
    address: SocketAddr,
}

impl Stock {
    fn start(mut program: Command, shared_text: bool) -> Self {
        let address = free_address();
        let text = if shared_text { "shared" } else { "copied" };
        let child = program.args([&address.to_string(), text]).stdout(Stdio::null()).spawn();
        let stock = Self { child: child.expect("the baseline can be started"), address };
        let api = Api::new(address, "");
        let give_up = Instant::now() + READY_WITHIN;
        while !matches!(api.try_get("/health/ready"), Ok((200, _))) {
            assert!(Instant::now() < give_up, "the baseline does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        stock
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _: io::Result<()> = self.child.kill();
        let _ = self.child.wait();
    }
}
