//! A node whose sink passes on its events, with settings that notice faults quickly.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::super::{RedisBroker, RedisSettings};
use crate::{
    Broker as _, BrokerError, ChannelEvent, Cluster as _, Health, Publication, PublishOptions, Published,
    Retention, Sink,
};

/// Ends a test that has failed.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// The pause between two looks at something that changes without a notification.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The id under which a node receives messages.
pub(super) const NODE: &str = "0123abcd";

/// Short, and longer than a busy machine keeps a server that lives from its answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);

#[derive(Debug, PartialEq)]
pub(super) enum SinkCall {
    Event(Arc<str>, String),
    Gap(Arc<str>),
    Message(String),
}

struct Passing(mpsc::Sender<SinkCall>);

impl Sink for Passing {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        let ChannelEvent::Publication(publication) = event else { panic!("only publications are expected") };
        let data = String::from_utf8(publication.data.to_vec()).unwrap();
        self.0.try_send(SinkCall::Event(Arc::clone(channel), data)).unwrap();
    }

    fn on_gap(&self, channel: &Arc<str>) {
        self.0.try_send(SinkCall::Gap(Arc::clone(channel))).unwrap();
    }

    fn on_message(&self, message: Bytes) {
        self.0.try_send(SinkCall::Message(String::from_utf8(message.to_vec()).unwrap())).unwrap();
    }
}

pub(super) struct RedisFixture {
    pub(super) broker: Arc<RedisBroker>,
    calls: mpsc::Receiver<SinkCall>,
}

pub(super) fn quick(url: String) -> RedisSettings {
    RedisSettings {
        url,
        connect_timeout: REQUEST_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(100),
        canary_interval: Duration::from_millis(100),
        canary_timeout: Duration::from_millis(1800),
        ..RedisSettings::default()
    }
}

impl RedisFixture {
    pub(super) async fn start(settings: RedisSettings) -> Self {
        let (sink, calls) = mpsc::channel(1_000_000);
        let broker = Arc::new(RedisBroker::new(settings).unwrap());
        broker.listen(NODE);
        broker.start(Arc::new(Passing(sink))).await.unwrap();
        Self { broker, calls }
    }

    pub(super) async fn publish(&self, channel: &str, data: &str) -> Result<Published, BrokerError> {
        let publication = Publication { data: data.to_owned().into(), ..Default::default() };
        let retention = Retention { size: 1000, ttl: Duration::from_secs(60) };
        self.broker.publish(channel, publication, PublishOptions { retention, ..Default::default() }).await
    }

    pub(super) async fn subscribe(&self, channels: &[&str]) {
        let channels: Vec<Arc<str>> = channels.iter().map(|channel| Arc::from(*channel)).collect();
        self.broker.subscribe(&channels).await.unwrap();
    }

    /// The next event that the sink got.
    pub(super) async fn next(&mut self) -> SinkCall {
        tokio::time::timeout(TIME_LIMIT, self.calls.recv()).await.expect("the sink was told nothing").unwrap()
    }

    /// The same, if it comes in time.
    pub(super) async fn next_within(&mut self, time_limit: Duration) -> Option<SinkCall> {
        tokio::time::timeout(time_limit, self.calls.recv()).await.ok()?
    }

    pub(super) fn told_nothing(&mut self) -> bool {
        self.calls.is_empty()
    }

    pub(super) async fn until_ready(&self) {
        until("ready", || self.broker.health() == Health::Ready).await;
    }

    pub(super) async fn until_not_listening(&self) {
        until("not listening", || {
            self.broker.shards.shards().iter().any(|shard| shard.listener.status().trouble().is_some())
        })
        .await;
    }

    pub(super) async fn until_not_ready(&self) {
        until("not ready", || self.broker.health() != Health::Ready).await;
    }
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "it never became true: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
