//! Codec: the wire protocol of a connection. It turns bytes into input of the session, and makes the frames that are the
//! connection's own. The actor ([`crate::connection::Connection`]) knows no protocol.
//!
//! - [`WebSocketCodec`]: RFC 6455.
//! - [`StompCodec`]: STOMP over TCP, whose frames the session reads itself.
//!
//! STOMP over plain TCP, for backends and brokers' relays: nothing stands between the socket and the session, which reads
//! frames and heart-beats itself. `docs/protocols/stomp.md` §11.4.
//!
//! WebSocket, RFC 6455. `docs/protocols/websocket.md` §5 to §8.

use std::{convert::Infallible, error::Error};

use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    sockjs,
    websocket::{
        self, Input, Opcode, ProtocolError, WebSocketDecoder, WebSocketEvent,
        WebSocketMessageKind as FrameKind,
    },
};

use crate::{
    disconnect::Disconnect, format::encoding::Framing, memory::holders::INPUT_BYTES, session::Incoming,
};

/// One thing that the peer sent.
pub(crate) enum Event<'i> {
    /// A message for the session, or a part of one.
    Message(Incoming<'i>),
    /// A ping, with the whole frame that answers it.
    Ping(Bytes),
    /// The answer to a ping.
    Pong,
    /// The peer closes, with the whole frame that answers it.
    Close(Disconnect, Bytes),
}

/// A wire protocol. It leaves at the defaults what it has no frames for.
pub(crate) trait Codec: Unpin + 'static {
    /// An input that breaks the protocol.
    type Error: Error + 'static;

    /// Decodes the next event. `None` once all bytes are taken.
    fn decode<'i>(&'i mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, Self::Error>;

    /// The reason of the close after an input that breaks the protocol.
    fn error_reason(error: &Self::Error) -> Disconnect;

    /// The reason of an end without a close message. `has_left`: the session says that its client disconnected by itself.
    fn eof_reason(_has_left: bool) -> Disconnect {
        Disconnect::ABNORMAL
    }

    /// The frame of a close message; empty for none.
    fn close_frame(_framing: Framing, _reason: &Disconnect) -> Bytes {
        Bytes::new()
    }

    /// The frame of a ping; empty for none.
    fn ping_frame() -> Bytes {
        Bytes::new()
    }

    /// True if the peer is expected to answer a close message with its own.
    fn awaits_close(&self) -> bool {
        false
    }

    /// Bytes of a message that is not complete.
    fn unfinished_bytes(&self) -> usize {
        0
    }

    /// Gives a large unfinished message back. The input behind it cannot be decoded and is thrown away. True if there was one.
    fn drop_unfinished(&mut self) -> bool {
        false
    }

    /// Keeps the answer to a ping until the backlog before it is written.
    fn hold_pong(&mut self, _pong: Bytes) {}

    /// Takes the answer to a ping that was kept.
    fn take_pong(&mut self) -> Option<Bytes> {
        None
    }
}

/// The codec of STOMP over TCP.
pub(crate) struct StompCodec;

impl Codec for StompCodec {
    type Error = Infallible;

    fn decode<'i>(&'i mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, Infallible> {
        let bytes = input.take_rest();
        Ok((!bytes.is_empty()).then_some(Event::Message(Incoming::Binary(bytes))))
    }

    fn error_reason(error: &Infallible) -> Disconnect {
        match *error {}
    }

    /// A client that closes after the receipt of its DISCONNECT ends as it should.
    fn eof_reason(has_left: bool) -> Disconnect {
        if has_left { Disconnect::NORMAL } else { Disconnect::ABNORMAL }
    }
}

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
