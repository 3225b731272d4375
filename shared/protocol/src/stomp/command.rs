//! The commands of clients. `docs/protocols/stomp.md` §1.
//!
//! The versions, and the choice between them. `docs/protocols/stomp.md` §2.3, §2.4 and §11.1.
//!
//! The faults of a client on the wire. Each ends the connection: the text is the `message` of an ERROR frame.
//! `docs/protocols/stomp.md` §1.

use std::fmt;

/// The commands of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StompCommand {
    /// Opens the session.
    Connect,
    /// Opens the session, as CONNECT does.
    Stomp,
    /// A message to a destination.
    Send,
    /// Asks for the messages of a destination.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// A message was handled.
    Ack,
    /// A message was not handled. Not in 1.0.
    Nack,
    /// Opens a transaction.
    Begin,
    /// Carries a transaction out.
    Commit,
    /// Forgets a transaction.
    Abort,
    /// Ends the session.
    Disconnect,
}

/// The longest name of a command, `UNSUBSCRIBE`, in bytes.
pub(super) const COMMAND_MAX_BYTES: usize = 11;

const ALL: [StompCommand; 11] = [
    StompCommand::Connect,
    StompCommand::Stomp,
    StompCommand::Send,
    StompCommand::Subscribe,
    StompCommand::Unsubscribe,
    StompCommand::Ack,
    StompCommand::Nack,
    StompCommand::Begin,
    StompCommand::Commit,
    StompCommand::Abort,
    StompCommand::Disconnect,
];

impl StompCommand {
    /// As it stands on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
        }
    }

    /// The command of this name, upper case, as `version` knows it; before the version is known, all.
    pub(super) fn parse(name: &[u8], version: Option<Version>) -> Option<Self> {
        let command = ALL.into_iter().find(|command| command.name().as_bytes() == name)?;
        (command != Self::Nack || version != Some(Version::V1_0)).then_some(command)
    }

    /// CONNECT or STOMP.
    #[must_use]
    pub fn opens(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp)
    }

    /// True if its frames have a body.
    #[must_use]
    pub fn has_body(self) -> bool {
        self == Self::Send
    }
}

impl fmt::Display for StompCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A version of STOMP. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0.
    V1_0,
    /// 1.1.
    V1_1,
    /// 1.2.
    V1_2,
}

/// All versions, the best first.
pub const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_1, Version::V1_0];

/// All versions as the `version` header of a refusal lists them.
pub const VERSION_LIST: &str = "1.0,1.1,1.2";

impl Version {
    /// As it stands in headers: `1.2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The WebSocket subprotocol that stands for it: `v12.stomp`.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }

    /// The highest version that both know. `accept` is the value of `accept-version`, in any order, spaces around the
    /// numbers allowed; without that header a client speaks 1.0 and nothing else. `None`: there is none.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else { return Some(Self::V1_0) };
        VERSIONS.into_iter().find(|version| accept.split(',').any(|item| item.trim() == version.name()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
