//! Hooks: what happens to clients and channels of this node, written into the broker's store of hooks, which tells the backend of it.
//! `docs/adr/0051-hooks-tracked.md`.
//!
//! - [`lease`]: which node takes care of which partition.
//! - [`partition`]: the partition of a name.
//! - [`deliver`]: events go from the store to the endpoints; [`endpoint`]: an endpoint; [`event_json`]: an event as it is sent.
//!   `docs/adr/0052-hooks-delivered.md`.

mod attempt;
mod batch;
pub mod deliver;
pub mod endpoint;
pub mod event_json;
pub mod lease;
pub mod partition;
mod pusher;
mod queue_delivery;
pub mod store;
#[cfg(test)]
mod tests;
