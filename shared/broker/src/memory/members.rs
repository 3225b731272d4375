//! What nodes know of one another, where there is only one: its lease, its messages to itself, its users' connections and
//! the names that it owns. [`crate::Cluster`], `docs/architecture.md` §5.7.

use std::{collections::HashMap, sync::OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{clock::Nanos, expiring::Expiring};
use crate::Member;

/// Nodes that may announce themselves: those of one process, in tests.
pub(super) const MAX_NODES: usize = 1000;
/// Users with connections, and owned names: ten for each of 100,000 connections.
pub(super) const MAX_ENTRIES: usize = 1_000_000;

/// Clients by the time at which each is forgotten.
pub(super) type UserConnections = HashMap<String, Nanos>;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct MemoryCluster {
    /// The id under which this node hears.
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
