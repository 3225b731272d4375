//! The settings file that a command reads.

use std::path::PathBuf;

use clap::Args;

use crate::settings::{Settings, SettingsError};

/// The text below the options of `gorani serve`.
pub(super) const SERVE_HELP: &str = "Examples:\n  gorani serve --config gorani.toml\n  GORANI__HTTP__ADDRESS=0.0.0.0:8000 gorani serve\n\nExit codes: 0 stopped, 1 failure or a second signal, 2 bad use, 78 bad settings.";

/// The same of `gorani version`.
pub(super) const VERSION_HELP: &str =
    "Examples:\n  gorani version\n  gorani --version\n\nExit codes: 0 printed, 1 not.";

/// The location of the settings.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigFile {
    /// Settings file (TOML); environment variables GORANI__… go over it.
    #[arg(long, short, env = "GORANI_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The settings.
    pub(super) fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref())
    }
}
