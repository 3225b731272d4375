//! The bench: what the node costs, measured beside a stock actix server in the same run (`docs/architecture.md` §3.1, §9.12).
//!
//! It starts both servers with one worker each, is their only client, reads their CPU time and memory from the
//! kernel, and prints one table. `--write` keeps it as a dated file. Speed never decides the exit code: only
//! something broken does, so that `--smoke` can run anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people that stops at the first thing broken"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "no worker of a server runs here: to wait for a process is to look again"
)]

mod asked;
mod attack;
mod audit;
mod client_process;
mod connections;
mod crowd;
mod draw;
mod fanout;
mod frames;
mod instructions;
mod latency;
mod listing;
mod plan;
mod plot;
mod progress;
mod publish;
mod publisher;
mod queue;
mod report;
mod server;
mod stats;
mod storm;
mod swarm;
mod transports;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use gorani_tests::process::pin_to_core;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{plan::Plan, plot::Figure, report::Row, server::Start};

/// Measures the node beside a stock actix-web server. Build it with --release.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(subcommand)]
    command: Option<Program>,
    /// Everything once and small, in seconds: fails when something is broken, never because it is slow
    #[arg(long)]
    smoke: bool,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Write a dated file under tests/bench/results
    #[arg(long, conflicts_with = "smoke")]
    write: bool,
    /// The result file's name
    #[arg(long, default_value = "gateway")]
    name: String,
    /// How often everything is measured, by turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// A stronger baseline: it shares a message's text instead of copying it for every subscriber
    #[arg(long)]
    shared_text: bool,
    /// Another binary of the node in the baseline's place, such as one from before a change
    #[arg(long, conflicts_with = "shared_text")]
    old: Option<PathBuf>,
    /// Leave the placement of the processes on cores to the kernel
    #[arg(long)]
    no_pin: bool,
    /// Instructions: count only where the name of the measure contains this
    #[arg(long, default_value = "")]
    measure: String,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
