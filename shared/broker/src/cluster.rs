//! The state that nodes share beside publications: members, messages between nodes, the connections of users, and
//! the owners of names. `docs/architecture.md` §5.7.
//!
//! Every [`crate::Broker`] gives its own by [`crate::Broker::cluster`]. It knows nothing of what a message or a description
//! means.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::BrokerError;

/// A node whose lease is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node's id, as it announced itself.
    pub node: String,
    /// The node's description, from its last announcement.
    pub description: Bytes,
}

/// The answer to [`Cluster::announce`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// True if the node's lease was still running when it was renewed. False at its first announcement, after its
    /// lease ran out, and when the broker lost its data: then others may be missing among the members although they live.
    pub renewed: bool,
    /// Those whose lease is running, this node among them, by id. The same `Arc` as before where no member came or went:
    /// the list is always current; the descriptions may be of the last change, or [`FULL_EVERY`] announcements old.
    pub members: Arc<[Member]>,
}

/// So many announcements of a node bring at least one whole list of members; the others say only whether it is still the same. With
/// it, every announcement of every node would carry all nodes: a million entries per heartbeat in a cluster of a thousand.
pub const FULL_EVERY: u32 = 10;

/// The answer to [`Cluster::connection_enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEntry {
    /// The client counts among the user's connections, until its time is over.
    Entered,
    /// Nothing was changed: so many others are there already.
    Full {
        /// Their client ids, sorted.
        holders: Vec<String>,
    },
}

/// Leases, messages between nodes, connections of users, owners of names.
///
/// # Time
/// A `lease` or `ttl` begins when the broker carries the call out and is measured by the broker's clock, the same for all
/// nodes, in whole milliseconds, rounded up. What is over is never shown, counted or respected again, whether or not
/// it was cleared away yet.
///
/// # Faults
/// As with [`crate::Broker`]: futures end within the broker's own time-out; after [`BrokerError::Unavailable`] and
/// [`BrokerError::Limit`] nothing was done, after [`BrokerError::UnknownOutcome`] it may have been. All these calls but
/// [`Cluster::send`] may be repeated. No method blocks its thread; a request enters the queue when the method is
/// called, and calls made before any is awaited share round trips.
pub trait Cluster: Send + Sync + 'static {
    /// This node wants the messages sent to `node` and to all, by [`crate::Sink::on_message`], from when
    /// [`crate::Broker::start`] resolves. Called at most once, before `start`; a later call changes nothing.
    fn listen(&self, node: &str);

    /// Sends a message to one node, or to all that listen: the sender too, if it listens. At most once; `Ok` does not say that
    /// a node received it. Messages of one sender with the same `to` arrive in the order of the calls. The caller
    /// bounds their size.
    fn send(&self, to: Option<&str>, message: Bytes) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// The node is alive for `lease` from now, with this `description`.
    fn announce(
        &self,
        node: &str,
        description: Bytes,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Announced, BrokerError>>;

    /// Ends the node's lease. Unknown nodes are no error.
    fn retire(&self, node: &str) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// The nodes whose lease is running, by id.
    fn members(&self) -> BoxFuture<'static, Result<Vec<Member>, BrokerError>>;

    /// Enters a client among its user's connections for `ttl`, if fewer than `limit` others are there; one that is there
    /// already has its time renewed, whatever the limit. One atomic step: of many callers on many nodes, exactly as many
    /// enter as there is room.
    fn connection_enter(
        &self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> BoxFuture<'static, Result<ConnectionEntry, BrokerError>>;

    /// Renews the time of those of the user's clients that are still entered. Returns the others: they no longer count, and
    /// have to enter anew.
    fn connection_refresh(
        &self,
        user: &str,
        clients: &[&str],
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, BrokerError>>;

    /// Takes a client out of its user's connections. An unknown client is no error.
    fn connection_leave(&self, user: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// The user's clients that are entered, sorted.
    fn connection_holders(&self, user: &str) -> BoxFuture<'static, Result<Vec<String>, BrokerError>>;

    /// Makes `owner` the owner of `name` for `ttl` if the name has none, is its own already (its time is renewed), or is
    /// owned by `replacing`. One atomic step. Answers who owns it now: `owner` exactly if it succeeded.
    fn claim(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        replacing: Option<&str>,
    ) -> BoxFuture<'static, Result<String, BrokerError>>;

    /// The owner of the name, or `None`.
    fn owner(&self, name: &str) -> BoxFuture<'static, Result<Option<String>, BrokerError>>;

    /// Ends the ownership, if the name is `owner`'s.
    fn release(&self, name: &str, owner: &str) -> BoxFuture<'static, Result<(), BrokerError>>;
}
