//! An endpoint of the backend: where its requests go, with which headers, and how they are signed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
    time::Duration,
};

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use aws_lc_rs::hmac;
use gorani_broker::hook_store::{HookQueueHead, Partition};
use parking_lot::RwLock;
use tokio::time::Instant;
use url::Url;

use super::{attempt::AttemptResult, batch::HookBatch, pusher};
use crate::{
    backend::{BackendClient, BackendTarget, BackendTls, PostError, Signer, SigningSecret},
    clock,
    metrics::hooks::{HookEndpointMetrics, HookMetrics},
    settings::{HookEndpointSettings, HookFormat, SettingsError},
    telemetry::{
        spans::{begin_hooks, end_backend_request, traceparent_header},
        trace::Tracer,
    },
};

/// Bytes of an answer at most.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// An endpoint that answered 410 is tried again after this time.
pub(super) const PAUSE: Duration = Duration::from_secs(600);
/// The failures of an endpoint are logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// An endpoint as the settings say it.
pub struct HookEndpoint {
    /// Its settings.
    pub settings: HookEndpointSettings,
    target: Arc<BackendTarget>,
    headers: HeaderMap,
    signing: RwLock<Arc<HookSigning>>,
}

enum HookSigning {
    Standard(Signer),
    Pusher { key: HeaderValue, secret: Box<hmac::Key> },
}

impl HookEndpoint {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// One of them cannot be used, or a secret is none.
    pub fn open(settings: &HookEndpointSettings, partitions: Partition) -> Result<Self, SettingsError> {
        let refused = |key: &'static str, problem: &dyn std::fmt::Display| SettingsError::Value {
            key,
            problem: format!("{:?}: {problem}", settings.name),
        };
        let endpoint = Url::parse(&settings.url).map_err(|error| refused("hooks.endpoints.url", &error))?;
        let tls =
            BackendTls::open(&settings.tls, true).map_err(|error| refused("hooks.endpoints.tls", &error))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &settings.headers {
            let wrong = |error: &dyn std::fmt::Display| refused("hooks.endpoints.headers", error);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(&error))?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|error| wrong(&error))?);
        }
        let secrets = settings.all_secrets()?;
        let signing = match settings.format {
            HookFormat::Gorani => {
                let secrets = secrets.iter().map(|secret| secret.parse::<SigningSecret>());
                let secrets: Result<_, _> = secrets.collect();
                HookSigning::Standard(Signer::new(
                    secrets.map_err(|error| refused("hooks.endpoints.secrets", &error))?,
                ))
            }
            HookFormat::Pusher => {
                let [secret] = secrets.as_slice() else {
                    return Err(refused(
                        "hooks.endpoints.secrets",
                        &"the format \"pusher\" needs one secret",
                    ));
                };
                HookSigning::Pusher {
                    key: HeaderValue::from_str(&settings.pusher_key)
                        .map_err(|error| refused("hooks.endpoints.pusher_key", &error))?,
                    secret: Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
                }
            }
        };
        let target = BackendTarget {
            endpoint,
            tls: Arc::new(tls),
            timeout: settings.timeout,
            pool_limit: partitions.into(),
            max_response_bytes: ANSWER_MAX_BYTES,
        };
        let signing = RwLock::new(Arc::new(signing));
        Ok(Self { settings: settings.clone(), target: Arc::new(target), headers, signing })
    }

    /// Takes certificates and secrets from an endpoint of the same settings that was opened later, for requests from now on.
    pub(super) fn replace_files(&self, read: &Self) {
        self.target.tls.replace_by(&read.target.tls);
        *self.signing.write() = read.signing.read().clone();
    }

    /// The headers of a request, signed at this time.
    fn headers(&self, batch: &HookBatch, body: &[u8], now_s: u64) -> Result<HeaderMap, PostError> {
        let mut headers = self.headers.clone();
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|error| PostError::Request(error.to_string()));
        match &**self.signing.read() {
            HookSigning::Standard(signer) => {
                for (name, text) in signer.headers(&batch.id, now_s, body) {
                    // Without a secret the signature is empty; the id and the time are of use all the same.
                    if !text.is_empty() {
                        headers.insert(HeaderName::from_static(name), value(&text)?);
                    }
                }
            }
            HookSigning::Pusher { key, secret } => {
                headers.insert(HeaderName::from_static("x-pusher-key"), key.clone());
                let signature = value(&pusher::signature(secret, body))?;
                headers.insert(HeaderName::from_static("x-pusher-signature"), signature);
            }
        }
        Ok(headers)
    }
}

