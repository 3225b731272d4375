//! Settings of the node's memory budget. Decision record 25.
//!
//! Settings of heavy reads: history, presence and recovery, which bring much for a short request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// Limits of what clients can make a node hold, all together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryBudgetSettings {
    /// Bytes for all clients together. 0: 60 % of the memory of the container or the machine. Above it the connections
    /// that hold most are ended as slow, and large reads and bodies get a temporary error.
    pub max_bytes: usize,
    /// Bytes of large replies under way, from the read until they are written. One more gets a temporary error.
    pub replies_max_bytes: usize,
}

impl Default for MemoryBudgetSettings {
    fn default() -> Self {
        // Eight of the largest replies at a time; a client that reads is done with one in a moment.
        Self { max_bytes: 0, replies_max_bytes: 64 * 1024 * 1024 }
    }
}

/// The smallest budget that a node can work with.
const MIN_BYTES: usize = 16 * 1024 * 1024;

impl MemoryBudgetSettings {
    pub(super) fn validate(&self, reply_max_bytes: usize) -> Result<(), SettingsError> {
        if self.max_bytes != 0 && self.max_bytes < MIN_BYTES {
            return Err(SettingsError::value("memory.max_bytes", "must be 0 or at least 16777216"));
        }
        if self.replies_max_bytes < reply_max_bytes {
            return Err(SettingsError::value(
                "memory.replies_max_bytes",
                "must be at least client.reply_max_bytes",
            ));
        }
        Ok(())
    }
}

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
    /// Longest wait of a read for a client or a backend for its turn; then it gets the temporary error 111 (HTTP 429).
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
