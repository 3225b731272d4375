//! A publication on its way: into the history, among the answers to repeated ones, and to the sink.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    MemoryBroker,
    clock::Nanos,
    deliver,
    idempotency::{answer_key, answer_ttl},
};
use crate::{BrokerError, ChannelEvent, Publication, PublishOptions, Published, Retention};

impl MemoryBroker {
    pub(super) fn publish_now(
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
}
