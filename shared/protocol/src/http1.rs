//! The requests in the bytes of an HTTP/1.1 connection: where heads begin and end, and their `Upgrade` lists.
//!
//! The HTTP library behind decodes the requests; this one only follows it, without a buffer: heads are scanned once, bodies
//! are skipped by their length. Requests are framed as actix-http 3.20 does (`h1/decoder.rs`, `h1/chunked.rs`). After a request
//! that it answers with 400 it processes nothing, so what is said of the stream from there on does not matter. A head is one to
//! its end even when it is malformed, since that library may wait for the end before it refuses.
//!
//! `Upgrade: h2c, websocket` (RFC 9110 §7.8) becomes the word `websocket` and blanks, in the head of a GET: actix-http knows no
//! lists there. `docs/protocols/websocket.md` §1.1.
//!
//! The method HEAD becomes [`HEAD_METHOD`]: actix-http leaves out an answer's body if the last request that it has decoded is
//! HEAD, whichever request it answers. A GET that comes in one piece with a HEAD would have no body, and its client would read
//! the next answer's head instead. All other bytes stay as they are.

mod chunks;

use memchr::memchr;

use self::chunks::{Chunks, UPGRADE, WEBSOCKET, Whole, Word, make_plain};

pub use self::chunks::UPGRADE_LINE_MAX_BYTES;

/// Stands for the method HEAD behind the stream. Methods are case-sensitive (RFC 9110 §9.1): no client means anything else by it.
pub const HEAD_METHOD: &str = "Head";

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const HEAD: &[u8] = b"HEAD";

/// The position in the stream behind the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestPhase {
    /// Between two requests, or before the first.
    Between,
    /// The same, after empty lines, which may precede a request (RFC 9112 §2.2).
    EmptyLines,
    /// In the head of a request.
    Head,
    /// In the body of a request.
    Body,
    /// No more requests come: the connection leaves HTTP, or is malformed.
    Opaque,
}

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct RequestStream {
    state: RequestState,
    head: RequestHead,
    complete_heads: u64,
}

/// The facts of a request's head, as far as it has come.
#[derive(Debug, Default)]
struct RequestHead {
    is_get: bool,
    is_head: bool,
    is_connect: bool,
    is_chunked: bool,
    upgrades: bool,
    content_length: Option<u64>,
    is_malformed: bool,
}

#[derive(Debug, Clone, Copy)]
enum RequestState {
    Between {
        after_empty_lines: bool,
    },
    Method(Word),
    RequestLine,
    Name(Word),
    ContentLength {
        value: Option<u64>,
        is_over: bool,
    },
    TransferEncoding(Word),
    Upgrade(Word),
    /// A header that says nothing about where the request ends.
    OtherHeader,
    Body {
        left: u64,
    },
    Chunked(Chunks),
    Opaque,
}

impl Default for RequestState {
    fn default() -> Self {
        Self::Between { after_empty_lines: false }
    }
}

impl RequestState {
    /// The state behind the colon of a header with this name, in lower case.
    fn of_header(name: &[u8]) -> Self {
        match name {
            CONTENT_LENGTH => Self::ContentLength { value: None, is_over: false },
            TRANSFER_ENCODING => Self::TransferEncoding(Word::default()),
            UPGRADE => Self::Upgrade(Word::default()),
            _ => Self::OtherHeader,
        }
    }
}

