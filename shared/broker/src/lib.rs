//! Publications across nodes: the [`Broker`] trait, the values that travel through it, and its implementations.
//!
//! The journey of a publication (`docs/architecture.md` §2.3): `node.publish` → [`Broker::publish`] → (memory, or Redis and back) →
//! [`Sink::on_event`] of every interested node → the hubs of that node. A broker knows no session and no HTTP.
//!
//! - [`publication`]: what travels.
//! - [`broker`], [`cluster`]: the contract.
//! - [`memory`]: one node, in this process.
//! - [`redis`]: a cluster, through Redis.
//! - `contract` (a feature): the test suite that every implementation runs.

pub mod broker;
pub mod cluster;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod error;
pub mod memory;
pub mod publication;
pub mod queue;
pub mod redis;

pub use self::broker::BrokerStats;
pub use self::redis::{
    ClusterSettings, RedisBroker, RedisSettings, RedisSettingsError, SentinelSettings, TlsSettings,
};
pub use broker::{
    Broker, Health, HistoryPage, HistoryQuery, Idempotency, PresencePage, PresenceQuery, PublishOptions,
    Published, Retention, Sink,
};
pub use cluster::{Announced, Cluster, ConnectionEntry, FULL_EVERY, Member};
pub use error::BrokerError;
pub use memory::{MemoryBroker, MemorySettings};
pub use publication::{ChannelEvent, ClientInfo, DataKind, Position, Publication};
