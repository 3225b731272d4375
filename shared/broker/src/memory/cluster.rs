//! [`Cluster`] of the memory broker: one node. `docs/architecture.md` §5.7.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    Expiring, MemoryBroker, UserConnections,
    clock::{Nanos, nanos},
    done,
};
use crate::{Announced, BrokerError, Cluster, ConnectionEntry, Member};

/// Nodes that may announce themselves: those of one process, in tests.
const MAX_NODES: usize = 1000;
/// Users with connections, and owned names: ten for each of 100,000 connections.
const MAX_ENTRIES: usize = 1_000_000;

/// Whole milliseconds, rounded up, as everywhere.
fn deadline(now: Nanos, ttl: Duration) -> Nanos {
    const MILLISECOND: Nanos = 1_000_000;
    let whole = nanos(ttl).div_ceil(MILLISECOND).max(1).saturating_mul(MILLISECOND);
    now.saturating_add(whole)
}

impl MemoryBroker {
    fn tell(&self, to: Option<&str>, message: Bytes) -> Result<(), BrokerError> {
        let sink = self.sink()?;
        let own = self.members.heard_as.get();
        if own.is_some_and(|own| to.is_none_or(|to| to == own)) {
            let _turn = self.members.telling.lock();
            sink.on_message(message);
        }
        Ok(())
    }

    fn announce_now(
        &self,
        node: &str,
        description: Bytes,
        lease: Duration,
    ) -> Result<Announced, BrokerError> {
        let mut leases = self.members.leases.lock();
        let now = self.now();
        let renewed = leases.get(node, now).is_some();
        if !leases.put(node, description, deadline(now, lease), now, MAX_NODES) {
            return Err(BrokerError::Limit("nodes"));
        }
        Ok(Announced { renewed, members: live(&leases, now).into() })
    }

    fn enter_connection(
        &self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> Result<ConnectionEntry, BrokerError> {
        let mut connections = self.members.connections.lock();
        let now = self.now();
        let until = deadline(now, ttl);
        let holders = clients(&connections, user, now);
        let is_there = holders.iter().any(|holder| holder == client);
        if !is_there && holders.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(ConnectionEntry::Full { holders });
        }
        match connections.get_mut(user, now) {
            Some((clients, last)) => {
                clients.retain(|_, deadline| *deadline > now);
                clients.insert(client.to_owned(), until);
                *last = until.max(*last);
            }
            None => {
                let clients = UserConnections::from([(client.to_owned(), until)]);
                if !connections.put(user, clients, until, now, MAX_ENTRIES) {
                    return Err(BrokerError::Limit("users with connections"));
                }
            }
        }
        Ok(ConnectionEntry::Entered)
    }

    fn refresh_connections(&self, user: &str, clients: &[&str], ttl: Duration) -> Vec<String> {
        let mut connections = self.members.connections.lock();
        let now = self.now();
        let until = deadline(now, ttl);
        let mut known = connections.get_mut(user, now);
        let mut missing = Vec::new();
        for client in clients {
            let entry = known.as_mut().and_then(|(entered, last)| {
                let held = entered.get_mut(*client).filter(|held| **held > now)?;
                Some((held, last))
            });
            match entry {
                Some((held, last)) => {
                    *held = until;
                    *last = until.max(*last);
                }
                None => missing.push((*client).to_owned()),
            }
        }
        missing.sort_unstable();
        missing
    }

    fn leave_connection(&self, user: &str, client: &str) {
        let mut connections = self.members.connections.lock();
        let now = self.now();
        if let Some((clients, _)) = connections.get_mut(user, now) {
            clients.remove(client);
            if clients.is_empty() {
                connections.remove(user);
            }
        }
    }

    fn claim_now(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        replacing: Option<&str>,
    ) -> Result<String, BrokerError> {
        let mut owners = self.members.owners.lock();
        let now = self.now();
        if let Some(current) = owners.get(name, now)
            && current != owner
            && replacing != Some(current)
        {
            return Ok(current.clone());
        }
        if !owners.put(name, owner.to_owned(), deadline(now, ttl), now, MAX_ENTRIES) {
            return Err(BrokerError::Limit("owned names"));
        }
        Ok(owner.to_owned())
    }
}

impl Cluster for MemoryBroker {
    fn listen(&self, node: &str) {
        let _ = self.members.heard_as.set(node.to_owned());
    }

    fn send(&self, to: Option<&str>, message: Bytes) -> BoxFuture<'static, Result<(), BrokerError>> {
        done(self.tell(to, message))
    }

    fn announce(
        &self,
        node: &str,
        description: Bytes,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Announced, BrokerError>> {
        done(self.announce_now(node, description, lease))
    }

    fn retire(&self, node: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.members.leases.lock().remove(node);
        done(Ok(()))
    }

    fn members(&self) -> BoxFuture<'static, Result<Vec<Member>, BrokerError>> {
        let leases = self.members.leases.lock();
        done(Ok(live(&leases, self.now())))
    }

    fn connection_enter(
        &self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> BoxFuture<'static, Result<ConnectionEntry, BrokerError>> {
        done(self.enter_connection(user, client, ttl, limit))
    }

    fn connection_refresh(
        &self,
        user: &str,
        clients: &[&str],
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        done(Ok(self.refresh_connections(user, clients, ttl)))
    }

    fn connection_leave(&self, user: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.leave_connection(user, client);
        done(Ok(()))
    }

    fn connection_holders(&self, user: &str) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        let connections = self.members.connections.lock();
        done(Ok(clients(&connections, user, self.now())))
    }

    fn claim(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        replacing: Option<&str>,
    ) -> BoxFuture<'static, Result<String, BrokerError>> {
        done(self.claim_now(name, owner, ttl, replacing))
    }

    fn owner(&self, name: &str) -> BoxFuture<'static, Result<Option<String>, BrokerError>> {
        let owners = self.members.owners.lock();
        done(Ok(owners.get(name, self.now()).cloned()))
    }

    fn release(&self, name: &str, owner: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut owners = self.members.owners.lock();
        if owners.get(name, self.now()).is_some_and(|current| current == owner) {
            owners.remove(name);
        }
        done(Ok(()))
    }
}

/// The nodes whose lease is running, by id.
fn live(leases: &Expiring<Bytes>, now: Nanos) -> Vec<Member> {
    let member = |(node, description): (&String, &Bytes)| Member {
        node: node.clone(),
        description: description.clone(),
    };
    let mut members: Vec<Member> = leases.iter(now).map(member).collect();
    members.sort_unstable_by(|one, other| one.node.cmp(&other.node));
    members
}

/// The user's clients whose time is not over.
fn clients(connections: &Expiring<UserConnections>, user: &str, now: Nanos) -> Vec<String> {
    let clients = connections.get(user, now).into_iter().flatten();
    let mut live: Vec<String> =
        clients.filter(|(_, deadline)| **deadline > now).map(|(client, _)| client.clone()).collect();
    live.sort_unstable();
    live
}
