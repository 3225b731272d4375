//! A request's whole body, bounded in bytes. Its limit of time comes with it: the server puts one around every body
//! (`server/request/body.rs`).

use std::io;

use actix_http::error::PayloadError;
use actix_web::{http::StatusCode, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

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

/// Reads a body of at most `max_bytes`.
///
/// # Errors
/// It is larger, or takes too long, or ends too early, or there is no memory for it.
pub async fn read(mut payload: web::Payload, max_bytes: usize) -> Result<Bytes, BodyError> {
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
