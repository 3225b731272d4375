//! Publications across nodes: the [`Broker`] trait, the values that travel through it, and its implementations.
//!
//! The journey of a publication (`docs/architecture.md` §2.3): `node.publish` → [`Broker::publish`] → (memory, or Redis and back) →
//! [`Sink::on_event`] of every interested node → the hubs of that node. A broker knows no session and no HTTP.
//!
//! - [`publication`]: what travels.
//! - [`broker`], [`cluster`]: the contract.
//! - [`hook_store`]: who is there, in the whole cluster, and the events that tell a backend.
//! - [`memory`]: one node, in this process.
//! - [`redis`]: a cluster, through Redis.
//! - [`trace_context`]: the trace of a publication.
//! - [`server_status`]: each of its servers, for operators.
//! - `contract` (a feature): the test suite that every implementation runs.

pub mod broker;
pub mod cluster;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod fields;
mod hook_entry;
pub mod hook_store;
pub mod hook_wire;
pub mod memory;
mod open_hooks;
pub mod publication;
pub mod queue;
pub mod redis;
mod redis_values;
pub mod server_status;
pub mod trace_context;

pub use self::broker::{BrokerStats, ROUND_TRIP_BOUNDS, RoundTrips};
pub use self::redis::{
    ClusterSettings, RedisBroker, RedisSettings, RedisSettingsError, SentinelSettings, TlsSettings,
};
pub use broker::{
    Broker, Health, HistoryPage, HistoryQuery, Idempotency, PresencePage, PresenceQuery, PublishOptions,
    Published, Retention, Sink,
};
pub use cluster::{Announced, Cluster, ConnectionEntry, FULL_EVERY, Member};
pub use fields::UnreadableMessage;
pub use memory::{MemoryBroker, MemorySettings};
pub use publication::{ChannelEvent, ClientInfo, DataKind, Position, Publication};
pub use server_status::{ServerFacts, ServerStatus};
pub use trace_context::TraceContext;

/// Errors of a [`crate::Broker`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The channel keeps no history.
    #[error("the channel keeps no history")]
    NoHistory,
    /// The broker refused because a limit of its own is reached; nothing was done.
    #[error("broker limit reached: {0}")]
    Limit(&'static str),
    /// A query for a page of presence had a cursor that is not of this broker.
    #[error("not a cursor of this broker")]
    BadCursor,
    /// The broker cannot be reached; nothing was done.
    #[error("broker unavailable: {0}")]
    Unavailable(String),
    /// The request went out and no answer came back: it may or may not have been done.
    #[error("no answer from the broker, outcome unknown: {0}")]
    UnknownOutcome(String),
}

impl BrokerError {
    /// True if the request may have been carried out in spite of the error.
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }
}
