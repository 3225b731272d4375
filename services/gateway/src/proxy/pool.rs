//! The proxies of a node: what its workers share of each. How many calls are under way, whether its backend answers, and what may be
//! repeated are questions of the node and not of a worker.

use std::sync::{Arc, OnceLock, atomic::Ordering::Relaxed};

use actix_http::StatusCode;
use parking_lot::RwLock;
use tokio::time::{Duration, Instant};
use url::Url;

use super::{
    breaker::{Breaker, BreakerState},
    limits::CallLimits,
    request::RequestForm,
    retry::RetryBudget,
};
use crate::{
    backend::{BackendTarget, BackendTls, BackendTlsError, Signer, SigningSecretError},
    disconnect::{Disconnect, ProxyError},
    metrics::proxy::{ProxyCallLabel, ProxyLabel, ProxyMetrics},
    proxy_call::{ProxyAnswer, ProxyCounts, ProxyId},
    refusal_log::{LogCause, RefusalLog},
    settings::{ClientProxySettings, ConfiguredProxy, Http2Choice, ProxyEvent, ProxySettings, Settings},
    telemetry::trace::Tracer,
};

/// Why a proxy cannot be used. One line that names it.
#[derive(Debug, thiserror::Error)]
#[error("proxy {proxy}: {problem}")]
pub struct ProxyFilesError {
    proxy: String,
    problem: FilesProblem,
}

