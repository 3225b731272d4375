//! Transports: thin shells around a session. They move bytes, carry out what the session wants, and know nothing of
//! what the messages mean. Design §2.
//!
//! - [`endpoint`]: what stands behind a path: which session, which subprotocols, whose origins; [`endpoints`]: all of
//!   them. - [`client`], [`receiver`], [`handler`]:
//!   the endpoints of the client protocol, of receivers without commands and of embedders. - [`errand`]: how a session's actions are carried out on the
//!   worker and the node. - [`websocket`]: RFC 6455. - [`held`]: sessions that outlive requests, for HTTP.
//! - [`http`]: the requests. - [`sockjs`]: SockJS. - [`stomp`], [`stomp_tcp`]: STOMP, over WebSocket and over TCP. - `peer`: who makes them, behind a balancer.
//! - [`head`]: HEAD, wherever GET is. - `turn`: how long one client's input holds the worker.

pub mod body;
mod carrier;
pub mod client;
pub mod endpoint;
pub mod endpoints;
pub mod errand;
pub mod forward;
pub mod handler;
pub mod head;
pub mod held;
pub mod http;
mod mailbox;
mod peer;
pub mod receiver;
pub mod sockjs;
pub mod stomp;
pub mod stomp_tcp;
mod turn;
pub mod websocket;