enum Program {
    /// Many connections, spread over the nodes of a cluster, receive a broadcast
    Crowd(crowd::CrowdFlags),
    /// What it costs to receive over HTTP, beside WebSocket at the same node
    Transports(transports::TransportsFlags),
    /// Work-queue messages per second, from SEND to ACK, through Redis and without
    Queue(queue::QueueFlags),
    /// Nodes are killed under load, and all their clients return to the others and recover
    Storm(storm::StormFlags),
    /// Whether what is accepted reaches everybody, once and in order, while things break
    Audit(audit::AuditFlags),
    /// A backend that is asked and told, and clients that return all at once to one that is slow
    Backend(asked::BackendFlags),
    /// The figure of a result that was written before there were figures
    Draw(draw::DrawFlags),
    /// Hostile clients from ten addresses, and what honest clients notice of them
    Attack(attack::AttackFlags),
    /// The subscribers of one node of a crowd
    #[command(hide = true)]
    CrowdClient(crowd::client::ClientFlags),
    /// Clients of one node that asks a slow backend
    #[command(hide = true)]
    BackendClient(asked::client::ClientFlags),
    /// The clients of one node of a storm
    #[command(hide = true)]
    StormClient(storm::clients::ClientFlags),
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU per delivery
    Fanout,
    /// CPU per delivery to subscribers of STOMP
    Stomp,
    /// Memory per idle connection, and CPU to set one up
    Memory,
    /// Publish requests per second
    Publish,
    /// Time from publish to reception
    Latency,
    /// Pages of a million channels: only where it is named, since it takes minutes
    Listing,
    /// Instructions per delivery and per publish request, by callgrind: only where it is named, since valgrind must be there
    Instructions,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let optimised = !cfg!(debug_assertions);
    let writes = match &flags.command {
        Some(Program::Crowd(flags)) => flags.write,
        Some(Program::Storm(flags)) => flags.write,
        Some(Program::Transports(flags)) => flags.write,
        Some(Program::Queue(flags)) => flags.write,
        Some(Program::Attack(flags)) => flags.write,
        _ => flags.write,
    };
    if writes && !optimised {
        eprintln!(
            "numbers of a debug build are not worth keeping: cargo run --release -p gorani-tests --bin bench"
        );
        return ExitCode::FAILURE;
    }
    let ended = match &flags.command {
        None => run(&flags),
        Some(Program::Audit(flags)) => audit::run(flags),
        Some(Program::Attack(flags)) => attack::run(flags),
        Some(Program::Draw(flags)) => draw::run(flags),
        Some(Program::Backend(flags)) => asked::run(flags),
        Some(Program::BackendClient(flags)) => asked::client::run(flags),
        Some(Program::Transports(flags)) => transports::run(flags),
        Some(Program::Queue(flags)) => queue::run(flags),
        Some(Program::Crowd(flags)) => crowd::run(flags),
        Some(Program::CrowdClient(flags)) => crowd::client::run(flags),
        Some(Program::Storm(flags)) => storm::run(flags),
        Some(Program::StormClient(flags)) => storm::clients::run(flags),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> io::Result<()> {
    // A core for the server and one for the client; with one core there is nothing to keep apart.
    let pinned = !flags.no_pin && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    // Kept until the program ends: every server that is started is told of it.
    let old = flags.old.clone().map(|old| &*Box::leak(old.into_boxed_path()));
    let start = Start { pinned, shared_text: flags.shared_text, old };
    let plan = if flags.smoke { Plan::smoke(start) } else { Plan::full(flags.repeats.into(), start) };
    let names = plan.names();
    let load = report::load();
    // Built before anything is pinned or timed.
    gorani_tests::binary::node();
    if old.is_none() {
        gorani_tests::binary::built("stock");
    }
    if pinned {
        pin_to_core(server::CLIENT_CORE);
    }
    let progress = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}").map_err(io::Error::other)?,
    );
    progress.enable_steady_tick(std::time::Duration::from_millis(250));
    let mut rows: Vec<Row> = Vec::new();
    let mut figures: Vec<Figure> = Vec::new();
    for part in Part::value_variants().iter().copied() {
        let is_asked = match part {
            _ if !flags.only.is_empty() => flags.only.contains(&part),
            Part::Instructions => false,
            Part::Listing => flags.smoke,
            _ => true,
        };
        if !is_asked {
            continue;
        }
        let measured = match part {
            Part::Fanout => fanout::measure(&plan, &progress, &mut figures),
            Part::Stomp => fanout::measure_stomp(&plan, &progress),
            Part::Memory => connections::measure(&plan, &progress, &mut figures),
            Part::Publish => publish::measure(&plan, &progress),
            Part::Latency => latency::measure(&plan, &progress, &mut figures),
            Part::Listing => listing::measure(&plan, &progress),
            Part::Instructions => instructions::measure(&flags.measure, &plan, &progress),
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                progress.finish_and_clear();
                println!("{}", report::table(&rows, names));
                return Err(error);
            }
        }
    }
    progress.finish_and_clear();
    if old.is_some() {
        rows.iter_mut().for_each(|row| row.goal = Some(row.unchanged()));
    }
    if flags.smoke {
        // The goals are about the full counts; with small ones they would only mislead.
        rows.iter_mut().for_each(|row| row.goal = None);
    }
    println!("{load}\n\n{}", report::table(&rows, names));
    if flags.write {
        let notes =
            if pinned { "- server on core 0, load client on core 1\n" } else { "- not pinned to cores\n" };
        let path = report::write_file(&flags.name, plan.repeats, &rows, names, &load, notes)?;
        plot::write_beside(&path, &figures)?;
        println!("written to {}", path.display());
    } else {
        // A figure that cannot be drawn is a fault, also where none is kept.
        figures.iter().try_for_each(|figure| figure.svg().map(drop))?;
    }
    Ok(())
}
