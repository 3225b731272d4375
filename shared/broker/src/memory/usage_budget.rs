//! The memory that the broker may take, by its settings, and what it holds of it, counted over all shards. Limits:
//! `docs/limits.md`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::clock::{Nanos, nanos};

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

/// The amounts that the broker holds at one moment; for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUsage {
    /// Bytes of all histories, as counted against `max_bytes`.
    pub history_bytes: usize,
    /// Bytes of all queues with their messages, as counted against `max_bytes`.
    pub queue_bytes: usize,
    /// Channels with a position.
    pub channels: usize,
    /// Clients in presence, once per channel, with those that expired and were not yet swept.
    pub presence: usize,
    /// Remembered idempotency keys.
    pub idempotency_keys: usize,
    /// Bytes of the remembered idempotency keys.
    pub idempotency_bytes: usize,
}

/// The three things that are evicted, longest unused first, when there is too much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvictionKind {
    /// Publications in histories.
    Histories,
    /// Channels with a position.
    Positions,
    /// Answers to idempotency keys.
    Answers,
}

/// Every bound, in the order in which they are looked after.
pub(super) const BOUNDS: [EvictionKind; 3] =
    [EvictionKind::Histories, EvictionKind::Positions, EvictionKind::Answers];

/// An eviction goes on to a little below the limit, so that at the limit not every single publish has to evict:
/// this part of the limit,
const SLACK_DIVISOR: usize = 64;
/// but no more bytes than this,
const MAX_SLACK_BYTES: usize = 1 << 20;
/// and no more entries than this, so that the one caller who evicts is not kept long.
const MAX_SLACK_ENTRIES: usize = 256;

/// Queues have at most this part of `max_bytes`, so that they leave room for histories: a history gives way to a queue,
/// since what is evicted from it shows as a gap, and a message of a queue never gives way.
const QUEUES_DIVISOR: usize = 2;

/// Counters shared by all shards. Relaxed: each is a number by itself, nothing is read through it.
#[derive(Debug)]
pub(super) struct UsageBudget {
    pub(super) history_bytes: Gauge,
    pub(super) queue_bytes: Gauge,
    pub(super) positions: Gauge,
    pub(super) presence: Gauge,
    pub(super) answers: Gauge,
    pub(super) answer_bytes: Gauge,
    /// Time from the last use of a channel to the loss of its position.
    pub(super) position_ttl: Nanos,
}

impl UsageBudget {
    pub(super) fn new(settings: &MemorySettings) -> Self {
        Self {
            history_bytes: Gauge::new(settings.max_bytes, MAX_SLACK_BYTES),
            queue_bytes: Gauge::new(settings.max_bytes / QUEUES_DIVISOR, 0),
            positions: Gauge::new(settings.max_channels.max(1), MAX_SLACK_ENTRIES),
            presence: Gauge::new(settings.max_presence, 0),
            answers: Gauge::new(settings.max_idempotency_keys, MAX_SLACK_ENTRIES),
            answer_bytes: Gauge::new(settings.max_idempotency_bytes, MAX_SLACK_BYTES),
            position_ttl: nanos(settings.position_ttl),
        }
    }

    /// True if there is more than allowed.
    pub(super) fn is_over(&self, bound: EvictionKind) -> bool {
        match bound {
            EvictionKind::Histories => self.kept_bytes() > self.history_bytes.limit,
            EvictionKind::Positions => self.positions.is_over(),
            EvictionKind::Answers => self.answers.is_over() || self.answer_bytes.is_over(),
        }
    }

    /// True if an eviction that has begun should go on.
    pub(super) fn is_above_goal(&self, bound: EvictionKind) -> bool {
        match bound {
            EvictionKind::Histories => self.kept_bytes() > self.history_bytes.goal,
            EvictionKind::Positions => self.positions.is_above_goal(),
            EvictionKind::Answers => self.answers.is_above_goal() || self.answer_bytes.is_above_goal(),
        }
    }

    /// Bytes of histories and queues together.
    fn kept_bytes(&self) -> usize {
        self.history_bytes.value().saturating_add(self.queue_bytes.value())
    }

    /// True if queues may hold so many bytes more.
    pub(super) fn has_room_in_queues(&self, bytes: usize) -> bool {
        self.queue_bytes.value().saturating_add(bytes) <= self.queue_bytes.limit
    }

    pub(super) fn usage(&self) -> MemoryUsage {
        MemoryUsage {
            history_bytes: self.history_bytes.value(),
            queue_bytes: self.queue_bytes.value(),
            channels: self.positions.value(),
            presence: self.presence.value(),
            idempotency_keys: self.answers.value(),
            idempotency_bytes: self.answer_bytes.value(),
        }
    }
}

/// One number and its limit.
#[derive(Debug)]
pub(super) struct Gauge {
    value: AtomicUsize,
    limit: usize,
    goal: usize,
}

impl Gauge {
    fn new(limit: usize, max_slack: usize) -> Self {
        let slack = (limit / SLACK_DIVISOR).min(max_slack);
        Self { value: AtomicUsize::new(0), limit, goal: limit - slack }
    }

    pub(super) fn add(&self, amount: usize) {
        self.value.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, amount: usize) {
        self.value.fetch_sub(amount, Ordering::Relaxed);
    }

    /// From one amount to another in one step.
    pub(super) fn change(&self, from: usize, to: usize) {
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => self.add(to - from),
            std::cmp::Ordering::Less => self.subtract(from - to),
            std::cmp::Ordering::Equal => {}
        }
    }

    /// Adds one unless the limit is reached; true if it did.
    pub(super) fn try_add_one(&self) -> bool {
        let below = |value| (value < self.limit).then(|| value + 1);
        self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    fn value(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.value() > self.limit
    }

    fn is_above_goal(&self) -> bool {
        self.value() > self.goal
    }
}
