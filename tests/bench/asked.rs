//! The backend that is asked and told (`bench backend`): the node's CPU for a subscribe that a backend decides, calls a second,
//! events a second, a fan-out beside a backend that sleeps, and clients that return all at once to one that is slow.

mod asleep;
pub(crate) mod client;
mod server;
mod storm;

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use gorani_tests::{
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use self::server::{Answers, Server};
use crate::{
    audit::subscriber::{Socket, open},
    report,
};

/// Subscriptions of one connection; the node's limit is 128.
const CHANNELS: usize = 100;
/// Connections that subscribe at the same time: each has 64 calls under way at most, and a proxy has 256.
const AT_ONCE: usize = 4;
/// Time for one measurement.
const TIME_LIMIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// A part of this measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendPart {
    /// Subscribes that a backend decides
    Asked,
    /// Lifecycle events through Redis
    Told,
    /// Fan-out beside a backend that sleeps
    Asleep,
    /// Clients that return all at once
    Storm,
}

/// The flags of this measurement.
#[derive(Debug, Args)]
pub(crate) struct BackendFlags {
    /// Only these; without the storm if nothing is named
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<BackendPart>,
    /// Connections, each with 100 subscriptions
    #[arg(long, default_value_t = 300)]
    connections: usize,
    /// Repeats of asked and told
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Clients of the storm
    #[arg(long, default_value_t = 50_000)]
    clients: u32,
    /// Calls a second that the slow backend can answer
    #[arg(long, default_value_t = 50)]
    calls_per_second: u32,
    /// Everything small
    #[arg(long)]
    smoke: bool,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    pub(crate) write: bool,
}

pub(crate) fn run(flags: &BackendFlags) -> io::Result<()> {
    let load = report::load();
    gorani_tests::binary::node();
    let (connections, repeats) = if flags.smoke { (10, 1) } else { (flags.connections, flags.repeats) };
    let is_wanted = |part| {
        if flags.only.is_empty() {
            part != BackendPart::Storm || flags.smoke
        } else {
            flags.only.contains(&part)
        }
    };
    let mut rows = vec![["what", "median", "least", "most"].map(str::to_owned).to_vec()];
    if is_wanted(BackendPart::Asked) {
        let measured = (0..repeats).map(|_| asked(connections)).collect::<io::Result<Vec<_>>>()?;
        let of = |pick: fn(&Asked) -> f64| measured.iter().map(pick).collect::<Vec<f64>>();
        rows.push(row("CPU of a subscribe that the backend decides, µs", of(|asked| asked.decided_us)));
        rows.push(row("CPU of a subscribe by the options alone, µs", of(|asked| asked.plain_us)));
        rows.push(row("calls a second", of(|asked| asked.calls_per_second)));
    }
    if is_wanted(BackendPart::Told) {
        let measured = (0..repeats).map(|_| told(connections)).collect::<io::Result<Vec<_>>>()?;
        let of = |pick: fn(&Told) -> f64| measured.iter().map(pick).collect::<Vec<f64>>();
        rows.push(row("events a second, until the backend has the last", of(|told| told.events_per_second)));
        rows.push(row("CPU of the node for an event and its subscribe, µs", of(|told| told.node_us)));
        rows.push(row("CPU of Redis for an event, µs", of(|told| told.redis_us)));
    }
    if is_wanted(BackendPart::Asleep) {
        for (asleep, what) in [(false, "without a backend"), (true, "with 100 calls and the events asleep")] {
            let measured = (0..repeats).map(|_| asleep::run(asleep)).collect::<io::Result<Vec<_>>>()?;
            let of = |pick: fn(&asleep::Latency) -> f64| measured.iter().map(pick).collect::<Vec<f64>>();
            rows.push(row(&format!("fan-out to 200 {what}, p50, ms"), of(|latency| latency.half)));
            rows.push(row(&format!("fan-out to 200 {what}, p99, ms"), of(|latency| latency.most)));
        }
    }
    let mut text = if rows.len() > 1 { report::grid(&rows) } else { String::new() };
    if is_wanted(BackendPart::Storm) {
        let clients = if flags.smoke { 300 } else { flags.clients };
        let calls = if flags.smoke { 100 } else { flags.calls_per_second };
        text.push_str(&storm::run(clients, calls)?);
    }
    println!("{load}\n\n{text}");
    if flags.write {
        println!("written to {}", report::write_text("backend", &load, &format!("\n{text}"))?.display());
    }
    Ok(())
}

fn row(what: &str, mut values: Vec<f64>) -> Vec<String> {
    values.sort_by(f64::total_cmp);
    let show = |value: Option<&f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
    let [median, least, most] = [values.get(values.len() / 2), values.first(), values.last()].map(show);
    vec![what.to_owned(), median, least, most]
}

/// The cost of subscribes.
struct Asked {
    decided_us: f64,
    plain_us: f64,
    calls_per_second: f64,
}

