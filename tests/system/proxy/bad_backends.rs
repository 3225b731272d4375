//! Backends that hang, break off or answer nonsense: clients get the right code, and nobody else is affected.

use std::time::{Duration, Instant};

use gorani_tests::{
    backend::{Answer, Backend},
    node::{Node, free_address},
    raw::RawSocket,
    stomp::Stomp,
};
use serde_json::json;

use super::{ask, asking, asking_about_connects, with_stomp};
use crate::{connected, neighbour::beside_a_neighbour, websocket};

/// Time of a call: bad backends cost no more than this.
const TIMEOUT: &str = "\"1s\"";
/// Longest wait for a reply: the time of a call and what a busy machine takes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Bad answers: none of them is one.
fn bad_answers() -> Vec<(&'static str, Answer)> {
    let good = Answer::result(json!({ "data": 1 }));
    vec![
        ("hangs", Answer::Hang),
        ("resets", Answer::Reset),
        ("closes", Answer::Close),
        ("trickles", Answer::Trickle(Box::new(good.clone()))),
        ("204", Answer::status(204)),
        ("201", Answer::Status(201, Vec::new(), br#"{"result":{}}"#.to_vec())),
        ("302", Answer::redirect(302, "/elsewhere")),
        ("500", Answer::status(500)),
        ("an empty 200", Answer::status(200)),
        ("huge", Answer::Huge(64 * 1024 * 1024)),
        ("invalid UTF-8", Answer::invalid_utf8()),
        ("deep JSON", Answer::deep(100_000)),
        ("no HTTP", Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())),
        ("a head without an end", Answer::Raw(b"HTTP/1.1 200 OK\r\nX: ".to_vec())),
        ("broken off", good.cut(60)),
    ]
}

fn impatient(backend: &Backend) -> gorani_tests::node::Settings {
    ["rpc.proxy", "channel.proxy.subscribe", "channel.proxy.publish"]
        .iter()
        .fold(asking(backend), |settings, proxy| settings.set(&format!("{proxy}.timeout"), TIMEOUT))
}

fn code_of(socket: &mut RawSocket, command: &serde_json::Value) -> u64 {
    let began = Instant::now();
    let reply = ask(socket, command);
    assert!(began.elapsed() < ANSWERED_WITHIN, "{reply} took {:?}", began.elapsed());
    reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("no error: {reply}"))
}

#[test]
fn a_bad_backend_is_an_error_of_its_own_client_alone() {
    let backend = Backend::in_order(vec![Answer::Hang]);
    let node = Node::start(impatient(&backend));
    beside_a_neighbour(&node, || {
        for (name, answer) in bad_answers() {
            backend.answer_by(move |_| answer.clone());
            let mut socket = connected(&node);
            // Nobody knows whether the backend did what it was asked for.
            let rpc = json!({ "id": 2, "rpc": { "method": "a", "data": {} } });
            assert_eq!(code_of(&mut socket, &rpc), 121, "{name}");
            let publish = json!({ "id": 3, "publish": { "channel": "asked:a", "data": 1 } });
            assert_eq!(code_of(&mut socket, &publish), 121, "{name}");
            // A decision may be asked for again.
            let subscribe = json!({ "id": 4, "subscribe": { "channel": "asked:a" } });
            assert_eq!(code_of(&mut socket, &subscribe), 100, "{name}");
        }
    });
}

#[test]
fn a_bad_backend_is_an_error_in_the_queue_of_errors_of_a_stomp_client() {
    let (backend, tcp) = (Backend::in_order(vec![Answer::Hang]), free_address());
    let node = Node::start(with_stomp(impatient(&backend), tcp));
    beside_a_neighbour(&node, || {
        let mut client = Stomp::connect(tcp, "");
        client.subscribe("e", "/user/queue/errors", "");
        for (name, answer) in bad_answers() {
            backend.answer_by(move |_| answer.clone());
            client.send("/app/a", "receipt:r\n", b"1");
            let message = client.message();
            assert_eq!(
                (message.get("error-code"), message.get("receipt-id")),
                (Some("121"), Some("r")),
                "{name}"
            );
        }
        // What decides on a channel ends the session, which is to come back.
        client.say("SUBSCRIBE\nid:1\ndestination:/topic/asked:a\n\n\0");
        let error = client.frame();
        assert_eq!((error.get("code"), error.get("reconnect")), (Some("100"), Some("true")), "{error:?}");
    });
}

#[test]
fn a_bad_backend_lets_nobody_in() {
    let backend = Backend::in_order(vec![Answer::Hang]);
    let tcp = free_address();
    let settings = asking_about_connects(&backend)
        .set("client.proxy.connect.timeout", TIMEOUT)
        .set("client.proxy.connect.breaker.enabled", "false");
    let node = Node::start(with_stomp(settings, tcp));
    for (name, answer) in bad_answers() {
        backend.answer_by(move |_| answer.clone());
        let mut socket = websocket(&node);
        assert_eq!(code_of(&mut socket, &json!({ "id": 1, "connect": {} })), 100, "{name}");
        let mut client = Stomp::open(tcp);
        client.say("CONNECT\naccept-version:1.2\n\n\0");
        let error = client.frame();
        assert_eq!((error.command.as_str(), error.get("code")), ("ERROR", Some("100")), "{name}");
        assert_eq!(error.get("reconnect"), Some("true"));
    }
}

#[test]
fn an_answer_that_is_cut_at_any_byte_is_none() {
    let whole = Answer::result(json!({ "data": "7" }));
    let length = whole.bytes().len();
    let backend = Backend::in_order(vec![whole.clone()]);
    let node = Node::start(asking(&backend));
    let mut socket = connected(&node);
    let rpc = |id: usize| json!({ "id": id, "rpc": { "method": "a" } });
    for cut in 0..length {
        // A connection that is kept, and one that breaks off while it is used again.
        backend.answer_by({
            let whole = whole.clone();
            move |_| whole.clone()
        });
        let reply = ask(&mut socket, &rpc(2 * cut + 2));
        assert_eq!(reply["rpc"]["data"], "7", "before byte {cut}: {reply}");
        backend.answer_by({
            let cut_off = whole.clone().cut(cut);
            move |_| cut_off.clone()
        });
        let reply = ask(&mut socket, &rpc(2 * cut + 3));
        assert_eq!(reply["error"]["code"], 121, "cut at byte {cut} of {length}: {reply}");
    }
    assert_eq!(backend.requests().len(), 2 * length, "an rpc is never sent again");
}

#[test]
fn a_backend_that_is_away_is_an_error_that_invites_to_try_again() {
    let address = free_address();
    let backend = Backend::start(|_| Answer::status(500));
    let mut settings = asking(&backend);
    for proxy in ["rpc.proxy", "channel.proxy.subscribe"] {
        settings = settings.set(&format!("{proxy}.endpoint"), format!("\"http://{address}/\""));
    }
    let node = Node::start(settings);
    let mut socket = connected(&node);
    assert_eq!(code_of(&mut socket, &json!({ "id": 2, "rpc": { "method": "a" } })), 100);
    assert_eq!(code_of(&mut socket, &json!({ "id": 3, "subscribe": { "channel": "asked:a" } })), 100);
    // Once it is there it is asked.
    let _back = Backend::start_at(address, super::friendly);
    assert!(ask(&mut socket, &json!({ "id": 4, "rpc": { "method": "a" } }))["rpc"].is_object());
}
