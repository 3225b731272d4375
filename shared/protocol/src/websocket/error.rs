//! The faults of a client on an open WebSocket, and the close code of each. RFC 6455 §7.4.1.
//!
//! Every one of these ends the connection: the gateway sends a close frame with [`ProtocolError::close_code`] and
//! the error's text as the reason, then drops the socket.
//!
//! Why a WebSocket is not opened, and the HTTP answer for it. RFC 6455 §4.2.2, §4.4; `docs/protocols/websocket.md` §1, §3.

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

/// Most bytes of the client's subprotocols that an answer repeats.
const REPEATED_BYTES: usize = 128;

/// A handshake that does not become a WebSocket. The text is the one sentence of the answer's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// 405: anything but GET.
    #[error("a WebSocket is opened with GET")]
    MethodNotAllowed,
    /// 400: a part is missing or malformed.
    #[error("{0}")]
    BadRequest(&'static str),
    /// 426: a version other than 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    VersionNotSupported,
    /// 400: subprotocols were offered and none is known. Holds them, as a list, cut to a bounded length.
    #[error("none of the offered subprotocols is known here: {0}")]
    UnknownSubprotocol(String),
    /// 403: the origin may not connect. Decided by the gateway.
    #[error("this origin may not connect")]
    OriginForbidden,
    /// 503: the node takes no new connections. Decided by the gateway.
    #[error("this node is draining, try another")]
    Draining,
}

impl HandshakeRefusal {
    pub(super) fn unknown_subprotocol(offered: &[String]) -> Self {
        let mut list = String::new();
        for token in offered {
            if list.len() + token.len() > REPEATED_BYTES {
                list.push_str(if list.is_empty() { "(too long to repeat)" } else { ", and more" });
                break;
            }
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(token);
        }
        Self::UnknownSubprotocol(list)
    }

    /// The HTTP status: 405, 400, 426, 403 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::BadRequest(_) | Self::UnknownSubprotocol(_) => 400,
            Self::VersionNotSupported => 426,
            Self::OriginForbidden => 403,
            Self::Draining => 503,
        }
    }

    /// The headers that this status must have.
    #[must_use]
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("Allow", "GET")],
            // RFC 9110 §15.5.22: a 426 names in Upgrade what it asks for.
            Self::VersionNotSupported => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            _ => &[],
        }
    }
}