impl RequestStream {
    /// Follows the stream through `bytes`, makes `Upgrade` lists plain in them, and renames HEAD.
    ///
    /// Returns how many of them may be passed on. The rest, at most [`UPGRADE_LINE_MAX_BYTES`], is the beginning of a line
    /// that may be such a list or begin with HEAD: the next call has it again, with what followed. Without `may_hold` all are
    /// passed on, and that line stays as it is.
    pub fn advance(&mut self, bytes: &mut [u8], may_hold: bool) -> usize {
        let mut at = 0;
        // Where the header line began that the stream is in, if it began in `bytes`.
        let mut line = matches!(self.state, RequestState::Name(word) if word.is_empty()).then_some(0);
        // The same for the line of the request.
        let mut request = matches!(self.state, RequestState::Method(word) if word.is_empty()).then_some(0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += match &mut self.state {
                RequestState::Between { .. } => {
                    let used = self.before_head(rest);
                    request = Some(at + used);
                    used
                }
                RequestState::Method(_) => {
                    let used = self.method(rest);
                    if self.head.is_head
                        && let Some(method) =
                            request.take().and_then(|from| bytes.get_mut(from..from + HEAD.len()))
                    {
                        method.copy_from_slice(HEAD_METHOD.as_bytes());
                    }
                    used
                }
                RequestState::RequestLine | RequestState::OtherHeader => match memchr(b'\n', rest) {
                    Some(end) => {
                        self.state = RequestState::Name(Word::default());
                        line = Some(at + end + 1);
                        end + 1
                    }
                    None => rest.len(),
                },
                RequestState::Name(_) => {
                    let used = self.name(rest);
                    if matches!(self.state, RequestState::Upgrade(_)) && self.head.is_get {
                        let whole = line.and_then(|line| bytes.get_mut(line..)).map(make_plain);
                        if let (Some(line), Some(Whole::NotYet), true) = (line, whole, may_hold) {
                            self.state = RequestState::Name(Word::default());
                            return line;
                        }
                    }
                    used
                }
                RequestState::ContentLength { .. }
                | RequestState::TransferEncoding(_)
                | RequestState::Upgrade(_) => {
                    let used = self.value(rest);
                    if matches!(self.state, RequestState::Name(_)) {
                        line = Some(at + used);
                    }
                    used
                }
                RequestState::Body { left } => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= used as u64;
                    if *left == 0 {
                        self.state = RequestState::default();
                    }
                    used
                }
                RequestState::Chunked(chunks) => {
                    let used = chunks.advance(rest);
                    match chunks.end() {
                        None => {}
                        Some(Ok(())) => self.state = RequestState::default(),
                        Some(Err(chunks::MalformedChunk)) => self.state = RequestState::Opaque,
                    }
                    used
                }
                RequestState::Opaque => rest.len(),
            };
        }
        match (self.state, line.filter(|_| may_hold), request.filter(|_| may_hold)) {
            (RequestState::Method(method), _, Some(request)) if method.begins(HEAD) => {
                self.state = RequestState::Method(Word::default());
                request
            }
            (RequestState::Name(name), Some(line), _) if self.head.is_get && name.begins(UPGRADE) => {
                self.state = RequestState::Name(Word::default());
                line
            }
            _ => bytes.len(),
        }
    }

    /// The position in the stream.
    pub fn phase(&self) -> RequestPhase {
        match self.state {
            RequestState::Between { after_empty_lines: false } => RequestPhase::Between,
            RequestState::Between { after_empty_lines: true } => RequestPhase::EmptyLines,
            RequestState::Method(_)
            | RequestState::RequestLine
            | RequestState::Name(_)
            | RequestState::ContentLength { .. }
            | RequestState::TransferEncoding(_)
            | RequestState::Upgrade(_)
            | RequestState::OtherHeader => RequestPhase::Head,
            RequestState::Body { .. } | RequestState::Chunked(_) => RequestPhase::Body,
            RequestState::Opaque => RequestPhase::Opaque,
        }
    }

    /// Heads that have come whole.
    pub fn complete_heads(&self) -> u64 {
        self.complete_heads
    }

    fn before_head(&mut self, bytes: &[u8]) -> usize {
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty < bytes.len() {
            self.head = RequestHead::default();
            self.state = RequestState::Method(Word::default());
        } else {
            self.state = RequestState::Between { after_empty_lines: true };
        }
        empty
    }

    fn method(&mut self, bytes: &[u8]) -> usize {
        let RequestState::Method(method) = &mut self.state else { return 0 };
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b' ' => {
                    // Methods are case-sensitive (RFC 9110 §9.1).
                    self.head.is_get = method.is(b"GET");
                    self.head.is_head = method.is(HEAD);
                    self.head.is_connect = method.is(b"CONNECT");
                    self.state = RequestState::RequestLine;
                    return at + 1;
                }
                b'\n' => {
                    self.head.is_malformed = true;
                    self.state = RequestState::RequestLine;
                    return at;
                }
                byte => method.push(*byte),
            }
        }
        bytes.len()
    }

    fn name(&mut self, bytes: &[u8]) -> usize {
        let RequestState::Name(name) = &mut self.state else { return 0 };
        let may_matter = |byte: &u8| matches!(byte, b'c' | b'C' | b't' | b'T' | b'u' | b'U' | b'\r' | b'\n');
        if name.is_empty() {
            if !bytes.first().is_some_and(may_matter) {
                self.state = RequestState::OtherHeader;
                return 0;
            }
            // Mostly the whole name is there.
            for known in [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
                if let Some((name, [b':', ..])) = bytes.split_at_checked(known.len())
                    && name.eq_ignore_ascii_case(known)
                {
                    self.state = RequestState::of_header(known);
                    return known.len() + 1;
                }
            }
            if bytes.len() > TRANSFER_ENCODING.len() && !matches!(bytes, [b'\r' | b'\n', ..]) {
                self.state = RequestState::OtherHeader;
                return 0;
            }
        }
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b':' => {
                    self.state = RequestState::of_header(name.so_far());
                    return at + 1;
                }
                b'\n' => {
                    if name.is_empty() || name.is(b"\r") {
                        self.end_head();
                        return at + 1;
                    }
                    self.state = RequestState::OtherHeader;
                    return at;
                }
                byte => {
                    name.push(byte.to_ascii_lowercase());
                    if name.is_too_long() {
                        self.state = RequestState::OtherHeader;
                        return at + 1;
                    }
                }
            }
        }
        bytes.len()
    }

    /// The value of a header that says where the request ends.
    fn value(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            let is_blank = matches!(byte, b' ' | b'\t' | b'\r');
            let is_legal = match &mut self.state {
                _ if *byte == b'\n' => self.end_value(),
                RequestState::ContentLength { value, is_over } => {
                    let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
                    match digit {
                        _ if is_blank => {
                            *is_over = value.is_some();
                            true
                        }
                        Some(digit) if !*is_over => {
                            *value =
                                value.unwrap_or(0).checked_mul(10).and_then(|ten| ten.checked_add(digit));
                            value.is_some()
                        }
                        _ => false,
                    }
                }
                RequestState::TransferEncoding(word) | RequestState::Upgrade(word) => {
                    if is_blank {
                        word.end();
                    } else {
                        word.push(byte.to_ascii_lowercase());
                    }
                    true
                }
                _ => false,
            };
            if !is_legal {
                self.head.is_malformed = true;
                self.state = RequestState::OtherHeader;
                return at;
            }
            if *byte == b'\n' {
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Takes a value that is whole; false if no request may have it.
    fn end_value(&mut self) -> bool {
        let head = &mut self.head;
        match std::mem::replace(&mut self.state, RequestState::Name(Word::default())) {
            RequestState::ContentLength { value: Some(value), .. } => {
                head.content_length.replace(value).is_none()
            }
            RequestState::TransferEncoding(word) => {
                !std::mem::replace(&mut head.is_chunked, true) && word.is(b"chunked")
            }
            RequestState::Upgrade(word) => {
                head.upgrades |= word.is(WEBSOCKET);
                true
            }
            _ => false,
        }
    }

    fn end_head(&mut self) {
        self.complete_heads += 1;
        let head = &self.head;
        self.state = match head.content_length {
            _ if head.is_malformed => RequestState::Opaque,
            Some(_) if head.is_chunked => RequestState::Opaque,
            _ if head.is_chunked => RequestState::Chunked(Chunks::default()),
            _ if head.upgrades => RequestState::Opaque,
            Some(left @ 1..) => RequestState::Body { left },
            _ if head.is_connect => RequestState::Opaque,
            _ => RequestState::default(),
        };
    }
}

#[cfg(test)]
mod tests;
