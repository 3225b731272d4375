//! The connect object of Centrifugo's unidirectional clients: as a parameter, as a body, as the first message of a WebSocket. It is
//! read, or refused, and never passed over in silence. `docs/protocols/http.md` §7.4 and §11.

use gorani_tests::{
    node::Node,
    raw::{RawSocket, opcode},
    stream::Stream,
};
use serde_json::{Value, json};

use super::{SOON, code_of, settings, sign, token, transport::percent};

/// A way to hand over a connect object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// `cf_connect` in the query of this path.
    Query(&'static str),
    /// The body of this path.
    Body(&'static str),
    /// The first message of `uni_websocket`.
    Message,
}

const CARRIERS: [Carrier; 6] = [
    Carrier::Query("uni_sse"),
    Carrier::Query("uni_http_stream"),
    Carrier::Query("uni_websocket"),
    Carrier::Body("uni_sse"),
    Carrier::Body("uni_http_stream"),
    Carrier::Message,
];

/// The first message to a receiver, or the code that it is refused with.
fn first(node: &Node, carrier: Carrier, object: &str) -> Result<Value, u64> {
    let (path, body, query) = match carrier {
        Carrier::Query(path) => (path, "", format!("?cf_connect={}", percent(object))),
        Carrier::Body(path) => (path, object, String::new()),
        Carrier::Message => ("uni_websocket", "", String::new()),
    };
    let target = format!("/connection/{path}{query}");
    if path == "uni_websocket" {
        let mut socket = RawSocket::connect(node.address());
        let handshake = gorani_tests::raw::handshake(node.address(), &target, "");
        socket.write(handshake.as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        if head.status != 101 {
            // A handshake is refused in words.
            let body = String::from_utf8(socket.read_body(&head).unwrap()).unwrap();
            assert_eq!(head.status, 400, "{body}");
            return Err(107);
        }
        if carrier == Carrier::Message {
            socket.text(object).unwrap();
        }
        return first_message(&mut socket);
    }
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut stream = Stream::open(node.address(), method, &target, "", body);
    if stream.head.status != 200 {
        return Err(code_of(&stream.rest().unwrap()));
    }
    let data = match path {
        "uni_sse" => stream.event().unwrap().expect("an event").data,
        _ => stream.line().unwrap().expect("a line"),
    };
    Ok(serde_json::from_str(&data).unwrap())
}

/// The first object of a WebSocket, or the code of its error or its end.
fn first_message(socket: &mut RawSocket) -> Result<Value, u64> {
    let frame = socket.read_frame().unwrap();
    if frame.opcode == opcode::CLOSE {
        return Err(u64::from(frame.close().0));
    }
    let object: Value = serde_json::from_slice(&frame.payload).unwrap();
    match object["error"]["code"].as_u64().or(object["disconnect"]["code"].as_u64()) {
        Some(code) => Err(code),
        None => Ok(object),
    }
}

#[test]
fn a_connect_object_opens_the_session_of_its_tokens_user_with_its_channels_however_it_comes() {
    let node = Node::start(settings());
    let token = sign(&json!({"sub": "42", "channels": ["closed:mine"]}));
    node.api().publish("news:a", &json!(1));
    let object = json!({"token": token, "name": "js", "subs": {"news:a": {"recover": true}}}).to_string();
    for carrier in CARRIERS {
        let connected = first(&node, carrier, &object).unwrap();
        let subs =
            connected["connect"]["subs"].as_object().unwrap_or_else(|| panic!("{carrier:?}: {connected}"));
        assert_eq!(subs.keys().collect::<Vec<_>>(), ["closed:mine", "news:a"], "{carrier:?}");
        assert_eq!(subs["news:a"]["was_recovering"], true, "{carrier:?}");
    }
}

#[test]
fn a_connect_object_that_is_wrong_is_refused_and_its_client_is_never_nobody() {
    let node = Node::start(settings().set("token.leeway", "\"0s\""));
    let expired = json!({"token": token("42", 0)}).to_string();
    for carrier in CARRIERS {
        let (object, code) = (r#"{"token":"nonsense"}"#, 3500);
        assert_eq!(first(&node, carrier, object), Err(code), "{carrier:?}");
        assert_eq!(first(&node, carrier, &expired), Err(109), "{carrier:?}");
        assert_eq!(first(&node, carrier, r#"{"subs":{"closed:a":{}}}"#), Err(103), "{carrier:?}");
        let bad = if carrier == Carrier::Message { 3501 } else { 107 };
        for object in ["[1]", "token", r#"{"id":1,"connect":{"token":"x"}}"#, r#"{"position":"nonsense"}"#] {
            assert_eq!(first(&node, carrier, object), Err(bad), "{carrier:?} {object}");
        }
    }
    let mut both = Stream::open(node.address(), "POST", "/connection/uni_sse?cf_connect=%7B%7D", "", "{}");
    assert_eq!((both.head.status, code_of(&both.rest().unwrap())), (400, 107));
}

#[test]
fn a_websocket_that_asks_for_nothing_waits_for_its_first_message_and_no_longer_than_for_a_connect() {
    let [impatient, node] =
        [Node::start(settings().set("client.connect_timeout", "\"1s\"")), Node::start(settings())];
    let open = |node: &Node| RawSocket::websocket(node.address(), "/connection/uni_websocket", "");
    let mut silent = open(&impatient);
    silent.stream().set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(first_message(&mut silent), Err(3502));
    let mut nobody = open(&node);
    nobody.text("{}").unwrap();
    assert!(first_message(&mut nobody).unwrap()["connect"]["client"].is_string());
    nobody.text("{}").unwrap();
    nobody.stream().set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(nobody.read_close().unwrap().0, 3501, "it has nothing more to say");
    let mut binary = open(&node);
    binary.write(&gorani_tests::raw::frame(true, 0, opcode::BINARY, b"{}")).unwrap();
    assert_eq!(first_message(&mut binary), Err(3506));
}

#[test]
fn a_page_that_posts_for_events_gets_a_real_status_and_only_an_event_source_the_one_that_stops_it() {
    let node = Node::start(settings());
    let accept = "Accept: text/event-stream\r\n";
    let bad = r#"{"token":"nonsense"}"#;
    let target = format!("/connection/uni_sse?cf_connect={}", percent(bad));
    assert_eq!(Stream::open(node.address(), "GET", &target, accept, "").head.status, 204);
    assert_eq!(Stream::open(node.address(), "POST", "/connection/uni_sse", accept, bad).head.status, 401);
}
