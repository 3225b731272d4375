//! Logging: one line an event on standard error, for people on a terminal and as JSON elsewhere. Never payloads or
//! tokens. Design §9, item 8.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::settings::{LogFormat, LogSettings};

/// Starts logging. A second call in one process changes nothing.
pub fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let filter: EnvFilter = settings.level.parse()?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let is_json = match settings.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    // An embedder may have its own subscriber already.
    let _ = if is_json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
    Ok(())
}
