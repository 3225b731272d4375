//! The key check: the first thing that happens to a call, before its body is read. `specs/http-api.md`, design §8.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use gorani_auth::{ApiKeys, api_key::from_headers};

use crate::{api::error::ApiError, disconnect::ErrorCode};

/// The header of most backend libraries.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Lets a request pass that presents one of the keys.
pub(super) fn check(keys: &ApiKeys, headers: &HeaderMap) -> Result<(), ApiError> {
    let value = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    let refused = |sentence: &'static str| Err(ApiError::new(ErrorCode::UNAUTHORIZED, sentence));
    if keys.is_empty() {
        return refused("the API is closed: no key is set in api.keys");
    }
    match from_headers(value(&X_API_KEY), value(&AUTHORIZATION)) {
        None => refused("no API key: send `X-API-Key: <key>` or `Authorization: apikey <key>`"),
        Some(key) if keys.check(key) => Ok(()),
        Some(_) => refused("wrong API key"),
    }
}
