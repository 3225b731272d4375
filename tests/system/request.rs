//! Rules of every HTTP request, whatever its path: its head's size, its body's time, the end of its connection, its path as
//! it was sent, and a position that survives its way back. `docs/protocols/http.md` §1, §7.6.

use std::time::Duration;

use gorani_tests::{
    node::{Node, Settings},
    raw::RawSocket,
};
use serde_json::{Value, json};

/// Paths of every kind: health, API, transports, SockJS, a WebSocket's, and none.
const PATHS: [&str; 8] = [
    "/health/live",
    "/metrics",
    "/api/info",
    "/connection/poll?channels=a",
    "/connection/uni_sse?channels=a",
    "/connection/sockjs/info",
    "/connection/websocket",
    "/nowhere",
];
/// Bytes that are over `http.header_max_bytes`, and under what actix-http buffers.
const LONG: usize = 20_000;
/// What nothing may take, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

fn node() -> Node {
    Node::start(
        Settings::open()
            .set("channel.namespaces", r#"[{ name = "kept", history_size = 100, history_ttl = "300s" }]"#)
            .set("http.request_timeout", "\"3s\"")
            .set("http.shutdown_timeout", "\"5s\""),
    )
}

/// Sends `bytes` on a connection of their own, and reads to its end.
fn answers(node: &Node, bytes: &[u8]) -> String {
    let mut socket = RawSocket::connect(node.address());
    socket.stream().set_read_timeout(Some(SOON)).unwrap();
    socket.write(bytes).unwrap();
    String::from_utf8_lossy(&socket.read_to_end().unwrap()).into_owned()
}

/// The status of every answer.
fn statuses(answers: &str) -> Vec<u16> {
    let status = |after: &str| after.get(2..5)?.parse().ok();
    answers.split("HTTP/1.").skip(1).filter_map(status).collect()
}

/// A publish to `channel`, which keeps it.
fn publish(channel: &str) -> Vec<u8> {
    let body = json!({"channel": channel, "data": 1}).to_string();
    let key = gorani_tests::node::API_KEY;
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn a_head_over_the_limit_is_431_and_the_end_on_every_path_first_or_later() {
    let node = node();
    for path in PATHS {
        let long = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(LONG));
        assert_eq!(statuses(&answers(&node, long.as_bytes())), [431], "{path}");
        let second = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n{long}");
        assert_eq!(statuses(&answers(&node, second.as_bytes())), [200, 431], "{path}");
        let body = [publish("kept:a"), long.into_bytes()].concat();
        assert_eq!(statuses(&answers(&node, &body)), [200, 431], "{path}");
    }
}

#[test]
fn a_body_that_stops_is_408_and_the_end_on_every_path_that_reads_one() {
    let node = node();
    let key = gorani_tests::node::API_KEY;
    let mut sockets = Vec::new();
    for (path, status) in [
        ("/api/publish", 408),
        ("/api/batch", 408),
        ("/emulation", 408),
        ("/connection/http_stream", 408),
        ("/connection/uni_http_stream", 408),
        ("/connection/sockjs/a/session/xhr_send", 408),
        ("/metrics", 404),
        ("/nowhere", 404),
    ] {
        for framing in ["Content-Length: 500\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"] {
            let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{framing}");
            let mut socket = RawSocket::connect(node.address());
            socket.stream().set_read_timeout(Some(SOON)).unwrap();
            socket.write(request.as_bytes()).unwrap();
            sockets.push((socket, status, format!("{path} {framing:?}")));
        }
    }
    for (mut socket, status, name) in sockets {
        let said = String::from_utf8_lossy(&socket.read_to_end().unwrap()).into_owned();
        assert_eq!(statuses(&said), [status], "{name}");
    }
}

#[test]
fn nothing_is_processed_after_an_answer_that_closes() {
    let node = node();
    let key = gorani_tests::node::API_KEY;
    let get =
        |version: &str, extra: &str| format!("GET /health/live HTTP/{version}\r\nHost: x\r\n{extra}\r\n");
    for (name, first, status) in [
        ("body unread", "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 404),
        ("close", get("1.1", "Connection: close\r\n"), 200),
        ("1.0", get("1.0", ""), 200),
        ("head", get("1.1", &format!("X: {}\r\n", "a".repeat(LONG))), 431),
        ("broken", "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned(), 400),
        (
            "too large",
            format!(
                "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 99999999\r\n\r\n"
            ),
            413,
        ),
    ] {
        let channel = format!("kept:after-{}", name.replace(' ', "-"));
        // Many, so that some are decoded before the answer and some after it.
        let later = publish(&channel).repeat(40);
        let said = answers(&node, &[first.into_bytes(), later].concat());
        assert_eq!(statuses(&said), [status], "{name}: {said}");
        let kept = node.api().ok("history", &json!({"channel": channel, "limit": 100}));
        assert!(kept.to_string().contains("\"publications\":[]"), "{name}: {kept}");
    }
}

/// The upgrade that the HTTP clients of Java and `curl --http2` offer with every request.
const OFFERS_HTTP_2: &str =
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";

#[test]
fn a_request_that_offers_another_protocol_is_answered_and_told_the_end_of_its_connection() {
    let node = node();
    for path in PATHS {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{OFFERS_HTTP_2}\r\n");
        let mut socket = RawSocket::connect(node.address());
        socket.write(request.as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        let connection = head.header("connection").unwrap_or_default().to_ascii_lowercase();
        // A WebSocket's path answers 426, and names there what it could be upgraded to.
        let mut options = connection.split(", ");
        assert!(options.any(|option| option == "close"), "{path}: {connection}");
    }
    let offered = String::from_utf8(publish("kept:h2c")).unwrap().replacen(
        "Host: x\r\n",
        &format!("Host: x\r\n{OFFERS_HTTP_2}"),
        1,
    );
    let answers = answers(&node, offered.as_bytes()).to_ascii_lowercase();
    assert!(answers.contains("connection: close\r\n"), "{answers}");
    assert!(!answers.contains("connection: upgrade"), "{answers}");
    let page = node.api().ok("history", &json!({"channel": "kept:h2c", "limit": 10}));
    assert_eq!(page["publications"].as_array().map(Vec::len), Some(1), "{page}");
}

#[test]
fn a_fixed_path_is_served_only_as_it_is_written() {
    let node = node();
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        statuses(&answers(&node, request.as_bytes()))
    };
    assert_eq!(get("/metrics"), [200]);
    assert_eq!(get("/connection/sockjs/info"), [200]);
    for disguise in [
        "/%6detrics",
        "/%6Detrics",
        "//metrics",
        "/./metrics",
        "/x/../metrics",
        "/metrics/",
        "/METRICS",
        "/metrics%00",
        "/health%2flive",
        "/health/%6cive",
        "/health//live",
        "/%61pi/info",
        "/api/%69nfo",
        "/connection/%70oll?channels=a",
        "/%63onnection/uni_sse?channels=a",
        "/connection/%73ockjs/info",
        "/connection/sockjs/../../metrics",
        "/connection/sockjs/%2e%2e/%2e%2e/metrics",
        "/connection/%77ebsocket",
    ] {
        let status = get(disguise);
        assert!(matches!(status[..], [404 | 401]), "{disguise}: {status:?}");
        assert!(status == [404] || disguise.starts_with("/api/"), "{disguise}: {status:?}");
    }
}

/// The value after `name` in the first line that begins with it.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

#[test]
fn a_receiver_of_128_channels_with_long_names_comes_back_with_a_position_that_every_proxy_takes() {
    let namespaces =
        r#"[{ name = "news", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true,
        history_size = 10, history_ttl = "300s", allow_recovery = true }]"#
            .replace('\n', " ");
    let node = Node::start(Settings::open().set("channel.namespaces", namespaces));
    let channels: Vec<String> = (0..128).map(|index| format!("news:{index:03}{}", "n".repeat(40))).collect();
    let query = format!("channels={}", channels.join(","));
    for channel in &channels {
        node.api().publish(channel, &json!("before"));
    }
    let ask = |extra: &str, header: &str| {
        let request = format!(
            "GET /connection/poll?{query}{extra} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
        );
        answers(&node, request.as_bytes())
    };
    let first = ask("&limit=200", "");
    let tag = line(&first, "etag:").to_owned();
    assert!((100..=4096).contains(&tag.len()), "{} bytes: {tag}", tag.len());
    assert_eq!(statuses(&ask("", &format!("If-None-Match: {tag}\r\n"))), [304]);
    let position = tag.trim_matches('"');
    for number in [0, 127] {
        node.api().publish(&channels[number], &json!("between"));
    }
    let missed = |said: &str| -> Vec<Value> {
        let body = said.split_once("\r\n\r\n").unwrap().1;
        let answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer["unrecovered"].is_null(), "{answer}");
        answer["publications"].as_array().unwrap().clone()
    };
    assert_eq!(missed(&ask(&format!("&position={position}"), "")).len(), 2);
    assert_eq!(missed(&ask("", &format!("Last-Event-ID: {position}\r\n"))).len(), 2);
    let mut stream = RawSocket::connect(node.address());
    stream
        .write(
            format!(
                "GET /connection/uni_sse?{query} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {position}\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    let head = stream.read_head().unwrap();
    assert_eq!(head.status, 200);
    let mut said = String::new();
    while said.matches("between").count() < 2 {
        said.push_str(&String::from_utf8_lossy(&stream.read_chunk().unwrap().expect("the stream goes on")));
    }
    assert!(!said.contains("before"), "what was received comes again");
    assert!(line(&said, "id:").len() <= 4096);
}

#[test]
fn answers_of_http_1_0_end_no_kept_connection_of_others() {
    let node = Node::start(
        Settings::open()
            .set("http.workers", "1")
            .set("channel.namespaces", r#"[{ name = "kept", history_size = 100, history_ttl = "300s" }]"#),
    );
    let mut kept = RawSocket::connect(node.address());
    for round in 0..20 {
        // As nginx asks by default: one request a connection, of a path whose answers are streams, and of one that is not.
        for path in ["/connection/poll?channels=kept:a", "/connection/sockjs/info", "/health/live"] {
            let old = format!("GET {path} HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert!(answers(&node, old.as_bytes()).starts_with("HTTP/1."), "{path}");
        }
        kept.write(&publish("kept:b")).unwrap();
        let head = kept.read_head().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(head.status, 200, "round {round}");
        kept.read_body(&head).unwrap();
    }
}

#[test]
fn a_compressed_body_is_415_on_every_path_that_reads_one_and_leaves_the_others_alone() {
    let node = node();
    let gzipped = "\u{1f}\u{8}not really";
    let key = gorani_tests::node::API_KEY;
    let ask = |method: &str, path: &str, coding: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\nContent-Length: {length}\r\n"
        );
        answers(&node, format!("{head}{coding}\r\n{body}").as_bytes())
    };
    for path in [
        "/api/publish",
        "/api/batch",
        "/api/nothing",
        "/connection/http_stream",
        "/connection/uni_http_stream?channels=kept:a",
        "/emulation",
        "/connection/sockjs/000/s/xhr_send",
        "/connection/sockjs/000/s/jsonp_send",
        "/connection/sockjs/000/s/xhr",
        "/nowhere",
    ] {
        for coding in [
            "Content-Encoding: gzip\r\n",
            "Content-Encoding: br\r\n",
            "content-encoding: DEFLATE\r\n",
            "Content-Encoding: identity, zstd\r\n",
            "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n",
            "Content-Encoding: x-anything\r\n",
        ] {
            let answer = ask("POST", path, coding, gzipped);
            assert_eq!(statuses(&answer), [415], "{path} {coding}");
            assert!(answer.contains("\r\naccept-encoding: identity\r\n"), "{answer}");
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            let error: Value = serde_json::from_str(body).unwrap();
            assert_eq!(error["error"]["code"], 107, "{body}");
            assert_eq!(error["error"]["reason"], "unsupported_content_encoding", "{body}");
        }
    }
    let body = json!({"channel": "kept:a", "data": 1}).to_string();
    for coding in [
        "",
        "Content-Encoding: identity\r\n",
        "Content-Encoding: Identity, identity\r\n",
        "Content-Encoding: \r\n",
    ] {
        assert_eq!(statuses(&ask("POST", "/api/publish", coding, &body)), [200], "{coding}");
    }
    // Where there is no body, nothing is encoded.
    assert_eq!(statuses(&ask("GET", "/health/live", "Content-Encoding: gzip\r\n", "")), [200]);
    // Nor does one in chunks pass.
    let chunked = format!(
        "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    assert_eq!(statuses(&answers(&node, chunked.as_bytes())), [415]);
    // And nothing was published but what should be.
    let history = node.api().ok("history", &json!({"channel": "kept:a", "limit": 10}));
    assert_eq!(history["publications"].as_array().unwrap().len(), 4);
}
