//! The whole body of a request, bounded in bytes. Every path that takes a body reads it here. Its limits of time and memory
//! come with it: the server puts them around every body (`server/request/body.rs`).

use std::io;

use actix_http::{
    error::PayloadError,
    header::{CONTENT_LENGTH, HeaderMap},
};
use actix_web::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::disconnect::ErrorCode;

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is cut off, or its encoding is broken.
    #[error("the body cannot be read")]
    Unreadable,
    /// It is larger than it may be.
    #[error("the body is too large")]
    TooLarge,
    /// It stopped, or trickled.
    #[error("the body takes too long")]
    TimedOut,
    /// The node's memory budget is used up. A moment later it may not be.
    #[error("there is no memory for the body now, try again")]
    NoMemory,
}

impl BodyError {
    /// The code of the client protocol and of the API.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::LIMIT_EXCEEDED,
            Self::NoMemory => ErrorCode::TOO_MANY_REQUESTS,
            Self::Unreadable | Self::TimedOut => ErrorCode::BAD_REQUEST,
        }
    }

    /// The HTTP status: 400, 413, 408, or 503.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<PayloadError> for BodyError {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            PayloadError::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => Self::NoMemory,
            PayloadError::Overflow => Self::TooLarge,
            _ => Self::Unreadable,
        }
    }
}

/// Reads a body of at most `max_bytes`. One whose `Content-Length` is larger is not read at all.
///
/// # Errors
/// It is larger, or takes too long, or ends too early, or there is no memory for it.
pub fn read<S>(
    headers: &HeaderMap,
    mut payload: S,
    max_bytes: usize,
) -> impl Future<Output = Result<Bytes, BodyError>> + use<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    async move {
        if announced.is_some_and(|announced: u64| announced > max_bytes as u64) {
            return Err(BodyError::TooLarge);
        }
        let mut whole = BytesMut::new();
        // A body that came in one piece is not copied.
        let mut first = Bytes::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk?;
            if first.len() + whole.len() + chunk.len() > max_bytes {
                return Err(BodyError::TooLarge);
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
                continue;
            }
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;

    fn read_chunks(
        length: Option<u64>,
        chunks: &[&'static str],
        max_bytes: usize,
    ) -> Result<Bytes, BodyError> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        read(&headers, stream::iter(chunks), max_bytes).now_or_never().unwrap_or(Err(BodyError::TimedOut))
    }

    #[test]
    fn a_body_is_whole_however_it_comes() {
        for chunks in [&["goraniya"][..], &["gor", "aniya"], &["", "gor", "", "ani", "ya"]] {
            assert_eq!(read_chunks(None, chunks, 8), Ok(Bytes::from_static(b"goraniya")), "{chunks:?}");
        }
        assert_eq!(read_chunks(Some(0), &[], 0), Ok(Bytes::new()));
    }

    #[test]
    fn a_body_is_too_large_as_soon_as_that_is_known() {
        assert_eq!(read_chunks(None, &["gor", "aniya"], 7), Err(BodyError::TooLarge));
        assert_eq!(read_chunks(None, &["goraniya"], 7), Err(BodyError::TooLarge));
        let headers = [(CONTENT_LENGTH, 8_u64.into())].into_iter().collect();
        let unsent = stream::pending::<Result<Bytes, PayloadError>>();
        assert_eq!(read(&headers, unsent, 7).now_or_never(), Some(Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_broken_body_says_why() {
        for (error, expected) in [
            (PayloadError::Io(io::ErrorKind::TimedOut.into()), BodyError::TimedOut),
            (PayloadError::Io(io::ErrorKind::OutOfMemory.into()), BodyError::NoMemory),
            (PayloadError::Overflow, BodyError::TooLarge),
            (PayloadError::EncodingCorrupted, BodyError::Unreadable),
        ] {
            let chunks = stream::iter([Ok(Bytes::from_static(b"gor")), Err(error)]);
            let outcome = read(&HeaderMap::new(), chunks, 8).now_or_never();
            assert_eq!(outcome, Some(Err(expected)));
        }
    }
}
