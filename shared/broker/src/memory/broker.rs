//! [`Broker`] of the memory broker. A publication goes into the history, among the answers to repeated ones, and to the
//! sink.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    MemoryBroker, NOT_STARTED,
    clock::{Nanos, nanos},
    deliver, done,
    presence::{EnterResult, Entering},
    shard::{answer_key, answer_ttl},
};
use crate::{
    Broker, BrokerError, BrokerStats, ChannelEvent, ClientInfo, Cluster, Health, HistoryPage, HistoryQuery,
    PresencePage, PresenceQuery, Publication, PublishOptions, Published, Retention, Sink,
    hook_store::HookStore, queue::Queues,
};

impl Broker for MemoryBroker {
    fn start(&self, sink: Arc<dyn Sink>) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(
            self.sink
                .set(sink)
                .map_err(|_| BrokerError::Unavailable("the broker is started already".to_owned())),
        )
    }

    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, BrokerError>> {
        done(self.publish_now(channel, publication, &options))
    }

    fn publish_join(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.pass_on(channel, || ChannelEvent::Join(info)))
    }

    fn publish_leave(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.pass_on(channel, || ChannelEvent::Leave(info)))
    }

    fn subscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        for channel in channels {
            let (hash, shard) = self.locate(channel);
            shard.lock().subscribe(hash, channel);
        }
        done(Ok(()))
    }

    fn unsubscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>> {
        for channel in channels {
            let (hash, shard) = self.locate(channel);
            shard.lock().unsubscribe(hash, channel);
        }
        done(Ok(()))
    }

    fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> BoxFuture<'static, Result<HistoryPage, BrokerError>> {
        done(self.history_now(channel, &query, retention))
    }

    fn remove_history(&self, channel: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        shard.lock().remove_history(hash, channel, &self.usage);
        done(Ok(()))
    }

    fn history_bytes(&self, channel: &str) -> BoxFuture<'static, Result<Option<u64>, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        let bytes = shard.history_bytes(hash, channel, self.now(), &self.usage);
        done(Ok(Some(u64::try_from(bytes).unwrap_or(u64::MAX))))
    }

    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.enter_now(channel, info, ttl, announce))
    }

    fn presence_remove(&self, channel: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        shard.lock().leave(hash, channel, client, &self.usage, self.started_sink());
        done(Ok(()))
    }

    fn presence(
        &self,
        channel: &str,
        query: PresenceQuery,
    ) -> BoxFuture<'static, Result<PresencePage, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let shard = shard.lock();
        let now = self.now();
        let presence_set = shard.presence_set(hash, channel);
        done(Ok(
            presence_set.map_or_else(PresencePage::default, |presence_set| presence_set.page(&query, now))
        ))
    }

    fn presence_stats(&self, channel: &str) -> BoxFuture<'static, Result<(u64, u64), BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        done(Ok(shard.presence_stats(hash, channel, self.now(), &self.usage, self.started_sink())))
    }

    fn presence_nodes(
        &self,
        channel: &str,
        id_bytes: usize,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let shard = shard.lock();
        done(Ok(shard
            .presence_set(hash, channel)
            .map_or_else(BTreeSet::new, |presence_set| presence_set.nodes(id_bytes))))
    }

    fn presence_reap(
        &self,
        channel: &str,
        node: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
        let (hash, shard) = self.locate(channel);
        let sink = self.started_sink();
        done(Ok(shard.lock().reap(hash, channel, (node, limit), self.now(), &self.usage, sink)))
    }

    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn queues(&self) -> Option<&dyn Queues> {
        Some(self)
    }

    fn hook_store(&self) -> Option<&dyn HookStore> {
        Some(self)
    }

    fn stats(&self) -> BrokerStats {
        let (dead_letters, dead_letters_waiting) = self.queues.lock().dead_letters();
        let usage = self.usage();
        let memory_bytes = usage.history_bytes + usage.queue_bytes + usage.idempotency_bytes;
        BrokerStats { dead_letters, dead_letters_waiting, memory_bytes, ..BrokerStats::default() }
    }

    fn health(&self) -> Health {
        match self.sink.get() {
            Some(_) => Health::Ready,
            None => Health::NotReady(NOT_STARTED.to_owned()),
        }
    }
}

