//! Frames to the byte: what is in them, and as each transport sends them.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn item_12_messages_travel_as_one_array_of_strings_in_order() {
    let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
    push_message(&mut first, b"m1");
    push_message(&mut first, b"m\n2");
    push_message(&mut second, "라,".as_bytes());
    push_message(&mut second, b"");
    let mut out = BytesMut::new();
    write_messages(&mut out, [first.as_ref(), second.as_ref()]);
    assert_eq!(out, "a[\"m1\",\"m\\n2\",\"라,\",\"\"]".as_bytes());
}

#[test]
fn no_messages_are_an_empty_array() {
    let mut out = BytesMut::new();
    write_messages(&mut out, []);
    assert_eq!(out, b"a[]".as_slice());
}

#[test]
fn item_14_and_15_a_close_frame_names_code_and_reason() {
    let (code, reason) = ANOTHER_CONNECTION;
    assert_eq!(close(code, reason), b"c[2010,\"Another connection still open\"]".as_slice());
    assert_eq!(close(3000, "Go away!"), b"c[3000,\"Go away!\"]".as_slice());
    assert_eq!(close(4000, "\"\u{2028}"), b"c[4000,\"\\\"\\u2028\"]".as_slice());
}

fn string(text: &str) -> String {
    let mut out = BytesMut::new();
    write_string(&mut out, text.as_bytes());
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn item_32_every_character_of_the_list_leaves_as_a_lower_case_escape_and_no_other_above_ascii() {
    for code in 0x80..=0xffffu32 {
        let Some(character) = char::from_u32(code) else { continue };
        let listed = matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff);
        let expected = if listed { format!("\"\\u{code:04x}\"") } else { format!("\"{character}\"") };
        assert_eq!(string(&character.to_string()), expected, "U+{code:04X}");
    }
}

#[test]
fn item_32_control_characters_quotes_and_backslashes_leave_as_json_stringify_writes_them() {
    for code in 0..0x80u8 {
        let text = char::from(code).to_string();
        assert_eq!(string(&text), serde_json::to_string(&text).unwrap(), "{code:#x}");
    }
    assert_eq!(string("  \0\n\r "), r#""  \u0000\n\r ""#);
}

#[test]
fn item_27_nothing_in_a_script_string_can_end_the_script_or_the_string() {
    let mut out = BytesMut::new();
    write_script_string(&mut out, br#"a["</script><!--\""]"#);
    assert_eq!(out, br#""a[\"\u003c\/script>\u003c!--\\\"\"]""#.as_slice());
}

proptest! {
    #[test]
    fn any_text_is_read_back_as_it_was(text in any::<String>(), filler in 0usize..80) {
        let text = format!("{}{text}\u{2028}\"{text}", "가".repeat(filler));
        prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
    }

    #[test]
    fn a_script_string_is_read_back_as_it_was(text in any::<String>()) {
        let mut out = BytesMut::new();
        write_script_string(&mut out, text.as_bytes());
        prop_assert!(!out.contains(&b'<') && !out.windows(2).any(|pair| pair == b"</"));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn bytes_that_are_no_text_cost_no_panic(bytes in any::<Vec<u8>>()) {
        let mut out = BytesMut::new();
        write_string(&mut out, &bytes);
        prop_assert!(out.len() >= bytes.len() + 2);
    }
}

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
    write_message(&mut messages, b"  \0\n\r ");
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
    write_message(&mut messages, b"</script><script>alert(1)");
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
            push_message(&mut list, text.as_bytes());
        }
        let mut messages = BytesMut::new();
        write_messages(&mut messages, [list.as_ref()]);
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

#[test]
fn item_29_a_harmless_name_is_taken_also_percent_encoded() {
    assert_eq!(Callback::from_query("c=callback").unwrap().as_str(), "callback");
    assert_eq!(Callback::from_query("t=1&c=%63allback").unwrap().as_str(), "callback");
    assert_eq!(Callback::from_query("c=_jp.a-Z09").unwrap().as_str(), "_jp.a-Z09");
}

#[test]
fn item_29_without_a_name_it_is_required() {
    for query in ["", "c", "c=", "d=x", "cc=x"] {
        assert_eq!(Callback::from_query(query), Err(CallbackError::Missing), "{query}");
    }
    assert_eq!(CallbackError::Missing.to_string(), "\"callback\" parameter required");
}

#[test]
fn item_29_a_name_with_other_characters_or_of_more_than_32_is_invalid() {
    for query in ["c=a(", "c=%20", "c=abc()", "c=a%3Balert", "c=%3Cscript%3E", "c=%EA%B0%80", "c=a+b"] {
        assert_eq!(Callback::from_query(query), Err(CallbackError::Invalid), "{query}");
    }
    assert!(Callback::from_query(&format!("c={}", "x".repeat(32))).is_ok());
    assert_eq!(Callback::from_query(&format!("c={}", "x".repeat(33))), Err(CallbackError::Invalid));
    assert_eq!(CallbackError::Invalid.to_string(), "invalid \"callback\" parameter");
}

proptest! {
    #[test]
    fn nothing_that_passes_can_leave_its_place_in_a_script(query in any::<String>()) {
        if let Ok(callback) = Callback::from_query(&query) {
            let name = callback.as_str();
            prop_assert!(!name.is_empty() && name.len() <= CALLBACK_MAX_BYTES);
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        }
    }
}
