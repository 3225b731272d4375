//! [`Queues`] of the memory broker.

use std::{collections::HashSet, sync::Arc};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use super::{MemoryBroker, queue::DeliveredMessage};
use crate::{
    BrokerError, ChannelEvent, Publication,
    queue::{DEAD_SUFFIX, DeliveryId, QueueDelivery, QueueLimits, QueueWake, Queues, max_attempts},
};

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
        self.pass_on(&QueueWake { queue }.channel(), || ChannelEvent::Publication(Arc::default()))
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
        let buried = self.push_dead_letter(queue, limits);
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
        let buried = self.push_dead_letter(queue, limits);
        if came_back {
            self.wake(queue)?;
        }
        buried
    }

    /// Moves dead letters to their queue, as far as it has room.
    fn push_dead_letter(&self, queue: &str, limits: &QueueLimits) -> Result<(), BrokerError> {
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
