//! What it costs to receive over HTTP, beside WebSocket at the same node (`bench transports`): memory of an idle subscribed
//! connection, CPU of a delivery, and a request for a session of another node against one for a session of its own.
//!
//! All clients are the same light ones ([`subscribers`]), WebSocket's too, so that only the node's side differs.
//! `docs/protocols/http.md` §7 to §13, `docs/protocols/sockjs.md` §8.

mod forwarded;
mod marks;
pub(crate) mod subscribers;
pub(crate) mod way;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use gorani_tests::{
    node::{Node, Settings},
    process::pin_to_core,
};

use self::{forwarded::Cost, subscribers::Subscribers, way::Way};
use crate::{
    publisher::Publisher,
    report,
    server::{CLIENT_CORE, command, post, start_program},
    stats::Sample,
};

/// Bytes of data of one publication.
const PAYLOAD_BYTES: usize = 128;
/// For so long the sockets are served after the last subscriber is in, as the memory of WebSocket connections is measured.
const SETTLING: Duration = Duration::from_secs(1);
/// Two namespaces that anybody may subscribe to. Only one keeps history: polls need it, and nobody else shall pay for it.
const NAMESPACES: &str = concat!(
    r#"[{ name = "bench", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }, "#,
    r#"{ name = "kept", history_size = 1000, history_ttl = "300s", force_recovery = true, "#,
    r#"allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#
);
/// Heartbeats are not what is measured, and not every way can answer one: none comes within a run.
const PING_INTERVAL: &str = "\"3600s\"";

/// How much, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct TransportsFlags {
    /// Everything once and small, in seconds: fails when something is broken, never because it is slow
    #[arg(long)]
    smoke: bool,
    /// How often everything is measured, by turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Leave the placement of the processes on cores to the kernel
    #[arg(long)]
    no_pin: bool,
    /// Another binary of the node, such as one from before a change: it is measured by turns with this one
    #[arg(long, value_name = "BINARY")]
    old: Option<PathBuf>,
    /// Write a dated file under tests/bench/results
    #[arg(long, conflicts_with = "smoke")]
    pub(crate) write: bool,
}

/// Counts of a run.
struct Plan {
    repeats: u16,
    pinned: bool,
    /// Binaries that are measured; what is said of one is said of the first.
    nodes: Vec<PathBuf>,
    /// Idle connections.
    connections: usize,
    /// Subscribers of a fan-out.
    subscribers: usize,
    /// Publications at once, and how many such rounds make one repeat.
    in_flight: [(u64, u64); 3],
    /// Echoes of one repeat, for each place where the requests go.
    echoes: usize,
}

impl Plan {
    fn of(flags: &TransportsFlags) -> Self {
        let pinned = !flags.no_pin && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if flags.smoke {
            // Enough for a stream of SockJS to be ended and asked again.
            let in_flight = [(1, 2), (8, 2), (32, 25)];
            let nodes = Self::nodes(flags);
            return Self {
                repeats: 1,
                pinned,
                nodes,
                connections: 100,
                subscribers: 30,
                in_flight,
                echoes: 20,
            };
        }
        let in_flight = [(1, 200), (8, 80), (32, 40)];
        let (repeats, nodes) = (flags.repeats, Self::nodes(flags));
        Self { repeats, pinned, nodes, connections: 10_000, subscribers: 500, in_flight, echoes: 2_000 }
    }

    /// The node, and the older one behind it.
    fn nodes(flags: &TransportsFlags) -> Vec<PathBuf> {
        [gorani_tests::binary::node()].into_iter().chain(flags.old.clone()).collect()
    }
}

/// What one way to receive costs.
#[derive(Default)]
struct Row {
    kilobytes: Sample,
    /// CPU of a delivery in µs, as [`Plan::in_flight`].
    microseconds: [Sample; 3],
}

pub(crate) fn run(flags: &TransportsFlags) -> io::Result<()> {
    let load = report::load();
    // The node is built before this thread is pinned, or the compiler would be as well.
    let plan = Plan::of(flags);
    if plan.pinned {
        pin_to_core(CLIENT_CORE);
    }
    let new_rows = || -> Vec<Row> { Way::ALL.iter().map(|_| Row::default()).collect() };
    let mut rows: Vec<Vec<Row>> = plan.nodes.iter().map(|_| new_rows()).collect();
    let mut requests: Vec<Cost> = forwarded::PLACES.iter().map(|_| Cost::default()).collect();
    for repeat in 0..plan.repeats {
        for (index, way) in Way::ALL.into_iter().enumerate() {
            eprintln!("repeat {} of {}: {}", repeat + 1, plan.repeats, way.name());
            for (program, rows) in plan.nodes.iter().zip(&mut rows) {
                let node = || start(&plan, program);
                let row = &mut rows[index];
                row.kilobytes.push(idle(&node(), way, &plan).map_err(|error| named(way, &error))?);
                fan_out(&node(), way, &plan, row).map_err(|error| named(way, &error))?;
            }
        }
        eprintln!("repeat {} of {}: forwarded requests", repeat + 1, plan.repeats);
        forwarded::measure(plan.echoes, plan.pinned, &mut requests)?;
    }
    let text = describe(&plan, &rows, &requests);
    println!("{load}\n\n{text}");
    if flags.write {
        let path = report::write_text("transports", &load, &format!("\n{text}"))?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn named(way: Way, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", way.name()))
}

fn start(plan: &Plan, program: &Path) -> Node {
    start_program(program, settings(), plan.pinned)
}

/// Two namespaces, and no heartbeats.
pub(crate) fn settings() -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES)
        .set("client.ping_interval", PING_INTERVAL)
        .set("sockjs.heartbeat", PING_INTERVAL)
}

