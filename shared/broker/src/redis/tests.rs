//! The Redis broker against the contract and against faults, with servers of the tests' own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cluster;
mod cluster_faults;
mod contract;
mod faults;
mod fixture;
mod forks;
mod hooks;
mod leases;
mod pending;
mod positions;
mod proxy;
mod refusals;
mod renew;
mod sentinel;
mod server;
mod sizes;
mod start;
mod tls;
