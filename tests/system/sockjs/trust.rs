//! Who may ask, and who may speak for a session: origins, and the client protocol over SockJS. Items 5, 35, 42.

use gorani_tests::{
    node::{Node, Settings},
    sockjs::{Request, session},
};
use serde_json::{Value, json};

use super::{open, poll, sent, settings};

/// A node on which pages of one origin may connect.
fn restricted() -> Node {
    Node::start(settings().set("client.allowed_origins", r#"["https://app.example.com"]"#))
}

#[test]
fn a_page_of_another_origin_is_refused_on_every_path() {
    let node = restricted();
    let session = session("connection/sockjs");
    for request in [
        Request::get("/connection/sockjs/info"),
        Request::options(format!("{session}/xhr")),
        Request::post(format!("{session}/xhr")),
        Request::post(format!("{session}/xhr_streaming")),
        Request::post(format!("{session}/xhr_send")).body("[]"),
        Request::get(format!("{session}/eventsource")),
    ] {
        let answer = request.clone().header("Origin", "https://evil.example").ask(node.address());
        assert_eq!(answer.status(), 403, "{request:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let allowed = Request::post(format!("{session}/xhr"))
        .header("Origin", "https://app.example.com")
        .ask(node.address());
    assert_eq!((allowed.status(), allowed.body.as_str()), (200, "o\n"));
}

#[test]
fn what_a_script_tag_a_frame_or_a_form_can_ask_for_needs_a_proof_where_origins_are_restricted() {
    let node = restricted();
    let path = session("connection/sockjs");
    let jsonp = || Request::get(format!("{path}/jsonp?c=x"));
    for request in [
        jsonp(),
        jsonp().header("Referer", "https://evil.example/https://app.example.com/"),
        jsonp().header("Sec-Fetch-Site", "cross-site"),
        Request::get(format!("{path}/htmlfile?c=x")),
        Request::post(format!("{path}/jsonp_send")).body("d=[]"),
    ] {
        assert_eq!(request.ask(node.address()).status(), 403, "{request:?}");
    }
    let of_the_page = jsonp().header("Referer", "https://app.example.com/chat?x=1").ask(node.address());
    assert_eq!(of_the_page.body, "/**/x(\"o\");\r\n");
    let of_the_same = Request::get(format!("{}/jsonp?c=x", session("connection/sockjs")))
        .header("Sec-Fetch-Site", "same-origin");
    assert_eq!(of_the_same.ask(node.address()).body, "/**/x(\"o\");\r\n");
}

/// Frames of the client protocol that came in a poll.
fn objects(node: &Node, session: &str) -> Vec<Value> {
    let body = poll(node, session).body;
    let messages: Vec<String> =
        serde_json::from_str(body.strip_prefix('a').unwrap_or_else(|| panic!("{body}"))).unwrap();
    messages
        .iter()
        .flat_map(|message| message.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_client_protocol_is_spoken_over_sockjs_and_publications_arrive_once_in_order() {
    let node = Node::start(Settings::open());
    let session = session("connection/sockjs");
    open(&node, &session);
    let commands = [json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "open:room"}})];
    let batch: Vec<_> = commands.iter().map(Value::to_string).collect();
    sent(&node, &session, &json!(batch).to_string());
    let mut replies = Vec::new();
    while replies.len() < 2 {
        replies.extend(objects(&node, &session));
    }
    assert!(
        replies[0]["connect"]["client"].is_string() && replies[1]["subscribe"].is_object(),
        "{replies:?}"
    );
    for number in 0..20 {
        node.api().publish("open:room", &json!({"text": "</script>\u{2028}", "number": number}));
    }
    let mut numbers = Vec::new();
    while numbers.len() < 20 {
        numbers.extend(
            objects(&node, &session)
                .iter()
                .map(|push| push["push"]["pub"]["data"]["number"].as_u64().unwrap()),
        );
    }
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn metrics_tell_the_transports_apart() {
    let node = super::node();
    let session = session("echo");
    open(&node, &session);
    let (_, metrics) = node.api().get("/metrics");
    assert!(metrics.contains("gorani_connections{transport=\"sockjs_xhr\"} 1"), "{metrics}");
}

#[test]
fn stomp_is_spoken_over_sockjs() {
    let node = Node::start(Settings::open());
    let session = session("stomp/sockjs");
    open(&node, &session);
    sent(&node, &session, &json!(["CONNECT\naccept-version:1.2\nhost:localhost\n\n\0"]).to_string());
    let body = poll(&node, &session).body;
    assert!(body.starts_with("a[\"CONNECTED\\n") && body.ends_with("\\u0000\"]\n"), "{body}");
}
