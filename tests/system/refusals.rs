//! The log tells an operator of refused clients: the cause once, with the setting that decides it; and lines of connections.

use std::time::Duration;

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::RawSocket,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::eventually;

/// No line takes longer, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);
const SECRET: &str = "secret-of-the-tests-long-enough-for-hs256";

fn settings() -> Settings {
    Settings::open()
        .set("client.allow_anonymous", "false")
        .set("client.personal_channels", "[\"open:inbox\"]")
        .set("token.hmac_secret", format!("\"{SECRET}\""))
        .set("log.format", "\"json\"")
}

fn sign(claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The lines of the log that have this value in a field.
fn lines(node: &Node, field: &str, value: &str) -> Vec<Value> {
    let output = node.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line[field] == value).collect()
}

/// Waits for the lines of a cause, and returns their messages.
fn reasons(node: &Node, cause: &str) -> Vec<String> {
    eventually(&format!("{cause} is logged"), SOON, || !lines(node, "cause", cause).is_empty());
    let found = lines(node, "cause", cause);
    found.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

/// A client that says this first; its socket with the answer read.
fn say(node: &Node, command: &Value) -> (RawSocket, String) {
    let mut socket = RawSocket::websocket(node.address(), PATH, "");
    socket.text(&command.to_string()).unwrap();
    let answer = socket.read_frame().unwrap();
    (socket, String::from_utf8_lossy(&answer.payload).into_owned())
}

#[test]
fn a_refused_origin_is_logged_once_with_the_setting_that_would_let_it_in() {
    let node = Node::start(settings());
    for path in [PATH, "/connection/sockjs/info", "/connection/sse?channel=open:a", "/stomp"] {
        for _ in 0..3 {
            let mut socket = RawSocket::connect(node.address());
            let upgrade = if path == PATH || path == "/stomp" {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            } else {
                ""
            };
            let origin = "Origin: https://app.example.com\r\n";
            let request = format!("GET {path} HTTP/1.1\r\nHost: push.example.com\r\n{origin}{upgrade}\r\n");
            socket.write(request.as_bytes()).unwrap();
            assert_eq!(socket.read_head().unwrap().status, 403, "{path}");
        }
    }
    let expected = "origin refused: https://app.example.com may not connect to \"push.example.com\"; add it to \
                    client.allowed_origins";
    assert_eq!(reasons(&node, "origin"), [expected]);
}

#[test]
fn a_refused_token_is_logged_with_its_cause_and_never_with_a_part_of_it() {
    let node = Node::start(settings());
    let tokens = [
        (
            sign(&json!({"sub": "42"}), "another-secret-that-is-long-enough"),
            "connection_token",
            "bad signature",
        ),
        (sign(&json!({"sub": ["42"]}), SECRET), "connection_token", "the claim `sub` has the wrong type"),
        ("no-token".to_owned(), "connection_token", "it is no JWT"),
        (sign(&json!({"sub": "42", "exp": 1}), SECRET), "token_time", "token expired"),
        (sign(&json!({"userId": "42"}), SECRET), "anonymous", "has no `sub`"),
    ];
    for (token, cause, reason) in &tokens {
        for _ in 0..2 {
            say(&node, &json!({"id": 1, "connect": {"token": token}}));
        }
        eventually(reason, SOON, || reasons(&node, cause).iter().any(|message| message.contains(reason)));
    }
    assert_eq!(reasons(&node, "connection_token").len(), 3, "each once");
    let output = node.output();
    for part in tokens.iter().flat_map(|(token, ..)| token.split('.')).filter(|part| part.len() > 10) {
        assert!(!output.contains(part), "{part} in {output}");
    }
}

#[test]
fn without_any_key_the_log_says_which_settings_take_one() {
    let node = Node::start(Settings::open().set("log.format", "\"json\""));
    say(&node, &json!({"id": 1, "connect": {"token": sign(&json!({"sub": "42"}), SECRET)}}));
    let reasons = reasons(&node, "connection_token");
    assert!(reasons[0].contains("no token keys are configured: set token.hmac_secret"), "{reasons:?}");
}

#[test]
fn a_refused_subscription_and_publication_are_logged_with_the_option_that_opens_the_channel() {
    let node = Node::start(settings());
    let token = sign(&json!({"sub": 42}), SECRET);
    let (mut socket, connected) = say(&node, &json!({"id": 1, "connect": {"token": token}}));
    assert!(connected.contains("open:inbox#42"), "a numeric sub is its text: {connected}");
    for command in [
        json!({"id": 2, "subscribe": {"channel": "news"}}),
        json!({"id": 3, "publish": {"channel": "open:a", "data": {"text": "never-logged"}}}),
        json!({"id": 4, "subscribe": {"channel": "shop:a\nforged line"}}),
    ] {
        socket.text(&command.to_string()).unwrap();
        let answer = String::from_utf8(socket.read_frame().unwrap().payload).unwrap();
        assert!(answer.contains("\"error\""), "{answer}");
    }
    let expected = "subscription refused: user \"42\", channel news: set channel.defaults.allow_subscribe_for_client, or \
                    give the client a subscription token";
    eventually("both are logged", SOON, || reasons(&node, "subscribe").len() == 2);
    assert!(reasons(&node, "subscribe").contains(&expected.to_owned()), "{}", node.output());
    let publish = reasons(&node, "publish");
    assert!(publish[0].contains("allow_publish_for_client of the namespace \"open\""), "{publish:?}");
    assert!(!node.output().contains("never-logged") && !node.output().contains("\nforged"));
}

#[test]
fn a_user_who_gets_no_personal_channel_is_logged_once() {
    let node = Node::start(settings());
    for user in ["4,2", "4#2", "4,3"] {
        say(&node, &json!({"id": 1, "connect": {"token": sign(&json!({"sub": user}), SECRET)}}));
    }
    let reasons = reasons(&node, "personal_channel");
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains("client.personal_channels for user \"4,2\""), "{reasons:?}");
}

