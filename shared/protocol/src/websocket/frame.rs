//! One frame's header: bytes in, [`FrameHeader`] out, judged as early as its bytes allow. RFC 6455 §5.2.

use super::{ProtocolError, WebSocketMessageKind};

/// The most bytes a client's header can have: 2, a 64-bit length, and the mask.
pub const MAX_HEADER_BYTES: usize = 14;
/// The most bytes the payload of a control frame can have (RFC 6455 §5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// The 7-bit length that says: the length is in the next 2 bytes.
pub(super) const LENGTH_IN_2_BYTES: u8 = 126;
/// The 7-bit length that says: the length is in the next 8 bytes.
pub(super) const LENGTH_IN_8_BYTES: u8 = 127;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of the message that a text or binary frame opened.
    Continuation = 0,
    /// Opens a text message.
    Text = 1,
    /// Opens a binary message.
    Binary = 2,
    /// The last frame of its direction.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            reserved => return Err(ProtocolError::ReservedOpcode(reserved)),
        })
    }

    /// Close, ping and pong: never fragmented, at most 125 bytes, and allowed inside a fragmented message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// The kind of message that this opcode opens, if it opens one.
    #[must_use]
    pub fn opens(self) -> Option<WebSocketMessageKind> {
        match self {
            Self::Text => Some(WebSocketMessageKind::Text),
            Self::Binary => Some(WebSocketMessageKind::Binary),
            _ => None,
        }
    }
}

/// The kinds of frame that the connection allows next.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedFrame {
    /// permessage-deflate was negotiated: RSV1 may open a compressed message.
    pub deflate: bool,
    /// A fragmented message is open: a continuation must follow, and nothing may be opened.
    pub inside_message: bool,
    /// Bytes that a data frame may still announce.
    pub room: u64,
    /// The same for a frame that opens a compressed message.
    pub compressed_room: u64,
    /// The limit that an error names.
    pub max_message_bytes: usize,
}

/// The header of a client's frame, found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The kind of the frame.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1: the message that this frame opens is compressed.
    pub compressed: bool,
    /// The payload's length in bytes.
    pub length: u64,
    /// The payload's mask.
    pub mask: [u8; 4],
}

impl FrameHeader {
    /// Reads a header from the front of `bytes`, with the count of bytes it takes; `None` while it is incomplete.
    /// Each byte is judged as soon as it is there, so a bad frame is refused before its header is complete.
    ///
    /// # Errors
    /// Everything of RFC 6455 §5.2 to §5.5 that a header can do wrong, and a length over the room.
    pub fn parse(bytes: &[u8], expected: &ExpectedFrame) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let opcode = judge_first_byte(first, expected)?;
        let compressed = first & RSV1 != 0;

        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_BYTES {
            return Err(ProtocolError::OverlongControl);
        }

        let (length, rest) = match short {
            LENGTH_IN_2_BYTES => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < u64::from(LENGTH_IN_2_BYTES) {
                    return Err(ProtocolError::NonMinimalLength);
                }
                (length, rest)
            }
            LENGTH_IN_8_BYTES => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length > i64::MAX as u64 {
                    return Err(ProtocolError::LengthTopBit);
                }
                if length <= u64::from(u16::MAX) {
                    return Err(ProtocolError::NonMinimalLength);
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        let room = if compressed { expected.compressed_room } else { expected.room };
        if !opcode.is_control() && length > room {
            return Err(ProtocolError::TooBig(expected.max_message_bytes));
        }

        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let header = Self { opcode, fin: first & FIN != 0, compressed, length, mask: *mask };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

fn judge_first_byte(first: u8, expected: &ExpectedFrame) -> Result<Opcode, ProtocolError> {
    if first & RSV2_AND_3 != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & OPCODE)?;
    // RFC 7692 §6: RSV1 stands on the first frame of a message and nowhere else.
    if first & RSV1 != 0 && !(expected.deflate && opcode.opens().is_some()) {
        return Err(ProtocolError::ReservedBits);
    }
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if first & FIN == 0 => {
            Err(ProtocolError::FragmentedControl)
        }
        Opcode::Continuation if !expected.inside_message => Err(ProtocolError::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if expected.inside_message => Err(ProtocolError::UnfinishedMessage),
        opcode => Ok(opcode),
    }
}
