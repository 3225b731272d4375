//! What a client can do wrong on the wire. Each ends the connection: the text is the `message` of an ERROR frame.
//! `docs/protocols/stomp.md` §1.

use super::command::StompCommand;

/// A violation that ends the connection. The texts hold nothing that the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StompDecodeError {
    /// The first frame is neither CONNECT nor STOMP.
    #[error("the first frame must be CONNECT or STOMP")]
    NotConnect,
    /// No command of the session's version.
    #[error("unknown command")]
    UnknownCommand,
    /// A carriage return that no line feed follows, or one in a version whose lines end with LF alone.
    #[error("a carriage return where none may be")]
    CarriageReturn,
    /// A NUL before the empty line that ends the headers.
    #[error("the frame ends within its headers: the empty line is missing")]
    NulInHead,
    /// A header line without a colon.
    #[error("a header line without a colon")]
    NoColon,
    /// A header without a name.
    #[error("a header without a name")]
    NoName,
    /// A backslash that begins no escape of the version.
    #[error("an escape that this version does not have")]
    BadEscape,
    /// The headers are not UTF-8.
    #[error("the headers are not valid UTF-8")]
    InvalidUtf8,
    /// `content-length` is no non-negative whole number.
    #[error("content-length is not a number")]
    BadContentLength,
    /// The octet after `content-length` octets of body is not NUL.
    #[error("the body does not end where content-length says")]
    NoNulAfterBody,
    /// A body on a frame that has none.
    #[error("a {0} frame has no body")]
    UnexpectedBody(StompCommand),
    /// More headers than allowed.
    #[error("more than {0} headers")]
    TooManyHeaders(usize),
    /// A header line longer than allowed, in bytes.
    #[error("a header line longer than {0} bytes")]
    HeaderTooLong(usize),
    /// All headers together longer than allowed, in bytes.
    #[error("headers longer than {0} bytes together")]
    HeadTooLong(usize),
    /// The body is, or announces to be, longer than allowed, in bytes.
    #[error("a body longer than {0} bytes")]
    BodyTooLong(usize),
}
