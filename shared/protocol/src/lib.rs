//! The wire formats of Gorani, sans-IO: bytes in, typed messages out, and back. No runtime, no sockets.
//!
//! - [`websocket`]: RFC 6455 and RFC 7692 (`specs/websocket.md`).
//! - [`client`]: the JSON client protocol (`specs/client-protocol.md`).
//! - [`sockjs`]: SockJS 0.3.3 (`specs/sockjs.md`).

#![deny(clippy::indexing_slicing)]

pub mod client;
pub mod sockjs;
pub mod websocket;
