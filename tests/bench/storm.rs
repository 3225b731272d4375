//! A storm of reconnections (`bench storm`): nodes full of clients are killed with `kill -9` while backends publish, and all
//! their clients connect to the other nodes at once and recover.
//!
//! Each node's clients are a process of their own ([`clients`]), since a process may open only so many files, and each client
//! comes from an address of its own. Each checks the sequence of its channel ([`subscriber`]); afterwards all is compared with
//! what the backends were told ([`outcome`]).

pub(crate) mod clients;
mod outcome;
mod report;
mod subscriber;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Args;
use gorani_tests::{
    node::{Node, Settings},
    process::Process,
    redis::Redis,
};

use self::{clients::Clients, outcome::Counts, report::Storm};
use crate::{
    audit::{backend, ledger::Ledger},
    client_process::monotonic,
    crowd::{CONNECTIONS_AT_MOST, HANDSHAKES},
    progress::Progress,
};

/// Backends that publish at the same time; each waits for its answers.
const BACKENDS: u32 = 8;
/// Load before the nodes are killed, and after all clients are back.
const LOAD: Duration = Duration::from_secs(3);
/// Connections of a node that clients return to, at most: a process is allowed 20,000 files, and an eighth is for handshakes.
const ROOM: u32 = 17_000;
/// Every publication of a run is kept; a recovery brings 300 at most.
const NAMESPACES: &str = r#"[{ name = "audit", history_size = 100000, history_ttl = "1h", force_recovery = true, force_positioning = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;

/// The strength of a storm.
#[derive(Debug, Args)]
pub(crate) struct StormFlags {
    /// Number of nodes that are killed at once; several storms one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3], value_parser = clap::value_parser!(u16).range(1..=16))]
    killed: Vec<u16>,
    /// Clients of each of them
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_AT_MOST)))]
    clients: u32,
    /// Nodes that remain
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    others: u16,
    /// Clients that each of those has before
    #[arg(long, default_value_t = 500)]
    bystanders: u32,
    /// Channels, all with history; the clients are spread evenly over them
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Publications a second, over all channels
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Threads of each node that serve connections
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    pub(crate) write: bool,
}

pub(crate) fn run(flags: &StormFlags) -> io::Result<()> {
    let load = crate::report::load();
    gorani_tests::binary::node();
    let mut storms = Vec::new();
    for killed in &flags.killed {
        let returning = u32::from(*killed) * flags.clients;
        let room = u32::from(flags.others) * ROOM.saturating_sub(flags.bystanders);
        if returning > room {
            let sentence =
                format!("{returning} clients do not fit in the {room} connections of the other nodes");
            return Err(io::Error::other(sentence));
        }
        storms.push(storm(flags, *killed)?);
    }
    let text = report::describe(flags, &storms);
    println!("{load}\n\n{text}");
    if flags.write {
        println!("written to {}", crate::report::write_text("storm", &load, &format!("\n{text}"))?.display());
    }
    match storms.iter().all(Storm::is_good) {
        true => Ok(()),
        false => Err(io::Error::other("something was lost, doubled, reordered, told or unexpected")),
    }
}

