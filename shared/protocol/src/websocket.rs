//! The WebSocket protocol, strict and without IO: handshake, frames, messages, permessage-deflate.
//!
//! It stands between the socket and the session. [`Offer`] judges the client's request and writes the 101;
//! [`WebSocketDecoder`] turns the bytes that follow into [`WebSocketEvent`]s; [`encode`] and [`Deflater`] make the frames sent.
//! The events are borrowed, from the read buffer where their bytes arrived in one piece and from the decoder where they
//! did not, and live until the next call. RFC 6455 and RFC 7692; our rules are `docs/protocols/websocket.md`.
//!
//! ```
//! use gorani_protocol::websocket::{Input, WebSocketDecoder, WebSocketEvent};
//!
//! let mut decoder = WebSocketDecoder::new(64 * 1024, false, false);
//! let mut bytes = *b"\x81\x82\x00\x00\x00\x00hi";
//! let mut input = Input::new(&mut bytes);
//! while let Some(event) = decoder.next(&mut input)? {
//!     assert_eq!(event, WebSocketEvent::Text("hi"));
//! }
//! # Ok::<(), gorani_protocol::websocket::ProtocolError>(())
//! ```
#![deny(clippy::indexing_slicing)]

pub mod decoder;
pub mod deflate;
pub mod encode;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod input;

#[cfg(test)]
mod tests;

pub use decoder::WebSocketDecoder;
pub use deflate::{DeflateParams, Deflater, Inflater};
pub use frame::Opcode;
pub use handshake::{HandshakeRefusal, Offer, SubprotocolPolicy, accept_key};
pub use input::Input;

/// The close code for a violation of the protocol.
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The close code for data that does not fit its kind: text that is not UTF-8, compressed data that is not DEFLATE.
pub const CLOSE_INVALID_DATA: u16 = 1007;
/// The close code for a message over the limit.
pub const CLOSE_TOO_BIG: u16 = 1009;

/// The two kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketMessageKind {
    /// UTF-8, checked.
    Text,
    /// Any bytes.
    Binary,
}

/// One event of a client's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketEvent<'e> {
    /// A whole text message.
    Text(&'e str),
    /// A whole binary message.
    Binary(&'e [u8]),
    /// A part of a message that did not arrive in one piece; only from a decoder made with `partial_messages`.
    /// Text is cut between characters, so that each part is valid UTF-8. Empty only where it is the `last`.
    Fragment {
        /// The kind of the message it belongs to.
        kind: WebSocketMessageKind,
        /// The next bytes of the message.
        data: &'e [u8],
        /// No more of this message follows.
        last: bool,
    },
    /// A ping: to be answered with a pong of the same payload (at most 125 bytes).
    Ping(&'e [u8]),
    /// A pong, asked for or not (at most 125 bytes).
    Pong(&'e [u8]),
    /// The client closes; `None` where it gave no code. Nothing follows it.
    Close(Option<CloseFrame<'e>>),
}

/// The body of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'e> {
    /// 1000–1003, 1007–1014 or 3000–4999.
    pub code: u16,
    /// At most 123 bytes; often empty.
    pub reason: &'e str,
}

impl<'e> CloseFrame<'e> {
    /// Reads the body of a close frame; an empty one is `None`.
    ///
    /// # Errors
    /// One byte, a code that must not be on the wire, a reason that is not UTF-8.
    pub fn parse(body: &'e [u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = body.split_first_chunk::<2>() else {
            return if body.is_empty() { Ok(None) } else { Err(ProtocolError::HalfCloseCode) };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(ProtocolError::CloseCode(code));
        }
        let reason = simdutf8::basic::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// True if a close code may be on the wire: RFC 6455 §7.4 and the registrations since. 1004, 1005, 1006 and 1015
/// are reserved for what no frame says; 1016 to 2999 are not assigned.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A violation that ends the connection: the gateway sends a close frame with [`ProtocolError::close_code`] and the
/// error's text as the reason (at most 123 bytes), then drops the socket. RFC 6455 §7.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// RSV2 or RSV3 is set, or RSV1 where no negotiated extension gives it a meaning.
    #[error("reserved bits are set")]
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15.
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A frame of a client without the mask bit.
    #[error("client frames must be masked")]
    Unmasked,
    /// A ping, pong or close frame without FIN.
    #[error("control frames must not be fragmented")]
    FragmentedControl,
    /// A ping, pong or close frame that announces more than 125 bytes.
    #[error("control frames carry at most 125 bytes")]
    OverlongControl,
    /// A continuation frame while no message is open.
    #[error("continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A text or binary frame inside a fragmented message.
    #[error("new message inside a fragmented message")]
    UnfinishedMessage,
    /// A payload length in more bytes than it needs.
    #[error("payload length is not in its minimal form")]
    NonMinimalLength,
    /// A 64-bit payload length with the top bit set.
    #[error("payload length has its top bit set")]
    LengthTopBit,
    /// A close frame of one byte: too short for a code.
    #[error("close frame with half a code")]
    HalfCloseCode,
    /// A close code that must not be on the wire.
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// Text, or the reason of a close frame, that is not UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// A compressed message that is not DEFLATE, or ends in the middle of it.
    #[error("compressed data is damaged")]
    InvalidDeflate,
    /// The message is, or announces to be, over the limit (in bytes, after decompression).
    #[error("message is larger than {0} bytes")]
    TooBig(usize),
}

impl ProtocolError {
    /// The code of the close frame that answers this error: 1002, 1007 or 1009.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => CLOSE_INVALID_DATA,
            Self::TooBig(_) => CLOSE_TOO_BIG,
            _ => CLOSE_PROTOCOL_ERROR,
        }
    }
}
