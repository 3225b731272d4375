//! What belongs to no session: greeting, info, the page for frames, preflights. Items 1 to 8.

use gorani_tests::{
    node::Node,
    sockjs::{Request, session},
};
use serde_json::{Value, json};

use super::{has_no_cookie, is_not_kept, is_open_to_origins, node, settings};

#[test]
fn item_1_the_endpoint_greets() {
    let node = node();
    for path in ["/echo", "/echo/", "/close", "/connection/sockjs"] {
        let answer = Request::get(path).ask(node.address());
        assert_eq!((answer.status(), answer.body.as_str()), (200, "Welcome to SockJS!\n"), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
        has_no_cookie(&answer);
    }
}

#[test]
fn items_2_4_and_9_nothing_is_at_other_paths_whatever_the_method() {
    let node = node();
    let base = ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"];
    let iframes = [
        "/iframe.htm",
        "/iframe",
        "/IFRAME.HTML",
        "/IFRAME",
        "/iframe.HTML",
        "/iframe.xml",
        "/iframe-/.html",
    ];
    let sessions = [
        "//",
        "//xhr",
        "/a./a/xhr",
        "/a/a./xhr",
        "/./a/xhr",
        "/././xhr",
        "///xhr",
        "/a//xhr",
        "/a/a/a/xhr",
        "/a/a/what",
    ];
    for path in base.into_iter().chain(iframes).chain(sessions) {
        for request in
            [Request::get(format!("/echo{path}")), Request::post(format!("/echo{path}")).body("[]")]
        {
            let answer = request.ask(node.address());
            assert_eq!(answer.status(), 404, "{request:?}");
            has_no_cookie(&answer);
        }
    }
    assert_eq!(Request::get("/invalid_url/info").ask(node.address()).status(), 404);
}

#[test]
fn item_3_the_page_for_frames_is_the_same_under_all_its_names_and_may_be_kept() {
    let node =
        Node::start(settings().set("sockjs.client_url", r#""https://cdn.example.com/sockjs-1.6.1.js""#));
    let answers =
        ["/iframe.html", "/iframe-a.html", "/iframe-0.1.2abc-dirty.2144.html", "/iframe-.html?t=qwe"].map(
            |path| {
                let answer = Request::get(format!("/echo{path}")).ask(node.address());
                assert_eq!(answer.status(), 200, "{path}");
                answer
            },
        );
    let [first, ..] = &answers;
    assert!(answers.iter().all(|answer| answer.body == first.body));
    assert!(
        first.body.contains("\n  <script src=\"https://cdn.example.com/sockjs-1.6.1.js\"></script>\n"),
        "{}",
        first.body
    );
    assert_eq!(first.header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(first.header("cache-control"), Some("public, max-age=31536000"));
    assert!(first.header("expires").is_some() && first.header("last-modified").is_none());
    has_no_cookie(first);

    let tag = first.header("etag").unwrap();
    let again = Request::get("/echo/iframe.html").header("If-None-Match", tag).ask(node.address());
    assert_eq!((again.status(), again.body.as_str(), again.header("content-type")), (304, "", None));
    let other = Request::get("/echo/iframe.html").header("If-None-Match", "\"x\"").ask(node.address());
    assert_eq!(other.status(), 200);
}

#[test]
fn item_5_the_page_for_frames_is_not_there_where_origins_are_restricted_or_no_client_is_named() {
    let url = r#""https://cdn.example.com/sockjs.js""#;
    let closed = Node::start(settings().set("sockjs.client_url", url));
    assert_eq!(Request::get("/connection/sockjs/iframe.html").ask(closed.address()).status(), 404);
    let open =
        Node::start(settings().set("sockjs.client_url", url).set("client.allowed_origins", r#"["*"]"#));
    assert_eq!(Request::get("/connection/sockjs/iframe.html").ask(open.address()).status(), 200);
    let unnamed = Node::start(settings().set("client.allowed_origins", r#"["*"]"#));
    assert_eq!(Request::get("/connection/sockjs/iframe.html").ask(unnamed.address()).status(), 404);
}

#[test]
fn item_6_info_says_what_a_client_must_know_and_never_the_same_entropy() {
    let node = node();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let answer = Request::get("/echo/info?token=x").ask(node.address());
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
        is_not_kept(&answer);
        has_no_cookie(&answer);
        let info: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&info["websocket"], &info["cookie_needed"]), (&json!(true), &json!(false)));
        assert_eq!(info["origins"], json!(["*:*"]));
        assert_eq!(info.get("base_url"), None);
        let entropy = info["entropy"].as_u64().unwrap();
        assert!(entropy < 1 << 32);
        seen.push(entropy);
    }
    assert_ne!(seen[0], seen[1]);
    is_open_to_origins(&node, || Request::get("/echo/info"));
}

#[test]
fn item_6_info_sends_clients_elsewhere_if_the_settings_say_so() {
    let node = Node::start(settings().set("sockjs.base_url", r#""https://push.example.com/echo""#));
    let info: Value = serde_json::from_str(&Request::get("/echo/info").ask(node.address()).body).unwrap();
    assert_eq!(info["base_url"], "https://push.example.com/echo");
}

#[test]
fn item_7_preflights_may_be_kept_and_allow_what_is_asked_for() {
    let node = node();
    let session = session("echo");
    for (path, methods) in [
        ("/echo/info".to_owned(), "OPTIONS, GET"),
        (format!("{session}/xhr"), "OPTIONS, POST"),
        (format!("{session}/xhr_send"), "OPTIONS, POST"),
        (format!("{session}/xhr_streaming"), "OPTIONS, POST"),
    ] {
        for (asked, allowed) in [(Some("a, b, c"), Some("a, b, c")), (Some(""), None), (None, None)] {
            let mut request = Request::options(&path).header("Origin", "test");
            if let Some(asked) = asked {
                request = request.header("Access-Control-Request-Headers", asked);
            }
            let answer = request.ask(node.address());
            assert!(matches!(answer.status(), 200 | 204) && answer.body.is_empty(), "{path}: {answer:?}");
            assert!(answer.header("cache-control").unwrap().contains("public"));
            let kept = answer.header("cache-control").unwrap().split("max-age=").nth(1).unwrap();
            assert!(kept.parse::<u64>().unwrap() >= 1_000_000);
            assert!(answer.header("access-control-max-age").unwrap().parse::<u64>().unwrap() > 1_000_000);
            assert!(answer.header("expires").is_some() && answer.header("last-modified").is_none());
            assert_eq!(answer.header("access-control-allow-methods"), Some(methods), "{path}");
            assert_eq!(answer.header("access-control-allow-headers"), allowed, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("test"));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        }
        is_open_to_origins(&node, || Request::options(&path));
    }
}

#[test]
fn item_8_without_websocket_info_says_so_and_its_paths_are_not_there() {
    let node = node();
    let info = Request::get("/disabled_websocket_echo/info").ask(node.address());
    assert_eq!(serde_json::from_str::<Value>(&info.body).unwrap()["websocket"], false);
    for path in ["/disabled_websocket_echo/websocket", "/disabled_websocket_echo/000/s/websocket"] {
        let answer = Request::get(path)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .ask(node.address());
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(Request::get(path).ask(node.address()).status(), 404, "{path}");
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_405_with_those_that_it_has() {
    let node = node();
    let session = session("echo");
    for (request, allowed) in [
        (Request::get(format!("{session}/xhr")), "POST"),
        (Request::get(format!("{session}/xhr_send")), "POST"),
        (Request::post(format!("{session}/jsonp?c=x")), "GET"),
        (Request::post("/echo/info"), "GET"),
    ] {
        let answer = request.ask(node.address());
        assert_eq!((answer.status(), answer.body.as_str()), (405, ""), "{request:?}");
        assert!(answer.header("allow").unwrap().contains(allowed), "{answer:?}");
    }
}
