//! The memory broker's settings: how much of the node's memory it may take. Limits: `docs/limits.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Default of [`MemorySettings::max_bytes`]: a small share of a small server.
const DEFAULT_MAX_BYTES: usize = 256 << 20;
/// Default of [`MemorySettings::max_channels`]: about 300 MB with the names, when all are in use.
const DEFAULT_MAX_CHANNELS: usize = 1_000_000;
/// Default of [`MemorySettings::position_ttl`]: 30 days, so that a client that returns after a holiday is told how
/// much it missed (`docs/protocols/client.md` §6.11).
const DEFAULT_POSITION_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Default of [`MemorySettings::max_presence`]: ten presence channels for each of 100,000 connections.
const DEFAULT_MAX_PRESENCE: usize = 1_000_000;
/// Default of [`MemorySettings::max_idempotency_keys`]: 1,600 keyed publications a second at the API's 5 minutes.
const DEFAULT_MAX_IDEMPOTENCY_KEYS: usize = 500_000;
/// Default of [`MemorySettings::max_idempotency_bytes`].
const DEFAULT_MAX_IDEMPOTENCY_BYTES: usize = 128 << 20;

/// Limits of a [`crate::MemoryBroker`]. Each is for all channels together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySettings {
    /// Memory of all histories and queues together, in bytes, payloads and bookkeeping; default 256 MiB. Above it the
    /// oldest publications of the channel used longest ago go first; its position stays. Queues, dead letters included,
    /// may take half of it; beyond, a message is refused ([`crate::BrokerError::Limit`]).
    pub max_bytes: usize,
    /// Channels that have a position, at least 1; default 1,000,000. Above it the channel used longest ago loses its
    /// position and history; its next publication starts a new epoch.
    pub max_channels: usize,
    /// Time after its last use at which a channel's position is forgotten; default 30 days. No history lives longer.
    #[serde(with = "humantime_serde")]
    pub position_ttl: Duration,
    /// Clients in presence, counted once per channel; default 1,000,000. Above it new ones are refused
    /// ([`crate::BrokerError::Limit`]); refreshes go on.
    pub max_presence: usize,
    /// Remembered idempotency keys; default 500,000. Above it the oldest is forgotten before its time.
    pub max_idempotency_keys: usize,
    /// Memory of the remembered idempotency keys, in bytes; default 128 MiB. Above it as with the number.
    pub max_idempotency_bytes: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_BYTES,
            max_channels: DEFAULT_MAX_CHANNELS,
            position_ttl: DEFAULT_POSITION_TTL,
            max_presence: DEFAULT_MAX_PRESENCE,
            max_idempotency_keys: DEFAULT_MAX_IDEMPOTENCY_KEYS,
            max_idempotency_bytes: DEFAULT_MAX_IDEMPOTENCY_BYTES,
        }
    }
}
