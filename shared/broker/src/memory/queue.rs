//! Work queues in memory. `Queues` in [`crate::queue`] is the contract.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use super::{
    MemoryBroker,
    clock::{Nanos, nanos},
    stream::cost,
    usage_budget::UsageBudget,
};
use crate::{
    BrokerError, ChannelEvent, Publication,
    queue::{
        DEAD_SUFFIX, DeliveryId, QUEUE_FULL, QueueDelivery, QueueLimits, Queues, dead_letter, max_attempts,
        wake_channel,
    },
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
    queues: HashMap<Arc<str>, WorkQueue>,
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
struct WorkQueue {
    next: u64,
    ready: BTreeMap<u64, QueuedMessage>,
    taken: HashMap<u64, DeliveredMessage>,
    /// Dead letters that found no room in their queue yet.
    dead: BTreeMap<u64, QueuedMessage>,
    bytes: usize,
    expires: Nanos,
}

struct QueuedMessage {
    publication: Arc<Publication>,
    attempts: u32,
}

/// A message that a node holds.
struct DeliveredMessage {
    node: Arc<str>,
    entry: QueuedMessage,
}

impl QueueTable {
    /// How many dead letters were moved, and how many attempts to move one failed.
    pub(super) fn dead_letters(&self) -> (u64, u64) {
        (self.dead_letters, self.dead_letters_waiting)
    }

    /// The queue, made if need be; its time begins anew.
    fn queue(
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
    fn sweep(&mut self, most: usize, now: Nanos, usage: &UsageBudget) {
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

    fn remove(&mut self, name: &str, usage: &UsageBudget) {
        if let Some(queue) = self.queues.remove(name) {
            self.last_number = self.last_number.max(queue.next);
            usage.queue_bytes.subtract(queue.bytes + queue_cost(name));
        }
    }

    /// Adds a message.
    fn push(
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
    fn dead_letter(
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
            // The letter takes the place of the message.
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
    fn push(
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

    fn take(&mut self, node: &str, count: u32) -> Vec<QueueDelivery> {
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

    /// Of its bytes, `from` become `to`.
    fn change_bytes(&mut self, from: usize, to: usize, usage: &UsageBudget) {
        self.bytes = self.bytes - from + to;
        usage.queue_bytes.change(from, to);
    }

    fn forget(&mut self, id: &DeliveryId, usage: &UsageBudget) {
        if let Some(taken) = id.parse().ok().and_then(|number: u64| self.taken.remove(&number)) {
            self.change_bytes(cost(&taken.entry.publication), 0, usage);
        }
    }

    /// A message that a node does not handle: it is for others, or a dead letter after `most` attempts.
    fn give_back(&mut self, number: u64, most: u32) {
        let Some(DeliveredMessage { entry, .. }) = self.taken.remove(&number) else { return };
        let into = if most > 0 && entry.attempts >= most { &mut self.dead } else { &mut self.ready };
        into.insert(number, entry);
    }
}

impl MemoryBroker {
    fn push_now(
        &self,
        queue: &str,
        mut publication: Publication,
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        // Its own memory: a small slice would keep the whole buffer of a connection alive.
        publication.data = bytes::Bytes::copy_from_slice(&publication.data);
        let now = self.now();
        self.queues.lock().push(queue, publication, limits, now, &self.usage)?;
        // What queues hold, histories have less.
        self.keep_bounds();
        self.wake(queue)
    }

    /// Tells the workers that listen.
    fn wake(&self, queue: &str) -> Result<(), BrokerError> {
        self.pass_on(&wake_channel(queue), || ChannelEvent::Publication(Arc::default()))
    }

    fn take_now(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> Result<Vec<QueueDelivery>, BrokerError> {
        let now = self.now();
        Ok(self.queues.lock().queue(queue, limits, now, &self.usage)?.take(node, count))
    }

    fn acknowledge_now(&self, queue: &str, ids: &[DeliveryId]) {
        if let Some(queue) = self.queues.lock().queues.get_mut(queue) {
            ids.iter().for_each(|id| queue.forget(id, &self.usage));
        }
    }

    fn give_back_now(
        &self,
        queue: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let most = max_attempts(queue, limits);
        if let Some(held) = self.queues.lock().queues.get_mut(queue) {
            ids.iter().filter_map(|id| id.parse().ok()).for_each(|number| held.give_back(number, most));
        }
        let buried = self.bury(queue, limits);
        self.wake(queue)?;
        buried
    }

    fn keep_now(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let most = max_attempts(queue, limits);
        let mut came_back = false;
        {
            let mut table = self.queues.lock();
            let held = table.queue(queue, limits, now, &self.usage)?;
            if let Some(holds) = holds {
                let holds: HashSet<u64> = holds.iter().filter_map(|id| id.parse().ok()).collect();
                let is_lost = |(number, taken): &(&u64, &DeliveredMessage)| {
                    *taken.node == *node && !holds.contains(number)
                };
                let lost: Vec<u64> = held.taken.iter().filter(is_lost).map(|(number, _)| *number).collect();
                came_back = !lost.is_empty();
                lost.into_iter().for_each(|number| held.give_back(number, most));
            }
        }
        let buried = self.bury(queue, limits);
        if came_back {
            self.wake(queue)?;
        }
        buried
    }

    /// Moves dead letters to their queue, as far as it has room.
    fn bury(&self, queue: &str, limits: &QueueLimits) -> Result<(), BrokerError> {
        let now = self.now();
        let (moved, buried) = self.queues.lock().dead_letter(queue, limits, now, &self.usage);
        if moved > 0 {
            self.keep_bounds();
            self.wake(&format!("{queue}{DEAD_SUFFIX}"))?;
        }
        buried
    }
}

impl Queues for MemoryBroker {
    fn push(
        &self,
        queue: &str,
        publication: Publication,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.push_now(queue, publication, limits)).boxed()
    }

    fn take(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<Vec<QueueDelivery>, BrokerError>> {
        ready(self.take_now(queue, node, count, limits)).boxed()
    }

    fn acknowledge(&self, queue: &str, ids: &[DeliveryId]) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.acknowledge_now(queue, ids);
        ready(Ok(())).boxed()
    }

    fn give_back(
        &self,
        queue: &str,
        _node: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.give_back_now(queue, ids, limits)).boxed()
    }

    /// There is one node, and it is alive.
    fn keep(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        ready(self.keep_now(queue, node, holds, limits)).boxed()
    }
}
