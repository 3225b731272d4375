//! Hooks of several nodes over one store: the tracker, the flush, the reaper and the leases together, in simulated time.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod faulty_store;
pub(crate) mod folded;
mod grace;
mod nodes;
mod random_runs;
mod two_nodes;
