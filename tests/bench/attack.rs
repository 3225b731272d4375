//! The attack (`bench attack`): hostile clients from ten addresses against a cluster under load, and what honest clients notice.
//!
//! Phases alternate: quiet; control, in which the attackers' traffic goes to a [`sink`]; attack. All share the machine, so the
//! time under attack is compared with that under control: the attackers' own CPU does not count against the node. The load,
//! its [`crate::audit::ledger`] and the check are the audit's. Decision record 30.

mod attacker;
mod attacks;
mod endpoint;
mod outcome;
mod reader;
mod sink;
mod stage;
mod wire;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use self::{
    attacker::{Done, Targets, play},
    attacks::{ATTACKS, Attack},
    outcome::Outcome,
    sink::Sink,
    stage::Stage,
};
use crate::{audit::watch::TIME_LIMIT, report};

/// Backends that publish at the same time.
pub(crate) const BACKENDS: u32 = 4;
/// After a phase with attackers, what they left behind may go away for so long; nothing is measured meanwhile.
const REST: Duration = Duration::from_secs(3);

/// Of `--brief`: other tests run beside it, so that an answer may take longer than a balancer would wait.
const BRIEF_TIME_LIMIT: Duration = Duration::from_secs(20);

/// Of `--brief`: one of so many connections, at that part of the pace, since other tests run beside it.
const BRIEF_PART: u32 = 4;

/// Which attacks, how long, and what is asserted.
#[derive(Debug, Args)]
pub(crate) struct AttackFlags {
    /// Only these; all at once if nothing is named
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<&'static Attack>,
    /// Seconds of each phase: quiet, control, attack
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How often the phases alternate
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Publications a second, over all channels
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// What a node's resident memory may grow by, in MiB
    #[arg(long, default_value_t = 400)]
    memory_mib: u64,
    /// One short round at a quarter of the strength, without its control; its time is not judged
    #[arg(long, conflicts_with = "write")]
    brief: bool,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    pub(crate) write: bool,
}

fn known(name: &str) -> Result<&'static Attack, String> {
    let names = || ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    ATTACKS.iter().find(|attack| attack.name == name).ok_or_else(|| format!("there are {}", names()))
}

/// What happens in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Quiet,
    Control,
    Attack,
}

/// A stretch of time that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) kind: Kind,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

pub(crate) fn run(flags: &AttackFlags) -> io::Result<()> {
    let load = report::load();
    gorani_tests::binary::node();
    let attacks: Vec<&Attack> =
        if flags.only.is_empty() { ATTACKS.iter().collect() } else { flags.only.clone() };
    let part = if flags.brief { BRIEF_PART } else { 1 };
    let attacks: Vec<Attack> = attacks.into_iter().map(|attack| attack.divided(part)).collect();
    let (rounds, seconds) = if flags.brief { (1, 6) } else { (flags.rounds, flags.seconds) };
    let time_limit = if flags.brief { BRIEF_TIME_LIMIT } else { TIME_LIMIT };
    let stage = Stage::start(flags.rate, time_limit)?;
    let (sink, length) = (Sink::start()?, Duration::from_secs(seconds.into()));
    let sinks = Targets {
        http: vec![sink.address],
        stomp: vec![sink.address],
        tls: vec![sink.address],
        h2: Arc::clone(&stage.targets.h2),
    };
    let mut phases = Vec::new();
    let mut done = vec![Done::default(); attacks.len()];
    for round in 1..=rounds {
        eprintln!("attack: round {round} of {rounds}");
        phases.push(phase(Kind::Quiet, length));
        if !flags.brief {
            phases.push(under(Kind::Control, length, &attacks, &sinks).0);
            thread::sleep(REST);
        }
        let (phase, more) = under(Kind::Attack, length, &attacks, &stage.targets);
        phases.push(phase);
        for (done, more) in done.iter_mut().zip(more) {
            done.add(more);
        }
        thread::sleep(REST);
    }
    let seen = stage.finish(attacks.iter().any(|attack| attack.fills));
    let outcome = Outcome::of(&seen, &phases, flags.memory_mib, flags.brief);
    let text = outcome.text(&attacks, &done, flags);
    println!("{load}\n{text}");
    if flags.write {
        println!("written to {}", report::write_text("attack", &load, &text)?.display());
    }
    if outcome.failures.is_empty() { Ok(()) } else { Err(io::Error::other(outcome.failures.join("; "))) }
}

fn phase(kind: Kind, length: Duration) -> Phase {
    let began = Instant::now();
    thread::sleep(length);
    Phase { kind, began, ended: Instant::now() }
}

/// A phase with all attackers at once, each attack on a thread of its own.
fn under(kind: Kind, length: Duration, attacks: &[Attack], targets: &Targets) -> (Phase, Vec<Done>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let begun: Vec<_> =
            attacks.iter().map(|attack| scope.spawn(|| play(*attack, targets, &stop))).collect();
        let phase = phase(kind, length);
        stop.store(true, Ordering::Relaxed);
        (phase, begun.into_iter().map(|thread| thread.join().unwrap()).collect())
    })
}
