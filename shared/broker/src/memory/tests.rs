//! The memory broker against the contract, and what only it promises: its bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod contract;
mod expiry;
mod fixture;
mod hooks;
mod model;
mod queues;
mod threads;
