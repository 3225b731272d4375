//! Settings of going down: how a node that is told to stop sends its clients elsewhere. `docs/architecture.md` §5.10; record 15.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// The longest that sessions may be kept while the node goes down: above it a value is a mistake.
const LONGEST: Duration = Duration::from_secs(3600);

/// How a node goes down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainSettings {
    /// How long a node that is told to stop says that it is not ready and serves on as ever, before it stops accepting.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Seconds over which the sessions are then ended; few of them take less, and 0 ends all at once.
    pub seconds: u32,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { grace: Duration::ZERO, seconds: 20 }
    }
}

impl DrainSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.grace > LONGEST {
            return Err(SettingsError::value("drain.grace", "at most 1h"));
        }
        if u64::from(self.seconds) > LONGEST.as_secs() {
            return Err(SettingsError::value("drain.seconds", "at most 3600"));
        }
        Ok(())
    }
}
