//! Connections of clients: the actor of each, and the actions of its session. RFC 6455 over HTTP, STOMP over TCP.
//!
//! - [`state`]: the part that all connection actors share: writes the outbox, runs actions, keeps the deadline.
//! - [`action_runner`]: carries out the actions of a session on its worker and its node.
//! - [`websocket`]: a WebSocket connection, from the upgrade to the close frame.
//! - [`stomp_tcp`]: a STOMP connection over TCP.
//! - `turn`: bounds the time that one client's input holds the worker.
//! - `mailbox`: the capacity of an actor's mailbox.

pub mod action_runner;
pub(crate) mod mailbox;
pub(crate) mod state;
pub mod stomp_tcp;
pub(crate) mod turn;
pub mod websocket;
