//! Counts of what happened in runs, so that a clean result tells what it is a result of.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use super::Run;

/// Time between two reports of a long run.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Numbers by what was counted. A run counts beside its other work, so that counting needs no `&mut`.
#[derive(Debug, Default)]
pub(super) struct RunCounts(RefCell<BTreeMap<&'static str, u64>>);

impl RunCounts {
    /// One more of these.
    pub(super) fn add(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    /// All of another's come to these.
    pub(super) fn include(&self, other: &Self) {
        let mut counts = self.0.borrow_mut();
        for (what, count) in &*other.0.borrow() {
            *counts.entry(what).or_default() += count;
        }
    }

    /// The sum of all.
    pub(super) fn total(&self) -> u64 {
        self.0.borrow().values().sum()
    }
}

/// `7 joins, 12 kills`.
impl fmt::Display for RunCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (what, count)) in self.0.borrow().iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {what}")?;
        }
        Ok(())
    }
}

/// Runs of many seeds, one after the other.
pub(super) struct LongRun {
    first: u64,
    pub(super) seeds: u64,
    pub(super) began: Instant,
    told: Instant,
    drawn: u64,
    carried_out: RunCounts,
    outcomes: RunCounts,
}

impl LongRun {
    pub(super) fn new(first: u64) -> Self {
        let now = Instant::now();
        let (carried_out, outcomes) = (RunCounts::default(), RunCounts::default());
        Self { first, seeds: 0, began: now, told: now, drawn: 0, carried_out, outcomes }
    }

    /// The run of another seed has ended. Says from time to time how far it is.
    pub(super) fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.drawn += run.steps.len() as u64;
        self.carried_out.include(&run.carried_out);
        self.outcomes.include(&run.outcomes);
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            println!("{}", self.in_short());
        }
    }

    fn in_short(&self) -> String {
        let (steps, time) = (self.carried_out.total(), self.began.elapsed());
        format!(
            "seeds {} to {}: {steps} steps ({} of them drawn) in {time:.1?}, {:.0} steps a second",
            self.first,
            (self.first + self.seeds).saturating_sub(1),
            self.drawn,
            steps as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
        )
    }
}

impl fmt::Display for LongRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nsteps: {}\noutcomes: {}", self.in_short(), self.carried_out, self.outcomes)
    }
}
