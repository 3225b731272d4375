//! The argument that names the settings file, of every command that reads settings.

use std::path::PathBuf;

use clap::Args;

use crate::settings::{Settings, SettingsError};

/// Where the settings are.
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
