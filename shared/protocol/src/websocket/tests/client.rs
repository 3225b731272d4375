//! A client that makes frames, right and wrong, and the events that the server makes of them.

use bytes::BytesMut;

use crate::websocket::{
    Deflater, Input, ProtocolError, WebSocketDecoder, WebSocketEvent, WebSocketMessageKind, input::unmask,
};

pub(super) const LIMIT: usize = 64 * 1024;
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Fragment(WebSocketMessageKind, Vec<u8>, bool),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Error(ProtocolError),
}

impl From<WebSocketEvent<'_>> for Heard {
    fn from(event: WebSocketEvent<'_>) -> Self {
        match event {
            WebSocketEvent::Text(text) => Self::Text(text.to_owned()),
            WebSocketEvent::Binary(data) => Self::Binary(data.to_vec()),
            WebSocketEvent::Fragment { kind, data, last } => {
                if kind == WebSocketMessageKind::Text {
                    str::from_utf8(data).expect("text is cut between characters");
                }
                Self::Fragment(kind, data.to_vec(), last)
            }
            WebSocketEvent::Ping(data) => Self::Ping(data.to_vec()),
            WebSocketEvent::Pong(data) => Self::Pong(data.to_vec()),
            WebSocketEvent::Close(body) => Self::Close(body.map(|body| (body.code, body.reason.to_owned()))),
        }
    }
}

/// A masked frame: `first` is FIN, the reserved bits and the opcode.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    unmask(KEY, &mut bytes[start..]);
    bytes
}

/// The header of a masked frame that announces `length` bytes, in the minimal form.
pub(super) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes
}

/// Feeds the pieces one after the other; gives the events, an error last.
pub(super) fn hear<'p>(
    decoder: &mut WebSocketDecoder,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<Heard> {
    let mut heard = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(event)) => heard.push(event.into()),
                Ok(None) => break,
                Err(error) => heard.push(Heard::Error(error)),
            }
        }
        assert!(input.is_empty(), "the decoder takes all of its input");
    }
    heard
}

pub(super) fn plain() -> WebSocketDecoder {
    WebSocketDecoder::new(LIMIT, false, false)
}

pub(super) fn deflating() -> WebSocketDecoder {
    WebSocketDecoder::new(LIMIT, true, false)
}

/// The events of a plain decoder for frames that arrive in one piece.
pub(super) fn heard(frames: &[Vec<u8>]) -> Vec<Heard> {
    hear(&mut plain(), [frames.concat().as_slice()])
}

/// The error that frames end in, which arrive in one piece.
pub(super) fn error(frames: &[Vec<u8>]) -> ProtocolError {
    error_of(&mut plain(), frames)
}

pub(super) fn error_of(decoder: &mut WebSocketDecoder, frames: &[Vec<u8>]) -> ProtocolError {
    match hear(decoder, [frames.concat().as_slice()]).last() {
        Some(Heard::Error(error)) => *error,
        other => panic!("an error, not {other:?}"),
    }
}

/// The bytes that a compressing client puts into the frames of a message.
pub(super) fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    assert!(Deflater::new(15, 6).compress(payload, &mut out), "the message becomes smaller");
    out.to_vec()
}