/// The backlog of an endpoint in one partition.
#[derive(Debug, Clone, Copy, Default)]
struct PartitionBacklog {
    events: u64,
    oldest_ms: Option<u64>,
    dead_letters: u64,
    dropped_mark: Option<u64>,
}

/// An endpoint as the deliverer's thread sees it: its client and its condition, which all partitions share.
pub(super) struct EndpointDelivery {
    pub(super) endpoint: Arc<HookEndpoint>,
    client: BackendClient,
    metrics: HookEndpointMetrics,
    paused_until: Cell<Option<Instant>>,
    failing: Cell<Option<Instant>>,
    backlogs: RefCell<BTreeMap<Partition, PartitionBacklog>>,
    /// Takes the spans of its requests, where there are traces.
    pub(super) tracer: Option<Arc<Tracer>>,
}

impl EndpointDelivery {
    pub(super) fn new(endpoint: Arc<HookEndpoint>, metrics: &HookMetrics) -> Result<Self, PostError> {
        Ok(Self {
            client: BackendClient::new(endpoint.target.clone())?,
            metrics: metrics.endpoint(&endpoint.settings.name),
            endpoint,
            paused_until: Cell::new(None),
            failing: Cell::new(None),
            backlogs: RefCell::default(),
            tracer: None,
        })
    }

    /// Sends a batch and judges the answer.
    pub(super) async fn post(&self, batch: &HookBatch) -> AttemptResult {
        let Some(body) = batch.body.clone() else { return AttemptResult::Taken };
        let began = Instant::now();
        let deadline = began + self.endpoint.settings.timeout;
        let mut answer = self.post_once(batch, &body, deadline).await;
        // The endpoint closed an idle connection as the request came: that says nothing of the endpoint.
        if matches!(answer, Err(PostError::Stale(_))) {
            answer = self.post_once(batch, &body, deadline).await;
        }
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        let result = AttemptResult::of(answer);
        tracing::debug!(
            endpoint = self.endpoint.settings.name,
            batch = batch.id,
            events = batch.events,
            outcome = result.name(),
            "request with events"
        );
        self.note(&result);
        result
    }

    async fn post_once(
        &self,
        batch: &HookBatch,
        body: &bytes::Bytes,
        deadline: Instant,
    ) -> Result<crate::backend::BackendAnswer, PostError> {
        let mut headers = self.endpoint.headers(batch, body, clock::unix_ms() / 1000)?;
        let host = self.endpoint.target.endpoint.host_str();
        let name = &self.endpoint.settings.name;
        let span = self.tracer.as_ref().and_then(|tracer| begin_hooks(tracer, name, host, batch.events));
        if let Some((name, value)) = span.as_ref().and_then(traceparent_header) {
            headers.insert(name, value);
        }
        let answer = self.client.post(headers, body.clone(), deadline).await;
        if let Some(span) = span {
            let status = answer.as_ref().map(|answer| answer.status.as_u16());
            end_backend_request(span, status.map_err(ToString::to_string));
        }
        answer
    }

