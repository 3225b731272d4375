//! `gorani serve`: runs a node until SIGTERM or SIGINT; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ConfigFile};
use crate::{Gorani, telemetry};

pub(super) fn serve(file: &ConfigFile) -> Result<(), CliError> {
    let settings = file.load()?;
    telemetry::start(&settings.log)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let system = actix_rt::System::new();
    system.block_on(Gorani::new(settings).run(stop_signal(), |_, _| {})).map_err(CliError::from)
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
