//! One worker thread: the loop that empties its inbox into the hub, and all that its sessions ask of it.
//!
//! Between [`crate::node`], which hands over what the broker delivered, and the worker's [`Hub`]. All that has come by
//! the time the loop runs is delivered together: no timer, no sleep. `docs/architecture.md` §3.4, §5.4.

mod replay;

use std::{
    cell::{Ref, RefCell, RefMut},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gorani_broker::{Broker, ChannelEvent, HistoryPage, HistoryQuery, Retention, queue::woken_queue};
use indexmap::IndexMap;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    disconnect::ErrorCode,
    format::views::reply_bytes,
    hub::{
        Hub,
        history_reads::{HistoryRead, HistoryReads, ReadVersion},
        inbox::{Inbox, InboxEntry, OwnInbox, size_of_event},
        interest::Interest,
        queue_consumers::Consumers,
        read_budget::{ReadSource, ReadTurns, SessionReadTurn},
        registry::{SessionKey, SessionRegistration},
        removals::Removals,
        session_command::SessionCommand,
        subscribe::size_of,
        timers::Timers,
        traffic_counters::TrafficCounters,
    },
    memory::{MemoryBudget, ReplyPermit},
    metrics::Metrics,
    session::Signal,
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
    hub: RefCell<Hub>,
    timers: Timers,
    /// What its connections move.
    pub traffic: TrafficCounters,
    pub(super) broker: Arc<dyn Broker>,
    pub(crate) interest: Arc<Interest>,
    pub(super) reads: Arc<HistoryReads>,
    read_turns: Rc<ReadTurns>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: Arc<MemoryBudget>,
    pub(crate) consumers: Consumers,
    /// What could not be taken out of the broker.
    pub(super) removals: Removals,
    pub(super) inbox: OwnInbox,
}