    /// Counts a result, and says in the log when the condition of the endpoint changes.
    fn note(&self, result: &AttemptResult) {
        let name = &*self.endpoint.settings.name;
        let counter = match result {
            AttemptResult::Taken => &self.metrics.taken,
            AttemptResult::Refused(_) => &self.metrics.refused,
            AttemptResult::Gone => &self.metrics.gone,
            AttemptResult::Failed { .. } => &self.metrics.failed,
        };
        counter.inc();
        let now = Instant::now();
        if *result == AttemptResult::Gone {
            self.metrics.paused.set(1);
            // Requests of other partitions may have been under way.
            if self.paused_until.replace(Some(now + PAUSE)).is_some_and(|until| now < until) {
                return;
            }
            tracing::error!(
                endpoint = name,
                "the endpoint of hooks answered 410: it is paused, its events wait, and it is tried again in {}",
                humantime::format_duration(PAUSE)
            );
            return;
        }
        if self.paused_until.take().is_some() {
            self.metrics.paused.set(0);
        }
        match (result, self.failing.get()) {
            (AttemptResult::Failed { reason, .. }, logged)
                if logged.is_none_or(|logged| now >= logged + LOG_EVERY) =>
            {
                self.failing.set(Some(now));
                tracing::warn!(endpoint = name, reason, "sending events to an endpoint of hooks failed");
            }
            (AttemptResult::Failed { .. }, _) | (_, None) => {}
            (_, Some(_)) => {
                self.failing.set(None);
                tracing::info!(endpoint = name, "an endpoint of hooks answers again");
            }
        }
    }

    /// The endpoint is paused until this time, by the state of a queue: another node noted it, or this one before its start.
    pub(super) fn note_pause(&self, until_ms: u64) {
        let left = Duration::from_millis(until_ms.saturating_sub(clock::unix_ms())).min(PAUSE);
        if left.is_zero() || self.paused_for().is_some() {
            return;
        }
        self.paused_until.set(Some(Instant::now() + left));
        self.metrics.paused.set(1);
        tracing::warn!(
            endpoint = self.endpoint.settings.name,
            "the endpoint of hooks answered 410 before: its events wait for another {}",
            humantime::format_duration(Duration::from_secs(left.as_secs()))
        );
    }

    /// The rest of the pause of an endpoint that answered 410.
    pub(super) fn paused_for(&self) -> Option<Duration> {
        let until = self.paused_until.get()?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Notes what waits in a partition.
    pub(super) fn note_backlog(&self, partition: Partition, head: &HookQueueHead) {
        let mut backlogs = self.backlogs.borrow_mut();
        let backlog = backlogs.entry(partition).or_default();
        let seen = backlog.dropped_mark.unwrap_or(head.dropped_mark.saturating_sub(head.dropped));
        self.metrics.dropped.inc_by(head.dropped_mark.saturating_sub(seen));
        *backlog = PartitionBacklog {
            events: head.length,
            oldest_ms: head.events.first().map(|event| event.draft.time_ms),
            dead_letters: head.dead_letters,
            dropped_mark: Some(head.dropped_mark),
        };
        self.set_gauges(&backlogs);
    }

    /// Another node delivers the partition.
    pub(super) fn forget_backlog(&self, partition: Partition) {
        let mut backlogs = self.backlogs.borrow_mut();
        backlogs.remove(&partition);
        self.set_gauges(&backlogs);
    }

    fn set_gauges(&self, backlogs: &BTreeMap<Partition, PartitionBacklog>) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let sum = |of: fn(&PartitionBacklog) -> u64| gauge(backlogs.values().map(of).sum());
        self.metrics.backlog_events.set(sum(|backlog| backlog.events));
        self.metrics.dead_letters.set(sum(|backlog| backlog.dead_letters));
        let oldest_ms = backlogs.values().filter_map(|backlog| backlog.oldest_ms).min();
        let age_ms = oldest_ms.map_or(0, |oldest_ms| clock::unix_ms().saturating_sub(oldest_ms));
        self.metrics.backlog_age_seconds.set(gauge(age_ms / 1000));
    }
}