/// One storm, with a cluster of its own.
fn storm(flags: &StormFlags, killed: u16) -> io::Result<Storm> {
    let redis = Redis::start();
    let settings = Settings::open()
        .set("http.workers", flags.workers.to_string())
        .set("channel.namespaces", NAMESPACES)
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()));
    let count = killed + flags.others;
    let mut progress = Progress::begin("nodes started", count.into())?;
    let mut nodes = Vec::new();
    for started in 1..=count {
        // Those that are killed are full before; the others need room for handshakes.
        let full = settings.clone().set("http.max_handshakes", HANDSHAKES.to_string());
        nodes.push(Node::start(if started <= killed { full } else { settings.clone() }));
        progress.set(started.into());
    }
    drop(progress);
    let others: Vec<Node> = nodes.split_off(killed.into());
    let addresses: Vec<_> = others.iter().map(Node::address).collect();
    let returning = u32::from(killed) * flags.clients;
    let everybody = returning + u32::from(flags.others) * flags.bystanders;
    let mut progress = Progress::begin("connections", everybody.into())?;
    let (mut away, mut bystanders, mut first) = (Vec::new(), Vec::new(), 0);
    for node in &nodes {
        let joined = |joined| progress.set(u64::from(first) + joined);
        away.push(Clients::start(
            node.address(),
            &addresses,
            [first, flags.clients, flags.channels],
            joined,
        )?);
        first += flags.clients;
    }
    for node in &others {
        let joined = |joined| progress.set(u64::from(first) + joined);
        let numbers = [first, flags.bystanders, flags.channels];
        bystanders.push(Clients::start(node.address(), &addresses, numbers, joined)?);
        first += flags.bystanders;
    }
    drop(progress);

    let ledger = Arc::new(Ledger::new(flags.channels as usize));
    let stop = Arc::new(AtomicBool::new(false));
    let every = Duration::from_secs(1) * BACKENDS / flags.rate;
    let all: Vec<_> = nodes.iter().chain(&others).map(Node::address).collect();
    let backends: Vec<_> = (0..BACKENDS)
        .map(|_| {
            let (ledger, nodes, stop) = (Arc::clone(&ledger), all.clone(), Arc::clone(&stop));
            thread::spawn(move || backend::publish(&ledger, &nodes, every, &stop))
        })
        .collect();
    thread::sleep(LOAD);
    for clients in &mut away {
        clients.send_away()?;
    }
    let of_others: Vec<Process> = others.iter().map(Node::process).collect();
    let of_clients: Vec<Process> = away.iter().map(Clients::process).collect();
    let cpu = || [cpu(&of_others), cpu(&[redis.process()]), cpu(&of_clients)];
    let (before, reads_before) = (cpu(), commands(&redis));
    let killed_at = monotonic();
    for node in &mut nodes {
        node.kill();
    }
    for clients in &mut away {
        clients.wait_for_return()?;
    }
    let after = cpu();
    let commands = commands(&redis) - reads_before;
    thread::sleep(LOAD);
    stop.store(true, Ordering::Relaxed);
    for backend in backends {
        backend.join().map_err(|_| io::Error::other("a backend panicked"))?;
    }
    let mut counts = finish(&ledger, &others, away, bystanders)?;
    counts.recovered_at.sort_unstable();
    Ok(Storm {
        returning,
        killed_at,
        counts,
        accepted: ledger.channels.iter().map(|channel| channel.accepted().len() as u64).sum(),
        given_up: ledger.given_up.load(Ordering::Relaxed),
        cpu: [0, 1, 2].map(|part| after[part] - before[part]),
        commands,
    })
}

/// Waits until everybody is at the top of its channel, and adds up what all saw and what the backends were told.
fn finish(
    ledger: &Ledger,
    others: &[Node],
    away: Vec<Clients>,
    bystanders: Vec<Clients>,
) -> io::Result<Counts> {
    let node = others.first().expect("at least one").address();
    let mut counts = Counts::default();
    let mut tops = Vec::new();
    for (index, channel) in ledger.channels.iter().enumerate() {
        let (_, top) = backend::history(node, index).map_err(io::Error::other)?;
        tops.push(top.offset);
        for (number, accepted) in channel.accepted() {
            counts
                .content(index, &subscriber::Publication { data: number, offset: accepted.position.offset });
        }
    }
    for mut clients in away.into_iter().chain(bystanders) {
        counts.add(clients.finish(&tops)?);
    }
    for complaint in ledger.complaints.lock().unwrap().drain(..) {
        counts.complain(|| complaint);
    }
    Ok(counts)
}

fn cpu(processes: &[Process]) -> Duration {
    processes.iter().map(|process| process.cpu()).sum()
}

/// Commands that Redis has carried out so far, those within scripts included.
fn commands(redis: &Redis) -> u64 {
    let info = redis.info("stats");
    let value = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
