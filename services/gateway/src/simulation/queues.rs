//! Work queues of the simulated server, as the broker's contract has them: messages wait, each is given to one name, comes back
//! when that name gives it back or is silent, and is a dead letter after its last attempt.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use gorani_broker::{
    BrokerError, ChannelEvent, Publication,
    queue::{DeliveryId, QUEUE_FULL, QUEUE_LEASE, QueueDelivery, QueueLimits, QueueWake},
};
use tokio::time::Instant;

use super::{
    delivery_log::number_of,
    jobs::{BackBy, Job},
    server::SimServer,
};

/// Messages of one queue.
#[derive(Default)]
pub(super) struct SimQueue {
    messages: BTreeMap<u64, SimMessage>,
    /// Those that came back, in the order in which they did. They go out before the others.
    back: VecDeque<u64>,
    /// The time until which a name is believed alive.
    leases: BTreeMap<String, Instant>,
}

struct SimMessage {
    publication: Arc<Publication>,
    attempts: u32,
    /// The name that holds it.
    owner: Option<String>,
}

impl SimQueue {
    /// A message of a name is for others, or is given to `heir` as a dead letter.
    fn give_back(&mut self, id: u64, owner: &str, heir: &str, most: u32) -> Option<GivenBack> {
        let message = self.messages.get_mut(&id).filter(|found| found.owner.as_deref() == Some(owner))?;
        if most > 0 && message.attempts >= most {
            message.owner = Some(heir.to_owned());
            let (attempt, publication) = (message.attempts, message.publication.clone());
            return Some(GivenBack::Dead(QueueDelivery { id: id.to_string().into(), attempt, publication }));
        }
        message.owner = None;
        self.back.push_back(id);
        Some(GivenBack::Others)
    }

    fn held_by(&self, name: &str) -> Vec<u64> {
        let held = self.messages.iter().filter(|(_, message)| message.owner.as_deref() == Some(name));
        held.map(|(id, _)| *id).collect()
    }
}

/// The fate of a message that was given back.
enum GivenBack {
    Others,
    Dead(QueueDelivery),
}

fn numbers(ids: &[DeliveryId]) -> Vec<u64> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

impl SimServer {
    pub(super) fn queue_push(
        &mut self,
        name: &str,
        publication: Publication,
        limits: &QueueLimits,
    ) -> Result<(), BrokerError> {
        let queue = self.queues.entry(name.into()).or_default();
        if queue.messages.len() >= limits.max_messages as usize {
            return Err(BrokerError::Limit(QUEUE_FULL));
        }
        self.next_message += 1;
        let id = self.next_message;
        let number = number_of(&publication.data).unwrap_or(0);
        let message = SimMessage { publication: Arc::new(publication), attempts: 0, owner: None };
        queue.messages.insert(id, message);
        self.log.check_committed(name, number);
        self.log.jobs.accepted(name, id, number);
        self.wake(name);
        Ok(())
    }

    fn wake(&mut self, name: &str) {
        self.push(&QueueWake { queue: name }.channel(), &ChannelEvent::Publication(Arc::default()));
    }

    pub(super) fn queue_take(&mut self, name: &str, node: &str, count: u32) -> Vec<QueueDelivery> {
        let queue = self.queues.entry(name.into()).or_default();
        queue.leases.insert(node.to_owned(), Instant::now() + QUEUE_LEASE);
        let SimQueue { messages, back, .. } = queue;
        let fresh = messages.iter().filter(|(_, message)| message.owner.is_none() && message.attempts == 0);
        let mut fresh = fresh.map(|(id, _)| *id).collect::<Vec<_>>().into_iter();
        let mut taken = Vec::new();
        while taken.len() < count as usize
            && let Some(id) = back.pop_front().or_else(|| fresh.next())
        {
            // A message that came back may have been acknowledged since.
            let Some(message) = messages.get_mut(&id) else { continue };
            message.attempts += 1;
            message.owner = Some(node.to_owned());
            let publication = message.publication.clone();
            taken.push((
                id,
                QueueDelivery { id: id.to_string().into(), attempt: message.attempts, publication },
            ));
        }
        for (id, delivery) in &taken {
            self.log.jobs.taken(name, *id, delivery.attempt);
        }
        taken.into_iter().map(|(_, delivery)| delivery).collect()
    }

    pub(super) fn queue_acknowledge(&mut self, name: &str, ids: &[DeliveryId]) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        for id in numbers(ids) {
            if queue.messages.remove(&id).is_some() {
                queue.back.retain(|back| *back != id);
                self.log.acknowledged(name, id);
            }
        }
    }

    /// Gives those that are dead letters now.
    pub(super) fn queue_give_back(
        &mut self,
        name: &str,
        node: &str,
        ids: &[DeliveryId],
        most: u32,
    ) -> Vec<QueueDelivery> {
        let dead = self.come_back(name, &numbers(ids), (node, node), most, BackBy::Consumer);
        self.wake(name);
        dead
    }

    pub(super) fn queue_keep(
        &mut self,
        name: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        most: u32,
    ) -> Vec<QueueDelivery> {
        let now = Instant::now();
        let queue = self.queues.entry(name.into()).or_default();
        queue.leases.insert(node.to_owned(), now + QUEUE_LEASE);
        let gone: Vec<String> =
            queue.leases.iter().filter(|(_, until)| **until <= now).map(|(gone, _)| gone.clone()).collect();
        let mut dead = Vec::new();
        let mut came_back = false;
        for gone in gone {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            queue.leases.remove(&gone);
            let held = queue.held_by(&gone);
            came_back |= !held.is_empty();
            dead.extend(self.come_back(name, &held, (&gone, node), most, BackBy::Lease));
        }
        if let Some(holds) = holds.map(numbers) {
            let mut lost = self.queues.get(name).map(|queue| queue.held_by(node)).unwrap_or_default();
            lost.retain(|id| !holds.contains(id));
            came_back |= !lost.is_empty();
            dead.extend(self.come_back(name, &lost, (node, node), most, BackBy::Consumer));
        }
        if came_back {
            self.wake(name);
        }
        dead
    }

    fn come_back(
        &mut self,
        name: &str,
        ids: &[u64],
        (owner, heir): (&str, &str),
        most: u32,
        by: BackBy,
    ) -> Vec<QueueDelivery> {
        let mut dead = Vec::new();
        for id in ids {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            match queue.give_back(*id, owner, heir, most) {
                Some(GivenBack::Dead(delivery)) => {
                    self.log.jobs.died(name, *id, by);
                    dead.push(delivery);
                }
                Some(GivenBack::Others) => self.log.jobs.came_back(name, *id, by),
                None => {}
            }
        }
        dead
    }

    /// True if a queue has this message still.
    pub(super) fn queue_has(&self, job: &Job) -> bool {
        self.queues.get(&*job.queue).is_some_and(|queue| queue.messages.contains_key(&job.id))
    }

    /// The messages of a queue: id, and the name that holds it.
    pub(super) fn queued(&self) -> impl Iterator<Item = (Job, Option<&str>)> {
        self.queues.iter().flat_map(|(name, queue)| {
            let job = |id: u64| Job { queue: name.clone(), id };
            queue.messages.iter().map(move |(id, message)| (job(*id), message.owner.as_deref()))
        })
    }
}
