//! Frames as each transport sends them, to the byte.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::{super::frame, *};

fn callback() -> Callback {
    Callback::from_query("c=_jp.cb").unwrap()
}

#[test]
fn item_21_a_websocket_message_is_the_frame() {
    assert_eq!(Wrapping::Bare.wrap(b"o"), b"o".as_slice());
    assert!(Wrapping::Bare.prelude().is_empty());
}

#[test]
fn item_23_xhr_sends_a_frame_and_a_newline() {
    assert_eq!(Wrapping::Xhr.wrap(b"a[\"x\"]"), b"a[\"x\"]\n".as_slice());
    assert!(Wrapping::Xhr.prelude().is_empty());
}

#[test]
fn item_25_xhr_streaming_begins_with_2048_times_h_and_a_newline() {
    let prelude = Wrapping::XhrStreaming.prelude();
    assert_eq!(prelude, format!("{}\n", "h".repeat(2048)));
    assert_eq!(Wrapping::XhrStreaming.wrap(b"o"), b"o\n".as_slice());
}

#[test]
fn item_26_eventsource_begins_with_an_empty_line_and_sends_events() {
    assert_eq!(Wrapping::EventSource.prelude(), b"\r\n".as_slice());
    assert_eq!(Wrapping::EventSource.wrap(b"o"), b"data: o\r\n\r\n".as_slice());
    let mut messages = BytesMut::new();
    frame::write_message(&mut messages, b"  \0\n\r ");
    assert_eq!(Wrapping::EventSource.wrap(&messages), b"data: a[\"  \\u0000\\n\\r \"]\r\n\r\n".as_slice());
    assert_eq!(
        Wrapping::EventSource.wrap(b"a[\"50%25\r\n\0\"]"),
        b"data: a[\"50%2525%0D%0A%00\"]\r\n\r\n".as_slice()
    );
}

#[test]
fn item_27_htmlfile_begins_with_the_padded_head_that_names_the_callback() {
    let wrapping = Wrapping::HtmlFile(callback());
    let head = String::from_utf8(wrapping.prelude().to_vec()).unwrap();
    assert!(head.len() > 1024);
    assert!(head.starts_with("<!doctype html>\n<html><head>\n"));
    assert!(
        head.contains("\n    var c = parent._jp.cb;\n    c.start();\n    function p(d) {c.message(d);};\n")
    );
    let (head, padding) = head.split_once("</script>").unwrap();
    assert!(head.ends_with("window.onload = function() {c.stop();};\n  "));
    assert!(padding.ends_with("\r\n\r\n") && padding.trim().is_empty() && padding.len() > 100);
}

#[test]
fn item_27_htmlfile_sends_scripts_that_no_message_can_leave() {
    let wrapping = Wrapping::HtmlFile(callback());
    assert_eq!(wrapping.wrap(b"o"), b"<script>\np(\"o\");\n</script>\r\n".as_slice());
    assert_eq!(wrapping.wrap(b"a[\"x\"]"), b"<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n".as_slice());
    let mut messages = BytesMut::new();
    frame::write_message(&mut messages, b"</script><script>alert(1)");
    let text = String::from_utf8(wrapping.wrap(&messages).to_vec()).unwrap();
    assert_eq!((text.matches("<script").count(), text.matches("</script").count()), (1, 1), "{text}");
}

#[test]
fn item_28_jsonp_calls_the_callback_behind_a_comment() {
    let wrapping = Wrapping::Jsonp(callback());
    assert!(wrapping.prelude().is_empty());
    assert_eq!(wrapping.wrap(b"o"), b"/**/_jp.cb(\"o\");\r\n".as_slice());
    assert_eq!(wrapping.wrap(b"a[\"x\"]"), b"/**/_jp.cb(\"a[\\\"x\\\"]\");\r\n".as_slice());
}

#[test]
fn what_calls_a_function_needs_its_name_and_what_only_sends_wraps_nothing() {
    for transport in Transport::ALL {
        let with = Wrapping::of(transport, Some(callback()));
        let without = Wrapping::of(transport, None);
        assert_eq!(with != without, transport.has_callback(), "{transport:?}");
        assert_eq!(with.is_none(), matches!(transport, Transport::XhrSend | Transport::JsonpSend));
    }
}

/// A piece of a response as a client reads it.
fn unwrapped(wrapping: &Wrapping, piece: &[u8]) -> Vec<u8> {
    let inside = |before: &[u8], after: &[u8]| -> Vec<u8> {
        piece.strip_prefix(before).unwrap().strip_suffix(after).unwrap().to_vec()
    };
    let script = |json: Vec<u8>| serde_json::from_slice::<String>(&json).unwrap().into_bytes();
    match wrapping {
        Wrapping::Bare => piece.to_vec(),
        Wrapping::Xhr | Wrapping::XhrStreaming => inside(b"", b"\n"),
        Wrapping::EventSource => {
            let data = inside(b"data: ", b"\r\n\r\n");
            let text = String::from_utf8(data).unwrap();
            let text = text.replace("%0D", "\r").replace("%0A", "\n").replace("%00", "\0");
            text.replace("%25", "%").into_bytes()
        }
        Wrapping::HtmlFile(_) => script(inside(b"<script>\np(", b");\n</script>\r\n")),
        Wrapping::Jsonp(_) => script(inside(b"/**/_jp.cb(", b");\r\n")),
    }
}

proptest! {
    #[test]
    fn any_messages_come_out_of_every_wrapping_as_they_went_in(texts in prop::collection::vec("[ -~%</가\u{2028}\0\n]{0,12}", 0..5)) {
        let mut list = BytesMut::new();
        for text in &texts {
            frame::push_message(&mut list, text.as_bytes());
        }
        let mut messages = BytesMut::new();
        frame::write_messages(&mut messages, [list.as_ref()]);
        for transport in Transport::ALL {
            let Some(wrapping) = Wrapping::of(transport, Some(callback())) else { continue };
            let piece = wrapping.wrap(&messages);
            let frame = unwrapped(&wrapping, &piece);
            prop_assert_eq!(&serde_json::from_slice::<Vec<String>>(frame.strip_prefix(b"a").unwrap()).unwrap(), &texts);
            if transport == Transport::EventSource {
                prop_assert_eq!(piece.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count(), 4);
            }
        }
    }
}
