//! What the streams are to the rest of HTTP: HTTP/1.0, browsers of other origins, commands in requests of their own, and
//! curl. `docs/protocols/http.md` §2, §9, §10.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use gorani_tests::{node::Node, raw::RawSocket, stream::Stream};
use serde_json::{Value, json};

use super::{code_of, publish, settings, token};

const PATHS: [&str; 5] =
    ["/connection/http_stream", "/connection/sse", "/connection/uni_sse", "/connection/poll", "/emulation"];

fn emulate(node: &Node, session: &Value, id: &Value, data: &str) -> Stream {
    let body = json!({"session": session, "node": id, "data": data}).to_string();
    Stream::open(node.address(), "POST", "/emulation", "Content-Type: application/json\r\n", &body)
}

/// A stream of lines on which connect has been answered, with session and node.
fn http_stream(node: &Node) -> (Stream, Value, Value) {
    let connect = r#"{"id":1,"connect":{}}"#;
    let mut stream = Stream::open(node.address(), "POST", "/connection/http_stream", "", connect);
    let mut reply = line(&mut stream);
    let connect = reply["connect"].take();
    (stream, connect["session"].clone(), connect["node"].clone())
}

fn line(stream: &mut Stream) -> Value {
    serde_json::from_str(&stream.line().unwrap().expect("a line")).unwrap()
}

#[test]
fn commands_in_requests_of_their_own_keep_their_order() {
    let node = Node::start(settings());
    let (mut stream, session, id) = http_stream(&node);
    for number in 2..40 {
        let response =
            emulate(&node, &session, &id, &json!({"id": number, "history": {"channel": "x"}}).to_string());
        assert_eq!(response.head.status, 204);
    }
    for number in 2..40 {
        assert_eq!(line(&mut stream)["id"], number);
    }
    let both =
        "{\"id\":40,\"unsubscribe\":{\"channel\":\"a\"}}\n{\"id\":41,\"unsubscribe\":{\"channel\":\"a\"}}";
    assert_eq!(emulate(&node, &session, &id, both).head.status, 204);
    assert_eq!((line(&mut stream)["id"].clone(), line(&mut stream)["id"].clone()), (json!(40), json!(41)));
}

#[test]
fn commands_for_a_session_that_is_not_there_are_refused() {
    let node = Node::start(settings());
    let (stream, session, id) = http_stream(&node);
    for (session, id) in [(&json!("nobody"), &id), (&session, &json!("00000000"))] {
        let mut response = emulate(&node, session, id, "{}");
        assert_eq!((response.head.status, code_of(&response.rest().unwrap())), (404, 108));
    }
    let mut response = emulate(&node, &session, &id, &"x".repeat(65_537));
    assert_eq!((response.head.status, code_of(&response.rest().unwrap())), (413, 106));
    let mut response = Stream::open(node.address(), "POST", "/emulation", "", "[]");
    assert_eq!((response.head.status, code_of(&response.rest().unwrap())), (400, 107));
    drop(stream);
    crate::eventually("the session is over", super::SOON, || {
        emulate(&node, &session, &id, "{}").head.status == 404
    });
}

#[test]
fn an_http_1_0_client_gets_a_stream_without_chunks_that_ends_with_the_connection() {
    let mut node = Node::start(settings());
    let mut socket = RawSocket::connect(node.address());
    socket.write(b"GET /connection/uni_http_stream?channels=news:old HTTP/1.0\r\n\r\n").unwrap();
    let mut stream = Stream::read(socket).unwrap();
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.head.header("transfer-encoding"), None);
    assert!(line(&mut stream)["connect"].is_object());
    publish(&node, "news:old", 0..3);
    for number in 0..3 {
        assert_eq!(line(&mut stream)["pub"]["data"], number);
    }
    node.terminate();
    assert_eq!(line(&mut stream)["disconnect"]["code"], 3001);
    assert_eq!(stream.line().unwrap(), None);
    node.wait_exit(super::SOON).expect("it ends");
}

#[test]
fn a_stream_is_the_last_answer_of_its_connection_and_ends_whole_with_it() {
    let mut node = Node::start(settings());
    let connect = r#"{"id":1,"connect":{}}"#;
    let requests = [
        "GET /connection/uni_sse?channels=news:last HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /connection/uni_http_stream?channels=news:last HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /connection/sse?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D HTTP/1.1\r\nHost: x\r\n\r\n"
            .to_owned(),
        format!(
            "POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{connect}",
            connect.len()
        ),
    ];
    let mut sockets: Vec<RawSocket> = Vec::new();
    for request in requests {
        let mut socket = RawSocket::connect(node.address());
        // Another answer goes before it, and a request behind it comes too late.
        let around = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
        socket.write(format!("{around}{request}{around}").as_bytes()).unwrap();
        sockets.push(socket);
    }
    for socket in &mut sockets {
        let first = socket.read_head().unwrap();
        socket.read_body(&first).unwrap();
        let head = socket.read_head().unwrap();
        assert_eq!((head.status, head.header("connection")), (200, Some("close")));
    }
    node.terminate();
    for mut socket in sockets {
        let rest = socket.read_to_end().unwrap();
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("3001") && rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
        assert!(!rest.contains("HTTP/1.1"), "{rest}");
    }
    node.wait_exit(super::SOON).expect("it ends");
}

