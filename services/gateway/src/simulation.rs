//! A cluster in a simulated world: several nodes with real workers, sessions and hubs, clients and a broker's server, without
//! threads, sockets and wall clock. A seed draws which of all that is under way happens next, and what breaks; the same seed
//! does the same again. `make simulate SEEDS=…` runs as many seeds as one likes.
//!
//! The code under test is the real one. Simulated are the broker behind [`gorani_broker::Broker`] ([`server`], [`network`],
//! [`broker`]; in a share of the seeds it is the embedded one: [`embedded`]), the clients ([`client`], [`stomp`], [`receive`]),
//! and time (tokio's paused clock and [`crate::clock`]).
//!
//! - [`schedule`]: steps, written and read.
//! - [`draw`]: drawing them.
//! - [`world`]: carrying them out.
//! - [`process`]: a node.
//! - [`backend`]: whom the nodes ask, in a share of the seeds.
//! - [`delivery_log`]: what was accepted.
//! - [`subscription`]: what each client must have had.
//! - [`jobs`]: the same of work queues.
//! - [`check`]: what is left at the end. [`hooks`]: what the backend believes then.
//! - [`leaks`]: what is left in memory.
//! - [`counts`]: what happened.
//! - [`many_nodes`]: a large cluster.
//! - `forward_broker!`: a test's broker that goes on to another one, for the tests of other rooms as well.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

#[macro_use]
mod forward_broker;

mod backend;
mod broker;
mod check;
mod client;
mod counts;
mod delivery_log;
mod draw;
mod embedded;
mod hook_broker;
mod hooks;
mod jobs;
mod leaks;
mod many_nodes;
mod network;
mod process;
mod queue_broker;
mod queues;
mod receive;
mod schedule;
mod scripts;
mod server;
mod settings;
mod stomp;
mod subscription;
mod world;

use std::{collections::BTreeMap, time::Duration};

use self::{
    counts::{LongRun, RunCounts},
    draw::Draw,
    schedule::ScheduleStep,
    world::World,
};
use crate::{clock, random};

/// Steps of a run.
const STEPS: usize = 400;
/// Runs that the shortening of a failing schedule may take.
const SHORTENING_RUNS: usize = 600;
/// Kinds of faults after which a simulation ends.
const FAULTS_TOLD: usize = 8;
/// Time for which `make test` simulates.
const TIME: Duration = Duration::from_secs(20);

/// The end of a run.
struct Run {
    steps: Vec<ScheduleStep>,
    /// Empty where nobody reads it.
    trace: Vec<String>,
    wrong: Vec<String>,
    /// Steps that were carried out, those after the drawn ones included.
    carried_out: RunCounts,
    /// The outcomes of them.
    outcomes: RunCounts,
}

/// A world of its own, in which chance follows from the seed.
fn simulated<T>(seed: u64, act: impl AsyncFnOnce(&mut World) -> T) -> T {
    let (result, leaks) = simulated_with_leaks(seed, false, act);
    assert_eq!(leaks, [""; 0]);
    result
}

/// The same; and what is left of the nodes when the world has ended.
fn simulated_with_leaks<T>(
    seed: u64,
    asks: bool,
    act: impl AsyncFnOnce(&mut World) -> T,
) -> (T, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        random::simulated::seed(Some(seed));
        let mut world = World::new(embedded::is_embedded(seed), asks);
        let result = act(&mut world).await;
        let ended = world.leave();
        clock::simulated::set(false);
        random::simulated::seed(None);
        crate::backend::simulated::set(None);
        (result, ended.leaks())
    })
}

/// Runs steps of a source until it has no more, then lets all come to rest and checks it.
fn run(seed: u64, is_traced: bool, mut next: impl FnMut(&World) -> Option<ScheduleStep>) -> Run {
    let (mut run, leaks) = simulated_with_leaks(seed, backend::asks(seed), async |world| {
        world.is_traced = is_traced;
        let mut steps = Vec::new();
        let mut wrong = Vec::new();
        while let Some(step) = next(world) {
            if world.carry_out(&step).await {
                steps.push(step);
            }
            wrong = world.violations();
            if !wrong.is_empty() {
                break;
            }
        }
        if wrong.is_empty() {
            wrong = world.end().await;
        }
        let trace = std::mem::take(&mut world.trace);
        let carried_out = std::mem::take(&mut world.steps);
        let log = &world.network.0.lock().server.log;
        let outcomes = RunCounts::default();
        outcomes.include(&log.counts);
        outcomes.include(&log.jobs.counts);
        Run { steps, trace, wrong, carried_out, outcomes }
    });
    run.wrong.extend(leaks);
    run
}

