//! Bytes to frames, however the bytes are cut. `docs/protocols/stomp.md` §1.
//!
//! Lines go into the headers as they end; a body grows with what arrives, never with what `content-length` announces.
//! Every limit is checked before the bytes that break it are kept.

use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::{COMMAND_MAX_BYTES, Headers, StompCommand, StompDecodeError, StompFrame, Version};

/// The bounds of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StompLimits {
    /// Header lines, repeated ones included.
    pub headers: usize,
    /// Bytes of one header line.
    pub header_bytes: usize,
    /// Bytes of all header lines.
    pub head_bytes: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
}

/// Decodes one connection's frames.
#[derive(Debug)]
pub struct StompDecoder {
    limits: StompLimits,
    /// Absent until [`StompDecoder::set_version`].
    version: Option<Version>,
    state: StompDecoderState,
    /// A line that has begun.
    line: Vec<u8>,
    failed: Option<StompDecodeError>,
}

#[derive(Debug)]
enum StompDecoderState {
    Between,
    Head { command: StompCommand, headers: Headers, lines: usize, bytes: usize },
    Body { command: StompCommand, headers: Headers, length: Option<usize>, body: Vec<u8> },
}

impl StompDecoder {
    /// A decoder that takes CONNECT or STOMP, and then waits for the version.
    #[must_use]
    pub fn new(limits: StompLimits) -> Self {
        Self { limits, version: None, state: StompDecoderState::Between, line: Vec::new(), failed: None }
    }

