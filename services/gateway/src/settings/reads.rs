//! Settings of heavy reads: history, presence and recovery, which bring much for a short request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// Heavy reads that a node has under way at a time. What one connection may have is `client.max_reads`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadSettings {
    /// Reads for clients, each of up to 128 KiB.
    pub clients: usize,
    /// Those for clients that bring more, up to `client.reply_max_bytes` each; as many again for the API.
    pub large: usize,
    /// Reads for backends, each of up to 128 KiB.
    pub api: usize,
    /// Reads that fill gaps of subscribers, each of up to 128 KiB.
    pub catch_up: usize,
    /// How long a read for a client or a backend waits for its turn; then it gets the temporary error 111 (HTTP 429).
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { clients: 64, large: 4, api: 16, catch_up: 32, max_wait: Duration::from_secs(5) }
    }
}

/// Reads of one kind at most: more than a broker can have waiting.
const MOST_READS: usize = 100_000;

impl ReadSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        for (key, reads) in [
            ("reads.clients", self.clients),
            ("reads.large", self.large),
            ("reads.api", self.api),
            ("reads.catch_up", self.catch_up),
        ] {
            if !(1..=MOST_READS).contains(&reads) {
                return Err(SettingsError::value(key, "must be between 1 and 100000"));
            }
        }
        if self.max_wait.is_zero() {
            return Err(SettingsError::value("reads.max_wait", "must be above 0s"));
        }
        Ok(())
    }
}
