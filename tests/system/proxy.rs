//! Commands that a backend decides on and answers, against the real binary and a backend over real sockets.
//! `docs/protocols/proxy.md`.
//!
//! - [`kinds`]: each kind of call by the client protocol.
//! - [`over_stomp`]: the same by STOMP, over TCP, WebSocket and SockJS.
//! - [`bad_backends`]: backends that hang, break off or answer nonsense.
//! - [`published`]: handlers that were written for the HTTP proxies of Centrifugo.
//! - [`receivers`]: receivers and polls, and the channels that they name.

mod bad_backends;
mod kinds;
mod over_stomp;
mod published;
mod receivers;

use std::net::SocketAddr;

use gorani_tests::{
    backend::{Answer, Backend, Request, signature::SECRET},
    node::Settings,
    raw::RawSocket,
};
use serde_json::{Value, json};

/// `open` asks nobody; of `asked` the backend decides who subscribes and publishes.
const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_publish_for_client = true, allow_publish_for_anonymous = true, allow_user_limited_channels = true }, { name = "asked", subscribe_proxy_enabled = true, publish_proxy_enabled = true }]"#;

/// Time of a call where it is not the time that matters: a backend on a busy machine may need more than the second of the default.
const PATIENCE: &str = "\"4s\"";

/// Settings of a node that asks this backend about all but connects.
fn asking(backend: &Backend) -> Settings {
    let endpoint = |path: &str| format!("\"{}\"", backend.url(path));
    let mut settings = Settings::open()
        .set("channel.namespaces", NAMESPACES)
        .set("rpc.without_namespace.proxy_enabled", "true");
    for (proxy, path) in [
        ("channel.proxy.subscribe", "/subscribe"),
        ("channel.proxy.publish", "/publish"),
        ("rpc.proxy", "/rpc"),
    ] {
        settings = settings
            .set(&format!("{proxy}.endpoint"), endpoint(path))
            .set(&format!("{proxy}.secrets"), format!("[\"{SECRET}\"]"))
            // Each test judges one answer, not what came of those before it.
            .set(&format!("{proxy}.breaker.enabled"), "false")
            .set(&format!("{proxy}.timeout"), PATIENCE);
    }
    settings
}

/// The same, and about connects too.
fn asking_about_connects(backend: &Backend) -> Settings {
    asking(backend)
        .set("client.proxy.connect.enabled", "true")
        .set("client.proxy.connect.timeout", PATIENCE)
        .set("client.proxy.connect.endpoint", format!("\"{}\"", backend.url("/connect")))
        .set("client.proxy.connect.emulated_headers", r#"["x-tenant"]"#)
}

/// The same with STOMP over TCP at this address.
fn with_stomp(settings: Settings, tcp: SocketAddr) -> Settings {
    settings.set("stomp.tcp.address", format!("\"{tcp}\""))
}

/// Lets all in, and repeats what it is told.
fn friendly(request: &Request) -> Answer {
    let body = request.json();
    match request.path.as_str() {
        "/connect" => Answer::result(json!({ "user": "42", "channels": ["open:given"] })),
        "/rpc" => Answer::result(json!({ "data": { "method": body["method"], "got": body["data"] } })),
        _ => Answer::result(json!({})),
    }
}

/// Sends a command, and returns its reply; pushes before it are passed over.
fn ask(socket: &mut RawSocket, command: &Value) -> Value {
    socket.text(&command.to_string()).unwrap();
    loop {
        let frame = socket.read_frame().unwrap();
        for line in frame.payload.split(|byte| *byte == b'\n') {
            let reply: Value = serde_json::from_slice(line).unwrap();
            if reply["id"] == command["id"] {
                return reply;
            }
        }
    }
}
