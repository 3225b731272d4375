//! The verdict: what was accepted against what each subscriber wrote down, and what the nodes said of themselves.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    ledger::{Accepted, Position},
    scenario::Fault,
    subscriber::{Entry, Record},
    watch::Sample,
};

/// A silence is noticed within the canary's interval and time-out (their defaults, 1 s and 3 s), on a busy machine a bit later.
const SILENCE_NOTICED_WITHIN: Duration = Duration::from_secs(7);
/// A connection that ends is noticed at once; this is between two looks, on a busy machine.
const END_NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// For so long after a fault a node may yet say that it is not ready: a new primary ends its connections once more.
const SETTLING: Duration = Duration::from_secs(5);

/// What was counted over all subscribers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Accepted, not delivered, and the subscriber was told so by a recovery that failed.
    pub(crate) told: u64,
    /// The same position with another publication.
    pub(crate) mixed: u64,
    /// What was lost.
    pub(crate) which: Vec<String>,
}

/// Checks one subscriber against what its channel's backends were told.
pub(crate) fn check(record: &Record, accepted: &HashMap<u32, Accepted>, counts: &mut Counts) {
    // Two at one position only where Redis forgot the first.
    let mut by_position: HashMap<&Position, Vec<u32>> = HashMap::new();
    for (number, accepted) in accepted {
        by_position.entry(&accepted.position).or_default().push(*number);
    }
    let mut seen: HashSet<u32> = HashSet::new();
    let mut places: HashMap<&Position, u32> = HashMap::new();
    let mut told: Vec<(&Position, &Position)> = Vec::new();
    let mut last: Option<&Position> = None;
    for entry in &record.entries {
        match entry {
            Entry::Told { before, after } => {
                told.push((before, after));
                last = Some(after);
            }
            Entry::Publication { number, position, .. } => {
                counts.delivered += 1;
                let is_new = seen.insert(*number);
                let is_next = last.is_none_or(|last| position.offset > last.offset);
                // A second copy in another epoch is of a publication that Redis had forgotten when it was repeated.
                let was_forgotten =
                    !is_new && told.last().is_some_and(|(before, after)| before.epoch != after.epoch);
                counts.duplicated += u64::from(!is_new && !was_forgotten);
                counts.reordered += u64::from(is_new && !is_next);
                counts.mixed +=
                    u64::from(by_position.get(position).is_some_and(|there| !there.contains(number)));
                places.insert(position, *number);
                last = Some(position);
            }
        }
    }
    for (number, accepted) in accepted {
        if !seen.contains(number) {
            let at = &accepted.position;
            let was_told = told.iter().any(|(before, after)| {
                let is_after = at.epoch == before.epoch && at.offset > before.offset;
                let is_until = at.epoch == after.epoch && at.offset <= after.offset;
                // Redis forgot what this subscriber had there, and gave the place to this one: the new epoch says so.
                let is_forked = at.epoch == before.epoch && places.contains_key(at);
                if before.epoch == after.epoch {
                    is_after && is_until
                } else {
                    is_after || is_until || is_forked
                }
            });
            if was_told {
                counts.told += 1;
            } else {
                counts.lost += 1;
                counts.which.push(format!("{number} at {} of {}", at.offset, at.epoch));
            }
        }
    }
}

/// How long after a moment a subscriber had the first publication that was sent after it, and so everything before.
pub(crate) fn recovery(
    record: &Record,
    accepted: &HashMap<u32, Accepted>,
    since: Instant,
) -> Option<Duration> {
    record.entries.iter().find_map(|entry| match entry {
        Entry::Publication { number, at, .. } if accepted.get(number)?.sent >= since => {
            Some(at.duration_since(since))
        }
        _ => None,
    })
}

/// What the readiness of nodes was worth.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// How long it took the affected nodes to say that they are not ready, and after the fault's end that they are.
    pub(crate) down: Vec<Duration>,
    pub(crate) up: Vec<Duration>,
    pub(crate) complaints: Vec<String>,
}

impl Readiness {
    /// Looks at what one node said, against all faults.
    pub(crate) fn check(&mut self, node: usize, samples: &[Sample], faults: &[Fault]) {
        let mine = || faults.iter().filter(|fault| fault.nodes.contains(&node));
        for fault in mine() {
            let time_limit = if fault.is_loud { END_NOTICED_WITHIN } else { SILENCE_NOTICED_WITHIN };
            let noticed = samples.iter().find(|sample| !sample.is_ready() && sample.answered >= fault.began);
            let Some(noticed) = noticed.map(|sample| sample.answered) else {
                self.complaints.push(format!("node {node} never said that it was not ready"));
                continue;
            };
            let down = noticed - fault.began;
            self.down.push(down);
            if down > time_limit {
                self.complaints.push(format!("node {node} said after {down:?} that it was not ready"));
            }
            let is_lie = |sample: &&Sample| {
                sample.is_ready() && sample.asked >= noticed && sample.answered < fault.ended
            };
            if let Some(lie) = samples.iter().find(is_lie) {
                let since = lie.asked - fault.began;
                self.complaints.push(format!("node {node} said {since:?} into the fault that it was ready"));
            }
            match back(samples, fault) {
                Some(at) => self.up.push(at.saturating_duration_since(fault.ended)),
                None => self.complaints.push(format!("node {node} was not ready again")),
            }
        }
        let is_excused = |sample: &&Sample| {
            mine().any(|fault| {
                let settled = |back| sample.asked >= Instant::max(back, fault.ended + SETTLING);
                sample.answered >= fault.began && !back(samples, fault).is_some_and(settled)
            })
        };
        let untrue = samples.iter().filter(|sample| !sample.is_ready() && !is_excused(sample)).count();
        if untrue > 0 {
            self.complaints
                .push(format!("node {node} said {untrue} times without a reason that it was not ready"));
        }
    }
}

