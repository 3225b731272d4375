//! The clients present in one channel, each until its time is over.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use super::clock::Nanos;
use crate::{ClientInfo, PresencePage, PresenceQuery};

/// A client's info, found by its client id.
#[derive(Debug)]
struct ByClient(Arc<ClientInfo>);

impl Borrow<str> for ByClient {
    fn borrow(&self) -> &str {
        &self.0.client
    }
}

impl PartialEq for ByClient {
    fn eq(&self, other: &Self) -> bool {
        self.0.client == other.0.client
    }
}

impl Eq for ByClient {}

impl Ord for ByClient {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.client.cmp(&other.0.client)
    }
}

impl PartialOrd for ByClient {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One channel's presence: each client with the time at which it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Sorted, so that a page begins where the one before ended.
    clients: BTreeMap<ByClient, Nanos>,
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
    }

    /// When the next one is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.clients.values().min().copied()
    }

    /// Those whose time is not over.
    pub(super) fn present(&self, now: Nanos) -> impl Iterator<Item = &Arc<ClientInfo>> {
        self.clients.iter().filter(move |(_, deadline)| **deadline > now).map(|(client, _)| &client.0)
    }

    /// Clients whose ids come after the cursor; the cursor of a page is the last id in it.
    pub(super) fn page(&self, query: &PresenceQuery, now: Nanos) -> PresencePage {
        let limit = usize::try_from(query.limit.max(1)).unwrap_or(usize::MAX);
        let after = (Bound::Excluded(query.cursor.as_str()), Bound::Unbounded);
        let mut rest = self.clients.range::<str, _>(after).take(limit.saturating_add(1));
        let seen: Vec<_> = rest.by_ref().take(limit).collect();
        let cursor = rest.next().and(seen.last()).map(|(client, _)| client.0.client.clone());
        let present = seen.into_iter().filter(|(_, deadline)| **deadline > now);
        PresencePage { clients: present.map(|(client, _)| Arc::clone(&client.0)).collect(), cursor }
    }

    /// Those of one node whose time is not over: their ids begin with its own.
    pub(super) fn of_node<'a>(
        &'a self,
        node: &'a str,
        now: Nanos,
    ) -> impl Iterator<Item = &'a Arc<ClientInfo>> {
        let from = (Bound::Included(node), Bound::Unbounded);
        let of_node = self.clients.range::<str, _>(from);
        let of_node = of_node.take_while(move |(client, _)| client.0.client.starts_with(node));
        of_node.filter(move |(_, deadline)| **deadline > now).map(|(client, _)| &client.0)
    }

    /// Numbers of clients and of distinct users; all anonymous clients together are one user.
    pub(super) fn stats(&self, now: Nanos) -> (u64, u64) {
        let users: HashSet<&str> = self.present(now).map(|info| info.user.as_str()).collect();
        (self.present(now).count() as u64, users.len() as u64)
    }
}
