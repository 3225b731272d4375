//! Transports: thin shells around a session. They move bytes, carry out what the session wants, and know nothing of
//! what the messages mean. `docs/architecture.md` §2.2.
//!
//! - [`endpoint`]: what stands behind a path: which session, which subprotocols, whose origins; [`endpoints`]: all of
//!   them. - [`client`], [`receiver`], [`handler`]:
//!   the endpoints of the client protocol, of receivers without commands and of embedders. - [`pending action`]: how a session's actions are carried out on the
//!   worker and the node. - [`websocket`]: RFC 6455. - [`held`]: sessions that outlive requests, for HTTP.
//! - [`http`]: the requests. - [`sockjs`]: SockJS. - [`stomp`], [`stomp_tcp`]: STOMP, over WebSocket and over TCP. - `peer`: who makes them, behind a balancer.
//! - [`head`]: HEAD, wherever GET is. - `turn`: how long one client's input holds the worker.

pub mod action_runner;
pub mod body;
pub mod client;
mod connection_state;
pub mod endpoint;
pub mod endpoints;
pub mod forward;
pub mod handler;
pub mod head;
pub mod http;
pub mod http_session;
mod mailbox;
mod peer;
pub mod receiver;
pub mod sockjs;
pub mod stomp;
pub mod stomp_tcp;
mod turn;
pub mod websocket;
