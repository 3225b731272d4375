//! The headers of a frame: two allocations for all of them. `docs/protocols/stomp.md` §1.5, §1.6 and §1.10.
//!
//! Heart-beats: what each side offers and wants, and what follows from it. `docs/protocols/stomp.md` §3.
//!
//! The frames of a client: a command, headers, and with SEND a body. `docs/protocols/stomp.md` §1.1, §1.12 and §1.16.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::{
    command::{StompCommand, StompDecodeError, Version},
    encode::unescape,
};

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
    pub(super) fn add(&mut self, line: &str, version: Option<Version>) -> Result<(), StompDecodeError> {
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
    pub(super) fn trim_values(&mut self) {
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
