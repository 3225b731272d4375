//! HEAD on every route: the status and headers of GET, no body, and nothing that GET would open. RFC 9110 §9.3.2.

use std::collections::BTreeMap;

use gorani_tests::{
    node::{Node, Settings},
    raw::{Head, RawSocket},
    stream::Stream,
};

/// Headers that differ from one answer to the next.
const CHANGING: [&str; 2] = ["date", "expires"];
/// The length of these differs with time, or with what GET opens.
const GROWING: [&str; 3] = ["/metrics", "/connection/sockjs/info", "/jsonp"];
/// A stream takes its connection over and says `connection: close`. HEAD opens none, and its connection goes on.
const TAKEN_OVER: [&str; 3] = ["/connection/uni_http_stream", "/connection/uni_sse", "/connection/sse"];

/// Every route of a node, and for those with parameters every kind of answer.
const ROUTES: [&str; 48] = [
    "/health/live",
    "/health/ready",
    "/health",
    "/metrics",
    "/api",
    "/api/openapi.json",
    "/api/publish",
    "/api/batch",
    "/api/nothing",
    "/connection/poll?channels=kept:a",
    "/connection/poll?channels=kept:a&wait=60",
    "/connection/poll?channels=open:a",
    "/connection/poll?channels=nowhere:a",
    "/connection/poll",
    "/connection/uni_http_stream?channels=kept:a",
    "/connection/uni_http_stream?channels=nowhere:a",
    "/connection/uni_http_stream?token=a.b.c",
    "/connection/uni_sse?channels=kept:a",
    "/connection/uni_sse?channels=kept:a&lastEventId=nonsense",
    "/connection/uni_sse?channels=nowhere:a",
    "/connection/sse?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D",
    "/connection/sse",
    "/connection/http_stream",
    "/emulation",
    "/connection/websocket",
    "/connection/uni_websocket",
    "/connection/stomp",
    "/stomp",
    "/connection/sockjs",
    "/connection/sockjs/",
    "/connection/sockjs/info",
    "/connection/sockjs/iframe.html",
    "/connection/sockjs/websocket",
    "/connection/sockjs/000/#/websocket",
    "/connection/sockjs/000/#/eventsource",
    "/connection/sockjs/000/#/htmlfile?c=callback",
    "/connection/sockjs/000/#/htmlfile",
    "/connection/sockjs/000/#/jsonp?c=callback",
    "/connection/sockjs/000/#/xhr",
    "/connection/sockjs/000/#/xhr_streaming",
    "/connection/sockjs/000/#/xhr_send",
    "/connection/sockjs/000/#/nothing",
    "/",
    "/app.js",
    "/compare",
    "/favicon.svg",
    "/page.json",
    "/nowhere",
];

fn settings() -> Settings {
    let open = "allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true";
    let namespaces = format!(
        "[{{ name = \"open\", {open} }}, {{ name = \"kept\", {open}, history_size = 10, history_ttl = \"300s\", allow_recovery = true }}]"
    );
    Settings::open().set("channel.namespaces", namespaces).set("development.page", "true")
}

/// Asks on a connection of its own for each, which goes on after a HEAD: that shows that no body came.
fn head(node: &Node, target: &str, extra: &str) -> Head {
    let mut socket = RawSocket::connect(node.address());
    let ask = |method: &str, target: &str, extra: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{extra}\r\n").into_bytes()
    };
    socket.write(&ask("HEAD", target, extra)).unwrap();
    let head = socket.read_head().unwrap();
    if head.header("connection") == Some("close") {
        assert!(socket.read_to_end().unwrap().is_empty(), "{target} has a body");
        return head;
    }
    socket.write(&ask("GET", "/health/live", "")).unwrap();
    let next = socket.read_head().unwrap_or_else(|error| panic!("{target}: {error}"));
    assert_eq!(next.status, 200, "{target}");
    assert_eq!(socket.read_body(&next).unwrap(), br#"{"status":"live"}"#, "{target}");
    head
}

/// Headers that say the same each time.
fn lasting(head: &Head, target: &str) -> BTreeMap<String, String> {
    let grows = GROWING.iter().any(|growing| target.contains(growing));
    let streams = TAKEN_OVER.iter().any(|stream| target.starts_with(stream));
    let lasts = |name: &str| {
        !(CHANGING.contains(&name) || grows && name == "content-length" || streams && name == "connection")
    };
    head.headers.iter().filter(|(name, _)| lasts(name)).cloned().collect()
}

