//! Kept counts of the node's sessions: clients, their users, their subscriptions. The workers keep them as sessions come and
//! go, so that a reader of the numbers need not ask a worker. [`crate::node`] announces them with its lease and shows them
//! in `info`.
//!
//! The counters of accepted TCP connections.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counts shared by all workers of a node. Changed per connect and per subscribe, never per delivery.
#[derive(Debug, Default)]
pub struct SessionCounts {
    clients: AtomicUsize,
    subscriptions: AtomicUsize,
    users: Users,
}

/// Sessions by the hash of their user. A hash of 64 bits under a random key instead of the name costs 16 bytes a user; two
/// of a million users share one, and so count as one, with a probability of about 3 in 100 million.
#[derive(Debug, Default)]
struct Users {
    hasher: RandomState,
    sessions: Mutex<HashMap<u64, u32>>,
}

impl SessionCounts {
    /// Clients that have identified themselves.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Subscriptions of all clients.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Distinct users of the clients; anonymous ones are none.
    pub fn users(&self) -> usize {
        self.users.sessions.lock().len()
    }

    /// A client identified itself as one of this user's.
    pub(crate) fn enter(&self, user: &str) {
        self.clients.fetch_add(1, Ordering::Relaxed);
        if !user.is_empty() {
            let hash = self.users.hasher.hash_one(user);
            *self.users.sessions.lock().entry(hash).or_default() += 1;
        }
    }

    /// A client that entered is gone.
    pub(crate) fn leave(&self, user: &str) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
        if user.is_empty() {
            return;
        }
        let hash = self.users.hasher.hash_one(user);
        let mut sessions = self.users.sessions.lock();
        if let Some(count) = sessions.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&hash);
            }
        }
    }

    /// A subscription began.
    pub(crate) fn subscribed(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// A subscription ended.
    pub(crate) fn unsubscribed(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection was closed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Shed {
    /// It was new, and its address has as many new connections as one may have.
    Address,
    /// It was new, and the node has as many new connections as it may.
    Handshakes,
    /// It was idle, and the node has as many connections as it may.
    Full,
    /// It was one of those that get health and metrics alone, and another came.
    Reserved,
    /// It was new, and the node drains.
    Drain,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabel {
    reason: Shed,
}

/// Counters of accepted connections.
pub struct AcceptMetrics {
    /// TCP connections that are open, of every listener.
    pub open: Gauge,
    shed: Family<ShedLabel, Counter>,
}

impl AcceptMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("tcp_connections", "Accepted TCP connections that are open", open.clone());
        let shed = Family::default();
        registry.register(
            "tcp_connections_shed",
            "TCP connections closed to make room by reason",
            shed.clone(),
        );
        Self { open, shed }
    }

    /// Counts a connection that is closed to make room.
    pub fn count_shed(&self, reason: Shed) {
        self.shed.get_or_create(&ShedLabel { reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_counts_once_while_one_of_their_clients_is_there() {
        let counts = SessionCounts::default();
        for user in ["42", "42", "43", ""] {
            counts.enter(user);
        }
        assert_eq!((counts.clients(), counts.users()), (4, 2));
        counts.leave("42");
        counts.leave("43");
        assert_eq!((counts.clients(), counts.users()), (2, 1));
        counts.leave("42");
        counts.leave("");
        assert_eq!((counts.clients(), counts.users()), (0, 0));
    }
}
