//! Parts of messages handed on as they arrive, for those who ask for them.

use super::client::{
    BINARY, CONTINUATION, FIN, Heard, LIMIT, PING, RSV1, TEXT, compressed, error_of, frame, header, hear,
};
use crate::websocket::{ProtocolError, WebSocketDecoder, WebSocketMessageKind};

fn partial() -> WebSocketDecoder {
    WebSocketDecoder::new(LIMIT, true, true)
}

fn fragment(kind: WebSocketMessageKind, data: &[u8], last: bool) -> Heard {
    Heard::Fragment(kind, data.to_vec(), last)
}

#[test]
fn fragments_are_handed_on_as_they_arrive() {
    let frames =
        [frame(BINARY, b"one"), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"two")].concat();
    let expected = [
        fragment(WebSocketMessageKind::Binary, b"one", false),
        fragment(WebSocketMessageKind::Binary, b"two", true),
    ];
    assert_eq!(hear(&mut partial(), [frames.as_slice()]), expected);
}

#[test]
fn an_empty_last_fragment_still_says_that_it_is_the_last() {
    let frames = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")].concat();
    assert_eq!(hear(&mut partial(), [frames.as_slice()]), [fragment(WebSocketMessageKind::Text, b"", true)]);
}

#[test]
fn a_message_that_arrives_whole_is_not_cut() {
    let frames = [frame(FIN | TEXT, b"whole"), frame(FIN | BINARY, b"too")].concat();
    let expected = [Heard::Text("whole".to_owned()), Heard::Binary(b"too".to_vec())];
    assert_eq!(hear(&mut partial(), [frames.as_slice()]), expected);
}

#[test]
fn text_is_cut_between_characters() {
    let bytes = frame(FIN | TEXT, "a니b".as_bytes());
    let start = bytes.len() - 5;
    let pieces = [&bytes[..start + 2], &bytes[start + 2..start + 3], &bytes[start + 3..]];
    let expected = [
        fragment(WebSocketMessageKind::Text, b"a", false),
        fragment(WebSocketMessageKind::Text, "니".as_bytes(), false),
        fragment(WebSocketMessageKind::Text, b"b", true),
    ];
    assert_eq!(hear(&mut partial(), pieces), expected);
}

#[test]
fn a_cut_character_can_be_the_last() {
    let bytes = [frame(TEXT, b"\xf0\x9f"), frame(FIN | PING, b"!"), frame(FIN | CONTINUATION, b"\xa6\x8c")];
    let expected = [Heard::Ping(b"!".to_vec()), fragment(WebSocketMessageKind::Text, "🦌".as_bytes(), true)];
    let mut decoder = partial();
    assert_eq!(hear(&mut decoder, [bytes.concat().as_slice()]), expected);
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn what_is_handed_on_is_not_kept() {
    let mut decoder = partial();
    let mut announced = header(BINARY, LIMIT as u64);
    announced.extend_from_slice(&[0; 60_000]);
    assert_eq!(hear(&mut decoder, [announced.as_slice()]).len(), 1);
    assert!(decoder.held_bytes() < 512, "{}", decoder.held_bytes());
}

#[test]
fn the_limit_counts_what_was_handed_on() {
    let frames = [frame(BINARY, &[0; LIMIT]), header(FIN | CONTINUATION, 1)];
    assert_eq!(error_of(&mut partial(), &frames), ProtocolError::TooBig(LIMIT));
}

#[test]
fn a_compressed_message_is_handed_on_whole() {
    let text = "compressed ".repeat(20);
    let compressed = compressed(text.as_bytes());
    let (one, two) = compressed.split_at(10);
    let frames = [frame(RSV1 | TEXT, one), frame(FIN | CONTINUATION, two)].concat();
    for size in [1, frames.len()] {
        assert_eq!(hear(&mut partial(), frames.chunks(size)), [Heard::Text(text.clone())]);
    }
}
