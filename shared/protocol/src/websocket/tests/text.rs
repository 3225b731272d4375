//! `docs/protocols/websocket.md` §7: text is UTF-8, and is found not to be at the first byte that shows it.

use super::client::{BINARY, CONTINUATION, FIN, Heard, PING, TEXT, error, frame, header, hear, heard, plain};
use crate::websocket::{ProtocolError, WebSocketDecoder, input::unmask};

/// Texts that go wrong, with the count of bytes that it takes to see it.
const INVALID: [(&[u8], usize); 9] = [
    (b"abc\xff def", 4),
    (b"\x80", 1),
    (b"\xc0\xaf", 1),
    (b"\xe0\x80\x80", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xf0\x80\x80\x80", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 13),
    (b"\xe2\x82x", 3),
];

#[test]
fn line_7_text_that_is_not_utf_8_is_refused_with_1007() {
    for (text, _) in INVALID {
        let invalid = error(&[frame(FIN | TEXT, text)]);
        assert_eq!((invalid, invalid.close_code()), (ProtocolError::InvalidUtf8, 1007), "{text:x?}");
    }
}

#[test]
fn line_7_the_first_wrong_byte_is_refused_before_its_frame_ends() {
    for (text, shows_at) in INVALID {
        for partial_messages in [false, true] {
            let mut decoder = WebSocketDecoder::new(1 << 20, false, partial_messages);
            let bytes = frame(FIN | TEXT, text);
            let start = bytes.len() - text.len();
            let before = hear(&mut decoder, bytes[..start + shows_at - 1].chunks(1));
            assert!(!before.iter().any(|heard| matches!(heard, Heard::Error(_))), "{text:x?}: {before:?}");
            let after = hear(&mut decoder, [&bytes[start + shows_at - 1..start + shows_at]]);
            assert_eq!(after, [Heard::Error(ProtocolError::InvalidUtf8)], "{text:x?}");
        }
    }
}

#[test]
fn line_7_a_wrong_byte_in_a_fragment_is_refused_before_the_message_ends() {
    for (text, shows_at) in INVALID {
        let mut decoder = plain();
        for byte in 0..shows_at - 1 {
            let first = if byte == 0 { TEXT } else { CONTINUATION };
            assert_eq!(hear(&mut decoder, [frame(first, &text[byte..=byte]).as_slice()]), []);
        }
        let first = if shows_at == 1 { TEXT } else { CONTINUATION };
        let wrong = frame(first, &text[shows_at - 1..shows_at]);
        assert_eq!(
            hear(&mut decoder, [wrong.as_slice()]),
            [Heard::Error(ProtocolError::InvalidUtf8)],
            "{text:x?}"
        );
    }
}

#[test]
fn line_7_a_character_may_be_cut_by_fragments_and_by_control_frames() {
    let text = "κόσμε 고라니 🦌";
    let mut frames = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        frames.push(frame(if at == 0 { TEXT } else { CONTINUATION }, &[byte]));
        frames.push(frame(FIN | PING, b""));
    }
    frames.push(frame(FIN | CONTINUATION, b""));
    let mut heard = heard(&frames);
    assert_eq!(heard.pop(), Some(Heard::Text(text.to_owned())));
    assert!(heard.iter().all(|heard| *heard == Heard::Ping(vec![])));
}

#[test]
fn line_7_a_character_cut_off_by_the_end_of_the_message_is_refused() {
    for end in ["é", "고", "🦌"] {
        let cut = &end.as_bytes()[..end.len() - 1];
        assert_eq!(error(&[frame(FIN | TEXT, cut)]), ProtocolError::InvalidUtf8);
        assert_eq!(error(&[frame(TEXT, cut), frame(FIN | CONTINUATION, b"")]), ProtocolError::InvalidUtf8);
        let mut partial = WebSocketDecoder::new(1 << 20, false, true);
        let pieces = [frame(TEXT, cut), frame(FIN | CONTINUATION, b"")].concat();
        assert_eq!(hear(&mut partial, pieces.chunks(1)), [Heard::Error(ProtocolError::InvalidUtf8)]);
    }
}

#[test]
fn line_7_binary_may_be_anything() {
    assert_eq!(heard(&[frame(FIN | BINARY, b"\xff\xfe")]), [Heard::Binary(b"\xff\xfe".to_vec())]);
    let pieces = [frame(BINARY, b"\xff"), frame(FIN | CONTINUATION, b"\xfe")];
    assert_eq!(heard(&pieces), [Heard::Binary(b"\xff\xfe".to_vec())]);
}

#[test]
fn line_7_checking_a_long_text_byte_by_byte_takes_linear_time() {
    // Checked from its start for every byte, this text would be 100 GB of work.
    let text = "니".repeat(150_000);
    let mut decoder = WebSocketDecoder::new(1 << 20, false, false);
    let mut bytes = header(FIN | TEXT, text.len() as u64);
    let key: [u8; 4] = bytes[bytes.len() - 4..].try_into().unwrap();
    let start = bytes.len();
    bytes.extend_from_slice(text.as_bytes());
    unmask(key, &mut bytes[start..]);
    assert_eq!(hear(&mut decoder, bytes.chunks(1)), [Heard::Text(text)]);
}
