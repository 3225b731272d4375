//! Sends spans to the collector: a task on the node's own thread, with the HTTP client of backends. It takes them from a bounded queue,
//! so that a collector that is slow or away costs spans and nothing else. Decision record 66.

use std::{sync::Arc, time::Duration};

use actix_http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use rand::RngExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    SCOPE,
    messages::{
        AttributeMessage, ExportRequest, ExportResponse, ResourceMessage, ResourceSpansMessage, ScopeMessage,
        ScopeSpansMessage, SpanMessage,
    },
    resource,
};
use crate::{
    backend::{BackendAnswer, BackendClient, BackendTarget, BackendTls, PostError},
    metrics::traces::TraceMetrics,
    settings::{BackendTlsSettings, SettingsError, TelemetrySettings},
    telemetry::trace::{QueuedSpan, Tracer},
};

/// Spans of one request at most.
const BATCH_SPANS: usize = 512;
/// Time for which the first span of a request waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Times that a request is sent at most.
const TRIES: u32 = 5;
/// The first pause between them at most; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer at most.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Failures are logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The task that sends the spans of a node.
pub struct Exporter {
    queue: mpsc::Receiver<QueuedSpan>,
    target: Arc<BackendTarget>,
    headers: HeaderMap,
    resource: ResourceMessage,
    metrics: TraceMetrics,
    /// The time of the last line about a failure, while the collector fails.
    failing: Option<Instant>,
}

/// Why a collector has not got the spans.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    /// There is no answer.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The answer is an error.
    #[error("status {0}")]
    Status(u16),
}

impl Exporter {
    /// A tracer and the task that sends its spans; `None` where no endpoint is set.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn open(
        settings: &TelemetrySettings,
        node: &str,
        metrics: TraceMetrics,
    ) -> Result<Option<(Arc<Tracer>, Self)>, SettingsError> {
        let otlp = &settings.otlp;
        let Some(endpoint) = otlp.url()? else { return Ok(None) };
        let refused =
            |key, error: &dyn std::fmt::Display| SettingsError::Value { key, problem: error.to_string() };
        let tls =
            BackendTlsSettings { ca_pem_file: otlp.ca_pem_file.clone(), ..BackendTlsSettings::default() };
        let tls =
            BackendTls::open(&tls, false).map_err(|error| refused("telemetry.otlp.ca_pem_file", &error))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &otlp.headers {
            let wrong = |error: &dyn std::fmt::Display| refused("telemetry.otlp.headers", error);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(&error))?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|error| wrong(&error))?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let target = BackendTarget {
            endpoint,
            tls: Arc::new(tls),
            timeout: otlp.timeout,
            pool_limit: 1,
            max_response_bytes: ANSWER_MAX_BYTES,
        };
        let own = [
            (resource::SERVICE_NAME, otlp.service_name.as_str()),
            (resource::SERVICE_INSTANCE_ID, node),
            (resource::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        ];
        let more =
            otlp.attributes.iter().filter(|(name, _)| own.iter().all(|(own, _)| *own != name.as_str()));
        let mut attributes: Vec<_> =
            own.iter().map(|(name, value)| AttributeMessage::text(*name, *value)).collect();
        attributes.extend(more.map(|(name, value)| AttributeMessage::text(name, value)));
        let (tracer, queue) = Tracer::new(settings.sample, settings.channel_names, metrics.clone());
        let exporter = Self {
            queue,
            target: Arc::new(target),
            headers,
            resource: ResourceMessage { attributes },
            metrics,
            failing: None,
        };
        Ok(Some((tracer, exporter)))
    }

    /// Sends spans until their tracer is gone. To be run on a thread of actix.
    pub async fn run(mut self) {
        let client = match BackendClient::new(self.target.clone()) {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, "no traces: the collector's address cannot be used"),
        };
        while let Some(first) = self.queue.recv().await {
            let (spans, flushed) = self.batch(first).await;
            if !spans.is_empty() {
                self.send(&client, spans).await;
            }
            if let Some(flushed) = flushed {
                // Whoever asked may have gone.
                let _ = flushed.send(());
            }
        }
    }

    /// Collects spans behind the first, until there are enough, their time is over or somebody waits for them.
    async fn batch(&mut self, first: QueuedSpan) -> (Vec<SpanMessage>, Option<oneshot::Sender<()>>) {
        let until = Instant::now() + BATCH_DELAY;
        let mut spans = Vec::new();
        let mut next = Some(first);
        while let Some(queued) = next {
            match queued {
                QueuedSpan::Ended(record) => spans.push(SpanMessage::from(*record)),
                QueuedSpan::Flush(flushed) => return (spans, Some(flushed)),
            }
            if spans.len() >= BATCH_SPANS {
                break;
            }
            next = timeout_at(until, self.queue.recv()).await.ok().flatten();
        }
        (spans, None)
    }

    /// Sends spans; again where the collector asks for it or is not reached. Meanwhile the queue fills up.
    async fn send(&mut self, client: &BackendClient, spans: Vec<SpanMessage>) {
        let count = spans.len() as u64;
        let scope = ScopeMessage { name: SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let request = ExportRequest {
            resource_spans: vec![ResourceSpansMessage {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpansMessage { scope: Some(scope), spans }],
            }],
        };
        let body = bytes::Bytes::from(request.encode_to_vec());
        let mut pause = PAUSE_FIRST;
        for tries in 1..=TRIES {
            let deadline = Instant::now() + self.target.timeout;
            let answer = client.post(self.headers.clone(), body.clone(), deadline).await;
            let (error, asked) = match answer {
                Ok(answer) if answer.status.is_success() => return self.taken(count, &answer),
                Ok(answer) => (ExportError::Status(answer.status.as_u16()), answer.retry_after),
                Err(error) => (ExportError::from(error), None),
            };
            if tries == TRIES || !is_temporary(&error) {
                self.metrics.failed.inc_by(count);
                return self.failed(&error, count);
            }
            let own = crate::random::rng().random_range(Duration::ZERO..=pause);
            tokio::time::sleep(asked.unwrap_or(own).min(PAUSE_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The collector answered that it has them, or some of them.
    fn taken(&mut self, count: u64, answer: &BackendAnswer) {
        let partial =
            ExportResponse::decode(answer.body.as_ref()).ok().and_then(|answer| answer.partial_success);
        let rejected =
            partial.as_ref().map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0));
        let rejected = rejected.min(count);
        self.metrics.exported.inc_by(count - rejected);
        self.metrics.failed.inc_by(rejected);
        if rejected > 0 {
            tracing::warn!(rejected, spans = count, "the collector of traces rejected spans");
        }
        if self.failing.take().is_some() {
            tracing::info!("the collector of traces answers again");
        }
    }

    fn failed(&mut self, error: &ExportError, count: u64) {
        let now = Instant::now();
        if self.failing.is_none_or(|logged| now >= logged + LOG_EVERY) {
            self.failing = Some(now);
            tracing::warn!(%error, spans = count, "sending traces to the collector failed");
        }
    }
}

/// True for what the standard calls retryable, and where there is no answer.
fn is_temporary(error: &ExportError) -> bool {
    match error {
        ExportError::Post(PostError::Request(_) | PostError::TooLarge(_)) => false,
        ExportError::Post(_) => true,
        ExportError::Status(status) => matches!(status, 429 | 502 | 503 | 504),
    }
}

#[cfg(test)]
mod tests;