fn asked(connections: usize) -> io::Result<Asked> {
    let server = Server::start(Answers::AtOnce)?;
    let namespaces = r#"[{ name = "asked", subscribe_proxy_enabled = true }, { name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;
    let node = Node::start(
        Settings::open()
            .set("channel.namespaces", namespaces)
            .set("channel.proxy.subscribe.endpoint", format!("\"{}\"", server.url())),
    );
    let decided = subscribe(&node, "asked", connections)?;
    let plain = subscribe(&node, "open", connections)?;
    let calls = connections * CHANNELS;
    assert_eq!(server.requests.load(Ordering::Relaxed), calls, "each subscribe is one call");
    Ok(Asked {
        decided_us: per(decided.cpu, calls),
        plain_us: per(plain.cpu, calls),
        calls_per_second: rate(calls, decided.took),
    })
}

/// The cost of events.
struct Told {
    events_per_second: f64,
    node_us: f64,
    redis_us: f64,
}

fn told(connections: usize) -> io::Result<Told> {
    let (server, redis) = (Server::start(Answers::AtOnce)?, Redis::without_file());
    let endpoint = format!(r#"[{{ name = "bench", url = "{}", events = ["subscribed"] }}]"#, server.url());
    let node = Node::start(
        Settings::open()
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()))
            .set("hooks.endpoints", endpoint),
    );
    let events = connections * CHANNELS;
    let (node_before, redis_before) = (node.process().cpu(), redis.process().cpu());
    let began = Instant::now();
    let _connected = subscribe(&node, "open", connections)?;
    let give_up = began + TIME_LIMIT;
    while server.events.load(Ordering::Relaxed) < events {
        if Instant::now() > give_up {
            let told = server.events.load(Ordering::Relaxed);
            return Err(io::Error::other(format!("{told} of {events} events were told")));
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    Ok(Told {
        events_per_second: rate(events, began.elapsed()),
        node_us: per(node.process().cpu() - node_before, events),
        redis_us: per(redis.process().cpu() - redis_before, events),
    })
}

/// The cost of subscribes.
struct Took {
    cpu: Duration,
    took: Duration,
    /// The connections, which stay as long as this.
    _sockets: Vec<Socket>,
}

/// Subscribes every connection to all its channels, in frames of many commands.
fn subscribe(node: &Node, namespace: &str, connections: usize) -> io::Result<Took> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let mut socket = open(node.address()).await.ok_or_else(|| io::Error::other("not let in"))?;
            send(&mut socket, json!({"id": 1, "connect": {}}).to_string()).await?;
            if !replies(&mut socket, 1).await?.is_empty() {
                return Err(io::Error::other("the connect was refused"));
            }
            sockets.push(socket);
        }
        let (began, before) = (Instant::now(), node.process().cpu());
        let subscribed = sockets.into_iter().enumerate().map(|(index, mut socket)| async move {
            let line = |id: &u64| {
                let channel = format!("{namespace}:{index}-{id}");
                json!({"id": id, "subscribe": {"channel": channel}}).to_string()
            };
            let mut ids: Vec<u64> = (1..).take(CHANNELS).collect();
            // A session with more calls than a busy backend is sent gets 111 for some, and asks again, as SDKs do.
            while !ids.is_empty() {
                send(&mut socket, ids.iter().map(line).collect::<Vec<_>>().join("\n")).await?;
                ids = replies(&mut socket, ids.len()).await?;
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            Ok::<_, io::Error>(socket)
        });
        let sockets = stream::iter(subscribed).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Took { cpu: node.process().cpu() - before, took: began.elapsed(), _sockets: sockets })
    })
}

async fn send(socket: &mut Socket, text: String) -> io::Result<()> {
    socket.send(Message::text(text)).await.map_err(io::Error::other)
}

/// Waits for so many replies. Gives the ids of commands that may be sent again; any other error ends the run.
async fn replies(socket: &mut Socket, count: usize) -> io::Result<Vec<u64>> {
    let (mut came, mut again) = (0, Vec::new());
    while came < count {
        let message = socket.next().await.ok_or_else(|| io::Error::other("the connection ended"))?;
        let Message::Text(text) = message.map_err(io::Error::other)? else { continue };
        for line in text.as_str().split('\n') {
            let reply: Value = serde_json::from_str(line).map_err(io::Error::other)?;
            let id = reply["id"].as_u64();
            match (&reply["error"], id) {
                (Value::Null, _) => {}
                (error, Some(id)) if error["temporary"] == true => again.push(id),
                _ => return Err(io::Error::other(format!("refused: {reply}"))),
            }
            came += usize::from(id.is_some());
        }
    }
    Ok(again)
}

#[allow(clippy::cast_precision_loss, reason = "a number of calls")]
fn per(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

#[allow(clippy::cast_precision_loss, reason = "a number of calls")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
