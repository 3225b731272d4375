//! Frames to bytes, escaped as the reader's version has it. `specs/stomp.md`, items 8, 9, 13.

use bytes::{BufMut, BytesMut};

use super::{
    escape::{Part, escape},
    frame::Command,
    version::Version,
};

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

/// What a connection with nothing to say sends in place of a frame.
pub const HEART_BEAT: &[u8] = b"\n";

/// Begins a server's frame for a client of this version.
pub fn frame(command: ServerCommand, version: Version, out: &mut BytesMut) -> FrameWriter<'_> {
    let escaped = (command != ServerCommand::Connected).then_some(version);
    FrameWriter::begin(command.name(), escaped, out)
}

/// Goes on with a frame of a server whose command and first headers are written already, or will be put before these bytes.
pub fn more_headers(version: Version, out: &mut BytesMut) -> FrameWriter<'_> {
    FrameWriter { out, escaped: Some(version) }
}

/// Begins a client's frame, for tests and tools.
pub fn client_frame(command: Command, version: Version, out: &mut BytesMut) -> FrameWriter<'_> {
    FrameWriter::begin(command.name(), (!command.opens()).then_some(version), out)
}

/// A frame in the making: headers, then [`FrameWriter::body`] or [`FrameWriter::end`], without which it stays unfinished.
#[must_use = "a frame without an end swallows the next one"]
pub struct FrameWriter<'a> {
    out: &'a mut BytesMut,
    escaped: Option<Version>,
}

impl<'a> FrameWriter<'a> {
    fn begin(command: &str, escaped: Option<Version>, out: &'a mut BytesMut) -> Self {
        out.put_slice(command.as_bytes());
        out.put_u8(b'\n');
        Self { out, escaped }
    }

    /// Adds a header. One without a name is left out: no reader would take it.
    pub fn header(self, name: &str, value: &str) -> Self {
        let start = self.out.len();
        escape(name, Part::Name, self.escaped, self.out);
        if self.out.len() == start {
            return self;
        }
        self.out.put_u8(b':');
        escape(value, Part::Value, self.escaped, self.out);
        self.out.put_u8(b'\n');
        self
    }

    /// Adds a header with a number.
    pub fn number(self, name: &str, value: u64) -> Self {
        self.header(name, itoa::Buffer::new().format(value))
    }

    /// Ends the frame with a body and its length; an empty one needs none.
    pub fn body(self, body: &[u8]) {
        if body.is_empty() {
            return self.end();
        }
        let writer = self.number("content-length", u64::try_from(body.len()).unwrap_or(u64::MAX));
        writer.out.put_u8(b'\n');
        writer.out.put_slice(body);
        writer.out.put_u8(b'\0');
    }

    /// Ends the frame with a body whose length is not told: up to its first NUL.
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
