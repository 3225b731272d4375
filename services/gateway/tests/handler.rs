//! The handler trait over real sockets: a node in this process with handlers of the tests, and clients that know nothing
//! of it. `docs/protocols/websocket.md` §3, §8, §14, §16; `docs/protocols/sockjs.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "handler/echo.rs"]
mod echo;
#[path = "handler/endings.rs"]
mod endings;
#[path = "handler/handshakes.rs"]
mod handshakes;
#[path = "handler/messages.rs"]
mod messages;
#[path = "handler/node.rs"]
mod node;
#[path = "handler/probe.rs"]
mod probe;
#[path = "handler/sockjs.rs"]
mod sockjs;
#[path = "handler/stopping.rs"]
mod stopping;
