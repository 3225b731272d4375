//! Consumers of work queues on one worker: they take messages while their sessions have room, wait to be woken where there
//! are none, and give back what a session leaves unacknowledged. `specs/stomp.md`, items 41 and 55.
//!
//! Between a session's errands and the broker's queues. What was taken is held here, by session, until it is acknowledged: no
//! way in which a connection can end loses it. Towards the broker a worker has a name of its own; when an answer is lost the
//! worker takes a new name, and what the old one may hold comes back as from a dead node.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use gorani_broker::{
    BrokerError,
    queue::{Delivery, DeliveryId, QUEUE_KEEP_EVERY, QueueLimits, Queues, wake_channel},
};
use tokio::sync::{
    Notify,
    oneshot::{self, error::TryRecvError},
};

use crate::{
    disconnect::ErrorCode,
    hub::{roster::SessionKey, worker::Worker},
    session::Ticket,
};

/// Pause before a broker that cannot be reached is asked again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a session wants of a queue.
#[derive(Debug, Clone)]
pub struct TakeRequest {
    /// The queue.
    pub queue: Arc<str>,
    /// Messages at most.
    pub count: u32,
    /// The id of the node.
    pub node: Arc<str>,
    /// What the queue may hold.
    pub limits: Arc<QueueLimits>,
}

/// The consumers of a worker.
#[derive(Default)]
pub struct Consumers {
    queues: RefCell<HashMap<Arc<str>, Served>>,
    /// Dropped, they end a taking that waits.
    takings: RefCell<HashMap<(SessionKey, Ticket), oneshot::Sender<()>>>,
    /// Counts the names that this worker had.
    generation: Cell<u32>,
    is_keeping: Cell<bool>,
}

/// A queue with consumers, or with messages that they hold.
struct Served {
    limits: Arc<QueueLimits>,
    node: Arc<str>,
    woken: Rc<Notify>,
    /// Who holds which message, and under which name of the worker it was taken.
    held: HashMap<DeliveryId, (SessionKey, Arc<str>)>,
    /// Takings under way.
    takers: usize,
}

impl Consumers {
    fn name(&self, node: &str, worker: usize) -> Arc<str> {
        format!("{node}-{worker}-{}", self.generation.get()).into()
    }

    fn enter(&self, request: &TakeRequest) -> Rc<Notify> {
        let mut queues = self.queues.borrow_mut();
        let served = queues.entry(request.queue.clone()).or_insert_with(|| Served {
            limits: request.limits.clone(),
            node: request.node.clone(),
            woken: Rc::default(),
            held: HashMap::new(),
            takers: 0,
        });
        served.takers += 1;
        served.woken.clone()
    }

    fn hold(&self, queue: &str, key: SessionKey, name: &Arc<str>, taken: &[Delivery]) {
        if let Some(served) = self.queues.borrow_mut().get_mut(queue) {
            let held = taken.iter().map(|delivery| (delivery.id.clone(), (key, name.clone())));
            served.held.extend(held);
        }
    }
}

impl Worker {
    /// Wakes the consumers of a queue.
    pub(super) fn wake_queue(&self, queue: &str) {
        if let Some(served) = self.consumers.queues.borrow().get(queue) {
            served.woken.notify_waiters();
        }
    }

