//! Any bytes, in any pieces, into the WebSocket decoder: no panic, bounded memory, and the same heard however the
//! stream is cut. The first four bytes choose the decoder, the limit and the pieces; the rest is the stream, either
//! as it is or as the payloads of well-masked frames, which get further.
#![no_main]

use gorani_protocol::websocket::{
    Input, ProtocolError, WebSocketDecoder, WebSocketEvent, WebSocketMessageKind, input::unmask,
};
use libfuzzer_sys::fuzz_target;

const DEFLATE: u8 = 1;
const PARTIAL_MESSAGES: u8 = 2;
const MAKE_FRAMES: u8 = 4;
const MASK: [u8; 4] = [0x9a, 0x01, 0xff, 0x20];
/// The decoder's box and its smallest allocations.
const FIXED_BYTES: usize = 1024;

/// What was heard, with the fragments of a message put together: where they are cut is not promised.
#[derive(Debug, PartialEq)]
enum Heard {
    Message(WebSocketMessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Error(ProtocolError),
}

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, limit, piece, second_piece], stream)) = data.split_first_chunk::<4>() else { return };
    let made;
    let stream = if flags & MAKE_FRAMES == 0 {
        stream
    } else {
        made = frames(stream);
        &made
    };
    let limit = usize::from(limit) * 16;
    let whole = hear(flags & DEFLATE, limit, stream, stream.len().max(1), 1);
    for (one, two) in [(1, 1), (piece.into(), second_piece.into())] {
        for partial_messages in [0, PARTIAL_MESSAGES] {
            let pieces = hear((flags & DEFLATE) | partial_messages, limit, stream, one, two);
            assert_eq!(pieces, whole, "pieces of {one} and {two} bytes");
        }
    }
});

fn hear(flags: u8, limit: usize, mut stream: &[u8], one: usize, two: usize) -> Vec<Heard> {
    let mut decoder = WebSocketDecoder::new(limit, flags & DEFLATE != 0, flags & PARTIAL_MESSAGES != 0);
    let mut heard = Vec::new();
    let mut open = Vec::new();
    let mut arrived = 0;
    for size in [one.max(1), two.max(1)].into_iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        arrived += piece.len();
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(WebSocketEvent::Fragment { kind, data, last })) => {
                    assert!(kind == WebSocketMessageKind::Binary || str::from_utf8(data).is_ok());
                    assert!(last || !data.is_empty());
                    open.extend_from_slice(data);
                    assert!(open.len() <= limit);
                    if last {
                        heard.push(Heard::Message(kind, std::mem::take(&mut open)));
                    }
                }
                Ok(Some(event)) => heard.push(owned(event, limit)),
                Ok(None) => break,
                Err(error) => {
                    assert!([1002, 1007, 1009].contains(&error.close_code()));
                    heard.push(Heard::Error(error));
                }
            }
        }
        assert!(input.is_empty());
        // Twice what arrived, as a vector grows, and no more than the limit allows to be announced.
        let most = arrived.min(limit + limit / 4);
        assert!(decoder.held_bytes() <= FIXED_BYTES + 2 * most, "{} bytes held", decoder.held_bytes());
    }
    heard
}

fn owned(event: WebSocketEvent<'_>, limit: usize) -> Heard {
    match event {
        WebSocketEvent::Text(text) => {
            assert!(text.len() <= limit);
            Heard::Message(WebSocketMessageKind::Text, text.as_bytes().to_vec())
        }
        WebSocketEvent::Binary(data) => {
            assert!(data.len() <= limit);
            Heard::Message(WebSocketMessageKind::Binary, data.to_vec())
        }
        WebSocketEvent::Ping(data) => Heard::Ping(data.to_vec()),
        WebSocketEvent::Pong(data) => Heard::Pong(data.to_vec()),
        WebSocketEvent::Close(body) => Heard::Close(body.map(|body| (body.code, body.reason.to_owned()))),
        WebSocketEvent::Fragment { .. } => unreachable!("fragments are put together by the caller"),
    }
}

/// Frames of `first byte, length, payload`, masked as a client masks them.
fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&[first, length], rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(length & 0x7f).min(125);
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        stream.extend_from_slice(&[first, 0x80 | payload.len() as u8]);
        stream.extend_from_slice(&MASK);
        let start = stream.len();
        stream.extend_from_slice(payload);
        unmask(MASK, &mut stream[start..]);
    }
    stream
}
