//! `xhr_streaming`, `eventsource`, `htmlfile`: one frame, one chunk. Items 25 to 27, 30, 33, 35.

use gorani_tests::{
    node::Node,
    sockjs::{Request, Stream, session},
};

use super::{NO_CACHE, node, sent};

const PATHS: [&str; 3] = ["xhr_streaming", "eventsource", "htmlfile?c=cb"];

fn stream(node: &Node, session: &str, path: &str) -> Stream {
    request(session, path).stream(node.address())
}

fn request(session: &str, path: &str) -> Request {
    let target = format!("{session}/{path}");
    if path.starts_with("xhr") { Request::post(target) } else { Request::get(target) }
}

/// A frame as a stream wraps it.
fn wrapped(path: &str, frame: &str) -> String {
    match path {
        "xhr_streaming" => format!("{frame}\n"),
        "eventsource" => format!("data: {frame}\r\n\r\n"),
        _ => format!("<script>\np({});\n</script>\r\n", serde_json::to_string(frame).unwrap()),
    }
}

#[test]
fn items_25_to_27_a_stream_has_its_type_is_not_kept_and_comes_in_chunks() {
    let node = node();
    let types = ["application/javascript; charset=UTF-8", "text/event-stream", "text/html; charset=UTF-8"];
    for (path, content_type) in PATHS.into_iter().zip(types) {
        let stream = stream(&node, &session("echo"), path);
        assert_eq!(stream.head.status, 200);
        assert_eq!(stream.head.header("content-type"), Some(content_type));
        assert_eq!(stream.head.header("cache-control"), Some(NO_CACHE));
        assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.head.header("content-length"), None);
        assert!(stream.is_chunked());
        assert_eq!(stream.head.header("access-control-allow-origin"), Some("*"));
        assert_eq!(stream.head.header("set-cookie"), None);
    }
}

#[test]
fn item_25_xhr_streaming_begins_with_2048_h_and_each_frame_is_a_chunk() {
    let node = node();
    let session = session("echo");
    let mut stream = stream(&node, &session, "xhr_streaming");
    assert_eq!(stream.chunk().unwrap(), format!("{}\n", "h".repeat(2048)));
    assert_eq!(stream.chunk().unwrap(), "o\n");
    for message in ["x", "y"] {
        sent(&node, &session, &format!("[\"{message}\"]"));
        assert_eq!(stream.chunk().unwrap(), format!("a[\"{message}\"]\n"));
    }
}

#[test]
fn item_26_eventsource_begins_with_an_empty_line_and_encodes_percent_signs() {
    let node = node();
    let session = session("echo");
    let mut stream = stream(&node, &session, "eventsource");
    assert_eq!(stream.chunk().unwrap(), "\r\n");
    assert_eq!(stream.chunk().unwrap(), "data: o\r\n\r\n");
    sent(&node, &session, r#"["x"]"#);
    assert_eq!(stream.chunk().unwrap(), "data: a[\"x\"]\r\n\r\n");
    sent(&node, &session, r#"["  \u0000\n\r "]"#);
    assert_eq!(stream.chunk().unwrap(), "data: a[\"  \\u0000\\n\\r \"]\r\n\r\n");
    sent(&node, &session, r#"["50%25"]"#);
    assert_eq!(stream.chunk().unwrap(), "data: a[\"50%2525\"]\r\n\r\n");
}

#[test]
fn item_27_htmlfile_begins_with_its_head_and_no_message_can_leave_the_script() {
    let node = node();
    let session = session("echo");
    let mut stream = stream(&node, &session, "htmlfile?c=%63allback");
    let head = stream.chunk().unwrap();
    assert!(head.len() > 1024 && head.contains("var c = parent.callback;\n"), "{head}");
    assert!(head.starts_with("<!doctype html>\n<html><head>\n") && head.ends_with(" \r\n\r\n"), "{head}");
    assert_eq!(stream.chunk().unwrap(), "<script>\np(\"o\");\n</script>\r\n");
    sent(&node, &session, r#"["x"]"#);
    assert_eq!(stream.chunk().unwrap(), "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n");
    sent(&node, &session, r#"["</script><b>"]"#);
    assert_eq!(
        stream.chunk().unwrap(),
        "<script>\np(\"a[\\\"\\u003c\\/script>\\u003cb>\\\"]\");\n</script>\r\n"
    );
}

#[test]
fn item_30_a_stream_ends_after_4096_bytes_of_frames_and_the_session_goes_on() {
    let node = node();
    for path in PATHS {
        let session = session("echo");
        let mut stream = stream(&node, &session, path);
        stream.chunk().unwrap();
        let mut bytes = stream.chunk().unwrap().len();
        let message = "x".repeat(128);
        while bytes < 4096 {
            sent(&node, &session, &format!("[\"{message}\"]"));
            let chunk = stream.chunk().unwrap();
            assert_eq!(chunk, wrapped(path, &format!("a[\"{message}\"]")));
            bytes += chunk.len();
        }
        assert_eq!(stream.chunk(), None, "{path} after {bytes} bytes");
        // What comes meanwhile is not lost.
        sent(&node, &session, "[\"kept\"]");
        let mut next = self::stream(&node, &session, path);
        next.chunk().unwrap();
        assert_eq!(next.chunk().unwrap(), wrapped(path, "a[\"kept\"]"));
    }
}

#[test]
fn item_30_other_endpoints_stream_much_longer() {
    let node = node();
    let session = session("amplify");
    let mut stream = stream(&node, &session, "xhr_streaming");
    stream.chunk().unwrap();
    stream.chunk().unwrap();
    for _ in 0..3 {
        sent(&node, &session, "[\"15\"]");
        assert_eq!(stream.chunk().unwrap(), format!("a[\"{}\"]\n", "x".repeat(1 << 15)));
    }
    sent(&node, &session, "[\"15\"]");
    assert_eq!(stream.chunk().unwrap().len(), (1 << 15) + 6);
    assert_eq!(stream.chunk(), None, "128 KiB are reached");
}

#[test]
fn item_33_a_stream_over_http_1_0_has_no_chunks_and_ends_with_its_connection() {
    let node = node();
    for path in PATHS {
        let session = session("close");
        let mut stream = request(&session, path)
            .http_1_0()
            .body("")
            .header("Connection", "Keep-Alive")
            .stream(node.address());
        assert_eq!(stream.head.header("transfer-encoding"), None, "{path}");
        assert_eq!(stream.head.header("content-length"), None, "{path}");
        let body = String::from_utf8(stream.rest().unwrap()).unwrap();
        assert!(body.ends_with(&wrapped(path, "c[3000,\"Go away!\"]")), "{path}: {body}");
    }
}

#[test]
fn item_35_a_query_reaches_every_transport() {
    let node = node();
    for path in ["xhr_streaming?token=x", "eventsource?token=x", "htmlfile?token=x&c=cb"] {
        let mut stream = stream(&node, &session("echo"), path);
        stream.chunk().unwrap();
        assert!(stream.chunk().unwrap().contains('o'), "{path}");
    }
}
