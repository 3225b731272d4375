//! The settings file that a command reads.

use std::path::PathBuf;

use clap::Args;

use crate::settings::{Settings, SettingsError};

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
