//! `gorani serve`: runs a node until SIGTERM or SIGINT; a second one ends it at once.
//!
//! The argument that names the settings file, of every command that reads settings.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use crate::{
    Gorani,
    settings::{Settings, SettingsError},
    telemetry,
};

pub(super) fn serve(file: &ConfigFile) -> Result<(), CliError> {
    let system = actix_rt::System::new();
    system.block_on(async {
        // Before all else: process 1 of a container ignores a signal that it does not handle yet.
        let stop = StopSignals::register();
        let settings = file.load()?;
        telemetry::start(&settings.log)?;
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        Gorani::new(settings).run(StopSignals::received(stop), |_, _| {}).await.map_err(CliError::from)
    })
}

/// The signals that stop a node. A signal that comes after they are registered is kept until it is read.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn register() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ready at the first one; from then on the next one ends the process at once.
    async fn received(registered: std::io::Result<Self>) {
        let mut signals = match registered {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals not available; the node runs until it is killed");
                return std::future::pending().await;
            }
        };
        signals.next().await;
        actix_rt::spawn(async move {
            signals.next().await;
            tracing::warn!("second stop signal received; ending at once");
            std::process::exit(1);
        });
    }
}

/// The location of the settings.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Settings file (TOML); environment variables GORANI__… go over it.
    #[arg(long, short, env = "GORANI_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref())
    }
}
