//! Answers of the API: 200 and JSON, or an error with a status, a code and a message. `docs/protocols/http.md` §3 and §5. The codes
//! and their HTTP statuses are those of [`crate::disconnect`].

use std::borrow::Cow;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    disconnect::ErrorCode,
    http::{body::BodyError, refusal::RETRY_AFTER},
    node::cluster::ClusterError,
    settings::ErrorMode,
};

/// Bytes of a message at most: what a request holds may be quoted in it, and must not make it long.
const MESSAGE_MAX_BYTES: usize = 512;

/// Why a call, or one item of it, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({})", code.code)]
pub struct ApiError {
    code: ErrorCode,
    message: Cow<'static, str>,
    /// The HTTP status; 405 and 408 are not the code's own.
    status: StatusCode,
}

/// An error as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorView {
    /// The kind of error: 100 to 121, the numbers of the client protocol.
    pub code: u32,
    /// A description for people.
    pub message: String,
}

/// The body of an answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// The error.
    pub error: ErrorView,
}

impl ApiError {
    /// A code, with a message that says more than its own.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_MAX_BYTES {
            let end = (0..=MESSAGE_MAX_BYTES).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.to_mut().truncate(end);
            message.to_mut().push('…');
        }
        Self { code, message, status: code.http_status() }
    }

    /// 107 with a message.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BAD_REQUEST, message)
    }

    /// The verb is not the one that this path takes.
    pub(super) fn wrong_verb(message: &'static str) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Self::bad_request(message) }
    }

    /// The answer to a call that had its key and its body. A fault of the call itself goes where the mode says. A failure of the
    /// node or the cluster keeps its status: a backend that looks at nothing else must not take it for success.
    pub(super) fn in_mode(self, mode: ErrorMode) -> Result<HttpResponse, Self> {
        let is_the_calls = matches!(self.code.code, 102..=103 | 105..=110 | 112);
        match mode {
            ErrorMode::Body if is_the_calls => {
                Ok(HttpResponse::Ok().json(ErrorAnswer { error: self.view() }))
            }
            _ => Err(self),
        }
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As JSON.
    pub fn view(&self) -> ErrorView {
        ErrorView { code: self.code.code, message: self.message.clone().into_owned() }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self { status: error.status(), ..Self::new(error.code(), error.to_string()) }
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        tracing::warn!(%error, "querying other nodes failed");
        let code = ErrorCode::from(&error);
        match error {
            // The broker's text is for the log.
            ClusterError::Broker(_) => code.into(),
            ClusterError::Unanswered(_) | ClusterError::Unsupported { .. } | ClusterError::Busy => {
                Self::new(code, error.to_string())
            }
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.insert_header((header::WWW_AUTHENTICATE, "apikey"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header(RETRY_AFTER);
            }
            _ => {}
        }
        response.json(ErrorAnswer { error: self.view() })
    }
}

/// The result of methods that answer only that they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmptyResult {}

/// A result alone.
#[derive(Serialize)]
struct ResultAnswer<'a, T> {
    result: &'a T,
}

/// `{"result": …}`.
pub(super) fn with_result<T: Serialize>(result: &T) -> Result<Vec<u8>, ApiError> {
    encode(&ResultAnswer { result })
}

/// This value as JSON.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "API answer not encoded");
        ErrorCode::INTERNAL.into()
    })
}

/// 200 with this JSON.
pub(super) fn ok(body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    let content_type = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.map_into_boxed_body()
}
