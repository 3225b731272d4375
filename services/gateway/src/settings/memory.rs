//! Settings of the node's memory budget. Decision record 25.

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// What clients can make a node hold, all together.
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