#[derive(Debug, thiserror::Error)]
enum FilesProblem {
    #[error("http.tls.{0}")]
    Tls(#[from] BackendTlsError),
    #[error("endpoint: {0}")]
    Endpoint(#[from] url::ParseError),
    #[error("secrets_file ({file}): {error}", file = .0.display(), error = .1)]
    SecretsFile(std::path::PathBuf, std::io::Error),
    #[error("secret number {0} {1}")]
    Secret(usize, SigningSecretError),
    #[error("secrets_file holds no secret")]
    NoSecret,
}

/// Reads the files of all proxies, as the start does.
///
/// # Errors
/// One of them is not usable.
pub fn check_files(settings: &Settings) -> Result<(), ProxyFilesError> {
    settings.configured_proxies().iter().try_for_each(|proxy| ProxyFiles::read(proxy).map(drop))
}

/// The parts of a proxy that stand in files.
struct ProxyFiles {
    tls: BackendTls,
    signer: Signer,
}

impl ProxyFiles {
    fn read(proxy: &ConfiguredProxy<'_>) -> Result<Self, ProxyFilesError> {
        Self::of(proxy.settings).map_err(|problem| ProxyFilesError { proxy: proxy.label.to_owned(), problem })
    }

    fn of(settings: &ProxySettings) -> Result<Self, FilesProblem> {
        let http2 = settings.http2 == Http2Choice::Auto;
        let tls = if settings.endpoint.starts_with("https:") {
            BackendTls::open(&settings.http.tls, http2)?
        } else {
            BackendTls::unused()?
        };
        let from_file;
        let mut texts: Vec<&str> = settings.secrets.0.iter().map(String::as_str).collect();
        let file = &settings.secrets_file;
        if !file.as_os_str().is_empty() {
            from_file = std::fs::read_to_string(file)
                .map_err(|error| FilesProblem::SecretsFile(file.clone(), error))?;
            texts.extend(from_file.lines().map(str::trim).filter(|line| !line.is_empty()));
            if texts.is_empty() {
                return Err(FilesProblem::NoSecret);
            }
        }
        let secrets = texts
            .iter()
            .enumerate()
            .map(|(index, text)| text.parse().map_err(|error| FilesProblem::Secret(index + 1, error)));
        Ok(Self { tls, signer: Signer::new(secrets.collect::<Result<_, _>>()?) })
    }
}

/// The proxies of a node.
#[derive(Default)]
pub struct ProxyPool {
    proxies: Vec<Arc<SharedProxy>>,
    metrics: ProxyMetrics,
    /// Why calls fail, once a minute for each proxy and cause.
    pub(super) log: RefusalLog,
}

/// One of them.
pub(super) struct SharedProxy {
    pub(super) label: Arc<str>,
    settings: ProxySettings,
    pub(super) target: Arc<BackendTarget>,
    pub(super) form: RequestForm,
    signer: RwLock<Arc<Signer>>,
    pub(super) limits: CallLimits,
    pub(super) breaker: Option<Breaker>,
    pub(super) retries: Option<RetryBudget>,
    transforms: Vec<(StatusCode, ProxyAnswer)>,
    pub(super) legacy_errors: bool,
    /// Takes the spans of its calls, where there are traces.
    pub(super) tracer: OnceLock<Arc<Tracer>>,
    metrics: ProxyMetrics,
}

/// Files that were read again.
pub struct ReadProxyFiles(Vec<ProxyFiles>);

impl ProxyPool {
    /// The proxies of these settings, which were checked.
    ///
    /// # Errors
    /// A file is not usable.
    pub fn open(settings: &Settings, metrics: &ProxyMetrics) -> Result<Arc<Self>, ProxyFilesError> {
        let proxies = settings.configured_proxies();
        let proxies = proxies
            .iter()
            .map(|proxy| SharedProxy::open(proxy, &settings.client.proxy, metrics).map(Arc::new));
        Ok(Arc::new(Self {
            proxies: proxies.collect::<Result<_, _>>()?,
            metrics: metrics.clone(),
            log: RefusalLog::default(),
        }))
    }

    /// Has a tracer take the spans of calls; before the first call.
    pub fn trace(&self, tracer: &Arc<Tracer>) {
        for proxy in &self.proxies {
            // A node has one tracer.
            let _ = proxy.tracer.set(tracer.clone());
        }
    }

    pub(super) fn get(&self, id: ProxyId) -> Option<&Arc<SharedProxy>> {
        self.proxies.get(usize::from(id.0))
    }

    /// Reads certificates and secrets of all proxies again; it may block.
    ///
    /// # Errors
    /// One of them is not usable; nothing is changed.
    pub fn read_files(&self) -> Result<ReadProxyFiles, ProxyFilesError> {
        let read = |proxy: &Arc<SharedProxy>| {
            ProxyFiles::of(&proxy.settings)
                .map_err(|problem| ProxyFilesError { proxy: proxy.label.to_string(), problem })
        };
        self.proxies.iter().map(read).collect::<Result<_, _>>().map(ReadProxyFiles)
    }

    /// Puts what was read in its place, for calls from now on.
    pub fn replace_files(&self, read: ReadProxyFiles) {
        for (proxy, ProxyFiles { tls, signer }) in self.proxies.iter().zip(read.0) {
            proxy.target.tls.replace_by(&tls);
            *proxy.signer.write() = Arc::new(signer);
        }
    }

    /// The proxies whose breaker is open, for operators: clients of other channels are served as ever.
    pub fn open_breakers(&self) -> Vec<String> {
        let is_open = |proxy: &&Arc<SharedProxy>| proxy.breaker_state() != BreakerState::Closed;
        self.proxies.iter().filter(is_open).map(|proxy| proxy.label.to_string()).collect()
    }

    /// Sets the gauges.
    pub fn set_gauges(&self, counts: &ProxyCounts) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for proxy in &self.proxies {
            let label = ProxyLabel { proxy: proxy.label.clone() };
            self.metrics.in_flight.get_or_create(&label).set(gauge(proxy.limits.running()));
            self.metrics.allowed.get_or_create(&label).set(gauge(proxy.limits.allowed()));
            self.metrics.waiting.get_or_create(&label).set(gauge(proxy.limits.waiting()));
            self.metrics.breaker_state.get_or_create(&label).set(proxy.breaker_state() as i64);
        }
        self.metrics.set_session_counts(
            counts.dropped.load(Relaxed),
            counts.stale.load(Relaxed),
            counts.undelivered.load(Relaxed),
        );
    }

    /// Calls under way.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.proxies.iter().map(|proxy| proxy.limits.running()).sum()
    }

