//! A memory broker with its clock and its sink, and its calls without waiting: its futures are ready at once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::super::{ManualClock, MemoryBroker, MemorySettings, MemoryUsage};
use crate::{
    Broker as _, BrokerError, ClientInfo, HistoryPage, HistoryQuery, Idempotency, Position, PresenceQuery,
    Publication, PublishOptions, Published, Retention, contract::RecordingSink,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Keeps all that a test publishes for an hour.
pub(super) const KEPT: Retention = Retention { size: u32::MAX, ttl: HOUR };

pub(super) struct MemoryFixture {
    pub(super) broker: MemoryBroker,
    pub(super) clock: Arc<ManualClock>,
    pub(super) sink: Arc<RecordingSink>,
}

impl MemoryFixture {
    pub(super) fn new(settings: MemorySettings) -> Self {
        let clock = Arc::new(ManualClock::default());
        let broker = MemoryBroker::with_clock(settings, Arc::clone(&clock) as _);
        let sink = Arc::new(RecordingSink::default());
        broker.start(Arc::clone(&sink) as _).now_or_never().unwrap().unwrap();
        Self { broker, clock, sink }
    }

    /// Publishes, a moment after all that was before.
    pub(super) fn publish(
        &self,
        channel: &str,
        data: impl Into<Bytes>,
        options: PublishOptions,
    ) -> Published {
        self.clock.advance(Duration::from_nanos(1));
        let publication = Publication { data: data.into(), ..Default::default() };
        self.broker.publish(channel, publication, options).now_or_never().unwrap().unwrap()
    }

    pub(super) fn keep(&self, channel: &str, data: impl Into<Bytes>) -> Position {
        self.publish(channel, data, PublishOptions { retention: KEPT, ..Default::default() }).position
    }

    pub(super) fn guarded(&self, channel: &str, key: &str, ttl: Duration) -> Published {
        let idempotency = Some(Idempotency { key: key.to_owned(), ttl });
        self.publish(channel, "guarded", PublishOptions { idempotency, ..Default::default() })
    }

    /// Reads all, a moment after all that was before.
    pub(super) fn read(&self, channel: &str) -> HistoryPage {
        self.clock.advance(Duration::from_nanos(1));
        let query = HistoryQuery { limit: u32::MAX, ..Default::default() };
        self.broker.history(channel, query, KEPT).now_or_never().unwrap().unwrap()
    }

    pub(super) fn enter(&self, channel: &str, client: &str, ttl: Duration) -> Result<(), BrokerError> {
        let info = ClientInfo { client: client.to_owned(), ..Default::default() };
        self.broker.presence_add(channel, Arc::new(info), ttl, false).now_or_never().unwrap()
    }

    pub(super) fn present(&self, channel: &str) -> usize {
        let query = PresenceQuery { limit: u32::MAX, ..PresenceQuery::default() };
        self.broker.presence(channel, query).now_or_never().unwrap().unwrap().clients.len()
    }

    pub(super) fn subscribe(&self, channel: &str) {
        self.broker.subscribe(&[channel.into()]).now_or_never().unwrap().unwrap();
    }

    pub(super) fn unsubscribe(&self, channel: &str) {
        self.broker.unsubscribe(&[channel.into()]).now_or_never().unwrap().unwrap();
    }

    /// Names of channels that share a lock, a table and the lines through it.
    pub(super) fn neighbours(&self, count: usize) -> Vec<String> {
        let home = std::ptr::from_ref(self.broker.locate("home").1);
        let names = (0..).map(|number| format!("neighbour {number}"));
        names.filter(|name| std::ptr::eq(self.broker.locate(name).1, home)).take(count).collect()
    }

    /// Names of channels, each in a shard of its own.
    pub(super) fn strangers(&self, count: usize) -> Vec<String> {
        let mut homes = Vec::new();
        let names = (0..).map(|number| format!("stranger {number}"));
        let is_new = |name: &String| {
            let home = std::ptr::from_ref(self.broker.locate(name).1);
            let is_new = !homes.contains(&home);
            homes.push(home);
            is_new
        };
        names.filter(is_new).take(count).collect()
    }

    pub(super) fn usage(&self) -> MemoryUsage {
        self.broker.usage()
    }

    /// Channels in the tables, with or without a position.
    pub(super) fn channels(&self) -> usize {
        self.broker.shards.iter().map(|shard| shard.lock().channels.len()).sum()
    }

    /// Clears away all that expired.
    pub(super) fn sweep(&self) {
        for shard in &self.broker.shards {
            shard.lock().sweep_all(self.broker.now(), &self.broker.usage);
        }
    }

    /// A call in every shard that leaves nothing behind but sweeps.
    pub(super) fn disturb(&self) {
        for number in 0..2_000 {
            let channel = format!("passer-by {number}");
            self.guarded(&channel, "key", Duration::ZERO);
            self.enter(&channel, "x", Duration::ZERO).unwrap();
            self.broker.presence_remove(&channel, "x").now_or_never().unwrap().unwrap();
        }
    }
}