/// KB of resident memory for each idle subscribed connection of a fresh node.
fn idle(node: &Node, way: Way, plan: &Plan) -> io::Result<f64> {
    let empty = node.process().resident_bytes();
    let mut subscribers = Subscribers::subscribe(node.address(), way, plan.connections)?;
    subscribers.rest(SETTLING)?;
    let grown = node.process().resident_bytes().saturating_sub(empty);
    // They are idle, not dead: one publication must reach every one of them.
    let mut publisher = Publisher::connect(node.address())?;
    round(&mut subscribers, &mut publisher, &request(node, way), 1)?;
    Ok(grown as f64 / 1e3 / plan.connections as f64)
}

/// µs of CPU of the node for each delivery.
fn fan_out(node: &Node, way: Way, plan: &Plan, row: &mut Row) -> io::Result<()> {
    let mut subscribers = Subscribers::subscribe(node.address(), way, plan.subscribers)?;
    let mut publisher = Publisher::connect(node.address())?;
    let one = request(node, way);
    for ((in_flight, rounds), sample) in plan.in_flight.into_iter().zip(&mut row.microseconds) {
        let requests = one.repeat(in_flight as usize);
        // Fills every cache and buffer.
        for _ in 0..3 {
            round(&mut subscribers, &mut publisher, &requests, in_flight)?;
        }
        let before = node.process().cpu();
        for _ in 0..rounds {
            round(&mut subscribers, &mut publisher, &requests, in_flight)?;
        }
        let spent = node.process().cpu() - before;
        let deliveries = rounds * in_flight * plan.subscribers as u64;
        sample.push(spent.as_secs_f64() * 1e6 / deliveries as f64);
    }
    Ok(())
}

/// `count` publications at once, until every subscriber has them.
pub(crate) fn round(
    subscribers: &mut Subscribers,
    publisher: &mut Publisher,
    requests: &[u8],
    count: u64,
) -> io::Result<()> {
    subscribers.expect(count);
    publisher.send(requests)?;
    subscribers.wait_for_all()?;
    publisher.finish(count as usize)
}

/// The request that publishes where this way subscribes.
pub(crate) fn request(node: &Node, way: Way) -> Vec<u8> {
    post(node.address(), "/api/publish", &command(way.channel(), PAYLOAD_BYTES))
}

fn describe(plan: &Plan, rows: &[Vec<Row>], requests: &[Cost]) -> String {
    let [rows, old @ ..] = rows else { return String::new() };
    let base = rows.first().expect("WebSocket is the first way");
    let beside = Way::ALL.into_iter().zip(rows).map(|(way, row)| (way, row, base));
    let mut tables = table(plan, "over WebSocket", beside);
    if let [old, ..] = old {
        let beside = Way::ALL.into_iter().zip(rows).zip(old).map(|((way, row), old)| (way, row, old));
        tables.push_str("\nThe same over the older node, both measured by turns:\n\n");
        tables.push_str(&table(plan, "over the older node", beside));
    }
    format!(
        "{} idle subscribed connections, then a fan-out of {PAYLOAD_BYTES} B to {} of one channel; repeats by turns: {}; one worker{}. \
         The publish requests are part of the cost.\nA long poll is asked again as soon as it is answered, and its channel keeps \
         history, as that of events with ids does; a SockJS stream is asked again whenever the node ends it (128 KiB).\n\n{tables}\n{}",
        plan.connections,
        plan.subscribers,
        plan.repeats,
        if plan.pinned { ", nodes on core 0, clients on core 1" } else { "" },
        forwarded::describe(plan.echoes, requests),
    )
}

/// A line for each way, beside what it is compared with.
fn table<'a>(plan: &Plan, other: &str, rows: impl Iterator<Item = (Way, &'a Row, &'a Row)>) -> String {
    let mut head = vec!["transport".to_owned(), "KB per idle connection".to_owned(), other.to_owned()];
    for (in_flight, _) in plan.in_flight {
        head.extend([format!("µs per delivery, {in_flight} in flight"), other.to_owned()]);
    }
    let mut cells = vec![head];
    for (way, row, base) in rows {
        let mut line = vec![way.name().to_owned()];
        let mut add = |sample: &Sample, base: &Sample| {
            line.extend([sample.to_string(), sample.over(base).to_string()]);
        };
        add(&row.kilobytes, &base.kilobytes);
        for (sample, base) in row.microseconds.iter().zip(&base.microseconds) {
            add(sample, base);
        }
        cells.push(line);
    }
    report::grid(&cells)
}
