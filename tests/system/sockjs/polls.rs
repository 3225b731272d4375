//! `xhr` and `jsonp`: one frame, one response. Items 23, 28, 29, 31, 33, 34.

use gorani_tests::sockjs::{Request, session};

use super::{has_no_cookie, is_not_kept, is_open_to_origins, node, sent};

#[test]
fn item_23_xhr_brings_one_frame_and_a_newline() {
    let node = node();
    let session_path = session("echo");
    let answer = Request::post(format!("{session_path}/xhr")).ask(node.address());
    assert_eq!((answer.status(), answer.body.as_str()), (200, "o\n"));
    assert_eq!(answer.header("content-type"), Some("application/javascript; charset=UTF-8"));
    assert_eq!(answer.header("content-length"), Some("2"));
    is_not_kept(&answer);
    has_no_cookie(&answer);
    sent(&node, &session_path, "[\"a\"]");
    let answer = Request::post(format!("{session_path}/xhr?token=x")).ask(node.address());
    assert_eq!(answer.body, "a[\"a\"]\n");
    is_open_to_origins(&node, || Request::post(format!("{}/xhr", session("echo"))));
    let asking =
        Request::post(format!("{}/xhr", session("echo"))).header("Access-Control-Request-Headers", "a, b, c");
    assert_eq!(asking.ask(node.address()).header("access-control-allow-headers"), Some("a, b, c"));
}

#[test]
fn item_28_jsonp_calls_the_callback_with_one_frame() {
    let node = node();
    let session = session("echo");
    let answer = Request::get(format!("{session}/jsonp?c=%63allback")).ask(node.address());
    assert_eq!((answer.status(), answer.body.as_str()), (200, "/**/callback(\"o\");\r\n"));
    assert_eq!(answer.header("content-type"), Some("application/javascript; charset=UTF-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    is_not_kept(&answer);
    let told = Request::post(format!("{session}/jsonp_send"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("d=%5B%22x%22%5D")
        .ask(node.address());
    assert_eq!((told.status(), told.body.as_str()), (200, "ok"));
    assert_eq!(told.header("content-type"), Some("text/plain; charset=UTF-8"));
    is_not_kept(&told);
    let answer = Request::get(format!("{session}/jsonp?c=x.y_-1")).ask(node.address());
    assert_eq!(answer.body, "/**/x.y_-1(\"a[\\\"x\\\"]\");\r\n");
}

#[test]
fn item_28_jsonp_tells_an_end_too() {
    let node = node();
    let session = session("close");
    for frame in ["o", "c[3000,\\\"Go away!\\\"]", "c[3000,\\\"Go away!\\\"]"] {
        let answer = Request::get(format!("{session}/jsonp?c=x")).ask(node.address());
        assert_eq!(answer.body, format!("/**/x(\"{frame}\");\r\n"));
    }
}

#[test]
fn item_29_a_callback_is_required_and_must_be_harmless() {
    let node = node();
    for transport in ["jsonp", "htmlfile"] {
        let session = session("echo");
        for query in ["", "?c=", "?a=c"] {
            let answer = Request::get(format!("{session}/{transport}{query}")).ask(node.address());
            assert_eq!(answer.status(), 500, "{query}");
            assert!(answer.body.contains("\"callback\" parameter required"), "{answer:?}");
        }
        for callback in ["%20", "*", "abc(", "abc%28", "a%3Cscript%3E", &"x".repeat(33)] {
            let answer = Request::get(format!("{session}/{transport}?c={callback}")).ask(node.address());
            assert_eq!(answer.status(), 500, "{callback}");
            assert!(answer.body.contains("invalid \"callback\" parameter"), "{answer:?}");
        }
    }
}

#[test]
fn item_31_a_cookie_is_set_on_every_answer_of_a_session_where_one_is_needed_and_not_on_info() {
    let node = node();
    let info = Request::get("/cookie_needed_echo/info").ask(node.address());
    assert!(info.body.contains("\"cookie_needed\":true"), "{}", info.body);
    has_no_cookie(&info);
    for (cookie, set) in
        [(None, "JSESSIONID=dummy; path=/"), (Some("a=b; JSESSIONID=abcdef"), "JSESSIONID=abcdef; path=/")]
    {
        let with_cookie = |request: Request| match cookie {
            Some(cookie) => request.header("Cookie", cookie),
            None => request,
        };
        let polled = session("cookie_needed_echo");
        for request in [
            Request::post(format!("{polled}/xhr")),
            Request::post(format!("{polled}/xhr_send")).body("[\"x\"]"),
            Request::get(format!("{polled}/jsonp?c=x")),
        ] {
            let answer = with_cookie(request).ask(node.address());
            assert_eq!(answer.header("set-cookie"), Some(set), "{answer:?}");
        }
        for path in ["xhr_streaming", "eventsource", "htmlfile?c=x"] {
            let target = format!("{}/{path}", session("cookie_needed_echo"));
            let request = if path == "xhr_streaming" { Request::post(target) } else { Request::get(target) };
            let stream = with_cookie(request).stream(node.address());
            assert_eq!(stream.head.header("set-cookie"), Some(set), "{path}");
        }
    }
}

#[test]
fn items_33_and_34_polls_over_http_1_0_have_a_length_and_no_chunks() {
    let node = node();
    let session = session("echo");
    let answer = Request::post(format!("{session}/xhr")).http_1_0().body("").ask(node.address());
    assert_eq!((answer.body.as_str(), answer.header("content-length")), ("o\n", Some("2")));
    assert_eq!(answer.header("transfer-encoding"), None);
}

#[test]
fn item_33_keep_alive_is_honoured_for_http_1_0() {
    let node = node();
    let mut socket =
        Request::get("/echo").http_1_0().header("Connection", "Keep-Alive").begin(node.address());
    for _ in 0..2 {
        let head = socket.read_head().unwrap();
        assert_eq!(head.header("connection").unwrap().to_ascii_lowercase(), "keep-alive");
        let length = head.header("content-length").unwrap().parse().unwrap();
        assert_eq!(socket.read_bytes(length).unwrap(), b"Welcome to SockJS!\n");
        socket.write(b"GET /echo HTTP/1.0\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
    }
}
