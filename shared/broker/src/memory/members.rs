//! The cluster state of a single node: its lease, its messages to itself, its users' connections and
//! the names that it owns. [`crate::Cluster`], `docs/architecture.md` §5.7.
//!
//! Values by name, each until its time is over: found in one step, and cleared away in bulk now and then.

use std::{collections::HashMap, sync::OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::clock::Nanos;
use crate::Member;

/// Nodes that may announce themselves: those of one process, in tests.
pub(super) const MAX_NODES: usize = 1000;
/// Users with connections, and owned names: ten for each of 100,000 connections.
pub(super) const MAX_ENTRIES: usize = 1_000_000;

/// Clients by the time at which each is forgotten.
pub(super) type UserConnections = HashMap<String, Nanos>;

/// The cluster state of a single node, in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryCluster {
    /// The id under which this node receives messages.
    pub(super) heard_as: OnceLock<String>,
    /// Held while a message is handed over: one at a time.
    pub(super) telling: Mutex<()>,
    pub(super) leases: Mutex<Expiring<Bytes>>,
    pub(super) connections: Mutex<Expiring<UserConnections>>,
    pub(super) owners: Mutex<Expiring<String>>,
}

impl MemoryCluster {
    pub(super) fn live(leases: &Expiring<Bytes>, now: Nanos) -> Vec<Member> {
        let member = |(node, description): (&String, &Bytes)| Member {
            node: node.clone(),
            description: description.clone(),
        };
        let mut members: Vec<Member> = leases.iter(now).map(member).collect();
        members.sort_unstable_by(|one, other| one.node.cmp(&other.node));
        members
    }

    /// The user's clients whose time is not over.
    pub(super) fn clients(connections: &Expiring<UserConnections>, user: &str, now: Nanos) -> Vec<String> {
        let clients = connections.get(user, now).into_iter().flatten();
        let mut live: Vec<String> =
            clients.filter(|(_, deadline)| **deadline > now).map(|(client, _)| client.clone()).collect();
        live.sort_unstable();
        live
    }
}

/// Entries that are not worth a sweep.
const FEW: usize = 64;

/// A table whose entries end. Nothing whose time is over is ever given.
#[derive(Debug)]
pub(super) struct Expiring<V> {
    entries: HashMap<String, (V, Nanos)>,
    /// So many entries are swept: twice what the last sweep left, so that each entry pays for its own removal.
    sweep_at: usize,
}

impl<V> Default for Expiring<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: FEW }
    }
}

impl<V> Expiring<V> {
    pub(super) fn get(&self, name: &str, now: Nanos) -> Option<&V> {
        self.entries.get(name).filter(|(_, deadline)| *deadline > now).map(|(value, _)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str, now: Nanos) -> Option<&mut (V, Nanos)> {
        self.entries.get_mut(name).filter(|(_, deadline)| *deadline > now)
    }

    /// Enters or replaces; false if that would be more than `max` entries.
    pub(super) fn put(&mut self, name: &str, value: V, deadline: Nanos, now: Nanos, max: usize) -> bool {
        if let Some(entry) = self.entries.get_mut(name) {
            *entry = (value, deadline);
            return true;
        }
        if self.entries.len() >= self.sweep_at.min(max) {
            self.entries.retain(|_, (_, deadline)| *deadline > now);
            self.entries.shrink_to(2 * self.entries.len());
            self.sweep_at = (2 * self.entries.len()).max(FEW);
        }
        if self.entries.len() >= max {
            return false;
        }
        self.entries.insert(name.to_owned(), (value, deadline));
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// All whose time is not over, in no particular order.
    pub(super) fn iter(&self, now: Nanos) -> impl Iterator<Item = (&String, &V)> {
        let live = self.entries.iter().filter(move |(_, (_, deadline))| *deadline > now);
        live.map(|(name, (value, _))| (name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_given_and_makes_room() {
        let mut table = Expiring::default();
        for number in 0..FEW {
            assert!(table.put(&number.to_string(), number, 10, 0, FEW));
        }
        assert!(!table.put("one more", 0, 10, 9, FEW));
        assert_eq!(table.get("1", 9), Some(&1));
        assert_eq!(table.get("1", 10), None);
        assert_eq!(table.iter(10).count(), 0);
        assert!(table.put("one more", 0, 20, 10, FEW));
        assert_eq!(table.entries.len(), 1);
    }

    #[test]
    fn a_table_does_not_grow_with_what_is_over() {
        let mut table = Expiring::default();
        for number in 0..10_000_u64 {
            assert!(table.put(&number.to_string(), (), number + 10, number, usize::MAX));
            assert!(table.entries.len() <= FEW);
        }
    }
}
