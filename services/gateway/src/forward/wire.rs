//! HTTP/1.1 as one node speaks it to another: requests with a whole body, answers chunk by chunk.
//!
//! Of our own because a chunk must come out as it went in, one frame of a transport: HTTP libraries give what one read of
//! the socket gave. Sans-IO: [`request`] makes bytes, [`ForwardedHead`] and [`BodyDecoder`] are read from them. Record 21.

use actix_web::http::{
    Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of an answer's status line and headers at most.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// Headers of an answer at most.
const HEADERS_MAX: usize = 96;
/// Bytes of a chunk's length line at most; ours have no extensions.
const LENGTH_LINE_MAX_BYTES: usize = 64;
/// A chunk over this comes out in pieces, so that a node never holds more than this of one answer.
pub(super) const CHUNK_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Why an answer cannot be understood. Another node of ours does not answer like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of a node: {0}")]
pub(super) struct WireError(&'static str);

/// The head of an answer.
#[derive(Debug, Clone)]
pub(super) struct ForwardedHead {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its headers, all of them.
    pub(super) headers: HeaderMap,
    /// The length of its body.
    pub(super) length: BodyLength,
    /// True if the connection can carry another request afterwards.
    pub(super) reusable: bool,
}

/// The length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is none, whatever the headers say.
    None,
    /// It has this number of bytes.
    Known(u64),
    /// It ends with its last chunk.
    Chunks,
    /// It ends with the connection.
    UntilClose,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    /// Bytes: of a chunked body a whole chunk.
    Bytes(Bytes),
    /// Nothing until the socket brings more.
    Wanting,
    /// It is over.
    End,
}

/// The bytes of a request. `headers` must be without those of the connection itself.
pub(super) fn request<'a>(
    method: &Method,
    target: &str,
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    signature: (&str, &str),
    body: &[u8],
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024 + body.len());
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        header(&mut out, name.as_str(), value.as_bytes());
    }
    header(&mut out, signature.0, signature.1.as_bytes());
    if !body.is_empty() || *method == Method::POST {
        header(&mut out, CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

fn header(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Takes the head of an answer off the front of what was read; `None` while it is not complete. `bodiless`: the request's
/// method was HEAD.
///
/// # Errors
/// If it is no answer, or too large.
pub(super) fn head(input: &mut BytesMut, bodiless: bool) -> Result<Option<ForwardedHead>, WireError> {
    let mut parsed = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut parsed);
    let used = match answer.parse(input) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if input.len() > HEAD_MAX_BYTES => {
            return Err(WireError("headers without end"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(WireError("bad headers")),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_informational()).ok_or(WireError("bad status"))?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let mut reusable = answer.version == Some(1) && !says(&headers, CONNECTION, "close");
    let length = if bodiless || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        BodyLength::None
    } else if says(&headers, TRANSFER_ENCODING, "chunked") {
        BodyLength::Chunks
    } else if let Some(length) = headers.get(CONTENT_LENGTH) {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        BodyLength::Known(length.ok_or(WireError("bad length"))?)
    } else {
        reusable = false;
        BodyLength::UntilClose
    };
    input.advance(used);
    Ok(Some(ForwardedHead { status, headers, length, reusable }))
}

fn says(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let words = headers.get_all(name).filter_map(|value| value.to_str().ok());
    words.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// Takes a body apart.
#[derive(Debug)]
pub(super) struct BodyDecoder(BodyDecoderState);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyDecoderState {
    Rest(u64),
    Length,
    /// Within a chunk of which so much is left.
    Chunk(u64),
    /// Behind a chunk's bytes.
    LineEnd,
    /// Behind the last chunk.
    Trailer,
    UntilClose,
    Over,
}

impl BodyDecoder {
    /// A body of this length.
    pub(super) fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::None | BodyLength::Known(0) => BodyDecoderState::Over,
            BodyLength::Known(length) => BodyDecoderState::Rest(length),
            BodyLength::Chunks => BodyDecoderState::Length,
            BodyLength::UntilClose => BodyDecoderState::UntilClose,
        })
    }

    /// True if it is over.
    pub(super) fn is_over(&self) -> bool {
        self.0 == BodyDecoderState::Over
    }

    /// True if the end of the connection is its end.
    pub(super) fn may_be_closed(&self) -> bool {
        matches!(self.0, BodyDecoderState::Over | BodyDecoderState::UntilClose)
    }

    /// Takes what comes next off the front of what was read.
    ///
    /// # Errors
    /// If it is no body.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<BodyPart, WireError> {
        loop {
            match self.0 {
                BodyDecoderState::Over => return Ok(BodyPart::End),
                BodyDecoderState::Rest(rest) => {
                    let taken = up_to(input, rest);
                    if taken.is_empty() {
                        return Ok(BodyPart::Wanting);
                    }
                    let rest = rest - taken.len() as u64;
                    self.0 = if rest == 0 { BodyDecoderState::Over } else { BodyDecoderState::Rest(rest) };
                    return Ok(BodyPart::Bytes(taken));
                }
                BodyDecoderState::UntilClose if input.is_empty() => return Ok(BodyPart::Wanting),
                BodyDecoderState::UntilClose => return Ok(BodyPart::Bytes(input.split().freeze())),
                BodyDecoderState::Length => {
                    let Some(line) = line(input)? else { return Ok(BodyPart::Wanting) };
                    self.0 = match length(&line)? {
                        0 => BodyDecoderState::Trailer,
                        length => BodyDecoderState::Chunk(length),
                    };
                }
                BodyDecoderState::Chunk(rest) => {
                    let whole = usize::try_from(rest).unwrap_or(usize::MAX).min(CHUNK_MAX_BYTES);
                    if input.len() < whole {
                        input.reserve(whole - input.len());
                        return Ok(BodyPart::Wanting);
                    }
                    let rest = rest - whole as u64;
                    self.0 =
                        if rest == 0 { BodyDecoderState::LineEnd } else { BodyDecoderState::Chunk(rest) };
                    return Ok(BodyPart::Bytes(input.split_to(whole).freeze()));
                }
                BodyDecoderState::LineEnd => {
                    let Some(line) = line(input)? else { return Ok(BodyPart::Wanting) };
                    if !line.is_empty() {
                        return Err(WireError("bad end of a chunk"));
                    }
                    self.0 = BodyDecoderState::Length;
                }
                BodyDecoderState::Trailer => {
                    let Some(line) = line(input)? else { return Ok(BodyPart::Wanting) };
                    if !line.is_empty() {
                        return Err(WireError("trailers"));
                    }
                    self.0 = BodyDecoderState::Over;
                }
            }
        }
    }
}

fn up_to(input: &mut BytesMut, rest: u64) -> Bytes {
    let count = usize::try_from(rest).unwrap_or(usize::MAX).min(input.len());
    input.split_to(count).freeze()
}

/// A line without its end.
fn line(input: &mut BytesMut) -> Result<Option<BytesMut>, WireError> {
    let Some(end) = input.windows(2).take(LENGTH_LINE_MAX_BYTES).position(|pair| pair == b"\r\n") else {
        let is_too_long = input.len() > LENGTH_LINE_MAX_BYTES;
        return if is_too_long { Err(WireError("bad chunk")) } else { Ok(None) };
    };
    let line = input.split_to(end);
    input.advance(2);
    Ok(Some(line))
}

fn length(line: &[u8]) -> Result<u64, WireError> {
    let text = std::str::from_utf8(line).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(WireError("bad length of a chunk"))
}

#[cfg(test)]
mod tests;
