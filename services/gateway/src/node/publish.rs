//! Publishing: the channel's options, then the broker. The one way for backends, clients and embedders.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use gorani_auth::TraceContextDelivery;
use gorani_broker::{
    Broker, BrokerError, Idempotency, Publication, PublishOptions, Published,
    queue::{QUEUE_FULL, QueueLimits},
};
use tokio::time::Instant;

use crate::{
    disconnect::ErrorCode,
    event_log::NodeEventLog,
    hub::queue_consumers::FetchRequest,
    metrics::{Metrics, PublishOutcome},
    session::shared::{IDEMPOTENCY_KEY_MAX_BYTES, IDEMPOTENCY_TTL, current_policy::CurrentPolicy},
    settings::stomp::StompSettings,
    telemetry::{
        spans::{begin_publish, end_publish, show_in_tags},
        trace::{Span, Tracer},
    },
};

/// The source of a publication, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishSource {
    /// The HTTP API, or an embedder.
    Api,
    /// A client.
    Client,
}

impl PublishSource {
    /// As spans have it.
    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Client => "client",
        }
    }
}

/// Publishes into the channels and queues of the broker.
pub struct Publisher {
    broker: Arc<dyn Broker>,
    policy: Arc<CurrentPolicy>,
    metrics: Arc<Metrics>,
    events: Arc<NodeEventLog>,
    /// Limits of a work queue.
    queue_limits: Arc<QueueLimits>,
    /// Takes spans, where there are traces.
    tracer: Option<Arc<Tracer>>,
}

impl Publisher {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        policy: Arc<CurrentPolicy>,
        metrics: Arc<Metrics>,
        events: Arc<NodeEventLog>,
        settings: &StompSettings,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        Self { broker, policy, metrics, events, queue_limits: Arc::new(settings.queue.limits()), tracer }
    }

    /// Publishes for a backend. Its position in the channel is taken now, not when the future is polled.
    pub fn publish(
        &self,
        channel: &str,
        publication: Publication,
        skip_history: bool,
        idempotency_key: Option<String>,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        let options = self.policy.get().channel_retention(channel).and_then(|retention| {
            let idempotency = match idempotency_key {
                Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX_BYTES => {
                    return Err(ErrorCode::BAD_REQUEST);
                }
                key => key.map(|key| Idempotency { key, ttl: IDEMPOTENCY_TTL }),
            };
            Ok(PublishOptions { retention, skip_history, idempotency })
        });
        match options {
            Ok(options) => self.publish_with(PublishSource::Api, channel.into(), publication, options),
            Err(error) => {
                if self.events.keeps_failures() {
                    self.events.note_failure(channel, false, error.code);
                }
                count_publication(&self.metrics, PublishSource::Api, Some(error), Duration::ZERO);
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    /// Publishes with options that are decided already.
    pub fn publish_with(
        &self,
        source: PublishSource,
        channel: Arc<str>,
        mut publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        // One look at the log's level for a publication; the fields are read only where somebody wants them.
        tracing::debug!(%channel, ?source, bytes = publication.data.len(), "publishing");
        let (metrics, began) = (self.metrics.clone(), Instant::now());
        let span = self.begin_span(source, &channel, &mut publication);
        let accepted = self.broker.publish(&channel, publication, options);
        let noted = self.events.keeps_failures().then(|| (self.events.clone(), channel));
        Box::pin(async move {
            let result = accepted.await.map_err(|error| {
                // Not a warning: while Redis is away there would be one for every publication. The counter and the broker tell.
                tracing::debug!(%error, "publication failed");
                ErrorCode::from(error)
            });
            if let (Err(error), Some((events, channel))) = (&result, noted) {
                events.note_failure(&channel, source == PublishSource::Client, error.code);
            }
            let error = result.as_ref().err().copied();
            if let Some(span) = span {
                if let Some(trace) = span.context() {
                    let labels = [("source", source.name()), ("result", outcome_of(error).name())];
                    let id = &trace.trace_id;
                    metrics.exemplars.note("publish_duration_seconds", &labels, began.elapsed(), id);
                }
                let offset = result.as_ref().map(|published| published.position.offset);
                end_publish(span, offset.map_err(|error| error.code));
            }
            count_publication(&metrics, source, error, began.elapsed());
            result
        })
    }

    /// The span of a publication that is sampled. Subscribers see its trace where the options of the channel say so.
    fn begin_span(
        &self,
        source: PublishSource,
        channel: &str,
        publication: &mut Publication,
    ) -> Option<Span> {
        let span = begin_publish(self.tracer.as_ref()?, channel, publication, source.name())?;
        let policy = self.policy.get();
        let options = policy.channel_options(channel);
        if options.is_ok_and(|options| options.trace_context == TraceContextDelivery::Tags) {
            show_in_tags(publication);
        }
        Some(span)
    }

    /// Adds a message to a work queue. It is put in line now, not when the future is polled.
    pub fn push_to_queue(
        &self,
        queue: &str,
        publication: Publication,
    ) -> BoxFuture<'static, Result<Published, ErrorCode>> {
        let Some(queues) = self.broker.queues() else {
            let refused = Some(ErrorCode::NOT_AVAILABLE);
            count_publication(&self.metrics, PublishSource::Client, refused, Duration::ZERO);
            return Box::pin(std::future::ready(Err(ErrorCode::NOT_AVAILABLE)));
        };
        let (metrics, began) = (self.metrics.clone(), Instant::now());
        let accepted = queues.push(queue, publication, &self.queue_limits);
        Box::pin(async move {
            let result = accepted.await.map(|()| Published::default()).map_err(|error| match error {
                // The queue is full, and stays so until somebody takes from it: it does not pass in a moment.
                BrokerError::Limit(QUEUE_FULL) => ErrorCode::LIMIT_EXCEEDED,
                error => ErrorCode::from(error),
            });
            let error = result.as_ref().err().copied();
            count_publication(&metrics, PublishSource::Client, error, began.elapsed());
            result
        })
    }

    /// The request with which the consumers of this node fetch from a queue.
    pub fn fetch_request(&self, queue: Arc<str>, count: u32) -> FetchRequest {
        FetchRequest { queue, count, node: self.policy.node_id.clone(), limits: self.queue_limits.clone() }
    }
}

fn count_publication(metrics: &Metrics, source: PublishSource, error: Option<ErrorCode>, time: Duration) {
    let counters = match source {
        PublishSource::Api => &metrics.api_publications,
        PublishSource::Client => &metrics.client_publications,
    };
    counters.count(outcome_of(error), time);
}

fn outcome_of(error: Option<ErrorCode>) -> PublishOutcome {
    match error {
        None => PublishOutcome::Accepted,
        Some(error) if error.temporary => PublishOutcome::Failed,
        Some(_) => PublishOutcome::Refused,
    }
}
