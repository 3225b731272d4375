//! `gorani serve`: runs a node until SIGTERM or SIGINT; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ConfigFile};
use crate::{Gorani, settings::Settings, telemetry};

pub(super) fn serve(file: &ConfigFile) -> Result<(), CliError> {
    let settings = file.load()?;
    telemetry::start(&settings.log)?;
    warn_of_development(&settings);
    let system = actix_rt::System::new();
    system.block_on(Gorani::new(settings).run(stop_signal(), |_, _| {})).map_err(CliError::from)
}

/// Says loudly what must not be on in production.
fn warn_of_development(settings: &Settings) {
    let development = &settings.development;
    if development.page_api_key {
        tracing::warn!("DEVELOPMENT: development.page_api_key gives an API key to whoever opens the page");
    }
    if development.echo {
        tracing::warn!("DEVELOPMENT: development.echo serves /echo to everybody");
    }
    if settings.client.allow_anonymous {
        tracing::warn!("client.allow_anonymous lets everybody connect without a token");
    }
    if settings.api.keys.is_empty() {
        tracing::warn!("api.keys is empty: the HTTP API is closed");
    }
}

/// Ready at the first SIGTERM or SIGINT; from then on the next one ends the process at once.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the node runs until it is killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    actix_rt::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told to stop again: ending at once");
        std::process::exit(1);
    });
}
