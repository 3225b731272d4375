//! Logging: one line an event on standard error, for people on a terminal and as JSON elsewhere. Never payloads or
//! tokens. `docs/architecture.md` §8.3, §9.8.
//!
//! - [`trace`], [`spans`] and [`otlp`]: traces of requests and publications. Decision record 66.

pub mod last_lines;
pub mod otlp;
pub mod spans;
pub mod trace;
mod trace_rate;

use std::{
    io::{self, IsTerminal},
    sync::{Arc, OnceLock},
};

use tracing_subscriber::{
    EnvFilter, filter::ParseError, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use futures_util::future::LocalBoxFuture;

use self::{last_lines::KeepLastLines, trace::Tracer};
use crate::{
    metrics::{process::CountLogMessages, traces::TraceMetrics},
    settings::{LogFormat, LogSettings, SettingsError, TelemetrySettings},
};

/// The HTTP library, which logs at ERROR what is wrong with requests ("stream error: request parse error").
const HTTP_LIBRARY: &str = "actix_http";

/// The filter of log lines. Malformed requests of clients wake nobody: the HTTP library logs only where the level asks
/// for it by name (`info,actix_http=error`).
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let filter: EnvFilter = level.parse()?;
    // Who did what to a node is written whatever the level is.
    let filter = filter.add_directive("gorani::audit=info".parse()?);
    if level.contains(HTTP_LIBRARY) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{HTTP_LIBRARY}=off").parse()?))
}

/// Puts another filter in the place of the one there is; absent where an embedder logs by itself.
type ReplaceFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;
static REPLACE_FILTER: OnceLock<ReplaceFilter> = OnceLock::new();

/// Why another level is not put in place.
#[derive(Debug, thiserror::Error)]
pub enum LogLevelError {
    /// It is not understood.
    #[error("log.level: {0}")]
    Directives(#[from] ParseError),
    /// The filter of the log cannot be replaced any more.
    #[error("log.level: {0}")]
    Gone(#[from] reload::Error),
}

/// Checks the directives of `log.level`.
///
/// # Errors
/// They are not understood.
pub fn check_level(level: &str) -> Result<(), LogLevelError> {
    filter(level)?;
    Ok(())
}

/// Puts another `log.level` in place, for the lines from now on. Where an embedder logs by itself nothing changes.
///
/// # Errors
/// It is not understood.
pub fn set_level(level: &str) -> Result<(), LogLevelError> {
    let filter = filter(level)?;
    if let Some(replace) = REPLACE_FILTER.get() {
        replace(filter)?;
    }
    Ok(())
}

/// Starts logging. A second call in one process changes nothing.
pub fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let filter = filter(&settings.level)?;
    let builder = fmt().with_writer(io::stderr);
    let is_json = match settings.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    // An embedder may have its own subscriber already; then its level is its own as well.
    let (replace, started): (ReplaceFilter, _) = if is_json {
        let builder = builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        (
            Box::new(move |filter| handle.reload(filter)),
            builder.finish().with(CountLogMessages).with(KeepLastLines).try_init(),
        )
    } else {
        let builder =
            builder.with_ansi(io::stderr().is_terminal()).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        (
            Box::new(move |filter| handle.reload(filter)),
            builder.finish().with(CountLogMessages).with(KeepLastLines).try_init(),
        )
    };
    if started.is_ok() {
        // The first one that logs is the one that stays.
        let _ = REPLACE_FILTER.set(replace);
    }
    Ok(())
}

/// A tracer and the task that sends what it samples.
pub type OpenTracer = (Arc<Tracer>, LocalBoxFuture<'static, ()>);

/// The tracer of a node; `None` where no endpoint is set, or the build has none.
///
/// # Errors
/// The settings cannot be used.
#[cfg(feature = "otlp")]
pub fn open_tracer(
    settings: &TelemetrySettings,
    node: &str,
    metrics: &TraceMetrics,
) -> Result<Option<OpenTracer>, SettingsError> {
    let opened = otlp::exporter::Exporter::open(settings, node, metrics.clone())?;
    Ok(opened.map(|(tracer, exporter)| -> OpenTracer { (tracer, Box::pin(exporter.run())) }))
}

/// The tracer of a node: a build without the feature has none.
///
/// # Errors
/// None.
#[cfg(not(feature = "otlp"))]
pub fn open_tracer(
    _settings: &TelemetrySettings,
    _node: &str,
    _metrics: &TraceMetrics,
) -> Result<Option<OpenTracer>, SettingsError> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_http_library_is_silent_unless_the_level_names_it() {
        for level in ["info", "debug", "warn,gorani::hub=trace"] {
            assert!(filter(level).unwrap().to_string().contains("actix_http=off"), "{level}");
        }
        let named = filter("info,actix_http=debug").unwrap().to_string();
        assert!(named.contains("actix_http=debug") && !named.contains("off"), "{named}");
        assert!(filter("no level, at=all").is_err());
    }

    #[test]
    fn no_level_silences_the_audit_log() {
        for level in ["error", "off", "warn,gorani=off", "actix_http=error"] {
            assert!(filter(level).unwrap().to_string().contains("gorani::audit=info"), "{level}");
        }
    }
}
