//! The place where a call's error is told: in the body of a 200, as the libraries of the Centrifuge world read it, or by the
//! HTTP status too. Decision record 0040.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::{api::error::ApiError, settings::ErrorMode};

/// The headers by which one call chooses, ours and that of Centrifugo.
const HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-gorani-error-mode"), HeaderName::from_static("x-centrifugo-error-mode")];

/// The mode of one call. `transport` is Centrifugo's word for `status`.
///
/// # Errors
/// The header says something else.
pub(super) fn of_call(default: ErrorMode, headers: &HeaderMap) -> Result<ErrorMode, ApiError> {
    let Some(value) = HEADERS.iter().find_map(|name| headers.get(name)) else { return Ok(default) };
    match value.as_bytes() {
        b"body" => Ok(ErrorMode::Body),
        b"status" | b"transport" => Ok(ErrorMode::Status),
        _ => Err(ApiError::bad_request("the error mode is body, status or transport")),
    }
}
