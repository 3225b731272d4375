//! WebSocket, RFC 6455. `docs/protocols/websocket.md` §5 to §8.

use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    sockjs,
    websocket::{
        self, Input, Opcode, ProtocolError, WebSocketDecoder, WebSocketEvent,
        WebSocketMessageKind as FrameKind,
    },
};

use super::{Codec, Event};
use crate::{
    disconnect::Disconnect, format::encoding::Framing, memory::holders::INPUT_BYTES, session::Incoming,
};

/// The codec of WebSocket.
pub(crate) struct WebSocketCodec {
    decoder: WebSocketDecoder,
    /// The answer to the newest ping, while a backlog stands before it.
    pong: Option<Bytes>,
    /// True once the frames cannot be read on: what still comes is thrown away.
    is_unreadable: bool,
}

impl WebSocketCodec {
    /// The codec of a connection whose handshake agreed on this decoder.
    pub(crate) fn new(decoder: WebSocketDecoder) -> Self {
        Self { decoder, pong: None, is_unreadable: false }
    }
}

impl Codec for WebSocketCodec {
    type Error = ProtocolError;

    fn decode<'i>(&'i mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, ProtocolError> {
        let event = match self.decoder.next(input) {
            Ok(event) => event,
            Err(error) => {
                self.is_unreadable = true;
                return Err(error);
            }
        };
        Ok(event.map(|event| match event {
            WebSocketEvent::Text(text) => Event::Message(Incoming::Text(text)),
            WebSocketEvent::Binary(data) => Event::Message(Incoming::Binary(data)),
            WebSocketEvent::Fragment { kind, data, last } => {
                Event::Message(Incoming::Part { text: kind == FrameKind::Text, data, last })
            }
            WebSocketEvent::Ping(payload) => Event::Ping(frame(|out| websocket::encode::pong(payload, out))),
            WebSocketEvent::Pong(_) => Event::Pong,
            WebSocketEvent::Close(Some(close)) => Event::Close(
                Disconnect::new(close.code, close.reason.to_owned()),
                frame(|out| websocket::encode::close(close.code, "", out)),
            ),
            // 1005: the peer closed without a code. It stands for "none" and is never on the wire.
            WebSocketEvent::Close(None) => {
                Event::Close(Disconnect::new(1005, ""), frame(websocket::encode::close_empty))
            }
        }))
    }

    fn error_reason(error: &ProtocolError) -> Disconnect {
        Disconnect::new(error.close_code(), error.to_string())
    }

    /// The close frame, and where SockJS's frames are spoken, theirs before it.
    fn close_frame(framing: Framing, reason: &Disconnect) -> Bytes {
        frame(|out| {
            if matches!(framing, Framing::SockJsWebSocket { .. }) {
                let close = sockjs::frame::close(reason.code, &reason.reason);
                websocket::encode::frame(Opcode::Text, &close, false, out);
            }
            websocket::encode::close(reason.code, &reason.reason, out);
        })
    }

    fn ping_frame() -> Bytes {
        frame(|out| websocket::encode::ping(b"", out))
    }

    /// RFC 6455 §7.1.1. A peer whose frames cannot be read may answer or not.
    fn awaits_close(&self) -> bool {
        !self.is_unreadable
    }

    fn unfinished_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }

    fn drop_unfinished(&mut self) -> bool {
        let is_large = !self.is_unreadable && self.decoder.held_bytes() >= INPUT_BYTES;
        if is_large {
            self.decoder = WebSocketDecoder::new(0, false, false);
            self.is_unreadable = true;
        }
        is_large
    }

    fn hold_pong(&mut self, pong: Bytes) {
        self.pong = Some(pong);
    }

    fn take_pong(&mut self) -> Option<Bytes> {
        self.pong.take()
    }
}

/// One text message of the transport's own, in a frame.
pub(crate) fn text_frame(text: &[u8]) -> Bytes {
    frame(|out| websocket::encode::frame(Opcode::Text, text, false, out))
}

fn frame(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.freeze()
}
