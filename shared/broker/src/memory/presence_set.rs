//! The clients present in one channel, each until its time is over.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
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

/// The lifetime of a client's entry.
#[derive(Debug, Clone, Copy)]
struct PresenceLife {
    deadline: Nanos,
    /// Its leave is published.
    announce: bool,
}

/// Clients whose leave is to be published.
pub(super) type LeftClients = Vec<Arc<ClientInfo>>;

/// The changes to publish when a client is entered.
pub(super) struct AddedClient {
    /// It had left before.
    pub(super) left: Option<Arc<ClientInfo>>,
    /// It joined.
    pub(super) joined: bool,
}

/// One channel's presence: each client with the time at which it is forgotten. No call looks at more clients than it gives or
/// forgets.
#[derive(Debug, Default)]
pub(super) struct PresenceSet {
    /// Sorted, so that a page begins where the one before ended.
    clients: BTreeMap<ByClient, PresenceLife>,
    /// The same clients by the time at which they are forgotten.
    deadlines: BTreeSet<(Nanos, ByClient)>,
    /// Numbers of clients by user; all anonymous clients together are one user.
    users: HashMap<Box<str>, usize>,
    /// The deadline under which the shard's heap knows it.
    pub(super) armed: Option<Nanos>,
}

impl PresenceSet {
    pub(super) fn contains(&self, client: &str) -> bool {
        self.clients.contains_key(client)
    }

    /// Enters the client or refreshes it; the newest info counts. Returns the leave and the join to publish.
    pub(super) fn add(
        &mut self,
        info: Arc<ClientInfo>,
        deadline: Nanos,
        announce: bool,
        now: Nanos,
    ) -> AddedClient {
        let before = self.take(&info.client);
        match self.users.get_mut(info.user.as_str()) {
            Some(count) => *count += 1,
            None => drop(self.users.insert(info.user.as_str().into(), 1)),
        }
        self.deadlines.insert((deadline, ByClient(Arc::clone(&info))));
        self.clients.insert(ByClient(info), PresenceLife { deadline, announce });
        match before {
            None => AddedClient { left: None, joined: announce },
            // Its time was over, and it had not been swept yet.
            Some((info, stay)) if stay.deadline <= now => {
                AddedClient { left: stay.announce.then_some(info), joined: announce }
            }
            Some(_) => AddedClient { left: None, joined: false },
        }
    }

    /// Takes a client out. `None` if it was not there; else its info, if its leave is to be published.
    pub(super) fn remove(&mut self, client: &str) -> Option<Option<Arc<ClientInfo>>> {
        let (info, stay) = self.take(client)?;
        Some(stay.announce.then_some(info))
    }

    fn take(&mut self, client: &str) -> Option<(Arc<ClientInfo>, PresenceLife)> {
        let (client, stay) = self.clients.remove_entry(client)?;
        self.forget_user_of(&client.0);
        let info = Arc::clone(&client.0);
        self.deadlines.remove(&(stay.deadline, client));
        Some((info, stay))
    }

    fn forget_user_of(&mut self, info: &ClientInfo) {
        if let Some(count) = self.users.get_mut(info.user.as_str()) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(info.user.as_str());
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Forgets those whose time is over. Returns those whose leave is to be published.
    pub(super) fn expire(&mut self, now: Nanos) -> LeftClients {
        let mut left = LeftClients::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            if let Some((_, client)) = self.deadlines.pop_first() {
                let stay = self.clients.remove(client.0.client.as_str());
                self.forget_user_of(&client.0);
                if stay.is_some_and(|stay| stay.announce) {
                    left.push(client.0);
                }
            }
        }
        left
    }

    /// Time at which the next client is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Clients whose ids come after the cursor; the cursor of a page is the last id in it.
    pub(super) fn page(&self, query: &PresenceQuery, now: Nanos) -> PresencePage {
        let limit = usize::try_from(query.limit.max(1)).unwrap_or(usize::MAX);
        let after = (Bound::Excluded(query.cursor.as_str()), Bound::Unbounded);
        let mut rest = self.clients.range::<str, _>(after);
        let (mut clients, mut bytes, mut cursor) = (Vec::new(), 0, None);
        for (client, stay) in rest.by_ref().take(limit) {
            cursor = Some(&client.0.client);
            if stay.deadline > now {
                bytes += client.0.content_bytes();
                clients.push(Arc::clone(&client.0));
            }
            if bytes >= query.max_bytes {
                break;
            }
        }
        PresencePage { clients, cursor: rest.next().and(cursor).cloned() }
    }

    /// The first bytes of the client ids, each once. It goes from node to node, not from client to client.
    pub(super) fn nodes(&self, id_bytes: usize) -> BTreeSet<String> {
        let mut nodes = BTreeSet::new();
        let mut next = self.clients.keys().next();
        while let Some(ByClient(info)) = next {
            let node = info.client.get(..id_bytes).unwrap_or(&info.client);
            // What begins with the node's id sorts before this.
            let behind = format!("{node}{}", char::MAX);
            let rest = self.clients.range::<str, _>((Bound::Excluded(behind.as_str()), Bound::Unbounded));
            next = rest.map(|(client, _)| client).next();
            nodes.insert(node.to_owned());
        }
        nodes
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
        of_node.filter(move |(_, stay)| stay.deadline > now).map(|(client, _)| &client.0)
    }

    /// Numbers of clients and of distinct users, with those whose time is over and who are not forgotten yet.
    pub(super) fn stats(&self) -> (u64, u64) {
        (self.clients.len() as u64, self.users.len() as u64)
    }
}
