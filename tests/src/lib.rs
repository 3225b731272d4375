//! What the black-box tests and the bench share: start a node as a process, talk to it, look at what it costs.
//!
//! Nothing here knows the gateway's code. A node is its binary, its settings file and its sockets:
//! [`node`] starts one, [`process`] reads what the kernel says about it, [`http`] is a backend that publishes,
//! [`backend`] is a backend that the node asks and tells, [`sockjs`] is a client of SockJS that sees every chunk,
//! [`client`] is a well-behaved subscriber (`docs/protocols/client.md`), [`stream`] reads responses that go on, and [`raw`] is one that does as it
//! likes with bytes and frames (`docs/protocols/websocket.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test's way to say that something went wrong"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "no worker of a server runs here: to wait for a process is to look again"
)]

pub mod backend;
pub mod balancer;
pub mod binary;
pub mod client;
pub mod http;
pub mod node;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod redis_cluster;
pub mod redis_data;
pub mod sockjs;
pub mod stomp;
pub mod stream;
