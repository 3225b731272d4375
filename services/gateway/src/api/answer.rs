//! How the API answers: 200 and JSON. `docs/protocols/http.md` §5.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{api::error::ApiError, disconnect::ErrorCode};

/// Of methods that answer nothing but that they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmptyResult {}

/// A result alone.
#[derive(Serialize)]
struct ResultAnswer<'a, T> {
    result: &'a T,
}

/// 200 with `{"result": …}`.
pub(super) fn with_result<T: Serialize>(result: &T) -> Result<HttpResponse, ApiError> {
    json(&ResultAnswer { result })
}

/// 200 with this value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "API answer not encoded");
        ErrorCode::INTERNAL
    })?;
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    let content_type = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response.map_into_boxed_body())
}
