//! Consumers of work queues on one worker: they take messages while their sessions have room, wait to be woken where there
//! are none, and give back what a session leaves unacknowledged. `docs/protocols/stomp.md` §7.
//!
//! Between a session's actions and the broker's queues. What was taken is held here, by session, until it is acknowledged: no
//! way in which a connection can end loses it. What the broker has for this worker and the worker does not hold is given back:
//! see [`consumers`].

mod consumers;

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use gorani_broker::{
    Broker, BrokerError,
    queue::{DeliveryId, QUEUE_KEEP_EVERY, QueueDelivery, QueueWake, Queues},
};
use tokio::sync::{
    Notify,
    oneshot::{self, error::TryRecvError},
};

pub use self::consumers::FetchRequest;
use self::consumers::{Acknowledgement, Consumers, Renewal};
use crate::{
    disconnect::ErrorCode,
    hub::{Hub, interest::Interest, registry::SessionKey},
    metrics::Metrics,
    session::Ticket,
    tasks::Tasks,
};

/// Pause before a broker that cannot be reached is asked again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The consumers of a worker.
pub struct QueueConsumers {
    /// Number of the worker.
    index: usize,
    hub: Rc<RefCell<Hub>>,
    broker: Arc<dyn Broker>,
    interest: Arc<Interest>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    consumers: Consumers,
}

impl QueueConsumers {
    /// No consumer yet.
    pub(super) fn new(
        index: usize,
        hub: Rc<RefCell<Hub>>,
        broker: Arc<dyn Broker>,
        interest: Arc<Interest>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Rc<Self> {
        Rc::new(Self { index, hub, broker, interest, metrics, tasks, consumers: Consumers::default() })
    }

    /// Queues that are served, and takings that wait.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.consumers.count()
    }

    /// Wakes the consumers of a queue.
    pub(super) fn wake(&self, queue: &str) {
        self.consumers.wake(queue);
    }

