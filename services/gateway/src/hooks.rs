//! Hooks: what happens to clients and channels of this node, written into the broker's store of hooks, which tells the backend of it.
//! `docs/adr/0051-hooks-tracked.md`.
//!
//! - [`lease`]: which node takes care of which partition.
//! - [`partition`]: the partition of a name.

pub mod lease;
pub mod partition;
