//! Codec: the wire protocol of a connection. It turns bytes into input of the session, and makes the frames that are the
//! connection's own. The actor ([`crate::connection::Connection`]) knows no protocol.
//!
//! - [`websocket`]: RFC 6455.
//! - [`stomp`]: STOMP over TCP, whose frames the session reads itself.

pub(crate) mod stomp;
pub(crate) mod websocket;

use std::error::Error;

use bytes::Bytes;
use gorani_protocol::websocket::Input;

use crate::{disconnect::Disconnect, format::encoding::Framing, session::Incoming};

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

/// A wire protocol. What it has no frames for, it leaves at the defaults.
pub(crate) trait Codec: Unpin + 'static {
    /// An input that breaks the protocol.
    type Error: Error + 'static;

    /// Decodes the next event. `None` once all bytes are taken.
    fn decode<'i>(&'i mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, Self::Error>;

    /// The reason of the close after an input that breaks the protocol.
    fn error_reason(error: &Self::Error) -> Disconnect;

    /// The reason of an end without a close message. `has_left`: the session says that its client said goodbye.
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

    /// Gives a large unfinished message back. What follows it cannot be decoded and is thrown away. True if there was one.
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
