//! A crowd: many connections, spread over the nodes of one cluster, that all receive a broadcast (`bench crowd`).
//!
//! It starts a Redis and the nodes, and for each node one process of subscribers ([`client`]), since a process holds no more
//! than its limit of open files. Then it publishes at one node and looks at what that costs all of them. `--million` is a
//! crowd of 1,001,700 on one machine.

pub(crate) mod client;

use std::{io, net::SocketAddr};

use clap::Args;
use gorani_tests::{
    node::{Node, Settings},
    redis::Redis,
};

use self::client::Clients;
use crate::{
    progress::Progress,
    publisher::Publisher,
    report,
    server::{command, gateway_settings, post},
    stats::Sample,
};

/// The channel of the broadcast.
const CHANNEL: &str = "bench:crowd";
/// Bytes of data of one publication.
const PAYLOAD_BYTES: usize = 128;
/// Publications at once.
const IN_FLIGHT: [u64; 3] = [1, 8, 32];

/// Nodes of `--million`, and connections of each: the fewest nodes whose processes open less than 20,000 files each.
const MILLION: (u16, u32) = (53, 18_900);
/// Connections of a node at most: a process that is allowed 20,000 files has some open besides, and [`HANDSHAKES`] of them wait for
/// handshakes.
pub(crate) const CONNECTIONS_AT_MOST: u32 = 19_400;
/// Handshakes that a full node may have under way: by default an eighth of the files would be kept for them.
pub(crate) const HANDSHAKES: u32 = 256;
/// Memory that one more connection takes in all, in bytes: of the node, of the subscriber, and of the kernel for the sockets
/// of both. Measured with a million: 10.3 GB.
const BYTES_PER_CONNECTION: u64 = 10_500;

/// How large a crowd.
#[derive(Debug, Args)]
pub(crate) struct CrowdFlags {
    /// 53 nodes of 18,900 connections: 1,001,700 in all. Takes about 11 GB of memory
    #[arg(long, conflicts_with_all = ["nodes", "connections"])]
    million: bool,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Connections of each node; the limit of open files of a process bounds them
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_AT_MOST)))]
    connections: u32,
    /// How often each broadcast is repeated
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    pub(crate) write: bool,
}

/// What one kind of broadcast took.
struct Broadcast {
    in_flight: u64,
    /// From the first byte of the request to the last subscriber's last publication.
    milliseconds: Sample,
    /// CPU of all nodes together.
    microseconds_per_delivery: Sample,
}

impl CrowdFlags {
    /// Nodes, and connections of each.
    fn size(&self) -> (u16, u32) {
        if self.million { MILLION } else { (self.nodes, self.connections) }
    }
}

/// Resident memory in bytes, once all are connected.
struct Resident {
    nodes: u64,
    subscribers: u64,
    redis: u64,
    /// By how much less the machine has available than before the run: the kernel's sockets are in it.
    in_all: u64,
}

