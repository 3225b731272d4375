//! What a broker counts. Read by [`crate::Broker::stats`].

use std::sync::atomic::{AtomicU64, Ordering};

use crate::BrokerError;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of a broker; see [`crate::BrokerStats`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) request_connections_lost: Count,
    pub(super) listening_connections_lost: Count,
    pub(super) canaries_refused: Count,
    pub(super) messages_received: Count,
    pub(super) gaps_told: Count,
    pub(super) redirected: Count,
    pub(super) publishes_unavailable: Count,
    pub(super) publishes_unknown: Count,
    pub(super) dead_letters: Count,
    pub(super) dead_letters_waiting: Count,
}

impl Tally {
    /// Counts how a publish ended.
    pub(super) fn published<T>(&self, outcome: &Result<T, BrokerError>) {
        match outcome {
            Err(BrokerError::UnknownOutcome(_)) => self.publishes_unknown.add(1),
            Err(BrokerError::Unavailable(_)) => self.publishes_unavailable.add(1),
            _ => {}
        }
    }
}
