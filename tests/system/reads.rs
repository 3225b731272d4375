//! Heavy reads of many, or by one that asks for much: each is bounded or told, the nodes stay ready, and publishing goes on.
//! Decision record 26.
//!
//! - [`recover`]: many clients that come back at once.
//! - [`batches`]: many reads in one request.
//! - [`presence`]: of 100,000.

mod batches;
mod presence;
mod recover;

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use gorani_tests::{
    http::Api,
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};

/// Long enough for what a debug build on a busy machine has to do.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two publications of the backend beside.
const PACE: Duration = Duration::from_millis(20);
const MIB: u64 = 1024 * 1024;

/// Anybody may do everything in `open:…`, which keeps history and presence.
fn settings(redis: &Redis) -> Settings {
    let namespace = r#"{ name = "open", history_size = 300, history_ttl = "600s", presence = true, allow_recovery = true,
        allow_history_for_client = true, allow_history_for_anonymous = true, allow_subscribe_for_client = true,
        allow_subscribe_for_anonymous = true, allow_presence_for_client = true, allow_presence_for_anonymous = true }"#
        .replace('\n', " ");
    Settings::open()
        .set("channel.namespaces", format!("[{namespace}]"))
        .set("client.reply_max_bytes", (8 * MIB).to_string())
        // Some of the clients answer no pings.
        .set("client.ping_interval", "\"600s\"")
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
}

/// Fills a channel; gives its epoch.
fn fill(api: &Api, channel: &str, publications: usize, bytes: usize) -> String {
    let filling = "x".repeat(bytes);
    let mut epoch = Value::Null;
    for _ in 0..publications {
        epoch = api.publish(channel, &json!(filling))["epoch"].clone();
    }
    epoch.as_str().unwrap().to_owned()
}

/// The value of a metric, by its name and labels; 0 while it has none.
fn metric(api: &Api, name: &str) -> u64 {
    let (_, text) = api.get("/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

/// What was seen beside heavy reads.
#[derive(Debug, Default)]
struct Seen {
    publications: usize,
    not_accepted: Vec<Value>,
    /// Answers of `/health/ready` other than 200.
    not_ready: Vec<String>,
    /// Reads of clients under way at a time, at most.
    reads: u64,
    resident_bytes: u64,
}

/// A backend that publishes at one node, and looks at the readiness of all and at the reads of the first.
struct Beside {
    stop: Sender<()>,
    thread: JoinHandle<Seen>,
    before: u64,
}

impl Beside {
    fn start(publishing: &Node, nodes: &[&Node]) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (api, apis) = (publishing.api(), nodes.iter().map(|node| node.api()).collect::<Vec<_>>());
        let process = nodes[0].process();
        let before = process.resident_bytes();
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let (status, answer) = api.call("publish", &json!({"channel": "open:beside", "data": 1}));
                seen.publications += 1;
                if status != 200 {
                    seen.not_accepted.push(answer);
                }
                for api in &apis {
                    let (status, body) = api.get("/health/ready");
                    if status != 200 {
                        seen.not_ready.push(body);
                    }
                }
                let reads = metric(&apis[0], r#"gorani_heavy_reads{source="client",state="under_way"}"#);
                seen.reads = seen.reads.max(reads);
                seen.resident_bytes = seen.resident_bytes.max(process.resident_bytes());
            }
            seen
        });
        Self { stop, thread, before }
    }

    /// Nothing was refused, and the nodes were ready all the time. Gives what the first node's memory grew by at most, and the
    /// most reads of clients that it had under way.
    fn finish(self) -> (u64, u64) {
        drop(self.stop);
        let seen = self.thread.join().unwrap();
        assert!(seen.publications > 0);
        assert!(seen.not_accepted.is_empty(), "of {}: {:?}", seen.publications, seen.not_accepted);
        assert!(seen.not_ready.is_empty(), "of {}: {:?}", seen.publications, seen.not_ready);
        (seen.resident_bytes.saturating_sub(self.before), seen.reads)
    }
}
