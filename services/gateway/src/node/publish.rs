//! Publishing: the channel's options, then the broker. The one way for backends, clients and embedders.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use gorani_auth::{CHANNEL_NAME_MAX_BYTES, ChannelOptions, check_channel_name};
use gorani_broker::{
    BrokerError, Idempotency, Publication, PublishOptions, Published, Retention, queue::QUEUE_FULL,
};

use crate::{
    disconnect::ErrorCode, hub::queue_consumers::FetchRequest, node::Node,
    session::shared::recovery::retention,
};

/// How long an idempotency key is remembered (`docs/protocols/http.md` §5.5).
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(300);
/// Bytes of an idempotency key at most.
const IDEMPOTENCY_KEY_BYTES: usize = 255;

/// Where a publication comes from, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishSource {
    /// The HTTP API, or an embedder.
    Api,
    /// A client.
    Client,
}

impl Node {
    /// The options of a channel. Errors: 107 for a bad name, 102 for an unknown namespace.
    pub fn channel_options(&self, channel: &str) -> Result<&ChannelOptions, ErrorCode> {
        let most = self.settings.client.channel_max_bytes.min(CHANNEL_NAME_MAX_BYTES);
        check_channel_name(channel, most).map_err(|_| ErrorCode::BAD_REQUEST)?;
        self.policy.rules.options(channel).map_err(|_| ErrorCode::UNKNOWN_CHANNEL)
    }

    /// The retention of a channel.
    pub fn channel_retention(&self, channel: &str) -> Result<Retention, ErrorCode> {
        self.channel_options(channel).map(retention)
    }

    /// Publishes for a backend. Its place in the channel's order is taken now, not when the future is polled.
    pub fn publish(
        self: &Arc<Self>,
        channel: &str,
        publication: Publication,
        skip_history: bool,
        idempotency_key: Option<String>,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        let options = self.channel_retention(channel).and_then(|retention| {
            let idempotency = match idempotency_key {
                Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES => {
                    return Err(ErrorCode::BAD_REQUEST);
                }
                key => key.map(|key| Idempotency { key, ttl: IDEMPOTENCY_TTL }),
            };
            Ok(PublishOptions { retention, skip_history, idempotency })
        });
        match options {
            Ok(options) => self.publish_with(PublishSource::Api, channel, publication, options),
            Err(error) => {
                self.count_publication(PublishSource::Api, false);
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    /// Publishes with options that are decided already.
    pub fn publish_with(
        self: &Arc<Self>,
        source: PublishSource,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        let node = Arc::clone(self);
        let accepted = self.broker().publish(channel, publication, options);
        Box::pin(async move {
            let result = accepted.await;
            node.count_publication(source, result.is_ok());
            result.map_err(|error| {
                // Not a warning: while Redis is away there would be one for every publication. The counter and the broker tell.
                tracing::debug!(%error, "a publication failed");
                ErrorCode::from(error)
            })
        })
    }

    /// Adds a message to a work queue. It takes its place in line now, not when the future is polled.
    pub fn push_to_queue(
        self: &Arc<Self>,
        queue: &str,
        publication: Publication,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        let Some(queues) = self.broker().queues() else {
            return Box::pin(std::future::ready(Err(ErrorCode::NOT_AVAILABLE)));
        };
        let node = Arc::clone(self);
        let accepted = queues.push(queue, publication, &self.queue_limits);
        Box::pin(async move {
            let result = accepted.await;
            node.count_publication(PublishSource::Client, result.is_ok());
            result.map(|()| Published::default()).map_err(|error| match error {
                // The queue is full, and stays so until somebody takes from it: no matter of a moment.
                BrokerError::Limit(QUEUE_FULL) => ErrorCode::LIMIT_EXCEEDED,
                error => ErrorCode::from(error),
            })
        })
    }

    /// What the consumers of this node ask of a queue.
    pub fn fetch_request(&self, queue: Arc<str>, count: u32) -> FetchRequest {
        FetchRequest { queue, count, node: self.id.clone(), limits: self.queue_limits.clone() }
    }

    fn count_publication(&self, source: PublishSource, accepted: bool) {
        let counters = match source {
            PublishSource::Api => &self.metrics.api_publications,
            PublishSource::Client => &self.metrics.client_publications,
        };
        counters.count(accepted);
    }
}
