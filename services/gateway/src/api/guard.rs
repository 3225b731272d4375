//! The key check: the first thing that happens to a call, before its body is read. `docs/protocols/http.md` §4.2.

use actix_web::{
    HttpRequest,
    http::header::{AUTHORIZATION, HeaderName},
};
use gorani_auth::api_key::from_headers;

use crate::{
    api::error::ApiError,
    disconnect::ErrorCode,
    node::{Node, admission::attempts::AttemptKind},
};

/// The header of most backend libraries.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Lets a request pass that presents one of the keys. Wrong ones are counted by the client's network; a right one passes
/// however many wrong ones came from there.
pub(super) fn check(node: &Node, request: &HttpRequest) -> Result<(), ApiError> {
    let value = |name: &HeaderName| request.headers().get(name).map(|value| value.as_bytes());
    let refused = |sentence: &'static str| Err(ApiError::new(ErrorCode::UNAUTHORIZED, sentence));
    if node.api_keys.is_empty() {
        return refused("the API is closed: no key is set in api.keys");
    }
    match from_headers(value(&X_API_KEY), value(&AUTHORIZATION)) {
        None => refused("no API key: send `X-API-Key: <key>` or `Authorization: apikey <key>`"),
        Some(key) if node.api_keys.check(key) => Ok(()),
        Some(_) => {
            let client = node.admission.client_address(request.peer_addr(), request.headers());
            if node.admission.failed_attempt(AttemptKind::ApiKey, node.admission.network_of(client)) {
                return refused("wrong API key");
            }
            Err(ApiError::new(ErrorCode::TOO_MANY_REQUESTS, "too many wrong API keys from this address"))
        }
    }
}