pub(crate) fn run(flags: &CrowdFlags) -> io::Result<()> {
    let load = report::load();
    let (node_count, connections) = flags.size();
    let total = u64::from(node_count) * u64::from(connections);
    let available = report::available_bytes();
    if available < total * BYTES_PER_CONNECTION {
        return Err(io::Error::other(format!(
            "{total} connections take about {:.1} GB of memory, and {:.1} GB are available",
            (total * BYTES_PER_CONNECTION) as f64 / 1e9,
            available as f64 / 1e9,
        )));
    }
    let redis = Redis::start();
    let mut progress = Progress::begin("nodes started", node_count.into())?;
    let mut nodes = Vec::new();
    for started in 1..=node_count {
        nodes.push(Node::start(settings(&redis)));
        progress.set(started.into());
    }
    drop(progress);
    let empty: Vec<u64> = nodes.iter().map(|node| node.process().resident_bytes()).collect();
    let mut crowd = Vec::new();
    let mut progress = Progress::begin("connections", total)?;
    for node in &nodes {
        // One after the other: what is measured here is not how fast they come.
        let before = crowd.len() as u64 * u64::from(connections);
        crowd.push(Clients::start(node.address(), CHANNEL, connections, |joined| {
            progress.set(before + joined);
        })?);
        progress.set(before + u64::from(connections));
        crowd.iter_mut().try_for_each(Clients::check)?;
    }
    drop(progress);
    let full: Vec<u64> = nodes.iter().map(|node| node.process().resident_bytes()).collect();
    let resident = Resident {
        nodes: full.iter().sum(),
        subscribers: crowd.iter().map(|clients| clients.process().resident_bytes()).sum(),
        redis: redis.process().resident_bytes(),
        in_all: available.saturating_sub(report::available_bytes()),
    };
    let mut memory = Sample::default();
    for (full, empty) in full.iter().zip(&empty) {
        memory.push(full.saturating_sub(*empty) as f64 / 1e3 / f64::from(connections));
    }
    let events_before: Vec<u64> = nodes.iter().map(events).collect();
    let mut publisher = Publisher::connect(nodes.first().expect("at least one").address())?;
    let mut published = 0;
    let mut broadcasts = Vec::new();
    let rounds = u64::from(flags.repeats) + 1;
    let mut progress = Progress::begin("broadcasts", rounds * IN_FLIGHT.len() as u64)?;
    for (kind, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        let mut broadcast = Broadcast {
            in_flight,
            milliseconds: Sample::default(),
            microseconds_per_delivery: Sample::default(),
        };
        // One more than is kept: the first fills caches.
        for round in 0..rounds {
            let (milliseconds, microseconds) = one(&nodes, &mut crowd, &mut publisher, in_flight)?;
            published += in_flight;
            if round > 0 {
                broadcast.milliseconds.push(milliseconds);
                broadcast.microseconds_per_delivery.push(microseconds / (in_flight * total) as f64);
            }
            progress.set(kind as u64 * rounds + round + 1);
        }
        broadcasts.push(broadcast);
    }
    drop(progress);
    for (node, before) in nodes.iter().zip(events_before) {
        let received = events(node) - before;
        if received != published {
            let sentence = format!("{received} events from the broker for {published} publications");
            return Err(io::Error::other(sentence));
        }
    }
    let text = describe(flags, &memory, &resident, &broadcasts);
    println!("{load}\n\n{text}");
    if flags.write {
        let path = report::write_text(
            if flags.million { "crowd-million" } else { "crowd" },
            &load,
            &format!("\n{text}"),
        )?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn settings(redis: &Redis) -> Settings {
    gateway_settings()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("http.max_handshakes", HANDSHAKES.to_string())
        // Without heartbeats TCP would ask a million peers, on a loopback that drops what is over 1,000 packets of a burst.
        .set("http.tcp_keepalive", "\"0s\"")
}

/// One round: so many publications at once, until every subscriber has all of them. Milliseconds that it took, and
/// microseconds of CPU of all nodes.
fn one(
    nodes: &[Node],
    crowd: &mut [Clients],
    publisher: &mut Publisher,
    in_flight: u64,
) -> io::Result<(f64, f64)> {
    for clients in &mut *crowd {
        clients.expect(in_flight)?;
    }
    let cpu = || nodes.iter().map(|node| node.process().cpu().as_secs_f64()).sum::<f64>();
    let node: SocketAddr = nodes.first().expect("at least one").address();
    let requests = post(node, "/api/publish", &command(CHANNEL, PAYLOAD_BYTES)).repeat(in_flight as usize);
    let before = cpu();
    let begun = crate::client_process::monotonic();
    publisher.send(&requests)?;
    let mut ended = begun;
    for clients in &mut *crowd {
        ended = ended.max(clients.wait_for_all()?);
    }
    publisher.finish(in_flight as usize)?;
    Ok(((ended - begun).as_secs_f64() * 1e3, (cpu() - before) * 1e6))
}

/// Events that the broker has delivered to a node so far.
fn events(node: &Node) -> u64 {
    let (_, metrics) = node.api().get("/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix("gorani_events_received_total "));
    value.and_then(|value| value.trim().parse().ok()).expect("the node counts events")
}

fn describe(flags: &CrowdFlags, memory: &Sample, resident: &Resident, broadcasts: &[Broadcast]) -> String {
    let (nodes, connections) = flags.size();
    let total = u64::from(nodes) * u64::from(connections);
    let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let mut text = format!(
        "{nodes} nodes of {connections} connections: {total} subscribers of one channel, joined by one Redis; nodes, Redis and \
         subscribers on the same machine.\nEach publication reached each node as one message of the broker (checked by its \
         counter).\n\n\
         - memory per idle subscribed connection, by node: {memory} KB\n\
         - resident memory of all nodes {}, of the processes of the subscribers {}, of Redis {}: {} together\n\
         - the machine has {} less available than before the run, the kernel's sockets of both ends included\n\n\
         | {PAYLOAD_BYTES} B, publications at once | until the last subscriber has the last, ms | CPU of all nodes per delivery, µs |\n\
         |---|---|---|\n",
        gb(resident.nodes),
        gb(resident.subscribers),
        gb(resident.redis),
        gb(resident.nodes + resident.subscribers + resident.redis),
        gb(resident.in_all),
    );
    for broadcast in broadcasts {
        let Broadcast { in_flight, milliseconds, microseconds_per_delivery } = broadcast;
        text.push_str(&format!("| {in_flight} | {milliseconds} | {microseconds_per_delivery} |\n"));
    }
    text
}
