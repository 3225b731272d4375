//! Settings of polling and long polling.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// Polling and long polling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PollSettings {
    /// Publications of an answer, unless a poll asks for another number; never more than `client.history_max`.
    pub limit: u32,
    /// How long a poll may wait.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// Polls that may wait at a time; each is a connection too, and one address has a part of them. Over it 429.
    pub max_waiting: usize,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self { limit: 100, max_wait: Duration::from_secs(60), max_waiting: 50_000 }
    }
}

impl PollSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.limit == 0 {
            return Err(SettingsError::value("poll.limit", "must be above 0"));
        }
        if self.max_wait > Duration::from_secs(60) {
            return Err(SettingsError::value(
                "poll.max_wait",
                "at most 60s: what stands between gives up soon after",
            ));
        }
        Ok(())
    }
}
