//! SockJS on the wire: `docs/protocols/sockjs.md` §1 to §6, chunk by chunk where a rule says so. Every test's name begins with
//! its items, for which §11 has the rules.

mod frames;
mod life;
mod pages;
mod polls;
mod sending;
mod streams;
mod trust;
mod websocket;

use std::time::Duration;

use gorani_tests::{
    node::{Node, Settings},
    sockjs::{Answer, Request},
};

/// Long enough for whatever has to happen, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// What must not be kept says so with exactly this.
const NO_CACHE: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

fn settings() -> Settings {
    Settings::open().set("http.workers", "2").set("development.sockjs_conformance", "true")
}

fn node() -> Node {
    Node::start(settings())
}

/// A poll of a session.
fn poll(node: &Node, session: &str) -> Answer {
    Request::post(format!("{session}/xhr")).ask(node.address())
}

/// Opens a session by a poll.
fn open(node: &Node, session: &str) {
    let answer = poll(node, session);
    assert_eq!((answer.status(), answer.body.as_str()), (200, "o\n"));
}

/// Sends a batch.
fn send(node: &Node, session: &str, batch: &str) -> Answer {
    Request::post(format!("{session}/xhr_send")).body(batch).ask(node.address())
}

/// Sends a batch, which must be taken.
fn sent(node: &Node, session: &str, batch: &str) {
    assert_eq!(send(node, session, batch).status(), 204, "{batch}");
}

fn is_not_kept(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some(NO_CACHE), "{answer:?}");
    assert_eq!((answer.header("expires"), answer.header("last-modified")), (None, None), "{answer:?}");
}

fn has_no_cookie(answer: &Answer) {
    assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
}

/// Asks as pages of any origin do, and looks at what they are told.
fn is_open_to_origins(node: &Node, make: impl Fn() -> Request) {
    for origin in ["https://app.example.com", "null"] {
        let answer = make().header("Origin", origin).ask(node.address());
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{answer:?}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{answer:?}");
    }
    let answer = make().ask(node.address());
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer:?}");
}
