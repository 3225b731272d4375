//! Work queues in memory. `Queues` in [`crate::queue`] is the contract.

use std::{
    collections::{BTreeMap, HashMap},
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
}

/// One queue. Numbers grow, so what comes back stands before what is newer.
#[derive(Default)]
struct Queue {
    next: u64,
    ready: BTreeMap<u64, Entry>,
    taken: HashMap<u64, Entry>,
    bytes: u64,
    expires: Nanos,
}

struct Entry {
    publication: Arc<Publication>,
    attempts: u32,
}

fn size(publication: &Publication) -> u64 {
    publication.data.len() as u64 + ENTRY_BYTES
}

impl QueueTable {
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
        let messages = self.ready.len() + self.taken.len();
        if messages >= limits.max_messages as usize || self.bytes + bytes > limits.max_bytes {
            return Err(BrokerError::Limit(QUEUE_FULL));
        }
        self.next += 1;
        self.bytes += bytes;
        self.ready.insert(self.next, Entry { publication: Arc::new(publication), attempts: 0 });
        Ok(())
    }

    fn take(&mut self, count: u32) -> Vec<Delivery> {
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
            self.taken.insert(number, entry);
        }
        deliveries
    }

    fn forget(&mut self, id: &DeliveryId) -> Option<Entry> {
        let number = id.parse().ok()?;
        let entry = self.taken.remove(&number)?;
        self.bytes -= size(&entry.publication);
        Some(entry)
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

    fn take_now(&self, queue: &str, count: u32, limits: &QueueLimits) -> Result<Vec<Delivery>, BrokerError> {
        let now = self.now();
        Ok(self.queues.lock().queue(queue, limits, now)?.take(count))
    }

    fn acknowledge_now(&self, queue: &str, ids: &[DeliveryId]) {
        if let Some(queue) = self.queues.lock().queues.get_mut(queue) {
            for id in ids {
                queue.forget(id);
            }
        }
    }

    fn give_back_now(
        &self,
        queue: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let most = max_attempts(queue, limits);
        let mut dead = Vec::new();
        {
            let mut table = self.queues.lock();
            let Some(held) = table.queues.get_mut(queue) else { return Ok(()) };
            for id in ids {
                let Ok(number) = id.parse() else { continue };
                let Some(entry) = held.taken.remove(&number) else { continue };
                if most > 0 && entry.attempts >= most {
                    held.bytes -= size(&entry.publication);
                    dead.push(Delivery {
                        id: id.clone(),
                        attempt: entry.attempts,
                        publication: entry.publication,
                    });
                } else {
                    held.ready.insert(number, entry);
                }
            }
        }
        for delivery in dead {
            let (name, letter) = dead_letter(queue, &delivery);
            if let Err(error) = self.push_now(&name, letter, limits) {
                tracing::warn!(queue, %error, "a dead letter is lost");
            }
        }
        self.wake(queue)
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
        _node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<Vec<Delivery>, BrokerError>> {
        ready(self.take_now(queue, count, limits)).boxed()
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
        _node: &str,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let now = self.now();
        ready(self.queues.lock().queue(queue, limits, now).map(drop)).boxed()
    }
}
