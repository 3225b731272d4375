//! The workers of a node, which all others reach through their inboxes. Events of the broker go to those that want
//! the channel, commands to all.

use std::{
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::join_all;
use gorani_broker::{Broker, ChannelEvent};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{
    event_log::{EventLog, NodeEventLog},
    hub::{
        history_reads::HistoryReads,
        inbox::{EventMeasures, Inbox, WorkerGone},
        interest::{Interest, TAILS, tails::ChannelTails},
        worker::Worker,
    },
    memory::MemoryBudget,
    metrics::Metrics,
    proxy::ProxyPool,
    session::shared::enforcement::CurrentEnforcement,
    session_command::SessionCommand,
    settings::Settings,
    tasks::Tasks,
    telemetry::{spans::DeliverySpan, trace::Tracer},
};

/// Interval at which interest is tidied and gauges are set.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Of so many events, the way of one through the node is timed: the clock is read once at each end of it.
const TIMED_EVERY: u64 = 16;

/// The data that the workers of a node share, and the inbox of each.
pub struct Workers {
    inboxes: RwLock<Vec<Arc<Inbox>>>,
    broker: Arc<dyn Broker>,
    pub(super) interest: Arc<Interest>,
    /// Tails of channels by operators.
    pub tails: Arc<ChannelTails>,
    reads: Arc<HistoryReads>,
    metrics: Arc<Metrics>,
    memory: Arc<MemoryBudget>,
    proxies: Arc<ProxyPool>,
    /// The end of subscriptions that the settings no longer permit, while it is under way.
    pub enforcement: CurrentEnforcement,
    pub(super) tasks: Tasks,
    deflate_threshold_bytes: usize,
    /// The events of the node; its sizes are divided among so many workers.
    pub(super) events: Arc<NodeEventLog>,
    worker_count: usize,
    /// Time for a worker to take a command.
    answer_timeout: Duration,
    /// Takes spans, where there are traces.
    tracer: OnceLock<Arc<Tracer>>,
}

/// Waits until all workers have it. All at once: a worker whose inbox is full does not keep it from the others.
async fn hand_over(to_workers: impl Iterator<Item = impl Future<Output = Result<(), WorkerGone>>>) {
    for gone in join_all(to_workers).await.into_iter().filter_map(Result::err) {
        tracing::error!(error = %gone, "command not handed to a worker");
    }
}

impl Workers {
    pub(super) fn new(
        settings: &Settings,
        broker: Arc<dyn Broker>,
        reads: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
        memory: Arc<MemoryBudget>,
        proxies: Arc<ProxyPool>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let interest = Arc::new(Interest::new(broker.clone()));
        Arc::new(Self {
            inboxes: RwLock::default(),
            tails: Arc::new(ChannelTails::new(interest.clone())),
            interest,
            broker,
            reads,
            metrics,
            memory,
            proxies,
            enforcement: CurrentEnforcement::default(),
            tasks,
            deflate_threshold_bytes: settings.websocket.compression_threshold_bytes,
            events: NodeEventLog::new(settings.event_log.sizes()),
            worker_count: settings.http.worker_count(),
            answer_timeout: settings.cluster.answer_timeout,
            tracer: OnceLock::new(),
        })
    }

    /// Has a tracer take the spans of deliveries; before the first worker starts.
    pub(super) fn trace(&self, tracer: Arc<Tracer>) {
        // It is new: nothing is there already.
        let _ = self.tracer.set(tracer);
    }

    /// Starts a worker on this thread, which runs the actors of the connections that it accepts.
    pub fn start(&self) -> Rc<Worker> {
        let mut inboxes = self.inboxes.write();
        let (worker, inbox) = Worker::start(
            inboxes.len(),
            self.deflate_threshold_bytes,
            self.broker.clone(),
            self.interest.clone(),
            self.reads.clone(),
            self.metrics.clone(),
            self.memory.clone(),
        );
        worker.hub_mut().events = EventLog::of_worker(self.events.sizes, self.worker_count);
        worker.hub_mut().tracer = self.tracer.get().cloned();
        worker.proxies.share(self.proxies.clone());
        self.tasks.add_child(worker.tasks.clone());
        inboxes.push(Arc::new(inbox));
        worker
    }

    pub(super) fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.inboxes.read().clone()
    }

    /// Puts a command to all workers.
    pub async fn dispatch_command(&self, command: SessionCommand) {
        let command = Arc::new(command);
        let inboxes = self.inboxes();
        hand_over(inboxes.iter().map(|inbox| inbox.dispatch_command(command.clone()))).await;
    }

    /// Has all workers end their sessions, spread over so long.
    pub async fn drain(&self, over: Duration) {
        // All sessions end, and subscribe elsewhere by the rules.
        self.enforcement.stop();
        let inboxes = self.inboxes();
        hand_over(inboxes.iter().map(|inbox| inbox.drain(over))).await;
    }

    /// Entries that wait in the inbox of each worker.
    pub fn inbox_entries(&self) -> Vec<usize> {
        self.inboxes.read().iter().map(|inbox| inbox.entries()).collect()
    }

    /// Resolves when every worker has had a turn. A worker whose thread is gone is not waited for: the server replaces it.
    pub async fn turn(&self) {
        let inboxes = self.inboxes();
        join_all(inboxes.iter().map(|inbox| inbox.ping())).await;
    }

    /// The time that each worker takes to come to the entries of its inbox, at most `most`, and the entries that wait there.
    pub async fn lags(&self, most: Duration) -> Vec<(Duration, usize)> {
        let inboxes = self.inboxes();
        let lag = async |inbox: &Inbox| {
            let (began, waiting) = (Instant::now(), inbox.waiting());
            // One that takes longer has this lag at least.
            let _ = tokio::time::timeout(most, inbox.ping()).await;
            (began.elapsed(), waiting)
        };
        join_all(inboxes.iter().map(|inbox| lag(inbox))).await
    }

    /// As [`Self::dispatch_command`]; false if a worker has no room for it within the time of an answer. The others have it then.
    pub(super) async fn dispatch_command_in_time(&self, command: SessionCommand) -> bool {
        tokio::time::timeout(self.answer_timeout, self.dispatch_command(command)).await.is_ok()
    }

    /// Makes all workers enter their sessions into presence again.
    pub(super) fn restore_presence(&self) {
        self.inboxes().iter().for_each(|inbox| inbox.restore());
    }

    pub(super) fn on_event(&self, channel: &Arc<str>, event: &ChannelEvent) {
        let is_timed = self.metrics.events_received.inc().is_multiple_of(TIMED_EVERY);
        let measures =
            EventMeasures { arrived: is_timed.then(Instant::now), span: self.span(channel, event) };
        let tail = || self.tails.event(channel, event);
        self.each_interested(channel, |inbox| inbox.event(channel, event.clone(), measures.clone()), tail);
    }

    /// The span of the delivery of a publication that is sampled.
    fn span(&self, channel: &str, event: &ChannelEvent) -> Option<Arc<DeliverySpan>> {
        let ChannelEvent::Publication(publication) = event else { return None };
        publication.trace.as_ref()?;
        DeliverySpan::begin(self.tracer.get()?, channel, publication)
    }

    pub(super) fn on_gap(&self, channel: &Arc<str>) {
        // One moment for all workers, so that one read serves them.
        let moment = self.reads.now();
        self.each_interested(channel, |inbox| inbox.gap(channel, moment), || self.tails.gap(channel));
    }

    /// Nothing is done for tails unless the channel has one: they stand where no worker does.
    fn each_interested(&self, channel: &str, tell: impl Fn(&Inbox), tail: impl Fn()) {
        let mut workers = self.interest.workers(channel);
        let inboxes = self.inboxes.read();
        while workers != 0 {
            let index = workers.trailing_zeros() as usize;
            workers &= workers - 1;
            match inboxes.get(index) {
                Some(inbox) => tell(inbox),
                None if index == TAILS => tail(),
                None => {}
            }
        }
    }

    /// Leaves channels that nobody wants, and sets their gauge, once in a while.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            if let Err(error) = self.interest.sweep(Instant::now()).await {
                tracing::warn!(%error, "unsubscribing channels from the broker failed");
            }
            self.metrics.channels.set(i64::try_from(self.interest.len()).unwrap_or(i64::MAX));
        }
    }
}
