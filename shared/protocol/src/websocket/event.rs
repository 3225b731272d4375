//! The events that the decoder hands to the transport: whole messages, control frames, and fragments where they are wanted.
//!
//! All of it is borrowed, from the read buffer where the bytes arrived in one piece and from the decoder where they
//! did not, and lives until the next call.

use super::error::ProtocolError;

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