impl MemoryBroker {
    fn publish_now(
        &self,
        channel: &str,
        mut publication: Publication,
        options: &PublishOptions,
    ) -> Result<Published, BrokerError> {
        let keeps_history = options.retention.keeps_history() && !options.skip_history;
        publication.offset = 0;
        publication.epoch = Arc::default();
        if !keeps_history && options.idempotency.is_none() {
            self.pass_on(channel, || ChannelEvent::Publication(Arc::new(publication)))?;
            return Ok(Published::default());
        }
        if keeps_history {
            publication.data = Bytes::copy_from_slice(&publication.data);
        }
        let answer =
            options.idempotency.as_ref().map(|guard| (answer_key(channel, guard), answer_ttl(guard)));
        let published = self.publish_kept(channel, publication, options.retention, keeps_history, answer)?;
        self.keep_bounds();
        Ok(published)
    }

    /// A publication that leaves a trace: in the history, among the answers, or both.
    fn publish_kept(
        &self,
        channel: &str,
        publication: Publication,
        retention: Retention,
        keeps_history: bool,
        answer: Option<(String, Nanos)>,
    ) -> Result<Published, BrokerError> {
        let sink = self.sink()?;
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        // Under the lock, so that within a shard time never goes back.
        let now = self.now();
        shard.sweep(now, &self.usage);
        if let Some((key, _)) = &answer
            && let Some(position) = shard.answers.find(key, now)
        {
            return Ok(Published { position, repeated: true });
        }
        let mut published = Published::default();
        if keeps_history {
            let (channel, publication) =
                shard.append(hash, channel, publication, retention, now, &self.usage)?;
            published.position.offset = publication.offset;
            published.position.epoch = Arc::clone(&publication.epoch);
            if channel.subscribed {
                sink.on_event(&channel.name, ChannelEvent::Publication(publication));
            }
        } else {
            deliver(&shard, hash, channel, sink, || ChannelEvent::Publication(Arc::new(publication)));
        }
        if let Some((key, ttl)) = answer {
            shard.answers.remember(key, published.position.clone(), ttl, now, &self.usage);
        }
        Ok(published)
    }

    fn history_now(
        &self,
        channel: &str,
        query: &HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, BrokerError> {
        if !retention.keeps_history() {
            return Err(BrokerError::NoHistory);
        }
        let page = {
            let (hash, shard) = self.locate(channel);
            let mut shard = shard.lock();
            let now = self.now();
            shard.sweep(now, &self.usage);
            shard.read(hash, channel, query, now, &self.usage)?
        };
        self.keep_bounds();
        Ok(page)
    }

    fn enter_now(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> Result<(), BrokerError> {
        if self.try_enter(channel, &info, ttl, announce) == EnterResult::Full {
            // Clients whose time is over may still be counted: without them there may be room.
            for shard in &self.shards {
                let mut shard = shard.lock();
                let now = self.now();
                while shard.sweep_presence_set(now, &self.usage, self.started_sink()) {}
            }
            if self.try_enter(channel, &info, ttl, announce) == EnterResult::Full {
                return Err(BrokerError::Limit("clients in presence"));
            }
        }
        Ok(())
    }

    fn try_enter(&self, channel: &str, info: &Arc<ClientInfo>, ttl: Duration, announce: bool) -> EnterResult {
        let (hash, shard) = self.locate(channel);
        let mut shard = shard.lock();
        let now = self.now();
        let sink = self.started_sink();
        shard.sweep_presence_set(now, &self.usage, sink);
        let deadline = now.saturating_add(nanos(ttl));
        let entering = Entering { info: Arc::clone(info), announce, deadline, now };
        shard.enter(hash, channel, entering, &self.usage, sink)
    }
}
