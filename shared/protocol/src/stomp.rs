//! STOMP 1.0, 1.1 and 1.2: a client's bytes in, [`StompFrame`]s out; a server's frames as bytes. `docs/protocols/stomp.md` §1.
//!
//! The journey: a transport's bytes, cut anywhere → [`StompDecoder`] → the gateway's `session/stomp` → [`encode::frame`] →
//! the outbox. Nothing here knows what a destination is.
//!
//! - [`decoder`]: bytes to frames, every limit checked before anything is kept.
//! - [`encode`]: frames to bytes.
//!
//! Here stand the parts of a frame, its faults, and what client and server agree on: [`Version`] and [`HeartBeat`].

pub mod decoder;
pub mod encode;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bytes::Bytes;
use memchr::memchr;

pub use self::{
    decoder::{StompDecoder, StompLimits},
    encode::{ServerCommand, StompFrameWriter},
};

/// One frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StompFrame {
    /// The command.
    pub command: StompCommand,
    /// Unescaped, each name once.
    pub headers: Headers,
    /// Empty but for SEND; any bytes.
    pub body: Bytes,
}

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
const COMMAND_MAX_BYTES: usize = 11;

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
    fn parse(name: &[u8], version: Option<Version>) -> Option<Self> {
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

/// Names and values in the order of the frame, unescaped; of a repeated name the first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// All names and values, one after the other.
    text: String,
    spans: Vec<HeaderRange>,
}

/// The range of one header in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct HeaderRange {
    name: usize,
    name_end: usize,
    value: usize,
    value_end: usize,
}

impl Headers {
    /// The value of a header. Names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans
            .iter()
            .map(|span| (self.slice(span.name, span.name_end), self.slice(span.value, span.value_end)))
    }

    /// The number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of memory, near enough.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<HeaderRange>()
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Adds a line, split at its first colon. A name that is there already is left as it is.
    fn add(&mut self, line: &str, version: Option<Version>) -> Result<(), StompDecodeError> {
        let (name, value) = line.split_once(':').ok_or(StompDecodeError::NoColon)?;
        if name.is_empty() {
            return Err(StompDecodeError::NoName);
        }
        let start = self.text.len();
        unescape(name, version, &mut self.text)?;
        let name_end = self.text.len();
        unescape(value, version, &mut self.text)?;
        let value_end = self.text.len();
        if self.get(self.slice(start, name_end)).is_some() {
            self.text.truncate(start);
        } else {
            self.spans.push(HeaderRange { name: start, name_end, value: name_end, value_end });
        }
        Ok(())
    }

    /// Takes the spaces before each value away, as 1.0 writes them.
    fn trim_values(&mut self) {
        for span in &mut self.spans {
            let value = self.text.get(span.value..span.value_end).unwrap_or_default();
            span.value += value.len() - value.trim_start_matches(' ').len();
        }
    }
}

/// Names alone: values may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// One side's `heart-beat` header, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeat {
    /// Shortest time between two of its heart-beats that it guarantees; 0: it cannot send any.
    pub sends_ms: u32,
    /// Time between heart-beats that it wants to receive; 0: it does not want any.
    pub wants_ms: u32,
}

/// The header is not two non-negative numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("heart-beat is not two numbers")]
pub struct BadHeartBeat;

/// The heart-beats of both sides from now on, as the server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgreedHeartBeat {
    /// The client sends something at least so often.
    pub from_client: Option<Duration>,
    /// The server does.
    pub to_client: Option<Duration>,
}

impl HeartBeat {
    /// Reads the header; without it a client neither sends nor wants any.
    ///
    /// # Errors
    /// [`BadHeartBeat`]. A number too large for 32 bits counts as the largest.
    pub fn parse(header: Option<&str>) -> Result<Self, BadHeartBeat> {
        let Some(header) = header else { return Ok(Self::default()) };
        let (sends, wants) = header.split_once(',').ok_or(BadHeartBeat)?;
        Ok(Self { sends_ms: number(sends)?, wants_ms: number(wants)? })
    }

    /// The agreement of the client's offer (`self`) and the server's.
    #[must_use]
    pub fn agree(self, server: Self) -> AgreedHeartBeat {
        let every = |sends: u32, wants: u32| {
            (sends != 0 && wants != 0).then(|| Duration::from_millis(sends.max(wants).into()))
        };
        AgreedHeartBeat {
            from_client: every(self.sends_ms, server.wants_ms),
            to_client: every(server.sends_ms, self.wants_ms),
        }
    }
}

fn number(text: &str) -> Result<u32, BadHeartBeat> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHeartBeat);
    }
    Ok(digits.parse().unwrap_or(u32::MAX))
}

/// Appends `raw` without its escapes. `None`: as it is, for 1.0 and for the frames that open a session.
fn unescape(raw: &str, version: Option<Version>, out: &mut String) -> Result<(), StompDecodeError> {
    let Some(version) = version.filter(|version| *version > Version::V1_0) else {
        out.push_str(raw);
        return Ok(());
    };
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let mut signs = escape.chars();
        signs.next();
        out.push(match signs.next() {
            Some('n') => '\n',
            Some('c') => ':',
            Some('\\') => '\\',
            Some('r') if version == Version::V1_2 => '\r',
            _ => return Err(StompDecodeError::BadEscape),
        });
        rest = signs.as_str();
    }
    out.push_str(rest);
    Ok(())
}
