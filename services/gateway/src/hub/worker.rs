//! One worker thread: the loop that empties its inbox into the hub, and all that its sessions ask of it.
//!
//! Between [`crate::node`], which hands over what the broker delivered, and the worker's [`Hub`]. All that has come by
//! the time the loop runs is delivered together: no timer, no sleep. `docs/architecture.md` §3.4, §5.4.

mod delivery_sample;
mod outbox_look;

use std::{
    cell::{Ref, RefCell, RefMut},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gorani_broker::{Broker, Publication, queue::QueueWake};
use indexmap::IndexMap;
use tokio::{sync::mpsc, time::Instant};

use self::{delivery_sample::DeliverySamples, outbox_look::OutboxLook};
use super::{
    Hub,
    catch_up::CatchUp,
    history_reads::{HistoryReads, ReadVersion},
    inbox::{ChannelTurn, Inbox, InboxEntry, InboxLoad, size_of_event},
    interest::Interest,
    queue_consumers::QueueConsumers,
    registry::{Generation, SessionKey, SessionRegistration},
    removals::{Removals, UserLimit},
    subscribe::{ClientReads, Subscriptions},
    timers::{MemoryMonitor, PresenceRefresh, Timers, drain_sessions},
};
use crate::{
    event_log::event::{GapChange, SubscriptionChange},
    format::views::AROUND_BYTES,
    memory::{MemoryBudget, ReplyPermit},
    metrics::{Metrics, TrafficCounters},
    proxy::ProxyClients,
    session::Signal,
    session_command::SessionCommand,
    tasks::Tasks,
};

/// Entries taken out of the inbox in one turn, so that the worker's connections get theirs.
const TURN_ENTRIES: usize = 512;

/// Deliveries at a stretch, before the worker's connections get their turn. It is looked at between two channels: the
/// subscribers of one channel are served together.
const TURN: Duration = Duration::from_millis(2);

/// A worker thread's own things.
pub struct Worker {
    /// Number of the worker, below [`crate::settings::http::MAX_WORKERS`].
    pub index: usize,
    pub(super) hub: Rc<RefCell<Hub>>,
    timers: Timers,
    /// Counters of the traffic of its connections.
    pub traffic: Rc<TrafficCounters>,
    pub(super) history: Arc<HistoryReads>,
    /// Reads for its sessions.
    pub reads: Rc<ClientReads>,
    /// Subscribes its sessions.
    pub subscriptions: Rc<Subscriptions>,
    /// Consumers of work queues.
    pub consumers: Rc<QueueConsumers>,
    /// Slots of its sessions among their users' connections.
    pub user_limit: Rc<UserLimit>,
    /// Calls to the backend.
    pub proxies: Rc<ProxyClients>,
    catch_up: Rc<CatchUp>,
    samples: DeliverySamples,
    pub(super) metrics: Arc<Metrics>,
    pub(super) load: Arc<InboxLoad>,
    /// All that it does by itself.
    pub(crate) tasks: Tasks,
}

impl Worker {
    /// Starts a worker on this thread; to be called within its runtime.
    pub fn start(
        index: usize,
        deflate_threshold_bytes: usize,
        broker: Arc<dyn Broker>,
        interest: Arc<Interest>,
        history: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
        memory: Arc<MemoryBudget>,
    ) -> (Rc<Self>, Inbox) {
        let (inbox, receiver) = Inbox::new();
        let tasks = Tasks::default();
        let own_inbox = inbox.of_worker();
        let load = own_inbox.load.clone();
        let traffic = Rc::new(TrafficCounters::new(&metrics.traffic()));
        let hub = Rc::new(RefCell::new(Hub {
            traffic: traffic.clone(),
            memory: memory.clone(),
            ..Hub::counting(deflate_threshold_bytes, metrics.sessions.clone())
        }));
        let reads = ClientReads::new(hub.clone(), history.clone(), memory.clone());
        let removals = Removals::new(hub.clone(), broker.clone(), tasks.clone());
        let user_limit =
            Rc::new(UserLimit { hub: hub.clone(), broker: broker.clone(), removals: removals.clone() });
        let presence = PresenceRefresh {
            hub: hub.clone(),
            broker: broker.clone(),
            load: load.clone(),
            removals: removals.clone(),
            user_limit: user_limit.clone(),
        };
        let worker = Rc::new(Self {
            index,
            timers: Timers::new(),
            traffic,
            subscriptions: Rc::new(Subscriptions {
                index,
                hub: hub.clone(),
                broker: broker.clone(),
                interest: interest.clone(),
                history: history.clone(),
                reads: reads.clone(),
                removals,
                inbox: own_inbox,
            }),
            consumers: QueueConsumers::new(
                index,
                hub.clone(),
                broker.clone(),
                interest.clone(),
                metrics.clone(),
                tasks.clone(),
            ),
            catch_up: Rc::new(CatchUp {
                hub: hub.clone(),
                broker: broker.clone(),
                reads: history.clone(),
                metrics: metrics.clone(),
                tasks: tasks.clone(),
            }),
            samples: DeliverySamples::new(metrics.clone(), tasks.clone()),
            hub,
            history,
            reads,
            user_limit,
            proxies: Rc::default(),
            metrics: metrics.clone(),
            load,
            tasks,
        });
        worker.tasks.spawn(worker.clone().deliver(receiver));
        worker.tasks.spawn(worker.clone().watch_deadlines());
        worker.tasks.spawn(presence.run());
        worker.tasks.spawn(worker.traffic.clone().flush_periodically(metrics.traffic()));
        worker.tasks.spawn(OutboxLook { worker: index, hub: worker.hub.clone(), metrics }.run());
        worker.tasks.spawn(MemoryMonitor { index, broker, memory }.run());
        (worker, inbox)
    }

    /// The hub, to read.
    pub fn hub(&self) -> Ref<'_, Hub> {
        self.hub.borrow()
    }

    /// The hub, to change. Never held over an await or while an actor's code runs.
    pub fn hub_mut(&self) -> RefMut<'_, Hub> {
        self.hub.borrow_mut()
    }

    /// Enters a session.
    pub fn register(&self, registration: SessionRegistration) -> SessionKey {
        self.hub_mut().registry_mut().register(registration)
    }

    /// Ends all subscriptions of a session, and gives its slot among its user's connections back.
    pub fn leave_all(&self, key: SessionKey) {
        self.user_limit.release(key);
        let removed = self.hub_mut().leave_all(key);
        for removed in removed {
            let ended = SubscriptionChange::ended_with_session(removed.seen.clone());
            self.hub_mut().note_subscription(key, &removed.channel, ended);
            self.subscriptions.publish_leave(key, removed);
        }
        self.consumers.leave_all(key);
    }

    /// Takes a session out: its subscriptions, its presence, its deadline.
    pub fn deregister(&self, key: SessionKey, timer: Option<u64>) {
        self.timers.set(key, timer, None);
        self.leave_all(key);
        self.hub_mut().registry_mut().remove(key);
    }

    /// Moves a session's deadline; returns what to give as `timer` next time.
    pub fn set_deadline(
        &self,
        key: SessionKey,
        timer: Option<u64>,
        deadline: Option<Instant>,
    ) -> Option<u64> {
        self.timers.set(key, timer, deadline)
    }

    async fn watch_deadlines(self: Rc<Self>) {
        loop {
            let expired = self.timers.expired().await;
            let hub = self.hub();
            for session in expired.into_iter().filter_map(|key| hub.registry().get(key)) {
                session.signal(Signal::Timer);
            }
        }
    }

    async fn deliver(self: Rc<Self>, mut inbox: mpsc::Receiver<InboxEntry>) {
        let load = &self.load;
        let mut entries = Vec::with_capacity(TURN_ENTRIES);
        // Events of one turn by channel: consecutive publications of a channel are encoded and queued together.
        let mut turn: IndexMap<Arc<str>, ChannelTurn> = IndexMap::new();
        loop {
            tokio::select! {
                biased;
                () = load.overflowed.notified() => self.tell_gapped(),
                received = inbox.recv_many(&mut entries, TURN_ENTRIES) => if received == 0 { return },
            }
            for entry in entries.drain(..) {
                match entry {
                    InboxEntry::Event(channel, event, measures) => {
                        load.bytes.fetch_sub(size_of_event(&event), Ordering::Relaxed);
                        turn.entry(channel).or_default().add(event, measures);
                    }
                    InboxEntry::Gap(channel, moment) => {
                        self.deliver_turn(&mut turn).await;
                        self.hub_mut().events.note_gap(&channel, GapChange::Missed);
                        self.on_gap(&channel, moment);
                    }
                    InboxEntry::Mark(channel, mark) => {
                        self.deliver_turn(&mut turn).await;
                        self.hub_mut().pass_mark(&channel, mark);
                    }
                    InboxEntry::Command(command) => {
                        self.deliver_turn(&mut turn).await;
                        self.apply_command(&command).await;
                        // Its sessions take it out of their mailboxes before the next one comes.
                        tokio::task::yield_now().await;
                    }
                    InboxEntry::Drain(over) => {
                        self.deliver_turn(&mut turn).await;
                        drain_sessions(&self.hub, over, &self.tasks);
                        tokio::task::yield_now().await;
                    }
                    // An asker that has gone does not want it any more.
                    InboxEntry::Ping(answer) => drop(answer.send(())),
                    InboxEntry::Question(question) => {
                        self.deliver_turn(&mut turn).await;
                        self.tasks.spawn(question.answer(self.hub.clone(), self.traffic.clone()));
                    }
                }
            }
            self.deliver_turn(&mut turn).await;
            // The connections whose outboxes were filled write now, all of the turn at once.
            tokio::task::yield_now().await;
        }
    }

    /// Hands a command to all its sessions: a user may have tens of thousands.
    async fn apply_command(&self, command: &Arc<SessionCommand>) {
        let keys = {
            let mut hub = self.hub_mut();
            hub.registry_mut().pending_connects.note(command);
            hub.registry().keys_of(command.target())
        };
        let mut began = Instant::now();
        for key in keys {
            if began.elapsed() >= TURN {
                self.traffic.held(began.elapsed());
                tokio::task::yield_now().await;
                began = Instant::now();
            }
            if let Some(session) = self.hub().registry().get(key)
                && !command.spares(&session.client)
            {
                session.signal(Signal::Command(command.clone()));
            }
        }
    }

    /// Events that did not fit into the inbox are read from history, or their loss is reported to the subscribers.
    fn tell_gapped(self: &Rc<Self>) {
        let gapped = std::mem::take(&mut *self.load.gapped.lock());
        self.metrics.inbox_overflows.inc_by(gapped.len() as u64);
        for channel in gapped {
            self.hub_mut().events.note_gap(&channel, GapChange::InboxFull);
            self.on_gap(&channel, self.history.now());
        }
    }

    async fn deliver_turn(self: &Rc<Self>, turn: &mut IndexMap<Arc<str>, ChannelTurn>) {
        if turn.is_empty() {
            return;
        }
        let mut began = Instant::now();
        for (channel, ChannelTurn { events, arrived, spans }) in turn.drain(..) {
            if began.elapsed() >= TURN {
                self.traffic.held(began.elapsed());
                tokio::task::yield_now().await;
                began = Instant::now();
            }
            if let Some(QueueWake { queue }) = QueueWake::parse(&channel) {
                self.consumers.wake(queue);
                continue;
            }
            let is_counted = self.traffic.is_sampled();
            let sample = if is_counted || !spans.is_empty() {
                self.samples.begin(&self.hub(), &channel, &events, is_counted)
            } else {
                None
            };
            let missing = self.hub_mut().deliver(&channel, events);
            self.hub().tell_delivered(&channel, &spans);
            if let Some(arrived) = arrived {
                self.traffic.fanned_out(self.traffic.namespace_of(&channel), arrived.elapsed());
            }
            if let Some(sample) = sample {
                self.samples.follow(sample);
            }
            self.hub().follow_traced_writes(&self.tasks);
            if let Some(missing) = missing {
                self.catch_up.run(channel, missing, self.history.now());
            }
        }
        self.traffic.held(began.elapsed());
    }

    fn on_gap(self: &Rc<Self>, channel: &Arc<str>, moment: ReadVersion) {
        if let Some(QueueWake { queue }) = QueueWake::parse(channel) {
            return self.consumers.wake(queue);
        }
        let missing = self.hub_mut().gap(channel);
        if let Some(missing) = missing {
            self.catch_up.run(channel.clone(), missing, moment);
        }
    }
}

