//! The fate of each message of work queues, by which the deliveries to consumers are judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gorani_broker::queue::DEAD_SUFFIX;

use super::counts::RunCounts;

/// Queues of a run. Messages of the first are taken with acknowledgements, those of the other without.
pub(super) const QUEUES: [&str; 2] = ["live:jobs", "live:auto"];
/// Attempts of a message before it is a dead letter.
pub(super) const ATTEMPTS: u32 = 3;
/// Messages of a queue at most.
pub(super) const MOST_MESSAGES: u32 = 8;

/// True if what is shown of a queue counts as handled.
pub(super) fn is_automatic(queue: &str) -> bool {
    queue.starts_with("live:auto")
}

/// A message of a queue, by its id there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    pub(super) queue: Arc<str>,
    pub(super) id: u64,
}

/// The consumer that gave a message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackBy {
    /// The node whose consumer had it.
    Consumer,
    /// Nobody: the node was silent.
    Lease,
}

#[derive(Default)]
struct KnownJob {
    number: u64,
    attempts: u32,
    /// It was shown to a consumer.
    is_shown: bool,
    /// It was, without a sign of an earlier delivery.
    is_first_shown: bool,
    /// A consumer acknowledged it.
    is_acknowledged: bool,
    /// It was given away as a dead letter.
    is_dead: bool,
    came_back: Option<BackBy>,
    /// It was taken from a silent node, whose consumers may hold it still.
    lost_lease: bool,
    /// It was under way to a consumer whose connection ended.
    is_excused: bool,
}

/// The messages of all work queues, and what happened to each.
#[derive(Default)]
pub(super) struct Jobs {
    known: BTreeMap<Job, KnownJob>,
    /// Numbers that are or were dead letters, with the queue of dead letters.
    buried: BTreeSet<(String, u64)>,
    /// Numbers of messages that were sent to a queue and accepted.
    accepted: BTreeSet<(String, u64)>,
    /// Counts of what happened.
    pub(super) counts: RunCounts,
    pub(super) violations: Vec<String>,
}

impl Jobs {
    fn get_mut(&mut self, queue: &str, id: u64) -> Option<&mut KnownJob> {
        self.known.get_mut(&Job { queue: queue.into(), id })
    }

    pub(super) fn accepted(&mut self, queue: &str, id: u64, number: u64) {
        if let Some(from) = queue.strip_suffix(DEAD_SUFFIX) {
            let of = |(job, known): &(&Job, &KnownJob)| *job.queue == *from && known.number == number;
            if self.known.iter().find(of).is_none_or(|(_, known)| known.attempts < ATTEMPTS) {
                self.violations.push(format!("{from}: {number} is a dead letter before its last attempt"));
            }
            self.buried.insert((queue.to_owned(), number));
            self.counts.add("dead letters");
        } else {
            self.counts.add("queue messages accepted");
        }
        self.accepted.insert((queue.to_owned(), number));
        self.known.insert(Job { queue: queue.into(), id }, KnownJob { number, ..KnownJob::default() });
    }

    /// True if a message with this number was accepted by a queue.
    pub(super) fn is_accepted(&self, queue: &str, number: u64) -> bool {
        self.accepted.contains(&(queue.to_owned(), number))
    }

    pub(super) fn taken(&mut self, queue: &str, id: u64, attempt: u32) {
        if let Some(known) = self.get_mut(queue, id) {
            known.attempts = attempt;
            known.came_back = None;
        }
        if attempt > ATTEMPTS && !queue.ends_with(DEAD_SUFFIX) {
            self.violations.push(format!("{queue}: {id} is delivered for the {attempt}th time"));
        }
    }

    pub(super) fn came_back(&mut self, queue: &str, id: u64, by: BackBy) {
        if let Some(known) = self.get_mut(queue, id) {
            known.came_back = Some(by);
            known.lost_lease |= by == BackBy::Lease;
            self.counts.add("queue messages that came back");
        }
    }

    pub(super) fn died(&mut self, queue: &str, id: u64, by: BackBy) {
        if let Some(known) = self.get_mut(queue, id) {
            known.is_dead = true;
            known.came_back = Some(by);
            known.lost_lease |= by == BackBy::Lease;
        }
    }

    /// A consumer was shown a message; what cannot be true of that.
    pub(super) fn shown(&mut self, job: &Job, number: u64, is_redelivered: bool) -> Result<(), String> {
        let known = self.known.get_mut(job).ok_or("a message that was never accepted")?;
        if known.number != number {
            return Err(format!("{number} in place of {}", known.number));
        }
        // The first to be given it may read that last of all.
        if !is_redelivered && std::mem::replace(&mut known.is_first_shown, true) {
            return Err("it was shown before, which is not told".to_owned());
        }
        if is_redelivered && known.attempts < 2 {
            return Err("it was delivered to nobody before, and is told as delivered again".to_owned());
        }
        known.is_shown = true;
        self.counts.add(if is_redelivered {
            "queue messages shown again"
        } else {
            "queue messages shown first"
        });
        Ok(())
    }

    /// A consumer says that it has handled a message.
    pub(super) fn handled(&mut self, job: &Job) {
        if let Some(known) = self.known.get_mut(job) {
            known.is_acknowledged = true;
        }
    }

    /// The server forgets a message as handled.
    pub(super) fn removed(&mut self, queue: &str, id: u64) {
        let Some(known) = self.known.get(&Job { queue: queue.into(), id }) else { return };
        let is_buried =
            known.is_dead && self.buried.contains(&(format!("{queue}{DEAD_SUFFIX}"), known.number));
        // Without acknowledgements a message that was taken is on its way, and may be lost with the connection.
        if !known.is_acknowledged && !is_buried && !is_automatic(queue) {
            self.violations.push(format!("{queue}: {} is gone, and nobody has handled it", known.number));
        }
    }

    /// True if the node of its consumer gave a message back, and no other can have it.
    pub(super) fn was_given_back(&self, job: &Job) -> bool {
        let is_it = |known: &KnownJob| known.came_back == Some(BackBy::Consumer) && !known.lost_lease;
        self.known.get(job).is_some_and(is_it)
    }

    /// The connection of a consumer has ended: what was shown to it may not have reached it.
    pub(super) fn connection_lost(&mut self, queue: &str) {
        for (_, known) in self.known.iter_mut().filter(|(job, _)| *job.queue == *queue) {
            known.is_excused |= known.attempts > 0;
        }
    }

    /// Messages that the server has forgotten, and that nobody was shown although no connection ended meanwhile.
    pub(super) fn unseen(&self, is_there: impl Fn(&Job) -> bool) -> Vec<String> {
        let unseen = |(job, known): &(&Job, &KnownJob)| {
            !known.is_shown && !known.is_dead && !known.is_excused && !is_there(job)
        };
        let all = self.known.iter().filter(unseen);
        all.map(|(job, known)| format!("{}: {} is gone, and nobody has seen it", job.queue, known.number))
            .collect()
    }
}
