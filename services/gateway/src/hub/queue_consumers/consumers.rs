//! The state of a worker's queues: the session that holds each message, and the name under which the message was taken.
//!
//! The broker knows a worker by a name, one for each queue. When it is not known what the broker did under a name (a lost
//! answer, an acknowledgement that failed), the name is retired: nothing more is taken under it, so that the broker can be
//! asked to keep all that is still held under it and give the rest back (`Queues::keep`).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use gorani_broker::queue::{DeliveryId, QueueDelivery, QueueLimits};
use indexmap::IndexMap;
use tokio::sync::{Notify, oneshot};

use crate::{hub::registry::SessionKey, session::Ticket};

/// Names of a queue at most: one to take under, and retired ones. Above it the retired ones come first.
const NAMES: usize = 4;

/// A session's request for messages of a queue.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The queue.
    pub queue: Arc<str>,
    /// Messages at most.
    pub count: u32,
    /// The id of the node.
    pub node: Arc<str>,
    /// The limits of the queue.
    pub limits: Arc<QueueLimits>,
}

/// The consumers of a worker. Its maps keep an order, so that a simulated run is the same each time.
#[derive(Default)]
pub(super) struct Consumers {
    queues: RefCell<IndexMap<Arc<str>, ConsumedQueue>>,
    /// Dropped, they end a taking that waits.
    pub(super) takings: RefCell<IndexMap<(SessionKey, Ticket), oneshot::Sender<()>>>,
    /// Counts the names that this worker had.
    generation: Cell<u32>,
    pub(super) is_keeping: Cell<bool>,
}

/// A queue with consumers, or with messages that they hold.
struct ConsumedQueue {
    limits: Arc<QueueLimits>,
    node: Arc<str>,
    woken: Rc<Notify>,
    /// The session that holds each message, and the worker's name under which the message was taken.
    held: IndexMap<DeliveryId, (SessionKey, Arc<str>)>,
    /// Sessions that take.
    takers: usize,
    /// The last one is taken under unless it is retired.
    names: Vec<ConsumerName>,
}

/// A name of the worker towards the broker.
struct ConsumerName {
    text: Arc<str>,
    /// Requests under way that take under it.
    taking: usize,
    is_retired: bool,
}

/// A name and the messages under it that the broker keeps for the worker.
pub(super) struct Renewal {
    pub(super) queue: Arc<str>,
    pub(super) name: Arc<str>,
    /// All that is held under it, where nothing more is taken under it.
    pub(super) holds: Option<Vec<DeliveryId>>,
    pub(super) limits: Arc<QueueLimits>,
}

/// Messages that are to be resolved, taken under one name.
pub(super) struct Acknowledgement {
    pub(super) limits: Arc<QueueLimits>,
    pub(super) name: Arc<str>,
    pub(super) ids: Vec<DeliveryId>,
}

impl ConsumedQueue {
    fn name(&mut self, text: &str) -> Option<&mut ConsumerName> {
        self.names.iter_mut().find(|name| *name.text == *text)
    }

    fn held_under(&self, text: &str) -> Vec<DeliveryId> {
        let held = self.held.iter().filter(|(_, (_, name))| **name == *text);
        held.map(|(id, _)| id.clone()).collect()
    }

    fn is_idle(&self) -> bool {
        self.takers == 0 && self.held.is_empty() && !self.names.iter().any(|name| name.is_retired)
    }
}