/// Bytes that are sent at a stretch, and at least one publication; then other connections have their turn.
const PIECE_BYTES: usize = 32 * 1024;

impl Worker {
    /// Sends a session what it missed in a channel, and lets the channel's events follow. What is large has a permit, and is
    /// sent a piece at a time, unless the session leaves the channel meanwhile.
    pub fn replay(
        self: &Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        publications: Vec<Arc<Publication>>,
        permit: Option<ReplyPermit>,
    ) {
        if permit.is_none() {
            let mut hub = self.hub_mut();
            hub.replay(key, &channel, publications, None);
            return hub.release(key, &channel);
        }
        // Of now: when the task begins, the session may have left the channel and come back.
        let Some(generation) = self.hub().generation(key, &channel) else { return };
        self.tasks.spawn(self.clone().replay_in_pieces(key, channel, generation, publications, permit));
    }

    async fn replay_in_pieces(
        self: Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        generation: Generation,
        publications: Vec<Arc<Publication>>,
        mut permit: Option<ReplyPermit>,
    ) {
        let mut left = publications.into_iter().peekable();
        while left.peek().is_some() {
            let mut bytes = 0;
            let mut piece = Vec::new();
            while let Some(publication) = left.next_if(|_| bytes < PIECE_BYTES) {
                bytes += publication.data.len() + AROUND_BYTES;
                piece.push(publication);
            }
            {
                let mut hub = self.hub_mut();
                if !hub.is_current(key, &channel, generation) {
                    return;
                }
                // The permit is for all pieces, and goes with the last.
                let permit = if left.peek().is_none() { permit.take() } else { None };
                hub.replay(key, &channel, piece, permit);
            }
            tokio::task::yield_now().await;
        }
        if self.hub().is_current(key, &channel, generation) {
            self.hub_mut().release(key, &channel);
        }
    }
}

#[cfg(test)]
mod tests;
