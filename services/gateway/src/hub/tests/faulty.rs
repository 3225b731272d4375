//! A broker that fails when the test says so, and notes what it was asked.

use std::{collections::VecDeque, future::ready, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use gorani_broker::{
    Broker, BrokerError, ClientInfo, HistoryPage, HistoryQuery, MemoryBroker, MemorySettings, Publication,
    PublishOptions, Published, Retention, Sink,
};
use parking_lot::Mutex;

use crate::hub::{history_reads::HistoryReads, inbox::Inbox, interest::Interest, worker::Worker};

type Answer<T> = BoxFuture<'static, Result<T, BrokerError>>;

/// See the module's head.
pub(in crate::hub) struct Faulty {
    pub(in crate::hub) inner: MemoryBroker,
    /// While set, what changes presence, tells joins and leaves, or begins an epoch fails so.
    pub(in crate::hub) fails: Mutex<Option<BrokerError>>,
    /// Answers to reads of history, the first one first; the last one stays. Without any, the stream's own.
    pub(in crate::hub) pages: Mutex<VecDeque<Result<HistoryPage, BrokerError>>>,
    pub(in crate::hub) queries: Mutex<Vec<HistoryQuery>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Faulty {
    pub(in crate::hub) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBroker::new(MemorySettings::default()),
            fails: Mutex::default(),
            pages: Mutex::default(),
            queries: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    /// A worker that has it for its broker.
    pub(in crate::hub) async fn worker(self: &Arc<Self>) -> (Rc<Worker>, Inbox) {
        self.inner.start(Arc::new(Nobody)).await.unwrap();
        let broker: Arc<dyn Broker> = self.clone();
        let interest = Arc::new(Interest::new(broker.clone()));
        let reads = Arc::new(HistoryReads::new(broker.clone(), Arc::default()));
        Worker::start(0, usize::MAX, broker, interest, reads, Arc::default(), Arc::default())
    }

    pub(in crate::hub) fn fail(&self, error: impl FnOnce(String) -> BrokerError) {
        *self.fails.lock() = Some(error("test".to_owned()));
    }

    pub(in crate::hub) fn recover(&self) {
        *self.fails.lock() = None;
    }

    /// The number of times that it was asked for that so far.
    pub(in crate::hub) fn count(&self, call: &str) -> usize {
        self.calls.lock().iter().filter(|known| **known == call).count()
    }

    fn ask(&self, call: &'static str, done: impl FnOnce() -> Answer<()>) -> Answer<()> {
        self.calls.lock().push(call);
        match &*self.fails.lock() {
            Some(error) => ready(Err(error.clone())).boxed(),
            None => done(),
        }
    }
}

/// A sink without a node.
struct Nobody;

impl Sink for Nobody {
    fn on_event(&self, _: &Arc<str>, _: gorani_broker::ChannelEvent) {}
    fn on_gap(&self, _: &Arc<str>) {}
}

impl Broker for Faulty {
    forward_broker!(
        inner: start, subscribe, unsubscribe, remove_history, presence, presence_stats, presence_nodes, presence_reap, cluster, queues, hook_store, health
    );

    fn publish(&self, channel: &str, publication: Publication, options: PublishOptions) -> Answer<Published> {
        self.inner.publish(channel, publication, options)
    }
    fn publish_join(&self, channel: &str, info: Arc<ClientInfo>) -> Answer<()> {
        self.ask("join", || self.inner.publish_join(channel, info))
    }
    fn publish_leave(&self, channel: &str, info: Arc<ClientInfo>) -> Answer<()> {
        self.ask("leave", || self.inner.publish_leave(channel, info))
    }
    fn history(&self, channel: &str, query: HistoryQuery, retention: Retention) -> Answer<HistoryPage> {
        self.queries.lock().push(query.clone());
        let mut pages = self.pages.lock();
        let page = if pages.len() > 1 { pages.pop_front() } else { pages.front().cloned() };
        page.map_or_else(|| self.inner.history(channel, query, retention), |page| ready(page).boxed())
    }
    fn renew(&self, channel: &str, epoch: &str) -> Answer<()> {
        self.ask("renew", || self.inner.renew(channel, epoch))
    }
    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> Answer<()> {
        self.ask("presence_add", || self.inner.presence_add(channel, info, ttl, announce))
    }
    fn presence_remove(&self, channel: &str, client: &str) -> Answer<()> {
        self.ask("presence_remove", || self.inner.presence_remove(channel, client))
    }
}