#[test]
fn responses_that_go_on_say_that_nobody_may_hold_them_back() {
    let node = Node::start(settings());
    for target in ["/connection/uni_sse?channels=news:a", "/connection/uni_http_stream?channels=news:a"] {
        let stream = Stream::open(node.address(), "GET", target, "", "");
        assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.head.header("cache-control"), Some("no-store, no-transform"));
    }
}

#[test]
fn a_browsers_question_whether_a_page_may_ask_is_answered_by_the_origin_settings() {
    let node = Node::start(settings().set("client.allowed_origins", "[\"https://app.example\"]"));
    for path in PATHS {
        let ask = |origin: &str| {
            let extra = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
            Stream::open(node.address(), "OPTIONS", path, &extra, "").head
        };
        let allowed = ask("https://app.example");
        assert_eq!(allowed.status, 204, "{path}");
        assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"), "{path}");
        assert!(allowed.header("access-control-allow-headers").unwrap().contains("content-type"), "{path}");
        let refused = ask("https://evil.example");
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None), "{path}");
    }
    let get = |origin: &str| {
        let extra = format!("Origin: {origin}\r\n");
        Stream::open(node.address(), "GET", "/connection/poll?channels=news:a", &extra, "").head
    };
    assert_eq!(get("https://app.example").header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(get("https://evil.example").status, 403);
}

#[test]
fn a_refusal_stops_an_event_source_and_is_a_real_status_for_everybody_else() {
    let node = Node::start(settings());
    let refused = |extra: &str| {
        Stream::open(node.address(), "GET", "/connection/uni_sse?channels=closed:a", extra, "").head.status
    };
    assert_eq!(refused("Accept: text/event-stream\r\n"), 204);
    assert_eq!(refused(""), 403);
}

#[test]
fn headers_over_the_limit_are_refused_on_every_path() {
    let node = Node::start(settings());
    let large = format!("X-Large: {}\r\n", "x".repeat(17_000));
    for path in PATHS {
        let mut response = Stream::open(node.address(), "OPTIONS", path, &large, "");
        assert_eq!((response.head.status, code_of(&response.rest().unwrap())), (431, 106), "{path}");
    }
}

#[test]
fn anonymous_receivers_are_refused_unless_the_settings_let_them_in() {
    let node = Node::start(settings().set("client.allow_anonymous", "false"));
    let get = |target: &str, extra: &str| Stream::open(node.address(), "GET", target, extra, "").head.status;
    for path in ["uni_sse", "uni_http_stream", "poll"] {
        let target = format!("/connection/{path}?channels=news:a");
        assert_eq!(get(&target, ""), 401, "{path}");
        assert_eq!(get(&target, &format!("Authorization: Bearer {}\r\n", token("42", 60))), 200, "{path}");
    }
}

#[test]
fn curl_reads_every_stream() {
    let node = Node::start(settings());
    publish(&node, "news:curl", 0..3);
    for (path, extra) in [
        ("uni_sse", vec!["-H", "Last-Event-ID: news~3acurl.0."]),
        ("uni_http_stream", vec!["--http1.0", "-d", r#"{"subs":{"news:curl":{"recover":true}}}"#]),
        ("poll", vec!["-H", "Accept-Encoding: gzip"]),
    ] {
        let url = format!("http://{}/connection/{path}?channels=news:curl", node.address());
        let mut curl = Command::new("curl");
        curl.args(["-sN", "-m", "30"]).args(extra).arg(url);
        let mut curl =
            curl.stdout(Stdio::piped()).spawn().expect("curl is installed; `make test` sees to it");
        let numbers: Vec<_> = (0..3).map(|number| format!("\"pub\":{{\"data\":{number},")).collect();
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        let stdout = curl.stdout.as_mut().unwrap();
        while !numbers.iter().all(|number| text.contains(number)) {
            let read = stdout.read(&mut buffer).unwrap();
            assert!(read > 0, "{path}: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        curl.kill().unwrap();
        curl.wait().unwrap();
    }
}
