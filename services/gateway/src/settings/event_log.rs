//! Settings of the event log: how much a node remembers of what happened to its sessions. `crate::event_log`.

use serde::{Deserialize, Serialize};

use super::error::SettingsError;
use crate::event_log::EventLogSizes;

/// Entries of one ring at most: a million take some 150 MB.
const ENTRIES_MAX: usize = 1024 * 1024;
/// The smallest bound in bytes: a few events with long names fit.
const BYTES_MIN: usize = 64 * 1024;

/// The sizes of the node's memory for `explain`, slow consumers and disconnects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventLogSettings {
    /// Connects and disconnects of the node, at most; refused connects have a quarter of that beside it. 0: none are kept.
    pub sessions: usize,
    /// Subscribes and unsubscribes, at most. 0: none are kept.
    pub subscriptions: usize,
    /// Gaps of channels, and as many of the node, at most. 0: none are kept.
    pub gaps: usize,
    /// Failed publishes, at most. 0: none are kept.
    pub failed_publishes: usize,
    /// Bytes of all of them, at most.
    pub max_bytes: usize,
}

impl Default for EventLogSettings {
    fn default() -> Self {
        Self {
            sessions: 16_384,
            subscriptions: 32_768,
            gaps: 8_192,
            failed_publishes: 1_024,
            max_bytes: 16 * 1024 * 1024,
        }
    }
}

impl EventLogSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        for (key, entries) in [
            ("event_log.sessions", self.sessions),
            ("event_log.subscriptions", self.subscriptions),
            ("event_log.gaps", self.gaps),
            ("event_log.failed_publishes", self.failed_publishes),
        ] {
            if entries > ENTRIES_MAX {
                return Err(SettingsError::value(key, format!("at most {ENTRIES_MAX}")));
            }
        }
        if self.max_bytes < BYTES_MIN {
            return Err(SettingsError::value("event_log.max_bytes", format!("must be at least {BYTES_MIN}")));
        }
        Ok(())
    }

    /// The same for the log itself.
    pub fn sizes(&self) -> EventLogSizes {
        let Self { sessions, subscriptions, gaps, failed_publishes, max_bytes } = *self;
        EventLogSizes { sessions, subscriptions, gaps, failed_publishes, max_bytes }
    }
}