    /// Writes the log lines that are due.
    pub fn write_due_lines(&self, now: Instant) {
        self.log.write_due(now);
    }

    /// Logs why a call failed: once for each proxy and cause, and then once a minute with the count.
    pub(super) fn log_failure(
        &self,
        proxy: &SharedProxy,
        event: ProxyEvent,
        problem: &str,
        request_id: &str,
    ) {
        let subject = format!("{} {}: {problem}", proxy.label, event.label());
        self.log.write(LogCause::Proxy, &subject, |subject| {
            format!("call to the backend failed: {subject} (request {request_id})")
        });
    }
}

impl SharedProxy {
    fn open(
        proxy: &ConfiguredProxy<'_>,
        common: &ClientProxySettings,
        metrics: &ProxyMetrics,
    ) -> Result<Self, ProxyFilesError> {
        let settings = proxy.settings;
        let files = ProxyFiles::read(proxy)?;
        let endpoint = Url::parse(&settings.endpoint)
            .map_err(|error| ProxyFilesError { proxy: proxy.label.to_owned(), problem: error.into() })?;
        let now = Instant::now();
        let transforms = settings.http.status_to_code_transforms.iter().filter_map(|transform| {
            let answer = match (&transform.to_error, &transform.to_disconnect) {
                (Some(error), _) => ProxyAnswer::Error(ProxyError {
                    code: error.code,
                    message: error.message.clone(),
                    temporary: error.temporary,
                }),
                (None, Some(end)) => ProxyAnswer::Disconnect(Disconnect::new(end.code, end.reason.clone())),
                (None, None) => return None,
            };
            Some((StatusCode::from_u16(transform.status_code).ok()?, answer))
        });
        let shared = Self {
            label: proxy.label.into(),
            target: Arc::new(BackendTarget {
                endpoint,
                tls: Arc::new(files.tls),
                timeout: settings.timeout,
                pool_limit: settings.max_in_flight,
                max_response_bytes: settings.response_max_bytes,
            }),
            form: RequestForm::new(settings, common.traceparent),
            signer: RwLock::new(Arc::new(files.signer)),
            limits: CallLimits::new(settings.max_in_flight, settings.max_waiting),
            breaker: settings.breaker.enabled.then(|| Breaker::new(&settings.breaker, now)),
            retries: settings.retry.then(|| RetryBudget::new(now)),
            transforms: transforms.collect(),
            legacy_errors: common.legacy_errors,
            tracer: OnceLock::new(),
            metrics: metrics.clone(),
            settings: settings.clone(),
        };
        // A rate needs a zero to begin with.
        for event in ProxyEvent::ALL.into_iter().filter(|event| event.key() == proxy.label) {
            shared.count(event, "ok", 0);
            if matches!(event, ProxyEvent::Refresh | ProxyEvent::SubRefresh) {
                shared.count(event, "deferred", 0);
            }
        }
        Ok(shared)
    }

    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(super) fn signer(&self) -> Arc<Signer> {
        self.signer.read().clone()
    }

    /// The answer that stands for a status, if the settings name one.
    pub(super) fn transformed(&self, status: StatusCode) -> Option<ProxyAnswer> {
        let mut transforms = self.transforms.iter();
        transforms.find(|(from, _)| *from == status).map(|(_, answer)| answer.clone())
    }

    pub(super) fn count(&self, event: ProxyEvent, outcome: &'static str, by: u64) {
        let label = ProxyCallLabel { proxy: self.label.clone(), event: event.label(), outcome };
        self.metrics.requests.get_or_create(&label).inc_by(by);
    }

    pub(super) fn observe(&self, took: Duration) {
        self.metrics.seconds.observe(&ProxyLabel { proxy: self.label.clone() }, took.as_secs_f64());
    }

    fn breaker_state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, |breaker| breaker.state(Instant::now()))
    }
}
