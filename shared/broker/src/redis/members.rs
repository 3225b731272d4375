//! The cluster state in Redis: each step is a script on keys of one hash tag; messages go by pub/sub.
//! [`Cluster`], `docs/architecture.md` §5.7.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use redis::cmd;

use super::{RedisBroker, pubsub::SubscriptionKind, replies};
use crate::{Announced, BrokerError, Cluster, ConnectionEntry, Member};

/// Nothing is replaced: no owner has the empty name.
const NOBODY: &str = "";

impl Cluster for RedisBroker {
    fn listen(&self, node: &str) {
        let names = [self.keys.node(node), self.keys.nodes()];
        self.shards.want_from_start(names.map(|name| (name, SubscriptionKind::Messages)).into());
    }

    fn send(&self, to: Option<&str>, message: Bytes) -> BoxFuture<'static, Result<(), BrokerError>> {
        let name = to.map_or_else(|| self.keys.nodes(), |node| self.keys.node(node));
        self.tell(&name, &message)
    }

    fn announce(
        &self,
        node: &str,
        description: Bytes,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Announced, BrokerError>> {
        let keys = self.keys.members();
        let known = self.leases.known();
        let mut call = self.shards.scripts().announce.call(&keys.each_ref().map(String::as_str));
        call.arg(node).arg(&*description).arg(self.at_least_a_millisecond(lease)).arg(&known.revision);
        let made = self.shards.make(call);
        let leases = self.leases.clone();
        async move {
            let (renewed, revision, members) = replies::announced(made.await?)?;
            Ok(Announced { renewed, members: leases.learn(known, revision, members) })
        }
        .boxed()
    }

    fn retire(&self, node: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let keys = self.keys.members();
        let mut call = self.shards.scripts().retire.call(&keys.each_ref().map(String::as_str));
        call.arg(node);
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn members(&self) -> BoxFuture<'static, Result<Vec<Member>, BrokerError>> {
        let keys = self.keys.members();
        let made = self.shards.make(self.shards.scripts().members.call(&keys.each_ref().map(String::as_str)));
        async move { replies::members(made.await?) }.boxed()
    }

    fn connection_enter(
        &self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> BoxFuture<'static, Result<ConnectionEntry, BrokerError>> {
        let mut call = self.shards.scripts().connection_enter.call(&[&self.keys.connections(user)]);
        call.arg(client).arg(self.at_least_a_millisecond(ttl)).arg(limit);
        let made = self.shards.make(call);
        async move { replies::connection_entry(made.await?) }.boxed()
    }

    fn connection_refresh(
        &self,
        user: &str,
        clients: &[&str],
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        let mut call = self.shards.scripts().connection_refresh.call(&[&self.keys.connections(user)]);
        call.arg(self.at_least_a_millisecond(ttl)).arg(clients);
        let made = self.shards.make(call);
        async move { replies::clients(made.await?) }.boxed()
    }

    fn connection_leave(&self, user: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.shards.scripts().connection_leave.call(&[&self.keys.connections(user)]);
        call.arg(client);
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn connection_holders(&self, user: &str) -> BoxFuture<'static, Result<Vec<String>, BrokerError>> {
        let made =
            self.shards.make(self.shards.scripts().connection_holders.call(&[&self.keys.connections(user)]));
        async move { replies::clients(made.await?) }.boxed()
    }

    fn claim(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        replacing: Option<&str>,
    ) -> BoxFuture<'static, Result<String, BrokerError>> {
        let mut call = self.shards.scripts().claim.call(&[&self.keys.owner(name)]);
        call.arg(owner).arg(self.at_least_a_millisecond(ttl)).arg(replacing.unwrap_or(NOBODY));
        let made = self.shards.make(call);
        async move { replies::present_owner(made.await?) }.boxed()
    }

    fn owner(&self, name: &str) -> BoxFuture<'static, Result<Option<String>, BrokerError>> {
        let mut get = cmd("GET");
        get.arg(self.keys.owner(name));
        let made = self.shards.make(get);
        async move { replies::owner(made.await?) }.boxed()
    }

    fn release(&self, name: &str, owner: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.shards.scripts().release.call(&[&self.keys.owner(name)]);
        call.arg(owner);
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }
}
