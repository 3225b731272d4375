//! The other nodes, and the calls to them. `docs/architecture.md` §5.7.
//!
//! Each node announces itself with a lease and watches those of the others ([`heartbeat`], [`membership`]). A command or a query
//! for the whole cluster goes to the nodes whose lease is running as one message ([`envelope`]), each of them answers, and
//! it has succeeded when all have ([`rpc`], [`commands`], [`overview`], [`kinds`]). The
//! clients of a dead node vanish from presence ([`reaper`]). The memory broker has one node, and the same code path.

mod address;
mod client_node;
mod commands;
mod description;
mod envelope;
mod error;
mod heartbeat;
mod kinds;
mod local_queries;
mod member;
mod membership;
mod overview;
mod own_address;
mod peers;
mod pending_queries;
mod reaper;
mod reaping;
mod rpc;

pub(super) use self::{client_node::is_of, reaper::worker_gone};
pub use self::{description::NodeCounts, error::ClusterError, member::ClusterMember, overview::NodeOverview};

#[cfg(test)]
mod tests;
