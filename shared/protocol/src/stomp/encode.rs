//! Frames to bytes, escaped as the reader's version has it. `docs/protocols/stomp.md` §1.8 to §1.10 and §1.13.
//!
//! Escapes of header names and values: none in 1.0, `\n \c \\` in 1.1, `\r` too in 1.2. `docs/protocols/stomp.md` §1.7 to §1.9.

use bytes::{BufMut, BytesMut};

use super::{StompCommand, Version};

/// The commands of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCommand {
    /// The session is open.
    Connected,
    /// A message of a subscription.
    Message,
    /// A frame was handled.
    Receipt,
    /// Something failed; the connection ends.
    Error,
}

impl ServerCommand {
    /// As it stands on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }
}

/// The heart-beat that a connection with nothing to say sends.
pub const HEART_BEAT: &[u8] = b"\n";

/// Begins a server's frame for a client of this version.
pub fn frame(command: ServerCommand, version: Version, out: &mut BytesMut) -> StompFrameWriter<'_> {
    let escaped = (command != ServerCommand::Connected).then_some(version);
    StompFrameWriter::begin(command.name(), escaped, out)
}

/// Goes on with a frame of a server whose command and first headers are written already, or will be put before these bytes.
pub fn more_headers(version: Version, out: &mut BytesMut) -> StompFrameWriter<'_> {
    StompFrameWriter { out, escaped: Some(version), has_length: false }
}

/// Begins a client's frame, for tests and tools.
pub fn client_frame(command: StompCommand, version: Version, out: &mut BytesMut) -> StompFrameWriter<'_> {
    StompFrameWriter::begin(command.name(), (!command.opens()).then_some(version), out)
}

/// A frame in the making: headers, then [`StompFrameWriter::body`] or [`StompFrameWriter::end`]; without either it is unfinished.
#[must_use = "a frame without an end swallows the next one"]
pub struct StompFrameWriter<'a> {
    out: &'a mut BytesMut,
    escaped: Option<Version>,
    /// `content-length` is written already.
    has_length: bool,
}

impl<'a> StompFrameWriter<'a> {
    fn begin(command: &str, escaped: Option<Version>, out: &'a mut BytesMut) -> Self {
        out.put_slice(command.as_bytes());
        out.put_u8(b'\n');
        Self { out, escaped, has_length: false }
    }

    /// Adds a header. One whose name cannot be written in the reader's version is left out whole: without these characters
    /// it would be another name, perhaps one of the server's own. So is one without a name.
    pub fn header(self, name: &str, value: &str) -> Self {
        if name.is_empty() || !is_sayable_name(name, self.escaped) {
            return self;
        }
        escape(name, EscapePart::Name, self.escaped, self.out);
        self.out.put_u8(b':');
        escape(value, EscapePart::Value, self.escaped, self.out);
        self.out.put_u8(b'\n');
        self
    }

    /// Adds a header with a number.
    pub fn number(self, name: &str, value: u64) -> Self {
        self.header(name, itoa::Buffer::new().format(value))
    }

    /// Writes the length of the body to come. Readers take the first of repeated headers (STOMP 1.2, "Repeated Header
    /// Entries"), so it is written before headers that somebody else chose. An empty body needs none.
    pub fn content_length(self, body_bytes: usize) -> Self {
        if body_bytes == 0 {
            return self;
        }
        let writer = self.number("content-length", u64::try_from(body_bytes).unwrap_or(u64::MAX));
        Self { has_length: true, ..writer }
    }

    /// Ends the frame with a body, and its length where that was not written before; an empty one needs none.
    pub fn body(self, body: &[u8]) {
        if body.is_empty() {
            return self.end();
        }
        let writer = if self.has_length { self } else { self.content_length(body.len()) };
        writer.out.put_u8(b'\n');
        writer.out.put_slice(body);
        writer.out.put_u8(b'\0');
    }

    /// Ends the frame with a body whose length is not written: up to its first NUL.
    pub fn body_without_length(self, body: &[u8]) {
        self.out.put_u8(b'\n');
        self.out.put_slice(body.split(|byte| *byte == b'\0').next().unwrap_or_default());
        self.out.put_u8(b'\0');
    }

    /// Ends the frame without a body.
    pub fn end(self) {
        self.out.put_slice(b"\n\0");
    }
}

/// The half of a header that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapePart {
    /// Before the colon.
    Name,
    /// Behind the colon.
    Value,
}

/// True if this header name can be written in full for a reader of `version`. `None`: a CONNECTED frame, which is not escaped.
#[must_use]
pub fn is_sayable_name(name: &str, version: Option<Version>) -> bool {
    let version = version.unwrap_or(Version::V1_0);
    name.bytes().all(|byte| match byte {
        b'\0' => false,
        b'\r' => version == Version::V1_2,
        b'\n' | b':' => version > Version::V1_0,
        _ => true,
    })
}

/// Appends `text` as a part of a header that a reader of `version` takes back. `None`: a CONNECTED frame, which is not
/// escaped. What cannot be written is left out, so that no header ever begins a second one: CR, LF, and a colon in a name
/// where there are no escapes, CR in 1.1, NUL anywhere.
pub fn escape(text: &str, part: EscapePart, version: Option<Version>, out: &mut BytesMut) {
    let version = version.unwrap_or(Version::V1_0);
    let escapes = version > Version::V1_0;
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b':' | b'\n' | b'\r' | b'\0')) {
        let (plain, special) = rest.split_at(at);
        out.put_slice(plain);
        let Some((&byte, behind)) = special.split_first() else { break };
        rest = behind;
        match byte {
            b'\\' if escapes => out.put_slice(b"\\\\"),
            b'\\' => out.put_u8(byte),
            b':' if escapes => out.put_slice(b"\\c"),
            b':' if part == EscapePart::Value => out.put_u8(byte),
            b'\n' if escapes => out.put_slice(b"\\n"),
            b'\r' if version == Version::V1_2 => out.put_slice(b"\\r"),
            _ => {}
        }
    }
    out.put_slice(rest);
}
