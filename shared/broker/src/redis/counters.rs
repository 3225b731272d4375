//! Counters of a broker. Read by [`crate::Broker::stats`].
//!
//! - `request_times`: how long requests take.

mod request_times;

use std::sync::atomic::{AtomicU64, Ordering};

use self::request_times::RequestTimes;
use crate::BrokerError;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of a broker; see [`crate::BrokerStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) request_connections_lost: Counter,
    pub(super) listening_connections_lost: Counter,
    pub(super) canaries_refused: Counter,
    pub(super) messages_received: Counter,
    pub(super) gaps_told: Counter,
    pub(super) redirected: Counter,
    pub(super) publishes_unavailable: Counter,
    pub(super) publishes_unknown: Counter,
    pub(super) dead_letters: Counter,
    pub(super) dead_letters_waiting: Counter,
    pub(super) request_times: RequestTimes,
}

impl Counters {
    /// Counters for requests of these kinds.
    pub(super) fn new(kinds: &[&'static str]) -> Self {
        Self { request_times: RequestTimes::new(kinds), ..Self::default() }
    }

    /// Counts how a publish ended.
    pub(super) fn published<T>(&self, outcome: &Result<T, BrokerError>) {
        match outcome {
            Err(BrokerError::UnknownOutcome(_)) => self.publishes_unknown.add(1),
            Err(BrokerError::Unavailable(_)) => self.publishes_unavailable.add(1),
            _ => {}
        }
    }
}
