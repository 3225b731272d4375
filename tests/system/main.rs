//! The system tests: the real binary over its sockets, nothing of its code.
//!
//! [`handshake`] and [`frames`] walk through `docs/protocols/websocket.md` on the wire; [`hostile`] and [`endless`] are
//! peers that mean harm; [`slow`] and [`silent`] are peers that do nothing. What those may not touch is watched
//! by a [`neighbour`]. [`accept`] is about connections that say nothing and nodes that are full, [`admin`] about the admin API, [`admission`]
//! about limits of sessions, [`bounds`] about times and sizes that no other test shows, [`request`] about rules of every HTTP request, [`heads`] about heads that stop or come in pieces, [`head`] about HEAD, [`malformed`] about what garbage leaves in the log, [`ending`] about a node that is told to stop,
//! [`sockjs`] walks through `docs/protocols/sockjs.md`,
//! [`stomp`] about STOMP, [`workers`] about several threads, [`balancer`] about nginx and HAProxy in front, [`broker`] about Redis, [`protobuf`] about the other form of the client protocol, [`reads`] about heavy reads, [`receive`] about every way to receive, [`refusals`] about what the log says of refused clients, [`keys`] about keys that are fetched, [`hooks`] about what the backend is told, [`reload`] about settings that are read again, [`manifests`] about the files of `deploy/`, [`traces`] about spans, [`tls`] and [`command`] about what their names say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "no worker of a server runs here: to wait for a process is to look again"
)]

mod accept;
mod admin;
mod admission;
mod balancer;
mod bounds;
mod broker;
mod cluster;
mod command;
mod ending;
mod endless;
mod forward;
mod frames;
mod handshake;
mod head;
mod heads;
mod hooks;
mod hostile;
mod keys;
mod malformed;
mod manifests;
mod memory;
mod neighbour;
mod pages;
mod protobuf;
mod proxy;
mod reads;
mod receive;
mod refusals;
mod reload;
mod request;
mod silent;
mod slow;
mod sockjs;
mod stomp;
mod strangers;
mod systemd;
mod tls;
mod traces;
mod workers;

use std::{
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{client::PATH, node::Node, raw::RawSocket};
use serde_json::Value;

/// Pause between two looks at something that has to become true.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Waits until `holds`, at most `time_limit`.
fn eventually(what: &str, time_limit: Duration, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + time_limit;
    while !holds() {
        assert!(Instant::now() < give_up, "after {time_limit:?} still not: {what}");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// A WebSocket to the client protocol's endpoint, on which nothing is sent yet.
fn websocket(node: &Node) -> RawSocket {
    RawSocket::websocket(node.address(), PATH, "")
}

/// A WebSocket on which `connect` has been answered.
fn connected(node: &Node) -> RawSocket {
    let mut socket = websocket(node);
    socket.text(r#"{"id":1,"connect":{}}"#).unwrap();
    let reply = json(&mut socket);
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    socket
}

/// A WebSocket that is subscribed to `channel`.
fn subscribed(node: &Node, channel: &str) -> RawSocket {
    let mut socket = connected(node);
    socket.text(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#)).unwrap();
    let reply = json(&mut socket);
    assert!(reply["subscribe"].is_object(), "{reply}");
    socket
}

/// The next frame, which must be one JSON object.
fn json(socket: &mut RawSocket) -> Value {
    let frame = socket.read_frame().unwrap();
    serde_json::from_slice(&frame.payload).unwrap_or_else(|error| panic!("{error}: {frame:?}"))
}
