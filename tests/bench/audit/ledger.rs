//! What was published and what became of it: the backends write it, the check reads it.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

/// A place in a channel's stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// A publication that the API accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) position: Position,
    /// Before the first attempt to publish it.
    pub(crate) sent: Instant,
}

/// One channel's publications, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    next: AtomicU32,
    accepted: Mutex<HashMap<u32, Accepted>>,
}

impl Channel {
    /// The number of the next publication, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn accept(&self, number: u32, accepted: Accepted) {
        self.accepted.lock().unwrap().insert(number, accepted);
    }

    /// All that were accepted so far.
    pub(crate) fn accepted(&self) -> HashMap<u32, Accepted> {
        self.accepted.lock().unwrap().clone()
    }
}

/// All channels, and what the backends saw.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) channels: Vec<Channel>,
    /// Attempts of which the answer says that nothing was done (503, code 120), or that did not reach a node.
    pub(crate) refused: AtomicU64,
    /// Attempts whose outcome is unknown (503, code 121, or no answer). Each was repeated with its key.
    pub(crate) unknown: AtomicU64,
    /// Publications that were never accepted, however often they were tried.
    pub(crate) given_up: AtomicU64,
    /// Answers that a careful backend does not expect.
    pub(crate) complaints: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn new(channels: usize) -> Self {
        Self { channels: (0..channels).map(|_| Channel::default()).collect(), ..Self::default() }
    }

    pub(crate) fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap().push(complaint);
    }
}

/// A channel's name.
pub(crate) fn channel_name(index: usize) -> String {
    format!("audit:{index}")
}
