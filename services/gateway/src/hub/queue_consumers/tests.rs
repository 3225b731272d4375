//! Consumers of a work queue on one worker, over the broker that runs within it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use gorani_broker::{
    Broker, ChannelEvent, MemoryBroker, MemorySettings, Publication, Sink, queue::QueueLimits,
};
use tokio::task::JoinHandle;

use super::*;
use crate::hub::worker::Worker;
use crate::hub::{
    history_reads::HistoryReads,
    inbox::{EventMeasures, Inbox},
    interest::Interest,
    tests::Client,
};

/// A node of one worker.
struct Node(Arc<Interest>, Inbox);

impl Sink for Node {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        if self.0.workers(channel) != 0 {
            self.1.event(channel, event, EventMeasures::default());
        }
    }
    fn on_gap(&self, _: &Arc<str>) {}
}

struct Bench {
    broker: Arc<MemoryBroker>,
    worker: Rc<Worker>,
    limits: Arc<QueueLimits>,
    sessions: [Client; 2],
}

type Taking = JoinHandle<Result<Vec<QueueDelivery>, ErrorCode>>;

impl Bench {
    async fn start() -> Self {
        tokio::time::pause();
        let broker = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let interest = Arc::new(Interest::new(broker.clone()));
        let reads = Arc::new(HistoryReads::new(broker.clone(), Arc::default()));
        let (worker, inbox) = Worker::start(
            7,
            usize::MAX,
            broker.clone(),
            interest.clone(),
            reads,
            Arc::default(),
            Arc::default(),
        );
        broker.start(Arc::new(Node(interest, inbox))).await.unwrap();
        let sessions = ["one", "two"].map(|name| Client::enter(&mut worker.hub_mut(), name));
        let ttl = Duration::from_secs(3600);
        let limits = QueueLimits { max_messages: 100, max_bytes: 1 << 20, max_attempts: 0, ttl };
        Self { broker, worker, limits: Arc::new(limits), sessions }
    }

    fn take(&self, session: usize, ticket: u32) -> Taking {
        let (queue, node) = ("q".into(), "node".into());
        let request = FetchRequest { queue, count: 10, node, limits: self.limits.clone() };
        let key = self.sessions[session].key();
        actix_rt::spawn(self.worker.consumers.clone().fetch(key, Ticket(ticket), request))
    }

    async fn push(&self, text: &'static str) {
        let publication = Publication { data: text.into(), ..Publication::default() };
        self.broker.queues().unwrap().push("q", publication, &self.limits).await.unwrap();
    }

    async fn settle(&self, fetched: &[QueueDelivery], is_handled: bool) {
        let ids = fetched.iter().map(|delivery| delivery.id.clone()).collect();
        self.worker.consumers.clone().acknowledge("q".into(), ids, is_handled).await.unwrap();
    }

    /// The messages that another node finds in the queue.
    async fn left(&self) -> Vec<(QueueDelivery, String)> {
        let queues = self.broker.queues().unwrap();
        queues.keep("q", "other", None, &self.limits).await.unwrap();
        let fetched = queues.take("q", "other", 10, &self.limits).await.unwrap();
        fetched.into_iter().map(|delivery| (delivery.clone(), text(&delivery))).collect()
    }
}

fn text(delivery: &QueueDelivery) -> String {
    String::from_utf8(delivery.publication.data.to_vec()).unwrap()
}

fn texts(fetched: &[QueueDelivery]) -> Vec<(String, u32)> {
    fetched.iter().map(|delivery| (text(delivery), delivery.attempt)).collect()
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[actix_rt::test]
async fn a_consumer_waits_until_a_message_wakes_it_and_an_acknowledged_one_is_gone() {
    let bench = Bench::start().await;
    let waiting = bench.take(0, 1);
    pass(10).await;
    assert!(!waiting.is_finished());
    assert_eq!(bench.worker.subscriptions.interest.len(), 1);
    bench.push("a").await;
    let fetched = waiting.await.unwrap().unwrap();
    assert_eq!(texts(&fetched), [("a".to_owned(), 1)]);
    assert_eq!(bench.worker.metrics.queue_deliveries.get(), 1);
    assert_eq!(bench.worker.metrics.queue_redeliveries.get(), 0);
    assert!(bench.left().await.is_empty(), "it is held");
    bench.settle(&fetched, true).await;
    assert!(bench.left().await.is_empty(), "it is handled");
    assert_eq!(bench.worker.consumers.count(), 0);
    assert!(bench.worker.subscriptions.interest.channels().is_empty(), "nobody listens any more");
}

#[actix_rt::test]
async fn a_message_that_is_given_back_goes_to_the_next_consumer_and_is_counted() {
    let bench = Bench::start().await;
    bench.push("a").await;
    let fetched = bench.take(0, 1).await.unwrap().unwrap();
    let next = bench.take(1, 1);
    pass(10).await;
    bench.settle(&fetched, false).await;
    assert_eq!(texts(&next.await.unwrap().unwrap()), [("a".to_owned(), 2)]);
    assert_eq!(bench.worker.metrics.queue_deliveries.get(), 2);
    assert_eq!(bench.worker.metrics.queue_redeliveries.get(), 1);
}

#[actix_rt::test]
async fn a_taking_that_is_stopped_ends_with_nothing_and_others_go_on() {
    let bench = Bench::start().await;
    let [stopped, other] = [bench.take(0, 1), bench.take(0, 2)];
    pass(10).await;
    bench.worker.consumers.stop_fetching(bench.sessions[0].key(), Ticket(1));
    assert_eq!(stopped.await.unwrap().unwrap().len(), 0);
    bench.push("a").await;
    assert_eq!(other.await.unwrap().unwrap().len(), 1);
}

#[actix_rt::test]
async fn what_a_session_leaves_is_given_back_and_its_takings_end_but_not_those_of_others() {
    let bench = Bench::start().await;
    bench.push("a").await;
    assert_eq!(bench.take(0, 1).await.unwrap().unwrap().len(), 1);
    let [own, other] = [bench.take(0, 2), bench.take(1, 2)];
    pass(10).await;
    bench.worker.consumers.leave_all(bench.sessions[0].key());
    assert_eq!(own.await.unwrap().unwrap().len(), 0);
    assert_eq!(texts(&other.await.unwrap().unwrap()), [("a".to_owned(), 2)]);
}

#[actix_rt::test]
async fn a_message_whose_asker_is_gone_is_given_back() {
    let bench = Bench::start().await;
    let abandoned = bench.take(0, 1);
    pass(10).await;
    // The connection's task ends; that of the taking goes on until it is told.
    abandoned.abort();
    pass(10).await;
    bench.worker.consumers.leave_all(bench.sessions[0].key());
    bench.push("a").await;
    pass(10).await;
    let left = bench.left().await;
    assert_eq!(left.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(bench.worker.consumers.count(), 0);
}

#[actix_rt::test]
async fn a_consumer_that_does_not_read_is_given_nothing() {
    let bench = Bench::start().await;
    let outbox = bench.worker.hub().registry().get(bench.sessions[0].key()).unwrap().outbox.clone();
    outbox.push(vec![0; 900_000].into()).unwrap();
    bench.push("a").await;
    let waiting = bench.take(0, 1);
    pass(5000).await;
    assert!(!waiting.is_finished());
    outbox.pop().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1);
}