#[test]
fn a_node_has_a_name_and_its_connections_are_logged_with_all_that_identifies_them() {
    let named = settings().set("node.name", "\"push-1\"").set("http.trusted_proxies", "[\"127.0.0.1\"]");
    let node = Node::start(named);
    let mut socket = RawSocket::websocket(node.address(), PATH, "X-Forwarded-For: 192.0.2.7\r\n");
    let token = sign(&json!({"sub": "42"}), SECRET);
    socket.text(&json!({"id": 1, "connect": {"token": token}}).to_string()).unwrap();
    let answer: Value = serde_json::from_slice(&socket.read_frame().unwrap().payload).unwrap();
    drop(socket);
    for line in ["connection opened", "connection closed"] {
        eventually(line, SOON, || !lines(&node, "message", line).is_empty());
        let line = lines(&node, "message", line).remove(0);
        assert_eq!(line["client"], answer["connect"]["client"]);
        let fields = ["user", "node", "transport", "protocol"].map(|field| line[field].as_str().unwrap());
        assert_eq!(fields, ["42", "push-1", "websocket", "json"], "{line}");
        assert!(line["peer"].as_str().unwrap().starts_with("192.0.2.7"), "{line}");
    }
    assert_eq!(lines(&node, "message", "listening")[0]["node"], "push-1");
    assert_eq!(node.api().ok("info", &json!({}))["nodes"][0]["name"], "push-1");
    let metrics = node.api().get("/metrics").1;
    let named = metrics.lines().find(|line| line.starts_with("gorani_node_info{")).unwrap();
    assert!(named.contains("name=\"push-1\""), "{named}");
}

#[test]
fn at_debug_publications_and_deliveries_are_logged_by_channel_without_their_data() {
    let node = Node::start(settings().set("log.level", "\"debug\""));
    let token = sign(&json!({"sub": "42"}), SECRET);
    let (mut socket, _) = say(&node, &json!({"id": 1, "connect": {"token": token}}));
    socket.text(&json!({"id": 2, "subscribe": {"channel": "open:a"}}).to_string()).unwrap();
    socket.read_frame().unwrap();
    node.api().publish("open:a", &"never-logged".into());
    socket.read_frame().unwrap();
    for message in ["publishing", "delivering"] {
        eventually(message, SOON, || {
            lines(&node, "message", message).iter().any(|line| line["channel"] == "open:a")
        });
    }
    assert!(!node.output().contains("never-logged"));
}

#[test]
fn a_path_that_is_not_served_says_where_to_go() {
    let node = Node::start(settings());
    for path in ["/", "/connection/websocket/", "/socket.io/?EIO=4", "/nowhere"] {
        let (status, body) = node.api().get(path);
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("/connection/websocket") && body.contains("/api/publish"), "{path}: {body}");
        assert_eq!(body.lines().count(), 1, "{body}");
    }
}
