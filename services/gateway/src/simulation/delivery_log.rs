//! The truth that clients are checked against: what the server accepted, in its order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gorani_broker::{ClientInfo, Publication};

use super::{counts::RunCounts, jobs::Jobs, settings::POLLING_USER};

/// A publication that was accepted.
#[derive(Debug, Clone)]
pub(super) struct AcceptedPublication {
    /// 0 where the channel keeps no history.
    pub(super) offset: u64,
    pub(super) epoch: Arc<str>,
    /// The publication before it in the stream as it was then.
    pub(super) previous: Option<u64>,
}

#[derive(Default)]
struct LedgerLine {
    /// Publications of the stream as it is now, oldest first: their numbers.
    numbers: Vec<u64>,
    all: BTreeMap<u64, AcceptedPublication>,
    /// The last announcement about each client that was announced.
    members: BTreeMap<String, LastPosition>,
    /// Joins that were announced, in their order.
    joins: Vec<String>,
}

/// The last announcement about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastPosition {
    Joined,
    Left,
    /// Its join got lost with a connection, and its node cannot know whether it was announced.
    Unknown,
}

/// The log of what the server accepted, which clients are checked against.
#[derive(Default)]
pub(super) struct DeliveryLog {
    lines: BTreeMap<Arc<str>, LedgerLine>,
    /// The epoch before each epoch that began at a failover.
    before: BTreeMap<Arc<str>, Arc<str>>,
    /// Numbers that stand in transactions and were not committed: none of them may be accepted.
    pub(super) uncommitted: BTreeSet<u64>,
    /// Messages of work queues.
    pub(super) jobs: Jobs,
    /// Counts of what happened.
    pub(super) counts: RunCounts,
    /// The violations so far.
    pub(super) violations: Vec<String>,
}

/// The number that the simulation writes into each publication's data: `{"n":7}`.
pub(super) fn number_of(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(data).ok()?.get("n")?.as_u64()
}

impl DeliveryLog {
    fn line(&mut self, channel: &str) -> &mut LedgerLine {
        if !self.lines.contains_key(channel) {
            self.lines.insert(channel.into(), LedgerLine::default());
        }
        self.lines.entry(channel.into()).or_default()
    }

    pub(super) fn accepted(&mut self, channel: &str, publication: &Publication) {
        let Some(number) = number_of(&publication.data) else {
            self.violations.push(format!("{channel}: a publication without a number was accepted"));
            return;
        };
        self.check_committed(channel, number);
        self.counts.add("publications accepted");
        let line = self.line(channel);
        let previous = line.numbers.last().copied();
        line.numbers.push(number);
        let accepted =
            AcceptedPublication { offset: publication.offset, epoch: publication.epoch.clone(), previous };
        line.all.insert(number, accepted);
    }

    /// The frames of a transaction are about to be carried out.
    pub(super) fn commit(&mut self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            self.uncommitted.remove(&number);
        }
    }

    /// A publication or a message of a queue is accepted.
    pub(super) fn check_committed(&mut self, name: &str, number: u64) {
        if self.uncommitted.contains(&number) {
            self.violations.push(format!("{name}: {number} of a transaction without a COMMIT was accepted"));
        }
    }

    /// An epoch ended at a failover, and the next one begins with its publications.
    pub(super) fn forked(&mut self, before: &Arc<str>, epoch: &Arc<str>) {
        self.counts.add("epochs that followed another");
        self.before.insert(epoch.clone(), before.clone());
    }

    /// True if one of two epochs began with the publications of the other.
    pub(super) fn is_related(&self, one: &str, other: &str) -> bool {
        let descends = |from: &str, to: &str| {
            let mut epoch = from;
            while epoch != to {
                match self.before.get(epoch) {
                    Some(before) => epoch = before,
                    None => return false,
                }
            }
            true
        };
        descends(one, other) || descends(other, one)
    }

    /// The stream ends with this offset now: what came after it is forgotten.
    pub(super) fn went_back(&mut self, channel: &str, top: u64) {
        let line = self.line(channel);
        let all = &line.all;
        line.numbers.retain(|number| all.get(number).is_some_and(|accepted| accepted.offset <= top));
    }

    pub(super) fn begins_anew(&mut self, channel: &str) {
        self.line(channel).numbers.clear();
    }

    /// A client is shown to others in a channel, as one that joins or that is present.
    pub(super) fn shown(&mut self, channel: &str, info: &ClientInfo) {
        if info.user == POLLING_USER {
            self.violations.push(format!("{channel}: a poll is shown as {}", info.client));
        }
    }

    pub(super) fn joined(&mut self, channel: &str, client: &str) {
        self.counts.add("joins told");
        let line = self.line(channel);
        line.joins.push(client.to_owned());
        if line.members.insert(client.to_owned(), LastPosition::Joined) == Some(LastPosition::Joined) {
            self.violations.push(format!("{channel}: a join of {client} is told twice"));
        }
    }

    pub(super) fn left(&mut self, channel: &str, client: &str) {
        self.counts.add("leaves told");
        let before = self.line(channel).members.insert(client.to_owned(), LastPosition::Left);
        if !matches!(before, Some(LastPosition::Joined | LastPosition::Unknown)) {
            self.violations.push(format!("{channel}: a leave of {client} is told without its join"));
        }
    }

    /// A join was lost with the connection of its node; the node knows that the outcome is unknown.
    pub(super) fn join_lost(&mut self, channel: &str, client: &str) {
        let members = &mut self.line(channel).members;
        if members.get(client) != Some(&LastPosition::Joined) {
            members.insert(client.to_owned(), LastPosition::Unknown);
        }
    }

    /// The server has forgotten a message of a queue, as one that was handled.
    pub(super) fn acknowledged(&mut self, queue: &str, id: u64) {
        self.jobs.removed(queue, id);
        self.violations.append(&mut self.jobs.violations);
    }

    /// A publication by its number.
    pub(super) fn get(&self, channel: &str, number: u64) -> Option<&AcceptedPublication> {
        self.lines.get(channel)?.all.get(&number)
    }

    /// The newest publication of the stream.
    pub(super) fn tip(&self, channel: &str) -> Option<u64> {
        self.lines.get(channel)?.numbers.last().copied()
    }

    /// The number of publications that were ever accepted.
    pub(super) fn count(&self, channel: &str) -> usize {
        self.lines.get(channel).map_or(0, |line| line.all.len())
    }

    /// The joins that were announced after so many.
    pub(super) fn joins_after(&self, channel: &str, count: usize) -> &[String] {
        self.lines.get(channel).and_then(|line| line.joins.get(count..)).unwrap_or_default()
    }
}
