//! The clients present in one channel, each until its time is over.

use std::{borrow::Borrow, collections::HashMap, collections::HashSet, hash::Hash, hash::Hasher, sync::Arc};

use super::clock::Nanos;
use crate::ClientInfo;

/// A client's info, found by its client id.
#[derive(Debug)]
struct ByClient(Arc<ClientInfo>);

impl Borrow<str> for ByClient {
    fn borrow(&self) -> &str {
        &self.0.client
    }
}

impl Hash for ByClient {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client.hash(state);
    }
}

impl PartialEq for ByClient {
    fn eq(&self, other: &Self) -> bool {
        self.0.client == other.0.client
    }
}

impl Eq for ByClient {}

/// One channel's presence: each client with the time at which it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Roster {
    clients: HashMap<ByClient, Nanos>,
    /// The deadline under which the shard's heap knows it.
    pub(super) armed: Option<Nanos>,
}

impl Roster {
    pub(super) fn contains(&self, client: &str) -> bool {
        self.clients.contains_key(client)
    }

    /// Enters the client or refreshes it; the newest info counts.
    pub(super) fn add(&mut self, info: Arc<ClientInfo>, deadline: Nanos) {
        self.clients.remove(info.client.as_str());
        self.clients.insert(ByClient(info), deadline);
    }

    /// Tells whether the client was there.
    pub(super) fn remove(&mut self, client: &str) -> bool {
        self.clients.remove(client).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Nanos) {
        self.clients.retain(|_, deadline| *deadline > now);
        self.clients.shrink_to(2 * self.clients.len());
    }

    /// When the next one is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.clients.values().min().copied()
    }

    /// Those whose time is not over.
    pub(super) fn present(&self, now: Nanos) -> impl Iterator<Item = &Arc<ClientInfo>> {
        self.clients.iter().filter(move |(_, deadline)| **deadline > now).map(|(client, _)| &client.0)
    }

    /// Numbers of clients and of distinct users; all anonymous clients together are one user.
    pub(super) fn stats(&self, now: Nanos) -> (u64, u64) {
        let users: HashSet<&str> = self.present(now).map(|info| info.user.as_str()).collect();
        (self.present(now).count() as u64, users.len() as u64)
    }
}
