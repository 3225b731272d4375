//! Settings of traces: what is sampled, and the collector that gets the spans. The standard `OTEL_*` variables fill what is not set here.
//! `docs/traces.md`.

#[cfg(all(test, feature = "otlp"))]
mod tests;
mod variables;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use actix_http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::SettingsError;

/// The path of traces below an endpoint.
const TRACES_SUFFIX: &str = "/v1/traces";
/// The bounds of `telemetry.otlp.timeout`.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Traces.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Of requests, publications of clients and recoveries that have no trace yet, the part that gets one: 0 to 1. A request with a
    /// `traceparent` is sampled where that says so.
    pub sample: f64,
    /// The names of channels stand in spans; else only their namespaces do.
    pub channel_names: bool,
    /// The collector.
    pub otlp: OtlpSettings,
    /// Variables that cannot be followed, a sentence each; not a setting.
    #[serde(skip)]
    pub ignored_variables: Vec<String>,
}

/// The OpenTelemetry collector that gets the spans.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSettings {
    /// Its address, to which `/v1/traces` is added: `http://collector:4318`. Empty: there are no traces.
    pub endpoint: String,
    /// Its address for traces as it is, in the place of `endpoint`.
    pub traces_endpoint: String,
    /// Headers of each request.
    pub headers: BTreeMap<String, String>,
    /// Time for one request.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// A file of certificates in PEM that sign the collector's; empty: those of the system.
    pub ca_pem_file: PathBuf,
    /// `service.name` of the spans.
    pub service_name: String,
    /// More attributes of the node: `"deployment.environment.name" = "production"`.
    pub attributes: BTreeMap<String, String>,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            traces_endpoint: String::new(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            ca_pem_file: PathBuf::new(),
            service_name: "gorani".to_owned(),
            attributes: BTreeMap::new(),
        }
    }
}

/// Without the values of headers.
impl fmt::Debug for OtlpSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("traces_endpoint", &self.traces_endpoint)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("ca_pem_file", &self.ca_pem_file)
            .field("service_name", &self.service_name)
            .field("attributes", &self.attributes)
            .finish()
    }
}

impl OtlpSettings {
    /// True where there are no traces.
    pub fn is_off(&self) -> bool {
        self.endpoint.is_empty() && self.traces_endpoint.is_empty()
    }

    /// The address of requests; `None` where there are no traces.
    ///
    /// # Errors
    /// It is no address of HTTP.
    pub fn url(&self) -> Result<Option<Url>, SettingsError> {
        let (key, text) = match (self.endpoint.is_empty(), self.traces_endpoint.is_empty()) {
            (_, false) => ("telemetry.otlp.traces_endpoint", self.traces_endpoint.clone()),
            (false, true) => {
                let endpoint = self.endpoint.trim_end_matches('/');
                ("telemetry.otlp.endpoint", format!("{endpoint}{TRACES_SUFFIX}"))
            }
            (true, true) => return Ok(None),
        };
        let refused = |problem: &str| Err(SettingsError::value(key, problem));
        let Ok(url) = Url::parse(&text) else {
            return refused("must begin with http:// or https:// and a host");
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return refused("must begin with http:// or https:// and a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("no user and password in it; set them in telemetry.otlp.headers");
        }
        Ok(Some(url))
    }
}

impl TelemetrySettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let refused = |key, problem: &str| Err(SettingsError::value(key, problem));
        if !(0.0..=1.0).contains(&self.sample) {
            return refused("telemetry.sample", "must be from 0 to 1");
        }
        if self.otlp.url()?.is_some() && !cfg!(feature = "otlp") {
            return refused("telemetry.otlp.endpoint", "this build has no traces: the feature otlp is off");
        }
        if !TIMEOUTS.contains(&self.otlp.timeout) {
            return refused("telemetry.otlp.timeout", "must be from 100ms to 1m");
        }
        if self.otlp.service_name.is_empty() {
            return refused("telemetry.otlp.service_name", "is empty");
        }
        if !self.otlp.headers.iter().all(is_header) {
            return refused("telemetry.otlp.headers", "one of them is no header");
        }
        Ok(())
    }
}

fn is_header((name, value): (&String, &String)) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
}
