//! A work queue of STOMP from end to end (`bench queue`): how many messages a second go from a SEND to the receipt of their
//! ACK, through Redis and with the embedded broker, and what that costs the nodes and Redis. `docs/protocols/stomp.md` §7
//! and §4.

mod work;

use std::{io, net::SocketAddr};

use clap::Args;
use gorani_tests::{
    node::{Node, Settings, free_address},
    redis::Redis,
    stomp::Stomp,
};

use self::work::{Done, Workers};
use crate::{report, stats::Sample};

/// Bytes of one message.
const MESSAGE_BYTES: usize = 128;
/// The one who may use queues without a token, as the settings have it and as a CONNECT says it.
const USERS: &str = r#"[{ name = "bench", password = "bench" }]"#;
const LOGIN: &str = "login:bench\npasscode:bench\n";

/// What is measured, by turns. Each node has one consumer; the sender is a client of the first.
const PLACES: [Place; 3] = [
    Place { name: "embedded, 1 node", nodes: 1, has_redis: false },
    Place { name: "Redis, 1 node", nodes: 1, has_redis: true },
    Place { name: "Redis, 3 nodes", nodes: 3, has_redis: true },
];

/// How much, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct QueueFlags {
    /// Everything once and small, in seconds: fails when something is broken, never because it is slow
    #[arg(long)]
    smoke: bool,
    /// Messages of one repeat
    #[arg(long, default_value_t = 20_000, conflicts_with = "smoke", value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// How often everything is measured, by turns
    #[arg(long, default_value_t = 5, conflicts_with = "smoke", value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Write a dated file under tests/bench/results
    #[arg(long, conflicts_with = "smoke")]
    pub(crate) write: bool,
}

/// Counts of a run.
struct Plan {
    repeats: u16,
    /// Messages of a repeat that are not measured: the first fill caches and find the consumers.
    warm_up: usize,
    messages: usize,
}

impl Plan {
    fn of(flags: &QueueFlags) -> Self {
        if flags.smoke {
            return Self { repeats: 1, warm_up: 50, messages: 500 };
        }
        Self { repeats: flags.repeats, warm_up: 2_000, messages: flags.messages as usize }
    }
}

/// Where a queue lives, and how many serve it.
struct Place {
    name: &'static str,
    nodes: usize,
    has_redis: bool,
}

/// What one place takes.
#[derive(Default)]
struct Row {
    /// Messages a second, from the first SEND to the receipt of the last ACK.
    rate: Sample,
    /// CPU of a message in µs: of all nodes, and of Redis where there is one.
    nodes: Sample,
    redis: Sample,
    /// Messages of the consumer that had the fewest, in percent of an equal share.
    least: Sample,
}

pub(crate) fn run(flags: &QueueFlags) -> io::Result<()> {
    let load = report::load();
    let plan = Plan::of(flags);
    // Built before anything is timed.
    gorani_tests::binary::node();
    let mut rows: Vec<Row> = PLACES.iter().map(|_| Row::default()).collect();
    for repeat in 0..plan.repeats {
        for (place, row) in PLACES.iter().zip(&mut rows) {
            eprintln!("repeat {} of {}: {}", repeat + 1, plan.repeats, place.name);
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", place.name));
            measure(place, &plan, row).map_err(named)?;
        }
    }
    let text = describe(&plan, &rows);
    println!("{load}\n\n{text}");
    if flags.write {
        let path = report::write_text("queue", &load, &format!("\n{text}"))?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// One repeat, with servers of its own: a queue that an earlier one used shall not matter.
fn measure(place: &Place, plan: &Plan, row: &mut Row) -> io::Result<()> {
    let redis = place.has_redis.then(Redis::start);
    let tcp: Vec<SocketAddr> = (0..place.nodes).map(|_| free_address()).collect();
    let nodes: Vec<Node> = tcp.iter().map(|tcp| Node::start(settings(*tcp, redis.as_ref()))).collect();
    let sender = Stomp::connect(tcp[0], LOGIN);
    let consumers = tcp.iter().map(|tcp| Stomp::connect(*tcp, LOGIN)).collect();
    let mut workers = Workers::new(sender, consumers, MESSAGE_BYTES);
    workers.handle(plan.warm_up)?;

    let cpu_of_nodes = || nodes.iter().map(|node| node.process().cpu().as_secs_f64()).sum::<f64>();
    let cpu_of_redis = || redis.as_ref().map(|redis| redis.process().cpu().as_secs_f64());
    let (nodes_before, redis_before) = (cpu_of_nodes(), cpu_of_redis());
    let Done { took, least } = workers.handle(plan.messages)?;
    let messages = plan.messages as f64;
    row.nodes.push((cpu_of_nodes() - nodes_before) * 1e6 / messages);
    if let (Some(after), Some(before)) = (cpu_of_redis(), redis_before) {
        row.redis.push((after - before) * 1e6 / messages);
    }
    row.rate.push(messages / took.as_secs_f64());
    row.least.push(least as f64 * 100.0 * place.nodes as f64 / messages);
    Ok(())
}

fn settings(tcp: SocketAddr, redis: Option<&Redis>) -> Settings {
    let settings = Settings::open().set("stomp.users", USERS).set("stomp.tcp.address", format!("\"{tcp}\""));
    match redis {
        Some(redis) => {
            settings.set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url()))
        }
        None => settings,
    }
}

fn describe(plan: &Plan, rows: &[Row]) -> String {
    let head = [
        "queue",
        "messages per second",
        "CPU of all nodes per message, µs",
        "CPU of Redis per message, µs",
        "the least busy consumer's part of an equal share, %",
    ];
    let mut cells = vec![head.map(str::to_owned)];
    for (place, row) in PLACES.iter().zip(rows) {
        let redis = if place.has_redis { row.redis.to_string() } else { "none".to_owned() };
        cells.push([
            place.name.to_owned(),
            row.rate.to_string(),
            row.nodes.to_string(),
            redis,
            row.least.to_string(),
        ]);
    }
    format!(
        "{} messages of {MESSAGE_BYTES} B through one queue, from the first SEND to the receipt of the last ACK; repeats by turns: \
         {}; one worker a node.\nSTOMP over TCP: one sender at the first node with {} SENDs under way, and one consumer at each node \
         with ack:client-individual and the default prefetch; a receipt for each SEND and each ACK. Each message came once (checked).\n\
         Nodes, Redis and clients share the machine's cores; Redis writes its append-only file before it answers \
         (appendfsync always).\n\n{}",
        plan.messages,
        plan.repeats,
        work::UNDER_WAY,
        report::grid(&cells)
    )
}
