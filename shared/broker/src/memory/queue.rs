//! Work queues in memory. `Queues` in [`crate::queue`] is the contract.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use super::{
    channels::cost,
    clock::{Nanos, nanos},
    usage_budget::UsageBudget,
};
use crate::{
    BrokerError, Publication,
    queue::{DeliveryId, QUEUE_FULL, QueueDelivery, QueueLimits, dead_letter},
};

/// Queues at most; a new one is refused when all are in use.
const MAX_QUEUES: usize = 100_000;
/// Bytes of a queue beside its name and its messages, near enough.
const QUEUE_BYTES: usize = 512;
/// Queues whose time each use looks at: expired ones leave faster than new ones come.
const SWEPT: usize = 2;

/// All queues.
#[derive(Default)]
pub(super) struct QueueTable {
    pub(super) queues: HashMap<Arc<str>, WorkQueue>,
    /// One entry for each queue: when to look whether it has expired. Its use does not move the entry.
    looks: BinaryHeap<Reverse<(Nanos, Arc<str>)>>,
    /// The highest number that a queue had which is gone, so that an old delivery never names a new message.
    last_number: u64,
    /// Messages that went to their queue of dead letters, and attempts that failed for want of room there.
    dead_letters: u64,
    dead_letters_waiting: u64,
}

/// One queue. Numbers grow, so what comes back stands before what is newer.
#[derive(Default)]
pub(super) struct WorkQueue {
    next: u64,
    ready: BTreeMap<u64, QueuedMessage>,
    pub(super) taken: HashMap<u64, DeliveredMessage>,
    /// Dead letters that found no room in their queue yet.
    dead: BTreeMap<u64, QueuedMessage>,
    bytes: usize,
    expires: Nanos,
}

pub(super) struct QueuedMessage {
    publication: Arc<Publication>,
    attempts: u32,
}

/// A message that a node holds.
pub(super) struct DeliveredMessage {
    pub(super) node: Arc<str>,
    entry: QueuedMessage,
}

impl QueueTable {
    /// The number of dead letters that were moved, and of attempts to move one that failed.
    pub(super) fn dead_letters(&self) -> (u64, u64) {
        (self.dead_letters, self.dead_letters_waiting)
    }

    /// The queue, made if need be; its time begins anew.
    pub(super) fn queue(
        &mut self,
        name: &str,
        limits: &QueueLimits,
        now: Nanos,
        usage: &UsageBudget,
    ) -> Result<&mut WorkQueue, BrokerError> {
        self.sweep(SWEPT, now, usage);
        let expires = now.saturating_add(nanos(limits.ttl));
        if !self.queues.contains_key(name) {
            if self.queues.len() >= MAX_QUEUES || !usage.has_room_in_queues(queue_cost(name)) {
                self.sweep(usize::MAX, now, usage);
            }
            if self.queues.len() >= MAX_QUEUES {
                return Err(BrokerError::Limit("queues"));
            }
            if !usage.has_room_in_queues(queue_cost(name)) {
                return Err(BrokerError::Limit(QUEUE_FULL));
            }
            let name: Arc<str> = name.into();
            self.looks.push(Reverse((expires, name.clone())));
            usage.queue_bytes.add(queue_cost(&name));
            self.queues.insert(name, WorkQueue { next: self.last_number, expires, ..WorkQueue::default() });
        }
        let queue = self.queues.get_mut(name).ok_or(BrokerError::Limit("queues"))?;
        if queue.expires <= now {
            // Nobody used it for so long that it is another one.
            usage.queue_bytes.subtract(queue.bytes);
            *queue = WorkQueue { next: queue.next, ..WorkQueue::default() };
        }
        queue.expires = expires;
        Ok(queue)
    }