impl Consumers {
    /// Queues that are served, and takings that wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.queues.borrow().len() + self.takings.borrow().len()
    }

    /// A session begins to take.
    pub(super) fn enter(&self, request: &FetchRequest) -> Rc<Notify> {
        let mut queues = self.queues.borrow_mut();
        let served = queues.entry(request.queue.clone()).or_insert_with(|| ConsumedQueue {
            limits: request.limits.clone(),
            node: request.node.clone(),
            woken: Rc::default(),
            held: IndexMap::new(),
            takers: 0,
            names: Vec::new(),
        });
        served.takers += 1;
        served.woken.clone()
    }

    /// A session takes no more. True if none does.
    pub(super) fn leave(&self, queue: &str) -> bool {
        let mut queues = self.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return false };
        served.takers -= 1;
        let is_last = served.takers == 0;
        if served.is_idle() {
            queues.swap_remove(queue);
        }
        is_last
    }

    pub(super) fn wake(&self, queue: &str) {
        if let Some(served) = self.queues.borrow().get(queue) {
            served.woken.notify_waiters();
        }
    }

    /// The name for a request that takes, until [`Consumers::end_fetch`]. `None` while too many names are retired.
    pub(super) fn begin_fetch(&self, queue: &str, worker: usize) -> Option<Arc<str>> {
        let mut queues = self.queues.borrow_mut();
        let served = queues.get_mut(queue)?;
        if served.names.last().is_none_or(|name| name.is_retired) {
            if served.names.len() >= NAMES {
                return None;
            }
            let text = format!("{}-{worker}-{}", served.node, self.generation.get()).into();
            self.generation.set(self.generation.get().wrapping_add(1));
            served.names.push(ConsumerName { text, taking: 0, is_retired: false });
        }
        let name = served.names.last_mut()?;
        name.taking += 1;
        Some(name.text.clone())
    }

    /// A request that took under a name has its answer: these are the session's now.
    pub(super) fn end_fetch(&self, queue: &str, key: SessionKey, name: &Arc<str>, fetched: &[QueueDelivery]) {
        let mut queues = self.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return };
        let held = fetched.iter().map(|delivery| (delivery.id.clone(), (key, name.clone())));
        served.held.extend(held);
        if let Some(name) = served.name(name) {
            name.taking -= 1;
        }
    }

    /// Nobody knows what the broker holds under this name: nothing more is taken under it.
    pub(super) fn retire(&self, queue: &str, name: &str) {
        if let Some(name) = self.queues.borrow_mut().get_mut(queue).and_then(|served| served.name(name)) {
            name.is_retired = true;
        }
    }

    /// The broker has given back all that was not held under a retired name. One under which nothing is held is forgotten.
    pub(super) fn reconciled(&self, queue: &str, text: &str) {
        let mut queues = self.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return };
        if served.held_under(text).is_empty() {
            served.names.retain(|name| *name.text != *text);
        }
        if served.is_idle() {
            queues.swap_remove(queue);
        }
    }

    /// Takes messages out of who holds them.
    pub(super) fn forget(&self, queue: &str, ids: &[DeliveryId]) -> Vec<Acknowledgement> {
        let mut queues = self.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return Vec::new() };
        let mut by_name: IndexMap<Arc<str>, Vec<DeliveryId>> = IndexMap::new();
        for id in ids {
            if let Some((_, name)) = served.held.swap_remove(id) {
                by_name.entry(name).or_default().push(id.clone());
            }
        }
        let limits = served.limits.clone();
        by_name.into_iter().map(|(name, ids)| Acknowledgement { limits: limits.clone(), name, ids }).collect()
    }

    /// Forgets a queue that nobody needs any more.
    pub(super) fn tidy(&self, queue: &str) {
        let mut queues = self.queues.borrow_mut();
        if queues.get(queue).is_some_and(ConsumedQueue::is_idle) {
            queues.swap_remove(queue);
        }
    }

    /// The messages that a session holds, by queue.
    pub(super) fn held_by(&self, key: SessionKey) -> Vec<(Arc<str>, Vec<DeliveryId>)> {
        let queues = self.queues.borrow();
        let of = |served: &ConsumedQueue| -> Vec<DeliveryId> {
            let held = served.held.iter().filter(|(_, (holder, _))| *holder == key);
            held.map(|(id, _)| id.clone()).collect()
        };
        let all = queues.iter().map(|(queue, served)| (queue.clone(), of(served)));
        all.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// All names that the broker is to keep, of one queue if named.
    pub(super) fn kept(&self, only: Option<&str>) -> Vec<Renewal> {
        let queues = self.queues.borrow();
        let wanted = queues.iter().filter(|(queue, _)| only.is_none_or(|only| *only == ***queue));
        let of = |(queue, served): (&Arc<str>, &ConsumedQueue)| -> Vec<Renewal> {
            let kept = served.names.iter().map(|name| Renewal {
                queue: queue.clone(),
                name: name.text.clone(),
                holds: (name.is_retired && name.taking == 0).then(|| served.held_under(&name.text)),
                limits: served.limits.clone(),
            });
            kept.collect()
        };
        wanted.flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
