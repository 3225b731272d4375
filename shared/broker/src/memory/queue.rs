//! Work queues in memory. `Queues` in [`crate::queue`] is the contract.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use super::{
    MemoryBroker,
    clock::{Nanos, nanos},
};
use crate::{
    BrokerError, Event, Publication,
    queue::{Delivery, DeliveryId, QUEUE_FULL, QueueLimits, Queues, dead_letter, max_attempts, wake_channel},
};

/// Queues at most; a new one is refused when all are in use.
const MAX_QUEUES: usize = 100_000;
/// Bytes of a message beside its data, near enough.
const ENTRY_BYTES: u64 = 256;

/// All queues.
#[derive(Default)]
pub(super) struct QueueTable {
    queues: HashMap<String, Queue>,
    /// Messages that went to their queue of dead letters, and attempts that failed for want of room there.
    dead_letters: u64,
    dead_letters_waiting: u64,
}

/// One queue. Numbers grow, so what comes back stands before what is newer.
#[derive(Default)]
struct Queue {
    next: u64,
    ready: BTreeMap<u64, Entry>,
    taken: HashMap<u64, Taken>,
    /// Dead letters that found no room in their queue yet.
    dead: BTreeMap<u64, Entry>,
    bytes: u64,
    expires: Nanos,
}

struct Entry {
    publication: Arc<Publication>,
    attempts: u32,
}

/// A message that a node holds.
struct Taken {
    node: Arc<str>,
    entry: Entry,
}

fn size(publication: &Publication) -> u64 {
    publication.data.len() as u64 + ENTRY_BYTES
}

impl QueueTable {
    /// How many dead letters were moved, and how many attempts to move one failed.
    pub(super) fn dead_letters(&self) -> (u64, u64) {
        (self.dead_letters, self.dead_letters_waiting)
    }

    /// The queue, made if need be; its time begins anew.
    fn queue(&mut self, name: &str, limits: &QueueLimits, now: Nanos) -> Result<&mut Queue, BrokerError> {
        if !self.queues.contains_key(name) {
            if self.queues.len() >= MAX_QUEUES {
                self.queues.retain(|_, queue| queue.expires > now);
            }
            if self.queues.len() >= MAX_QUEUES {
                return Err(BrokerError::Limit("queues"));
            }
        }
        let queue = self.queues.entry(name.to_owned()).or_default();
        if queue.expires <= now {
            // Nobody used it for so long that it is another one.
            *queue = Queue { next: queue.next, ..Queue::default() };
        }
        queue.expires = now.saturating_add(nanos(limits.ttl));
        Ok(queue)
    }
}

impl Queue {
    fn push(&mut self, publication: Publication, limits: &QueueLimits) -> Result<(), BrokerError> {
        let bytes = size(&publication);
        let messages = self.ready.len() + self.taken.len() + self.dead.len();
        if messages >= limits.max_messages as usize || self.bytes + bytes > limits.max_bytes {
            return Err(BrokerError::Limit(QUEUE_FULL));
        }
        self.next += 1;
        self.bytes += bytes;
        self.ready.insert(self.next, Entry { publication: Arc::new(publication), attempts: 0 });
        Ok(())
    }

    fn take(&mut self, node: &str, count: u32) -> Vec<Delivery> {
        let node: Arc<str> = node.into();
        let mut deliveries = Vec::new();
        while deliveries.len() < count as usize
            && let Some((number, mut entry)) = self.ready.pop_first()
        {
            entry.attempts += 1;
            deliveries.push(Delivery {
                id: number.to_string().into(),
                attempt: entry.attempts,
                publication: entry.publication.clone(),
            });
            self.taken.insert(number, Taken { node: node.clone(), entry });
        }
        deliveries
    }

    fn forget(&mut self, id: &DeliveryId) {
        if let Some(taken) = id.parse().ok().and_then(|number: u64| self.taken.remove(&number)) {
            self.bytes -= size(&taken.entry.publication);
        }
    }

    /// A message that a node does not handle: it is for others, or a dead letter after `most` attempts.
    fn give_back(&mut self, number: u64, most: u32) {
        let Some(Taken { entry, .. }) = self.taken.remove(&number) else { return };
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
        self.queues.lock().queue(queue, limits, now)?.push(publication, limits)?;
        self.wake(queue)
    }

    /// Tells the workers that listen.
    fn wake(&self, queue: &str) -> Result<(), BrokerError> {
        self.pass_on(&wake_channel(queue), || Event::Publication(Arc::default()))
    }

    fn take_now(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let now = self.now();
        Ok(self.queues.lock().queue(queue, limits, now)?.take(node, count))
    }

    fn acknowledge_now(&self, queue: &str, ids: &[DeliveryId]) {
        if let Some(queue) = self.queues.lock().queues.get_mut(queue) {
            ids.iter().for_each(|id| queue.forget(id));
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
            let held = table.queue(queue, limits, now)?;
            if let Some(holds) = holds {
                let holds: HashSet<u64> = holds.iter().filter_map(|id| id.parse().ok()).collect();
                let is_lost =
                    |(number, taken): &(&u64, &Taken)| *taken.node == *node && !holds.contains(number);
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
        loop {
            let next = self.queues.lock().queues.get_mut(queue).and_then(|held| held.dead.pop_first());
            let Some((number, entry)) = next else { return Ok(()) };
            let id = number.to_string().into();
            let delivery = Delivery { id, attempt: entry.attempts, publication: entry.publication.clone() };
            let (name, letter) = dead_letter(queue, &delivery);
            let pushed = self.push_now(&name, letter, limits);
            let mut table = self.queues.lock();
            let table = &mut *table;
            let Some(held) = table.queues.get_mut(queue) else { return Ok(()) };
            match pushed {
                Ok(()) => {
                    held.bytes -= size(&entry.publication);
                    table.dead_letters += 1;
                }
                Err(error) => {
                    held.dead.insert(number, entry);
                    table.dead_letters_waiting += 1;
                    return Err(BrokerError::UnknownOutcome(format!("a dead letter has to wait: {error}")));
                }
            }
        }
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
    ) -> BoxFuture<'static, Result<Vec<Delivery>, BrokerError>> {
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
