//! Why a body is no answer. Nothing of the body is shown.

use gorani_protocol::client::JsonError;

use crate::session::shared::{IDEMPOTENCY_KEY_MAX_BYTES, TAGS_MAX, TAGS_MAX_BYTES};

/// Why a body is no answer. It shows nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not one JSON value, too deep, or not UTF-8.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A field has another type than it must have.
    #[error("{0}: {1}")]
    Shape(&'static str, String),
    /// An error without a code.
    #[error("error.code is 0")]
    ErrorCode,
    /// Base64 that is none.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// The info of a client that others see must be JSON.
    #[error("b64info is not base64 of json")]
    Info,
    /// More or larger tags than a publication has.
    #[error("more than {TAGS_MAX} tags or {TAGS_MAX_BYTES} bytes of them")]
    Tags,
    /// The key is longer than one that is remembered.
    #[error("idempotency_key is longer than {IDEMPOTENCY_KEY_MAX_BYTES} bytes")]
    IdempotencyKey,
}

/// A fault without the value that serde shows.
pub(super) fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let expected = text.split(", expected ").nth(1);
    match expected {
        Some(expected) if text.starts_with("invalid ") => format!("must be {expected}"),
        _ if text.starts_with("duplicate field") => text,
        _ => format!("not understood, line {}, column {}", error.line(), error.column()),
    }
}
