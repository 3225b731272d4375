//! Strangers: sessions that never connect, guessed session ids, wrong logins, tokens and keys. What one address does leaves
//! room for the others, is told in a few log lines, and is counted. Decision record 24.

mod ids;
mod logins;

use std::{net::SocketAddr, time::Duration};

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{RawSocket, handshake},
};
use serde_json::json;

use crate::eventually;

/// Long enough for anything on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A node that believes its clients, as it would a balancer, where they come from.
fn settings() -> Settings {
    Settings::open().set("http.trusted_proxies", r#"["127.0.0.1"]"#)
}

/// The header that says from where.
fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

/// A request on a connection of its own: the status, `Retry-After` and the body.
fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, Option<String>, String) {
    let mut socket = RawSocket::connect(address);
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: push.example.com\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    socket.write(request.as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    let body = socket.read_body(&head).unwrap();
    (head.status, head.header("retry-after").map(str::to_owned), String::from_utf8(body).unwrap())
}

/// A counter of refusals, zero if it was never moved.
fn refused(node: &Node, cause: &str) -> u64 {
    let (_, metrics) = node.api().get("/metrics");
    let name = format!("gorani_refused_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
}

/// A WebSocket handshake: the connection, its status, and `Retry-After`.
fn shake_hands(node: &Node, headers: &str) -> (RawSocket, u16, Option<String>) {
    let mut socket = RawSocket::connect(node.address());
    socket.write(handshake(node.address(), PATH, headers).as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    let retry = head.header("retry-after").map(str::to_owned);
    (socket, head.status, retry)
}

/// The same of many, whose requests are all sent before the first answer is read.
fn shake_hands_at_once(
    node: &Node,
    headers: impl Iterator<Item = String>,
) -> Vec<(RawSocket, u16, Option<String>)> {
    let connect = |headers| (RawSocket::connect(node.address()), headers);
    let mut sockets: Vec<(RawSocket, String)> = headers.map(connect).collect();
    for (socket, headers) in &mut sockets {
        socket.write(handshake(node.address(), PATH, headers).as_bytes()).unwrap();
    }
    let answer = |(mut socket, _): (RawSocket, String)| {
        let head = socket.read_head().unwrap();
        let retry = head.header("retry-after").map(str::to_owned);
        (socket, head.status, retry)
    };
    sockets.into_iter().map(answer).collect()
}

/// Asks one after the other over one connection, many at a time: the statuses.
fn pipeline(
    address: SocketAddr,
    requests: impl IntoIterator<Item = (String, String)>,
) -> Vec<(u16, Option<String>)> {
    let mut socket = RawSocket::connect(address);
    let requests: Vec<_> = requests
        .into_iter()
        .map(|(target, body)| {
            format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    let mut statuses = Vec::new();
    for batch in requests.chunks(50) {
        socket.write(batch.concat().as_bytes()).unwrap();
        for _ in batch {
            let head = socket.read_head().unwrap();
            socket.read_body(&head).unwrap();
            statuses.push((head.status, head.header("retry-after").map(str::to_owned)));
        }
    }
    statuses
}

#[test]
fn sessions_without_credentials_that_wait_for_nobody_leave_slots_to_others_of_their_address() {
    // A handler without a guard, and anonymous clients: whoever comes has connected.
    let settings = Settings::open()
        .set("development.sockjs_conformance", "true")
        .set("http.max_connections", "1000")
        .set("sockjs.max_waiting", "800")
        .set("sockjs.disconnect_delay", "\"60s\"");
    let connect = json!([json!({"id": 1, "connect": {}}).to_string()]).to_string();
    for (endpoint, first) in [("echo", None), ("connection/sockjs", Some(connect))] {
        let node = Node::start(settings.clone());
        let path = |number| format!("/{endpoint}/0/{number}");
        let requests = (0..1500).flat_map(|number| {
            let sent = first.clone().map(|body| (format!("{}/xhr_send", path(number)), body));
            [(format!("{}/xhr", path(number)), String::new())].into_iter().chain(sent)
        });
        let statuses = pipeline(node.address(), requests);
        assert!(statuses.iter().all(|(status, _)| matches!(status, 200 | 204 | 404)), "{statuses:?}");
        assert!(refused(&node, "waiting_of_address") > 500, "{endpoint}");
        assert_eq!(shake_hands(&node, "").1, 101, "{endpoint}");
        let (_, _, told) = ask(node.address(), "POST", &format!("{}/xhr", path(1499)), "", "");
        assert_eq!(told, "c[3013,\"too many sessions wait\"]\n", "{endpoint}");
    }
}

#[test]
fn one_tcp_connection_that_opens_sessions_without_end_leaves_slots_to_others_of_its_address() {
    let node = Node::start(
        Settings::open()
            .set("http.max_connections", "1000")
            .set("client.allow_anonymous", "false")
            .set("sockjs.disconnect_delay", "\"60s\""),
    );
    let opening = |number| (format!("/connection/sockjs/0/{number}/xhr"), String::new());
    let answers = pipeline(node.address(), (0..500).map(opening));
    let opened = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!((16..250).contains(&opened), "{opened}");
    assert_eq!(answers.last(), Some(&(429, Some("1".to_owned()))));
    assert!(refused(&node, "unauthenticated_of_connection") > 0);
    assert_eq!(shake_hands(&node, "").1, 101);
}

#[test]
fn sessions_that_do_not_connect_are_limited_by_address_and_one_that_has_connected_is_none_of_them() {
    let node = Node::start(
        settings().set("client.max_unauthenticated", "64").set("client.connect_timeout", "\"60s\""),
    );
    let stranger = from("192.0.2.1");
    let connected: Vec<_> = (0..16)
        .map(|_| {
            let (mut socket, status, _) = shake_hands(&node, &stranger);
            assert_eq!(status, 101);
            // Who connects is counted no longer.
            socket.text(&json!({"id": 1, "connect": {}}).to_string()).unwrap();
            socket.read_frame().unwrap();
            socket
        })
        .collect();
    // All at once: after two seconds the oldest is ended for another one.
    let (mut oldest, status, _) = shake_hands(&node, &stranger);
    let others = shake_hands_at_once(&node, (0..16).map(|_| stranger.clone()));
    assert_eq!(status, 101);
    let refusals: Vec<_> = others
        .iter()
        .filter(|(_, status, _)| *status != 101)
        .map(|(_, status, retry)| (*status, retry.as_deref()))
        .collect();
    assert_eq!(refusals, [(429, Some("1"))]);
    assert_eq!(shake_hands(&node, &from("192.0.2.2")).1, 101);
    // The /64 of an IPv6 address is one address.
    let six = shake_hands_at_once(&node, (0..30).map(|number| from(&format!("2001:db8::{number:x}"))));
    assert!(six.iter().any(|(_, status, _)| *status == 429));
    assert_eq!(shake_hands(&node, &from("2001:db8:0:1::1")).1, 101);
    // Who holds connections and says nothing keeps nobody out for long: the oldest are ended for those who come.
    eventually("the next one takes the place of the oldest", SOON, || shake_hands(&node, &stranger).1 == 101);
    assert_eq!(oldest.read_close().unwrap(), (3013, "not connected in time, others wait".to_owned()));
    assert!(refused(&node, "unauthenticated_replaced") > 0);
    drop((connected, oldest, others));
    eventually("there is room again", SOON, || shake_hands(&node, &stranger).1 == 101);
}

#[test]
fn every_transport_refuses_who_is_over_the_limit_with_a_status_and_a_time_to_come_back() {
    let node = Node::start(
        settings().set("client.max_unauthenticated", "16").set("client.connect_timeout", "\"60s\""),
    );
    let stranger = from("192.0.2.1");
    let held: Vec<_> = (0..16).map(|_| shake_hands(&node, &stranger)).collect();
    assert!(held.iter().all(|(_, status, _)| *status == 101));
    let connect = json!({"id": 1, "connect": {}}).to_string();
    for (method, target, body) in [
        ("POST", "/connection/sockjs/0/abc/xhr", ""),
        ("POST", "/connection/sockjs/0/abc/xhr_streaming", ""),
        ("GET", "/connection/sockjs/0/abc/eventsource", ""),
        ("POST", "/stomp/sockjs/0/abc/xhr", ""),
        ("POST", "/connection/http_stream", connect.as_str()),
        ("GET", "/connection/sse?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D", ""),
        ("GET", "/connection/uni_sse?channels=open:a", ""),
        ("GET", "/connection/uni_http_stream?channels=open:a", ""),
    ] {
        let (status, retry, _) = ask(node.address(), method, target, &stranger, body);
        assert_eq!((status, retry.as_deref()), (503, Some("1")), "{target}");
    }
    for path in
        ["/connection/websocket", "/connection/uni_websocket", "/stomp", "/connection/sockjs/websocket"]
    {
        let mut socket = RawSocket::connect(node.address());
        socket.write(handshake(node.address(), path, &stranger).as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        assert_eq!((head.status, head.header("retry-after")), (503, Some("1")), "{path}");
    }
    assert!(refused(&node, "unauthenticated") >= 12);
}

#[test]
fn a_flood_of_strangers_is_a_few_log_lines_and_who_connects_has_its_own() {
    let node = Node::start(settings());
    for number in 0..200 {
        let path = format!("/connection/sockjs/0/{number}");
        ask(node.address(), "POST", &format!("{path}/xhr"), &from("192.0.2.1"), "");
        // Not the protocol: the session ends.
        let send = ask(node.address(), "POST", &format!("{path}/xhr_send"), &from("192.0.2.1"), r#"["x"]"#);
        assert_eq!(send.0, 204);
    }
    let mut client = RawSocket::websocket(node.address(), PATH, &from("192.0.2.2"));
    client.text(&json!({"id": 1, "connect": {}}).to_string()).unwrap();
    client.read_frame().unwrap();
    drop(client);
    eventually("the connection is logged", SOON, || node.output().contains("connection closed"));
    eventually("the flood is told", SOON, || node.output().contains("wrong_session_id"));
    let output = node.output();
    let lines = |text: &str| output.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("connection opened"), lines("connection closed")), (1, 1), "{output}");
    assert!(lines("192.0.2.1") < 5, "{output}");
}
