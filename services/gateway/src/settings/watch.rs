//! Settings of reading the settings again: by themselves, and the certificates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// The shortest interval: each look reads the whole file.
const WATCH_MIN: Duration = Duration::from_secs(1);
/// The shortest interval of reading certificates again.
const CERTIFICATES_MIN: Duration = Duration::from_secs(1);

/// Reading the settings again while the node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchSettings {
    /// Interval at which the file's content is looked at, and reloaded where it is another one; 0: only when it is asked for.
    #[serde(with = "humantime_serde")]
    pub watch: Duration,
    /// Interval at which the files of certificates are read again; 0: only at a reload.
    #[serde(with = "humantime_serde")]
    pub certificates: Duration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { watch: Duration::ZERO, certificates: Duration::from_hours(1) }
    }
}

impl WatchSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        for (key, interval, least) in [
            ("settings.watch", self.watch, WATCH_MIN),
            ("settings.certificates", self.certificates, CERTIFICATES_MIN),
        ] {
            if !interval.is_zero() && interval < least {
                return Err(SettingsError::value(key, "must be 0s or at least 1s"));
            }
        }
        Ok(())
    }
}
