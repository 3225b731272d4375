//! A crowd: many connections, spread over the nodes of one cluster, that all receive a broadcast (`bench crowd`).
//!
//! It starts a Redis and the nodes, and for each node one process of subscribers ([`client`]), since a process holds no more
//! than its limit of open files. Then it publishes at one node and looks at what that costs all of them.

pub(crate) mod client;

use std::{io, net::SocketAddr};

use clap::Args;
use gorani_tests::{
    node::{Node, Settings},
    redis::Redis,
};

use self::client::Clients;
use crate::{
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

/// How large a crowd.
#[derive(Debug, Args)]
pub(crate) struct CrowdFlags {
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Connections of each node; the limit of open files of a process bounds them
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How often each broadcast is repeated
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    write: bool,
}

/// What one kind of broadcast took.
struct Broadcast {
    in_flight: u64,
    /// From the first byte of the request to the last subscriber's last publication.
    milliseconds: Sample,
    /// CPU of all nodes together.
    microseconds_per_delivery: Sample,
}

pub(crate) fn run(flags: &CrowdFlags) -> io::Result<()> {
    let load = report::load();
    let redis = Redis::start();
    let nodes: Vec<Node> = (0..flags.nodes).map(|_| Node::start(settings(&redis))).collect();
    let empty: Vec<u64> = nodes.iter().map(|node| node.process().resident_bytes()).collect();
    let mut crowd = Vec::new();
    for node in &nodes {
        // One after the other: what is measured here is not how fast they come.
        crowd.push(Clients::start(node.address(), CHANNEL, flags.connections)?);
        eprintln!("{} connections", crowd.len() * flags.connections as usize);
    }
    let full = nodes.iter().map(|node| node.process().resident_bytes());
    let mut memory = Sample::default();
    for (full, empty) in full.zip(&empty) {
        memory.push(full.saturating_sub(*empty) as f64 / 1e3 / f64::from(flags.connections));
    }
    let events_before: Vec<u64> = nodes.iter().map(events).collect();
    let mut publisher = Publisher::connect(nodes.first().expect("at least one").address())?;
    let mut published = 0;
    let mut broadcasts = Vec::new();
    for in_flight in IN_FLIGHT {
        let mut broadcast = Broadcast {
            in_flight,
            milliseconds: Sample::default(),
            microseconds_per_delivery: Sample::default(),
        };
        // One more than is kept: the first fills caches.
        for round in 0..=flags.repeats {
            let (milliseconds, microseconds) = one(&nodes, &mut crowd, &mut publisher, in_flight)?;
            published += in_flight;
            if round > 0 {
                let deliveries = in_flight * u64::from(flags.nodes) * u64::from(flags.connections);
                broadcast.milliseconds.push(milliseconds);
                broadcast.microseconds_per_delivery.push(microseconds / deliveries as f64);
            }
        }
        broadcasts.push(broadcast);
    }
    for (node, before) in nodes.iter().zip(events_before) {
        let received = events(node) - before;
        if received != published {
            let sentence = format!("{received} events from the broker for {published} publications");
            return Err(io::Error::other(sentence));
        }
    }
    let text = describe(flags, &memory, &broadcasts);
    println!("{load}\n\n{text}");
    if flags.write {
        let path = report::write_text("crowd", &load, &format!("\n{text}"))?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn settings(redis: &Redis) -> Settings {
    gateway_settings().set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url()))
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
    let begun = client::monotonic();
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

fn describe(flags: &CrowdFlags, memory: &Sample, broadcasts: &[Broadcast]) -> String {
    let total = u64::from(flags.nodes) * u64::from(flags.connections);
    let mut text = format!(
        "{} nodes of {} connections: {total} subscribers of one channel, joined by one Redis; nodes, Redis and subscribers on \
         the same machine.\nEach publication reached each node as one message of the broker (checked by its counter).\n\n\
         - memory per idle subscribed connection, by node: {memory} KB\n\n\
         | {PAYLOAD_BYTES} B, publications at once | until the last subscriber has the last, ms | CPU of all nodes per delivery, µs |\n\
         |---|---|---|\n",
        flags.nodes, flags.connections
    );
    for broadcast in broadcasts {
        let Broadcast { in_flight, milliseconds, microseconds_per_delivery } = broadcast;
        text.push_str(&format!("| {in_flight} | {milliseconds} | {microseconds_per_delivery} |\n"));
    }
    text
}
