//! What a client can do wrong on an open WebSocket, and the close code that tells it so. RFC 6455 §7.4.1.
//!
//! Every one of these ends the connection: the gateway sends a close frame with [`ProtocolError::close_code`] and
//! the error's text as the reason, then drops the socket.

/// The close code for a violation of the protocol.
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The close code for data that does not fit its kind: text that is not UTF-8, compressed data that is not DEFLATE.
pub const CLOSE_INVALID_DATA: u16 = 1007;
/// The close code for a message over the limit.
pub const CLOSE_TOO_BIG: u16 = 1009;

/// A violation that ends the connection. The text fits the reason of a close frame (at most 123 bytes).
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
