//! Logging: one line an event on standard error, for people on a terminal and as JSON elsewhere. Never payloads or
//! tokens. `docs/architecture.md` §8.3, §9.8.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::settings::{LogFormat, LogSettings};

/// The HTTP library, which logs at ERROR what is wrong with requests ("stream error: request parse error").
const HTTP_LIBRARY: &str = "actix_http";

/// The filter of log lines. Malformed requests of clients wake nobody: the HTTP library logs only where the level asks
/// for it by name (`info,actix_http=error`).
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let filter: EnvFilter = level.parse()?;
    if level.contains(HTTP_LIBRARY) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{HTTP_LIBRARY}=off").parse()?))
}

/// Starts logging. A second call in one process changes nothing.
pub fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let filter = filter(&settings.level)?;
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
}