    /// Removes those of the next queues to look at that have expired.
    pub(super) fn sweep(&mut self, most: usize, now: Nanos, usage: &UsageBudget) {
        for _ in 0..most {
            if self.looks.peek().is_none_or(|Reverse((at, _))| *at > now) {
                return;
            }
            let Some(Reverse((_, name))) = self.looks.pop() else { return };
            match self.queues.get(&name) {
                Some(queue) if queue.expires > now => self.looks.push(Reverse((queue.expires, name))),
                _ => self.remove(&name, usage),
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str, usage: &UsageBudget) {
        if let Some(queue) = self.queues.remove(name) {
            self.last_number = self.last_number.max(queue.next);
            usage.queue_bytes.subtract(queue.bytes + queue_cost(name));
        }
    }

    /// Adds a message.
    pub(super) fn push(
        &mut self,
        name: &str,
        publication: Publication,
        limits: &QueueLimits,
        now: Nanos,
        usage: &UsageBudget,
    ) -> Result<(), BrokerError> {
        if !usage.has_room_in_queues(cost(&publication)) {
            // Queues that have expired may still be counted: without them there may be room.
            self.sweep(usize::MAX, now, usage);
        }
        self.queue(name, limits, now, usage)?.push(publication, limits, usage)
    }

    /// Moves dead letters to their queue, as far as it has room. Returns how many, and what kept the rest.
    pub(super) fn dead_letter(
        &mut self,
        name: &str,
        limits: &QueueLimits,
        now: Nanos,
        usage: &UsageBudget,
    ) -> (u64, Result<(), BrokerError>) {
        let mut moved = 0;
        loop {
            let Some(queue) = self.queues.get_mut(name) else { return (moved, Ok(())) };
            let Some((number, entry)) = queue.dead.pop_first() else { return (moved, Ok(())) };
            // The dead letter replaces the message.
            queue.change_bytes(cost(&entry.publication), 0, usage);
            let id = number.to_string().into();
            let delivery =
                QueueDelivery { id, attempt: entry.attempts, publication: entry.publication.clone() };
            let (dead_name, letter) = dead_letter(name, &delivery);
            if let Err(error) = self.push(&dead_name, letter, limits, now, usage) {
                if let Some(queue) = self.queues.get_mut(name) {
                    queue.change_bytes(0, cost(&entry.publication), usage);
                    queue.dead.insert(number, entry);
                }
                self.dead_letters_waiting += 1;
                let error = BrokerError::UnknownOutcome(format!("a dead letter has to wait: {error}"));
                return (moved, Err(error));
            }
            moved += 1;
            self.dead_letters += 1;
        }
    }
}

/// Bytes of a queue without its messages.
fn queue_cost(name: &str) -> usize {
    QUEUE_BYTES + 2 * name.len()
}

impl WorkQueue {
    pub(super) fn push(
        &mut self,
        publication: Publication,
        limits: &QueueLimits,
        usage: &UsageBudget,
    ) -> Result<(), BrokerError> {
        let bytes = cost(&publication);
        let messages = self.ready.len() + self.taken.len() + self.dead.len();
        if messages >= limits.max_messages as usize
            || (self.bytes + bytes) as u64 > limits.max_bytes
            || !usage.has_room_in_queues(bytes)
        {
            return Err(BrokerError::Limit(QUEUE_FULL));
        }
        self.next += 1;
        self.change_bytes(0, bytes, usage);
        self.ready.insert(self.next, QueuedMessage { publication: Arc::new(publication), attempts: 0 });
        Ok(())
    }

    pub(super) fn take(&mut self, node: &str, count: u32) -> Vec<QueueDelivery> {
        let node: Arc<str> = node.into();
        let mut deliveries = Vec::new();
        while deliveries.len() < count as usize
            && let Some((number, mut entry)) = self.ready.pop_first()
        {
            entry.attempts += 1;
            deliveries.push(QueueDelivery {
                id: number.to_string().into(),
                attempt: entry.attempts,
                publication: entry.publication.clone(),
            });
            self.taken.insert(number, DeliveredMessage { node: node.clone(), entry });
        }
        deliveries
    }

    /// Changes the queue's bytes by replacing `from` with `to`.
    pub(super) fn change_bytes(&mut self, from: usize, to: usize, usage: &UsageBudget) {
        self.bytes = self.bytes - from + to;
        usage.queue_bytes.change(from, to);
    }

    pub(super) fn forget(&mut self, id: &DeliveryId, usage: &UsageBudget) {
        if let Some(taken) = id.parse().ok().and_then(|number: u64| self.taken.remove(&number)) {
            self.change_bytes(cost(&taken.entry.publication), 0, usage);
        }
    }

    /// A message that a node does not handle: it is for others, or a dead letter after `most` attempts.
    pub(super) fn give_back(&mut self, number: u64, most: u32) {
        let Some(DeliveredMessage { entry, .. }) = self.taken.remove(&number) else { return };
        let into = if most > 0 && entry.attempts >= most { &mut self.dead } else { &mut self.ready };
        into.insert(number, entry);
    }
}