/// Draws a schedule from a seed and runs it.
fn run_seed(seed: u64, steps: usize, is_traced: bool) -> Run {
    let mut draw = Draw::new(seed);
    let mut left = steps;
    run(seed, is_traced, |world| {
        left = left.checked_sub(1)?;
        Some(draw.next(world))
    })
}

/// Runs a given schedule.
fn run_schedule(seed: u64, steps: &[ScheduleStep]) -> Run {
    let mut steps = steps.iter().cloned();
    run(seed, true, |_| steps.next())
}

/// The first thing that is wrong, without the ids and numbers in it.
fn kind_of(run: &Run) -> Option<String> {
    let is_name =
        |word: &&str| word.contains(|letter: char| letter.is_ascii_digit() || ":{".contains(letter));
    let words =
        |wrong: &String| wrong.split_whitespace().filter(|word| !is_name(word)).collect::<Vec<_>>().join(" ");
    run.wrong.first().map(words)
}

/// Shortens a failing run, and tells it as a schedule that replays.
fn tell(seed: u64, failed: &Run) -> String {
    let fault = kind_of(failed);
    let fails = |steps: &[ScheduleStep]| kind_of(&run_schedule(seed, steps)) == fault;
    let shorter = schedule::shorten(failed.steps.clone(), SHORTENING_RUNS, fails);
    let last = run_schedule(seed, &shorter);
    let Run { wrong, trace, .. } = if kind_of(&last) == fault { &last } else { failed };
    let schedule: Vec<String> = shorter.iter().map(ToString::to_string).collect();
    format!(
        "seed {seed}:\n  {}\nschedule ({} of {} steps):\n{}\nwhat happened:\n{}\n",
        wrong.join("\n  "),
        shorter.len(),
        failed.steps.len(),
        schedule.join("\n"),
        trace.join("\n"),
    )
}

#[test]
fn the_same_seed_does_the_same_again() {
    for seed in (1..24).chain([26]) {
        let (one, other) = (run_seed(seed, STEPS, true), run_seed(seed, STEPS, true));
        assert_eq!(one.steps, other.steps, "seed {seed}");
        // The embedded broker draws its epochs elsewhere.
        if !embedded::is_embedded(seed) {
            assert_eq!(one.trace, other.trace, "seed {seed}");
        }
    }
}

#[test]
fn a_step_is_read_as_it_is_written() {
    for seed in 1..20 {
        for step in run_seed(seed, 100, false).steps {
            assert_eq!(step.to_string().parse::<ScheduleStep>().ok(), Some(step));
        }
    }
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `TRACE`: every run is printed, also where nothing is wrong.
/// `SEEDS`: the number of seeds, from `FROM` on, not a time. `SEED`: one seed. `SCHEDULE`: a file with a schedule; `SEED` is its
/// seed.
#[test]
fn nothing_is_lost_doubled_or_reordered_untold_whatever_breaks() {
    if let Ok(file) = std::env::var("SCHEDULE") {
        let text = std::fs::read_to_string(file).unwrap();
        let steps: Vec<ScheduleStep> = text.lines().map(|line| line.parse().unwrap()).collect();
        let replayed = run_schedule(number("SEED").unwrap_or(0), &steps);
        assert!(replayed.wrong.is_empty(), "{:#?}\n{}", replayed.wrong, replayed.trace.join("\n"));
        return;
    }
    let is_traced = std::env::var_os("TRACE").is_some();
    let first = number("SEED").or_else(|| number("FROM")).unwrap_or(1);
    let count = number("SEED").map(|_| 1).or_else(|| number("SEEDS"));
    let mut long = LongRun::new(first);
    // Each kind of fault once.
    let mut faults = BTreeMap::new();
    while count.map_or(long.began.elapsed() < TIME, |count| long.seeds < count) && faults.len() < FAULTS_TOLD
    {
        let seed = first + long.seeds;
        let run = run_seed(seed, STEPS, is_traced);
        if is_traced {
            println!("seed {seed}:\n{}\n", run.trace.join("\n"));
        }
        if let Some(kind) = kind_of(&run) {
            faults.entry(kind).or_insert_with(|| {
                // With its trace; the same seed does the same again.
                let told = tell(seed, &run_seed(seed, STEPS, true));
                // At once: the next one may take long.
                println!("{told}");
                told
            });
        }
        long.add(&run);
    }
    println!("{long}");
    assert!(faults.is_empty(), "{} kinds of faults, told above", faults.len());
}