/// When a node was ready again after a fault.
fn back(samples: &[Sample], fault: &Fault) -> Option<Instant> {
    samples
        .iter()
        .find(|sample| sample.is_ready() && sample.asked >= fault.ended)
        .map(|sample| sample.answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.to_owned(), offset }
    }

    fn accepted(positions: &[(u32, &str, u64)]) -> HashMap<u32, Accepted> {
        let one = |(number, epoch, offset): &(u32, &str, u64)| {
            (*number, Accepted { position: position(epoch, *offset), sent: Instant::now() })
        };
        positions.iter().map(one).collect()
    }

    fn seen(number: u32, epoch: &str, offset: u64) -> Entry {
        Entry::Publication { number, position: position(epoch, offset), at: Instant::now() }
    }

    fn counts(entries: Vec<Entry>, accepted: &HashMap<u32, Accepted>) -> [u64; 6] {
        let mut counts = Counts::default();
        check(&Record { entries, ..Record::default() }, accepted, &mut counts);
        let Counts { delivered, lost, duplicated, reordered, told, mixed, .. } = counts;
        [delivered, lost, duplicated, reordered, told, mixed]
    }

    #[test]
    fn what_goes_wrong_is_counted_under_its_name() {
        let all = accepted(&[(1, "e", 1), (2, "e", 2), (3, "e", 3)]);
        let good = || vec![seen(1, "e", 1), seen(2, "e", 2), seen(3, "e", 3)];
        assert_eq!(counts(good(), &all), [3, 0, 0, 0, 0, 0]);
        assert_eq!(counts(good().into_iter().take(2).collect(), &all), [2, 1, 0, 0, 0, 0]);
        assert_eq!(counts(vec![seen(1, "e", 1), seen(3, "e", 3)], &all), [2, 1, 0, 0, 0, 0]);
        assert_eq!(counts(good().into_iter().chain([seen(3, "e", 3)]).collect(), &all), [4, 0, 1, 0, 0, 0]);
        assert_eq!(counts(vec![seen(2, "e", 2), seen(1, "e", 1), seen(3, "e", 3)], &all), [3, 0, 0, 1, 0, 0]);
        assert_eq!(counts(vec![seen(1, "e", 1), seen(2, "e", 2), seen(4, "e", 3)], &all), [3, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_a_subscriber_was_told_of_is_not_lost_in_silence() {
        let all = accepted(&[(1, "e", 1), (2, "e", 2), (3, "e", 3), (4, "f", 1), (5, "f", 2)]);
        let told = Entry::Told { before: position("e", 1), after: position("f", 1) };
        assert_eq!(counts(vec![seen(1, "e", 1), told, seen(5, "f", 2)], &all), [2, 0, 0, 0, 3, 0]);
        let told = Entry::Told { before: position("e", 1), after: position("e", 2) };
        assert_eq!(counts(vec![seen(1, "e", 1), told, seen(3, "e", 3)], &all)[1..5], [2, 0, 0, 1]);
        let told = Entry::Told { before: position("e", 3), after: position("f", 1) };
        let twice = vec![seen(1, "e", 1), seen(2, "e", 2), seen(3, "e", 3), told, seen(3, "f", 2)];
        let fork = accepted(&[(1, "e", 1), (2, "e", 1), (3, "f", 2)]);
        let told = Entry::Told { before: position("e", 1), after: position("f", 1) };
        assert_eq!(counts(vec![seen(1, "e", 1), told, seen(3, "f", 2)], &fork), [2, 0, 0, 0, 1, 0]);
        assert_eq!(counts(vec![seen(1, "e", 1)], &fork), [1, 2, 0, 0, 0, 0]);
        assert_eq!(counts(twice, &accepted(&[(1, "e", 1), (2, "e", 2), (3, "f", 2)])), [4, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_node_that_says_that_it_is_ready_while_it_cannot_deliver_is_found_out() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let fault = |began, ended| Fault { nodes: vec![0], began, served: ended, ended, is_loud: true };
        let complaints = |samples: &[(u64, bool)], faults: &[Fault]| {
            let samples: Vec<Sample> = samples
                .iter()
                .map(|(millis, ready)| Sample {
                    asked: at(*millis),
                    answered: at(*millis + 10),
                    refusal: (!*ready).then(|| "not ready".to_owned()),
                })
                .collect();
            let mut readiness = Readiness::default();
            readiness.check(0, &samples, faults);
            readiness.complaints.len()
        };
        let one = [fault(at(100), at(500))];
        assert_eq!(complaints(&[(0, true), (150, false), (450, false), (600, true)], &one), 0);
        assert_eq!(complaints(&[(0, true), (150, false), (300, true), (450, false), (600, true)], &one), 1);
        assert_eq!(complaints(&[(0, true), (150, true), (600, true)], &one), 1);
        assert_eq!(complaints(&[(0, true), (150, false), (600, false)], &one), 1);
        assert_eq!(complaints(&[(0, true), (150, false), (600, true), (700, false), (800, true)], &one), 0);
        assert_eq!(complaints(&[(0, true), (150, false), (600, true), (5600, false)], &one), 1);
        assert_eq!(complaints(&[(0, false), (150, true)], &[]), 1);
    }
}
