//! The wire formats of Gorani, sans-IO: bytes in, typed messages out, and back. No runtime, no sockets.
//!
//! - [`http1`]: where requests begin and end on a connection of HTTP/1.1.
//! - [`websocket`]: RFC 6455 and RFC 7692 (`docs/protocols/websocket.md`).
//! - [`sse`]: events of an `EventSource`.
//! - [`client`]: the client protocol, in JSON and in protobuf (`docs/protocols/client.md`).
//! - [`stomp`]: STOMP 1.0, 1.1 and 1.2 (`docs/protocols/stomp.md`).
//! - [`sockjs`]: SockJS 0.3.3 (`docs/protocols/sockjs.md`).

#![deny(clippy::indexing_slicing)]

pub mod client;
mod escape;
pub mod http1;
pub mod sockjs;
pub mod sse;
pub mod stomp;
pub mod websocket;