    /// Takes messages for a session: at least one, however long that takes; none if it was ended by
    /// [`QueueConsumers::stop_fetching`].
    pub async fn fetch(
        self: Rc<Self>,
        key: SessionKey,
        ticket: Ticket,
        request: FetchRequest,
    ) -> Result<Vec<QueueDelivery>, ErrorCode> {
        if self.broker.queues().is_none() {
            return Err(ErrorCode::NOT_AVAILABLE);
        }
        self.keep_alive();
        let (sender, outcome) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        self.consumers.takings.borrow_mut().insert((key, ticket), stop);
        let woken = self.consumers.enter(&request);
        let this = Rc::clone(&self);
        // A task of its own: an answer of the broker is never lost with the connection that it was for.
        self.tasks.spawn(async move {
            let fetched = this.wait_and_fetch(key, &request, &woken, stopped).await;
            this.consumers.takings.borrow_mut().swap_remove(&(key, ticket));
            this.leave(&request.queue);
            let _ = sender.send(fetched);
        });
        outcome.await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    async fn wait_and_fetch(
        self: &Rc<Self>,
        key: SessionKey,
        request: &FetchRequest,
        woken: &Notify,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<Vec<QueueDelivery>, ErrorCode> {
        let Some(queues) = self.broker.queues() else { return Err(ErrorCode::NOT_AVAILABLE) };
        let channel = QueueWake { queue: &request.queue }.channel();
        loop {
            let outbox = self.hub.borrow().registry().get(key).map(|session| session.outbox.clone());
            let Some(outbox) = outbox else { return Ok(Vec::new()) };
            // In this order: a session that has left the queue takes nothing more, and the simulation can repeat it.
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(Vec::new()),
                () = outbox.room() => {}
            }
            // Listening first: what comes from now on is either taken or announced by a wake.
            let next_wake = woken.notified();
            tokio::pin!(next_wake);
            next_wake.as_mut().enable();
            let fetched = self.listen_and_fetch(queues, &channel, key, request).await;
            match fetched {
                Ok(fetched) if !fetched.is_empty() => {
                    let again = fetched.iter().filter(|delivery| delivery.attempt > 1).count();
                    self.metrics.queue_deliveries.inc_by(fetched.len() as u64);
                    self.metrics.queue_redeliveries.inc_by(again as u64);
                    if !matches!(stopped.try_recv(), Err(TryRecvError::Closed)) {
                        return Ok(fetched);
                    }
                    // Nobody waits for it any more.
                    let ids = fetched.into_iter().map(|delivery| delivery.id).collect();
                    let _ = self.clone().acknowledge(request.queue.clone(), ids, false).await;
                    return Ok(Vec::new());
                }
                Ok(_) => tokio::select! {
                    biased;
                    _ = &mut stopped => return Ok(Vec::new()),
                    () = next_wake => {}
                },
                Err(BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)) => tokio::select! {
                    biased;
                    _ = &mut stopped => return Ok(Vec::new()),
                    () = tokio::time::sleep(TRY_AGAIN_AFTER) => {}
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn listen_and_fetch(
        &self,
        queues: &dyn Queues,
        channel: &Arc<str>,
        key: SessionKey,
        request: &FetchRequest,
    ) -> Result<Vec<QueueDelivery>, BrokerError> {
        if let Some(joined) = self.interest.join(self.index, channel) {
            joined.await?;
        }
        let queue = &request.queue;
        let name = match self.consumers.begin_fetch(queue, self.index) {
            Some(name) => name,
            None => {
                self.keep_names(queues, Some(queue)).await;
                let busy = || BrokerError::Unavailable("names of this worker are not settled yet".to_owned());
                self.consumers.begin_fetch(queue, self.index).ok_or_else(busy)?
            }
        };
        let fetched = queues.take(queue, &name, request.count, &request.limits).await;
        self.consumers.end_fetch(queue, key, &name, fetched.as_deref().unwrap_or_default());
        if fetched.as_ref().is_err_and(BrokerError::is_unknown_outcome) {
            self.consumers.retire(queue, &name);
        }
        fetched
    }

    /// A taking has ended; without consumers the worker does not listen.
    fn leave(&self, queue: &Arc<str>) {
        if self.consumers.leave(queue) {
            self.interest.leave(self.index, &QueueWake { queue }.channel());
        }
    }

    /// Ends a taking that waits.
    pub fn stop_fetching(&self, key: SessionKey, ticket: Ticket) {
        self.consumers.takings.borrow_mut().swap_remove(&(key, ticket));
    }

    /// These messages were handled, or are for others.
    pub async fn acknowledge(
        self: Rc<Self>,
        queue: Arc<str>,
        ids: Vec<DeliveryId>,
        is_handled: bool,
    ) -> Result<(), ErrorCode> {
        let mut settling = Box::pin(self.clone().acknowledge_held(queue, ids, is_handled));
        let looked = poll_fn(|task| Poll::Ready(settling.as_mut().poll(task))).await;
        if let Poll::Ready(settled) = looked {
            return settled;
        }
        // A task of its own: what becomes of a message must be known also when the connection ends before the answer.
        let (sender, outcome) = oneshot::channel();
        self.tasks.spawn(async move {
            let _ = sender.send(settling.await);
        });
        outcome.await.unwrap_or(Err(ErrorCode::INTERNAL))
    }

    async fn acknowledge_held(
        self: Rc<Self>,
        queue: Arc<str>,
        ids: Vec<DeliveryId>,
        is_handled: bool,
    ) -> Result<(), ErrorCode> {
        let Some(queues) = self.broker.queues() else { return Err(ErrorCode::NOT_AVAILABLE) };
        let settled = self.consumers.forget(&queue, &ids);
        let outcome = if is_handled {
            let acknowledged = queues.acknowledge(&queue, &ids).await;
            if acknowledged.is_err() {
                settled.iter().for_each(|settled| self.consumers.retire(&queue, &settled.name));
            }
            acknowledged
        } else {
            let mut outcome = Ok(());
            for Acknowledgement { limits, name, ids } in settled {
                let given_back = queues.give_back(&queue, &name, &ids, &limits).await;
                if given_back.is_err() {
                    self.consumers.retire(&queue, &name);
                    outcome = given_back;
                }
            }
            outcome
        };
        self.consumers.tidy(&queue);
        Ok(outcome?)
    }

    /// Gives back what a session holds, and ends what it waits for.
    pub(super) fn leave_all(self: &Rc<Self>, key: SessionKey) {
        self.consumers.takings.borrow_mut().retain(|(holder, _), _| *holder != key);
        for (queue, ids) in self.consumers.held_by(key) {
            let given_back = self.clone().acknowledge(queue.clone(), ids, false);
            self.tasks.spawn(async move {
                if let Err(error) = given_back.await {
                    tracing::warn!(%queue, %error, "returning messages to a queue failed");
                }
            });
        }
    }

    /// Starts to say, again and again, that this worker is alive.
    fn keep_alive(self: &Rc<Self>) {
        if self.consumers.is_keeping.replace(true) {
            return;
        }
        let this = Rc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(QUEUE_KEEP_EVERY).await;
                let Some(queues) = this.broker.queues() else { return };
                this.keep_names(queues, None).await;
            }
        });
    }

    /// Tells the broker that the names of this worker are alive, and what is held under those that are retired.
    async fn keep_names(&self, queues: &dyn Queues, only: Option<&str>) {
        for Renewal { queue, name, holds, limits } in self.consumers.kept(only) {
            match queues.keep(&queue, &name, holds.as_deref(), &limits).await {
                Ok(()) if holds.is_some() => self.consumers.reconciled(&queue, &name),
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%queue, %error, "renewing the lease on a queue's messages failed");
                    if error.is_unknown_outcome() {
                        self.consumers.retire(&queue, &name);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