    /// The session has a version: other frames may come, escaped its way.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// The next frame of `input`, which moves on by what was read; `None` when all of it is read. To be called until then
    /// with the same input, and [`StompDecoder::set_version`] between the first and the second frame. An error is for ever.
    ///
    /// # Errors
    /// Whatever a client can do wrong.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<StompFrame>, StompDecodeError> {
        let result = match self.failed {
            Some(error) => Err(error),
            None => self.advance(input),
        };
        if let Err(error) = result {
            *input = &[];
            self.failed = Some(error);
            self.line = Vec::new();
        }
        result
    }

    /// The `receipt` header of the frame that is not complete, so that an ERROR can name it.
    #[must_use]
    pub fn receipt(&self) -> Option<&str> {
        match &self.state {
            StompDecoderState::Head { headers, .. } | StompDecoderState::Body { headers, .. } => {
                headers.get("receipt")
            }
            StompDecoderState::Between => None,
        }
    }

    /// Bytes of memory that an incomplete frame holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.line.capacity()
            + match &self.state {
                StompDecoderState::Between => 0,
                StompDecoderState::Head { headers, .. } => headers.held_bytes(),
                StompDecoderState::Body { headers, body, .. } => headers.held_bytes() + body.capacity(),
            }
    }

    /// Gives back what is kept of a frame that is not complete. Nothing can be read after it: it ends the stream.
    pub fn forget(&mut self) {
        self.state = StompDecoderState::Between;
        self.line = Vec::new();
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<StompFrame>, StompDecodeError> {
        loop {
            if matches!(self.state, StompDecoderState::Body { .. }) {
                return self.take_body(input);
            }
            let Some(at) = memchr2(b'\n', b'\0', input) else {
                self.check_length(self.line.len() + input.len())?;
                self.line.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            };
            let (piece, behind) = input.split_at(at);
            let Some((&end, behind)) = behind.split_first() else { return Ok(None) };
            *input = behind;
            // The length first, as when the bytes come one by one.
            self.check_length(self.line.len() + piece.len())?;
            if end == b'\0' {
                return Err(StompDecodeError::NulInHead);
            }
            if self.line.is_empty() {
                self.take_line(piece)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.take_line(&line)?;
            }
        }
    }

    /// Checks that a line may be so long; a CR at its end comes on top.
    fn check_length(&self, bytes: usize) -> Result<(), StompDecodeError> {
        match &self.state {
            StompDecoderState::Between if bytes > COMMAND_MAX_BYTES + 1 => Err(self.bad_command()),
            StompDecoderState::Head { .. } if bytes > self.limits.header_bytes + 1 => {
                Err(StompDecodeError::HeaderTooLong(self.limits.header_bytes))
            }
            _ => Ok(()),
        }
    }

    fn bad_command(&self) -> StompDecodeError {
        if self.version.is_none() { StompDecodeError::NotConnect } else { StompDecodeError::UnknownCommand }
    }

    /// Takes a line without its LF.
    fn take_line(&mut self, line: &[u8]) -> Result<(), StompDecodeError> {
        let is_between = matches!(self.state, StompDecoderState::Between);
        let line = match line.strip_suffix(b"\r") {
            // An empty line between frames is noise, whatever it ends with.
            Some(line) if self.allows_cr() || (is_between && line.is_empty()) => line,
            Some(_) => return Err(StompDecodeError::CarriageReturn),
            None => line,
        };
        if memchr(b'\r', line).is_some() {
            return Err(StompDecodeError::CarriageReturn);
        }
        match &mut self.state {
            StompDecoderState::Between if line.is_empty() => {}
            StompDecoderState::Between => {
                let command = StompCommand::parse(line, self.version).ok_or_else(|| self.bad_command())?;
                if self.version.is_none() && !command.opens() {
                    return Err(StompDecodeError::NotConnect);
                }
                self.state =
                    StompDecoderState::Head { command, headers: Headers::default(), lines: 0, bytes: 0 };
            }
            StompDecoderState::Head { .. } if line.is_empty() => self.begin_body()?,
            StompDecoderState::Head { command, headers, lines, bytes } => {
                *lines += 1;
                *bytes += line.len();
                if line.len() > self.limits.header_bytes {
                    return Err(StompDecodeError::HeaderTooLong(self.limits.header_bytes));
                }
                if *lines > self.limits.headers {
                    return Err(StompDecodeError::TooManyHeaders(self.limits.headers));
                }
                if *bytes > self.limits.head_bytes {
                    return Err(StompDecodeError::HeadTooLong(self.limits.head_bytes));
                }
                let text = simdutf8::basic::from_utf8(line).map_err(|_| StompDecodeError::InvalidUtf8)?;
                headers.add(text, if command.opens() { None } else { self.version })?;
            }
            StompDecoderState::Body { .. } => {}
        }
        Ok(())
    }

    /// True if lines may end with CR LF: in 1.2, and while the version is not known.
    fn allows_cr(&self) -> bool {
        matches!(self.version, None | Some(Version::V1_2))
    }

    /// The version that the frame at hand is read by: one that opens a session names it, or means 1.0.
    fn is_version_1_0(&self, headers: &Headers) -> bool {
        match self.version {
            Some(version) => version == Version::V1_0,
            None => headers.get("accept-version").is_none(),
        }
    }

    fn begin_body(&mut self) -> Result<(), StompDecodeError> {
        let StompDecoderState::Head { command, mut headers, .. } =
            std::mem::replace(&mut self.state, StompDecoderState::Between)
        else {
            return Ok(());
        };
        let is_version_1_0 = self.is_version_1_0(&headers);
        if is_version_1_0 {
            headers.trim_values();
        }
        let length = headers.get("content-length").map(content_length).transpose();
        // The state is there first, so that an ERROR finds the receipt.
        let announced = length.unwrap_or_default();
        self.state = StompDecoderState::Body { command, headers, length: announced, body: Vec::new() };
        length?;
        match announced {
            Some(1..) if !command.has_body() && !is_version_1_0 => {
                Err(StompDecodeError::UnexpectedBody(command))
            }
            Some(length) if length > self.limits.body_bytes => {
                Err(StompDecodeError::BodyTooLong(self.limits.body_bytes))
            }
            _ => Ok(()),
        }
    }

    fn take_body(&mut self, input: &mut &[u8]) -> Result<Option<StompFrame>, StompDecodeError> {
        let most = self.limits.body_bytes;
        let StompDecoderState::Body { command, length, body, .. } = &self.state else { return Ok(None) };
        let (piece, ends) = match *length {
            Some(length) => {
                let missing = length.saturating_sub(body.len());
                (missing.min(input.len()), missing < input.len())
            }
            None => {
                let at = memchr(b'\0', input);
                (at.unwrap_or(input.len()), at.is_some())
            }
        };
        let (piece, behind) = input.split_at(piece);
        let command = *command;
        let is_too_long = body.len() + piece.len() > most;
        if !piece.is_empty() && !command.has_body() && !self.tolerates_bodies() {
            return Err(StompDecodeError::UnexpectedBody(command));
        }
        if is_too_long {
            return Err(StompDecodeError::BodyTooLong(most));
        }
        let StompDecoderState::Body { headers, body, .. } = &mut self.state else { return Ok(None) };
        if !ends {
            body.extend_from_slice(piece);
            *input = behind;
            return Ok(None);
        }
        let Some((b'\0', behind)) = behind.split_first() else {
            return Err(StompDecodeError::NoNulAfterBody);
        };
        *input = behind;
        let body = if body.is_empty() {
            // All in one piece: one copy, of the right size.
            Bytes::copy_from_slice(piece)
        } else {
            body.extend_from_slice(piece);
            Bytes::from(std::mem::take(body))
        };
        let headers = std::mem::take(headers);
        self.state = StompDecoderState::Between;
        // A body that 1.0 allows on other frames means nothing.
        let body = if command.has_body() { body } else { Bytes::new() };
        Ok(Some(StompFrame { command, headers, body }))
    }

    /// True if the frame at hand may have a body that means nothing.
    fn tolerates_bodies(&self) -> bool {
        match &self.state {
            StompDecoderState::Body { headers, .. } => self.is_version_1_0(headers),
            StompDecoderState::Between | StompDecoderState::Head { .. } => false,
        }
    }
}

/// Digits alone: no sign, no spaces. More than fits is over every limit.
fn content_length(text: &str) -> Result<usize, StompDecodeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StompDecodeError::BadContentLength);
    }
    Ok(text.parse().unwrap_or(usize::MAX))
}
