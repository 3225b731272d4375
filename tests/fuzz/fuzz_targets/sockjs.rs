//! SockJS against arbitrary bytes: as a client's batch, as a query with a callback, as a path, as a form, and as a message that
//! is sent. Nothing panics; what is read is JSON to others too, and what is sent comes back as it was.
#![no_main]

use std::borrow::Cow;

use bytes::BytesMut;
use gorani_protocol::sockjs::{
    BatchLimits, Callback, Route, Transport, Wrapping, batch, batch::payload, frame, headers,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: BatchLimits = BatchLimits { max_messages: 64, message_max_bytes: 4096 };

fuzz_target!(|data: &[u8]| {
    read(data);
    read(&payload(Some("application/x-www-form-urlencoded"), data));
    let text = String::from_utf8_lossy(data);
    sent(&text);
    if let Some(Route::Session { session, .. }) = Route::parse(&text) {
        assert!(!session.is_empty() && !session.contains(['/', '.']));
    }
    if let Ok(callback) = Callback::from_query(&text) {
        assert!(callback.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    }
    let cookie = headers::session_cookie([text.as_ref()]);
    assert_eq!(cookie.matches(';').count(), 1);
    assert!(cookie.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
});

fn read(data: &[u8]) {
    let library = serde_json::from_slice::<Vec<Cow<'_, str>>>(data)
        .or_else(|_| serde_json::from_slice::<Cow<'_, str>>(data).map(|one| vec![one]));
    match (batch::decode(data, LIMITS), library) {
        (Ok(messages), library) => {
            assert!(messages.len() <= LIMITS.max_messages);
            assert!(messages.iter().all(|message| message.len() <= LIMITS.message_max_bytes));
            match library {
                Ok(library) => assert_eq!(messages, library),
                // Lone surrogates, which only we let pass.
                Err(_) => assert!(messages.iter().any(|message| message.contains('\u{fffd}'))),
            }
        }
        (Err(batch::BatchError::TooMany | batch::BatchError::TooLarge), _) => {}
        (Err(_), library) => assert!(library.is_err()),
    }
}

fn sent(text: &str) {
    let mut messages = BytesMut::new();
    frame::write_message(&mut messages, text.as_bytes());
    assert_eq!(
        batch::decode(&messages[1..], BatchLimits { max_messages: 1, message_max_bytes: usize::MAX })
            .unwrap(),
        [text]
    );
    let callback = Callback::from_query("c=cb").expect("a harmless name");
    for transport in Transport::ALL {
        let Some(wrapping) = Wrapping::of(transport, Some(callback.clone())) else { continue };
        let piece = wrapping.wrap(&messages);
        match transport {
            Transport::HtmlFile => {
                let scripts = String::from_utf8(piece.to_vec()).expect("text");
                assert_eq!(scripts.matches("</").count(), 1);
            }
            Transport::Jsonp => {
                let json = piece
                    .strip_prefix(b"/**/cb(")
                    .and_then(|rest| rest.strip_suffix(b");\r\n"))
                    .expect("a call");
                assert_eq!(serde_json::from_slice::<String>(json).expect("a string").as_bytes(), messages);
            }
            Transport::EventSource => {
                assert!(!piece[6..piece.len() - 4].iter().any(|byte| b"\r\n\0".contains(byte)))
            }
            _ => {}
        }
    }
}