/// Sessions that were opened, whether they are there or not.
fn opened(node: &Node) -> u64 {
    let text = node.api().get("/metrics").1;
    let counts = text.lines().filter_map(|line| line.strip_prefix("gorani_connections_opened_total"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn head_has_the_status_and_the_headers_of_get_on_every_route_and_opens_nothing() {
    let node = Node::start(settings());
    let mut heads = Vec::new();
    for (number, route) in ROUTES.into_iter().enumerate() {
        let target = route.replace('#', &format!("head-{number}"));
        heads.push((route, head(&node, &target, "")));
    }
    assert_eq!(opened(&node), 0);
    // Only now, since a GET opens what its HEAD must not.
    for (number, (route, head)) in heads.into_iter().enumerate() {
        let target = route.replace('#', &format!("get-{number}"));
        let get = Stream::open(node.address(), "GET", &target, "", "").head;
        assert_eq!(head.status, get.status, "{route}");
        assert_eq!(lasting(&head, route), lasting(&get, route), "{route}");
    }
    // Four streams that are let in, and three sessions of SockJS.
    assert!(opened(&node) >= 7, "{}", opened(&node));
}

#[test]
fn head_is_refused_where_get_is() {
    let node = Node::start(settings().set("client.allowed_origins", "[\"https://app.example\"]"));
    for (extra, status) in
        [("Origin: https://evil.example\r\n", 403), ("Origin: https://app.example\r\n", 200)]
    {
        for target in [
            "/connection/poll?channels=kept:a",
            "/connection/uni_sse?channels=kept:a",
            "/connection/uni_http_stream?channels=kept:a",
            "/connection/sse?cf_connect=x",
            "/connection/sockjs/000/a/eventsource",
        ] {
            assert_eq!(head(&node, target, extra).status, status, "{target}");
        }
    }
    // An EventSource is told to stay away by 204.
    let refused = head(&node, "/connection/uni_sse?channels=nowhere:a", "Accept: text/event-stream\r\n");
    assert_eq!(refused.status, 204);
}

#[test]
fn the_head_of_a_poll_says_how_far_the_channel_is() {
    let node = Node::start(settings());
    node.api().publish("kept:a", &serde_json::json!(1));
    let first = head(&node, "/connection/poll?channels=kept:a", "");
    let tag = first.header("etag").unwrap().to_owned();
    let known = format!("If-None-Match: {tag}\r\n");
    assert_eq!(head(&node, "/connection/poll?channels=kept:a&wait=60", &known).status, 304);
    node.api().publish("kept:a", &serde_json::json!(2));
    let second = head(&node, "/connection/poll?channels=kept:a&wait=60", &known);
    assert_eq!(second.status, 200);
    assert_ne!(second.header("etag").unwrap(), tag);
}

#[test]
fn a_full_node_says_so_by_head_and_gives_no_place_away() {
    let node = Node::start(settings().set("http.max_connections", "1"));
    let target = "/connection/uni_sse?channels=open:a";
    let ask = |node: &Node| {
        let mut socket = RawSocket::connect(node.address());
        socket
            .write(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        socket.read_head().unwrap().status
    };
    for _ in 0..3 {
        assert_eq!(ask(&node), 200);
    }
    let stream = Stream::open(node.address(), "GET", target, "", "");
    assert_eq!(stream.head.status, 200);
    crate::eventually("the node is full", std::time::Duration::from_secs(10), || ask(&node) == 503);
}

#[test]
fn head_among_requests_in_one_piece_is_answered_in_its_place() {
    let node = Node::start(settings());
    for methods in
        [["HEAD", "GET", "GET"], ["GET", "HEAD", "GET"], ["HEAD", "HEAD", "GET"], ["GET", "GET", "HEAD"]]
    {
        let mut socket = RawSocket::connect(node.address());
        let ask = |method: &str| format!("{method} /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write(methods.map(ask).concat().as_bytes()).unwrap();
        for method in methods {
            let head = socket.read_head().unwrap_or_else(|error| panic!("{methods:?}: {error}"));
            assert_eq!((head.status, head.header("content-length")), (200, Some("17")), "{methods:?}");
            if method == "GET" {
                assert_eq!(socket.read_body(&head).unwrap(), br#"{"status":"live"}"#, "{methods:?}");
            }
        }
    }
}
