//! The load of clients on the node: sessions, users, subscriptions, TCP connections, memory, heavy reads.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::memory::MemoryBudget;

/// Clients, their users and their subscriptions. The workers of a node keep the counts as sessions come and go, so that a reader
/// of the numbers need not ask a worker. [`crate::node`] announces them with its lease and shows them in `info`. Changed per
/// connect and per subscribe, never per delivery.
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
    /// As many as there may be.
    pub limit: Gauge,
    shed: Family<ShedLabel, Counter>,
}

impl AcceptMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("tcp_connections", "Accepted TCP connections that are open", open.clone());
        let limit = Gauge::default();
        registry.register(
            "tcp_connections_limit",
            "Accepted TCP connections that may be open",
            limit.clone(),
        );
        let shed = Family::default();
        registry.register(
            "tcp_connections_shed",
            "TCP connections closed to make room by reason",
            shed.clone(),
        );
        Self { open, limit, shed }
    }

    /// Counts a connection that is closed to make room.
    pub fn count_shed(&self, reason: Shed) {
        self.shed.get_or_create(&ShedLabel { reason }).inc();
    }
}

/// Labels of what holds memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    /// `outbox`, `input`, `body`, `reply`, `broker` or `pending`.
    kind: &'static str,
}

/// The memory that the node holds for clients, against its memory budget; read when a scrape asks for it.
#[derive(Default)]
pub struct MemoryMetrics {
    bytes: Family<KindLabel, Gauge>,
    limit_bytes: Gauge<i64, AtomicI64>,
    refused: Counter,
    bodies_refused: Counter,
    ended: Counter,
}

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("memory_bytes", "Bytes held for clients, by kind", metrics.bytes.clone());
        registry.register("memory_limit_bytes", "The memory budget", metrics.limit_bytes.clone());
        registry.register(
            "memory_replies_refused",
            "Large replies refused for lack of memory",
            metrics.refused.clone(),
        );
        registry.register(
            "memory_bodies_refused",
            "Bodies of requests refused or broken off for lack of memory",
            metrics.bodies_refused.clone(),
        );
        registry.register("memory_ended", "Connections ended to free memory", metrics.ended.clone());
        metrics
    }

    /// Takes over what the budget says.
    pub fn set(&self, budget: &MemoryBudget) {
        let number = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let held = budget.held();
        for (kind, bytes) in [
            ("outbox", held.outboxes),
            ("input", held.input),
            ("body", held.bodies),
            ("reply", budget.reply_bytes()),
            ("broker", budget.broker_bytes()),
            ("pending", budget.pending_bytes()),
        ] {
            self.bytes.get_or_create(&KindLabel { kind }).set(number(bytes));
        }
        self.limit_bytes.set(number(budget.limit_bytes()));
        self.refused.inc_by(budget.replies_refused().saturating_sub(self.refused.get()));
        self.bodies_refused.inc_by(budget.bodies_refused().saturating_sub(self.bodies_refused.get()));
        self.ended.inc_by(budget.ended().saturating_sub(self.ended.get()));
    }
}

/// The requester of a read: `client`, `api` or `catch_up`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
}

/// The requester of a read, and whether the read is `under_way` or `waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadLabel {
    /// See [`SourceLabel`].
    pub source: &'static str,
    /// The state of the read.
    pub state: &'static str,
}

/// Gauges and counters of heavy reads: history, presence, recovery.
#[derive(Debug, Clone, Default)]
pub struct ReadMetrics {
    reads: Family<ReadLabel, Gauge>,
    refused: Family<SourceLabel, Counter>,
}

/// Counts a read in its state until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ReadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("heavy_reads", "Heavy reads by source and state", metrics.reads.clone());
        let help = "Heavy reads that waited too long for their turn, by source";
        registry.register("heavy_reads_refused", help, metrics.refused.clone());
        metrics
    }

    /// Counts a read in this state for as long as the answer lives.
    pub fn count(&self, source: &'static str, state: &'static str) -> Counted {
        let gauge = self.reads.get_or_create_owned(&ReadLabel { source, state });
        gauge.inc();
        Counted(gauge)
    }

    /// Counts a read that was turned away.
    pub fn count_refused(&self, source: &'static str) {
        self.refused.get_or_create(&SourceLabel { source }).inc();
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