    /// Takes messages for a session: at least one, however long that takes; none if it was ended by
    /// [`Worker::stop_taking`].
    pub async fn take(
        self: Rc<Self>,
        key: SessionKey,
        ticket: Ticket,
        request: TakeRequest,
    ) -> Result<Vec<Delivery>, ErrorCode> {
        if self.broker.queues().is_none() {
            return Err(ErrorCode::NOT_AVAILABLE);
        }
        self.keep_consuming();
        let (told, outcome) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        self.consumers.takings.borrow_mut().insert((key, ticket), stop);
        let woken = self.consumers.enter(&request);
        let worker = Rc::clone(&self);
        // A task of its own: an answer of the broker is never lost with the connection that it was for.
        actix_rt::spawn(async move {
            let taken = worker.wait_and_take(key, &request, &woken, stopped).await;
            worker.consumers.takings.borrow_mut().remove(&(key, ticket));
            worker.leave_queue(&request.queue);
            let _ = told.send(taken);
        });
        outcome.await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    async fn wait_and_take(
        self: &Rc<Self>,
        key: SessionKey,
        request: &TakeRequest,
        woken: &Notify,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<Vec<Delivery>, ErrorCode> {
        let Some(queues) = self.broker.queues() else { return Err(ErrorCode::NOT_AVAILABLE) };
        let channel: Arc<str> = wake_channel(&request.queue).into();
        loop {
            let outbox = self.hub().roster().get(key).map(|session| session.outbox.clone());
            let Some(outbox) = outbox else { return Ok(Vec::new()) };
            tokio::select! {
                () = outbox.room() => {}
                _ = &mut stopped => return Ok(Vec::new()),
            }
            // Listening first: what comes from now on is either taken or heard of.
            let heard = woken.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let name = self.consumers.name(&request.node, self.index);
            match self.listen_and_take(queues, &channel, &name, request).await {
                Ok(taken) if !taken.is_empty() => {
                    self.consumers.hold(&request.queue, key, &name, &taken);
                    let again = taken.iter().filter(|delivery| delivery.attempt > 1).count();
                    self.metrics.queue_deliveries.inc_by(taken.len() as u64);
                    self.metrics.queue_redeliveries.inc_by(again as u64);
                    if !matches!(stopped.try_recv(), Err(TryRecvError::Closed)) {
                        return Ok(taken);
                    }
                    // Nobody waits for it any more.
                    let ids = taken.into_iter().map(|delivery| delivery.id).collect();
                    let _ = self.clone().settle(request.queue.clone(), ids, false).await;
                    return Ok(Vec::new());
                }
                Ok(_) => tokio::select! {
                    () = heard => {}
                    _ = &mut stopped => return Ok(Vec::new()),
                },
                Err(error @ (BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_))) => {
                    if error.is_unknown_outcome() {
                        self.consumers.generation.set(self.consumers.generation.get().wrapping_add(1));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(TRY_AGAIN_AFTER) => {}
                        _ = &mut stopped => return Ok(Vec::new()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn listen_and_take(
        &self,
        queues: &dyn Queues,
        channel: &Arc<str>,
        name: &str,
        request: &TakeRequest,
    ) -> Result<Vec<Delivery>, BrokerError> {
        if let Some(joined) = self.interest.join(self.index, channel) {
            joined.await?;
        }
        queues.take(&request.queue, name, request.count, &request.limits).await
    }

    /// A taking has ended; without consumers the worker does not listen.
    fn leave_queue(&self, queue: &Arc<str>) {
        let mut queues = self.consumers.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return };
        served.takers -= 1;
        if served.takers == 0 {
            self.interest.leave(self.index, &wake_channel(queue));
            if served.held.is_empty() {
                queues.remove(queue);
            }
        }
    }

    /// Ends a taking that waits.
    pub fn stop_taking(&self, key: SessionKey, ticket: Ticket) {
        self.consumers.takings.borrow_mut().remove(&(key, ticket));
    }

    /// These messages were handled, or are for others.
    pub async fn settle(
        self: Rc<Self>,
        queue: Arc<str>,
        ids: Vec<DeliveryId>,
        is_handled: bool,
    ) -> Result<(), ErrorCode> {
        let Some(queues) = self.broker.queues() else { return Err(ErrorCode::NOT_AVAILABLE) };
        if is_handled {
            self.consumers.forget(&queue, &ids);
            return Ok(queues.acknowledge(&queue, &ids).await?);
        }
        for (limits, name, ids) in self.consumers.forget(&queue, &ids) {
            queues.give_back(&queue, &name, &ids, &limits).await?;
        }
        Ok(())
    }

    /// Gives back what a session holds, and ends what it waits for.
    pub(super) fn leave_queues(self: &Rc<Self>, key: SessionKey) {
        self.consumers.takings.borrow_mut().retain(|(holder, _), _| *holder != key);
        for (queue, ids) in self.consumers.held_by(key) {
            let given_back = self.clone().settle(queue.clone(), ids, false);
            actix_rt::spawn(async move {
                if let Err(error) = given_back.await {
                    tracing::warn!(%queue, %error, "messages of a queue could not be given back");
                }
            });
        }
    }

    /// Starts to say, again and again, that this worker is alive.
    fn keep_consuming(self: &Rc<Self>) {
        if self.consumers.is_keeping.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(QUEUE_KEEP_EVERY).await;
                let Some(queues) = worker.broker.queues() else { return };
                for (queue, node, limits) in worker.consumers.served() {
                    let name = worker.consumers.name(&node, worker.index);
                    if let Err(error) = queues.keep(&queue, &name, &limits).await {
                        tracing::debug!(%queue, %error, "a queue could not be kept");
                    }
                }
            }
        });
    }
}

impl Consumers {
    /// Takes messages out: by the name under which they were taken.
    fn forget(&self, queue: &str, ids: &[DeliveryId]) -> Vec<(Arc<QueueLimits>, Arc<str>, Vec<DeliveryId>)> {
        let mut queues = self.queues.borrow_mut();
        let Some(served) = queues.get_mut(queue) else { return Vec::new() };
        let mut by_name: HashMap<Arc<str>, Vec<DeliveryId>> = HashMap::new();
        for id in ids {
            if let Some((_, name)) = served.held.remove(id) {
                by_name.entry(name).or_default().push(id.clone());
            }
        }
        let limits = served.limits.clone();
        if served.held.is_empty() && served.takers == 0 {
            queues.remove(queue);
        }
        by_name.into_iter().map(|(name, ids)| (limits.clone(), name, ids)).collect()
    }

    /// What a session holds, by queue.
    fn held_by(&self, key: SessionKey) -> Vec<(Arc<str>, Vec<DeliveryId>)> {
        let queues = self.queues.borrow();
        let of = |served: &Served| -> Vec<DeliveryId> {
            let held = served.held.iter().filter(|(_, (holder, _))| *holder == key);
            held.map(|(id, _)| id.clone()).collect()
        };
        let all = queues.iter().map(|(queue, served)| (queue.clone(), of(served)));
        all.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    fn served(&self) -> Vec<(Arc<str>, Arc<str>, Arc<QueueLimits>)> {
        let queues = self.queues.borrow();
        let all =
            queues.iter().map(|(queue, served)| (queue.clone(), served.node.clone(), served.limits.clone()));
        all.collect()
    }
}