impl Worker {
    /// Starts a worker on this thread; to be called within its runtime.
    pub fn start(
        index: usize,
        deflate_threshold_bytes: usize,
        broker: Arc<dyn Broker>,
        interest: Arc<Interest>,
        reads: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
        memory: Arc<MemoryBudget>,
    ) -> (Rc<Self>, Inbox) {
        let (inbox, receiver) = Inbox::new();
        let worker = Rc::new(Self {
            index,
            hub: RefCell::new(Hub {
                memory: memory.clone(),
                ..Hub::counting(deflate_threshold_bytes, metrics.sessions.clone())
            }),
            memory,
            timers: Timers::new(),
            traffic: TrafficCounters::default(),
            broker,
            interest,
            reads,
            read_turns: Rc::default(),
            metrics,
            consumers: Consumers::default(),
            removals: Removals::default(),
            inbox: inbox.of_worker(),
        });
        actix_rt::spawn(worker.clone().deliver(receiver));
        actix_rt::spawn(worker.clone().watch_deadlines());
        actix_rt::spawn(worker.clone().keep_present());
        actix_rt::spawn(worker.clone().flush_periodically());
        actix_rt::spawn(worker.clone().keep_memory());
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

    /// Waits until another heavy read of the session may begin.
    pub async fn read_turn(&self, key: SessionKey) -> SessionReadTurn {
        self.read_turns.clone().wait(key, self.reads.budget().per_connection()).await
    }

    /// Reads history for a session, after its reads before. Who asks for the same at the same time shares the read.
    ///
    /// # Errors
    /// As [`Reads::read`]; [`ErrorCode::TOO_MANY_REQUESTS`] while there is no memory for a large reply.
    pub async fn history(
        self: Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<(HistoryPage, Option<ReplyPermit>), ErrorCode> {
        let most_bytes =
            query.max_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let most_bytes = self.reply_max_bytes(key, most_bytes);
        let query = HistoryQuery { max_bytes: Some(most_bytes as u64), ..query };
        let _turn = self.read_turn(key).await;
        let read = HistoryRead { channel, query, source: ReadSource::Client };
        let page = self.reads.read(read, retention, self.reads.now()).await?;
        let mut page = Arc::unwrap_or_clone(page);
        // The first may be larger than that by itself; the client reads on from where the page ends.
        let mut bytes = 0_usize;
        let fitting = page.publications.iter().take_while(|publication| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(reply_bytes(publication));
            is_first || bytes <= most_bytes
        });
        let fitting = fitting.count();
        page.truncated |= fitting < page.publications.len();
        page.publications.truncate(fitting);
        let permit = self.reserve_reply(size_of(&page.publications))?;
        Ok((page, permit))
    }

    /// Enters a session.
    pub fn register(&self, registration: SessionRegistration) -> SessionKey {
        self.hub_mut().registry_mut().register(registration)
    }

    /// Ends all subscriptions of a session, and gives its place among its user's connections back.
    pub fn leave_all(self: &Rc<Self>, key: SessionKey) {
        self.release_user_slot(key);
        let removed = self.hub_mut().leave_all(key);
        for removed in removed {
            self.publish_leave(key, removed);
        }
        self.leave_queues(key);
    }

    /// Takes a session out: its subscriptions, its presence, its deadline.
    pub fn deregister(self: &Rc<Self>, key: SessionKey, timer: Option<u64>) {
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
        let load = &self.inbox.load;
        let mut entries = Vec::with_capacity(TURN_ENTRIES);
        // Events of one turn by channel: consecutive publications of a channel are encoded and queued together.
        let mut turn: IndexMap<Arc<str>, Vec<ChannelEvent>> = IndexMap::new();
        loop {
            tokio::select! {
                biased;
                () = load.overflowed.notified() => self.tell_gapped(),
                received = inbox.recv_many(&mut entries, TURN_ENTRIES) => if received == 0 { return },
            }
            for entry in entries.drain(..) {
                match entry {
                    InboxEntry::Event(channel, event) => {
                        load.bytes.fetch_sub(size_of_event(&event), Ordering::Relaxed);
                        turn.entry(channel).or_default().push(event);
                    }
                    InboxEntry::Gap(channel, moment) => {
                        self.deliver_turn(&mut turn).await;
                        self.on_gap(&channel, moment);
                    }
                    InboxEntry::Mark(channel, mark) => {
                        self.deliver_turn(&mut turn).await;
                        self.hub_mut().pass_mark(&channel, mark);
                    }
                    InboxEntry::Control(command) => {
                        self.deliver_turn(&mut turn).await;
                        match *command {
                            SessionCommand::Drain { over } => self.drain_sessions(over),
                            _ => self.apply_command(&command).await,
                        }
                        // Its sessions take it out of their mailboxes before the next one comes.
                        tokio::task::yield_now().await;
                    }
                    InboxEntry::Question(question) => {
                        self.deliver_turn(&mut turn).await;
                        actix_rt::spawn(question.answer(self.clone()));
                    }
                }
            }
            self.deliver_turn(&mut turn).await;
            // The connections whose outboxes were filled write now, all of the turn at once.
            tokio::task::yield_now().await;
        }
    }

    /// Carries an order out on all its sessions: a user may have tens of thousands.
    async fn apply_command(&self, command: &SessionCommand) {
        let keys = self.hub().subjects(command);
        let mut began = Instant::now();
        for key in keys {
            if began.elapsed() >= TURN {
                self.traffic.held(began.elapsed());
                tokio::task::yield_now().await;
                began = Instant::now();
            }
            self.hub().apply(command, key);
        }
    }

    /// A channel may have its first subscription. What stands in the inbox already is of an earlier one, and what was to follow it
    /// did not come in: so its events count from here on. To be called before the worker wants the channel.
    pub(super) fn mark_begin(&self, channel: &Arc<str>) {
        let mark = self.hub_mut().await_mark(channel);
        if let Some(mark) = mark
            && !self.inbox.mark(channel, mark)
        {
            self.hub_mut().pass_mark(channel, mark);
        }
    }

    /// What did not fit into the inbox is read from history, or told.
    fn tell_gapped(self: &Rc<Self>) {
        let gapped = std::mem::take(&mut *self.inbox.load.gapped.lock());
        self.metrics.inbox_overflows.inc_by(gapped.len() as u64);
        for channel in gapped {
            self.on_gap(&channel, self.reads.now());
        }
    }

    async fn deliver_turn(self: &Rc<Self>, turn: &mut IndexMap<Arc<str>, Vec<ChannelEvent>>) {
        if turn.is_empty() {
            return;
        }
        let mut began = Instant::now();
        for (channel, events) in turn.drain(..) {
            if began.elapsed() >= TURN {
                self.traffic.held(began.elapsed());
                tokio::task::yield_now().await;
                began = Instant::now();
            }
            if let Some(queue) = woken_queue(&channel) {
                self.wake_queue(queue);
                continue;
            }
            let missing = self.hub_mut().deliver(&channel, events);
            if let Some(missing) = missing {
                self.catch_up(channel, missing, self.reads.now());
            }
        }
        self.traffic.held(began.elapsed());
    }

    fn on_gap(self: &Rc<Self>, channel: &Arc<str>, moment: ReadVersion) {
        if let Some(queue) = woken_queue(channel) {
            return self.wake_queue(queue);
        }
        let missing = self.hub_mut().gap(channel);
        if let Some(missing) = missing {
            self.catch_up(channel.clone(), missing, moment);
        }
    }
}

#[cfg(test)]
mod tests;
