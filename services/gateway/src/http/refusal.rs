//! What a request for a session is answered when it leads nowhere: a status, and the code of the client protocol as
//! JSON. `docs/protocols/http.md` §3.

use std::borrow::Cow;

use actix_web::{HttpResponse, http::StatusCode};
use serde::Serialize;

use super::body::BodyError;
use crate::disconnect::{Disconnect, ErrorCode, Refused};

/// A request that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// Of the client protocol: an error (100 and up) or a disconnect (3000 and up).
    pub code: u32,
    /// For people.
    pub message: Cow<'static, str>,
    /// Which case of the code it is, where programs want to tell them apart. Stable.
    pub reason: Option<&'static str>,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    error: RefusalError<'a>,
}

#[derive(Serialize)]
struct RefusalError<'a> {
    code: u32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl HttpRefusal {
    /// An error with a sentence of its own.
    pub fn new(error: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: error.http_status(), code: error.code, message: message.into(), reason: None }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same, with its reason for programs.
    #[must_use]
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The request is malformed.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BAD_REQUEST, message)
    }

    /// Whether the same request may succeed a moment later, here or on another node.
    pub fn is_temporary(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The response.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(("Cache-Control", "no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        if self.is_temporary() {
            response.insert_header(("Retry-After", "1"));
        }
        response.json(RefusalBody {
            error: RefusalError { code: self.code, message: &self.message, reason: self.reason },
        })
    }
}

impl From<ErrorCode> for HttpRefusal {
    fn from(error: ErrorCode) -> Self {
        Self::new(error, error.message)
    }
}

impl From<BodyError> for HttpRefusal {
    fn from(error: BodyError) -> Self {
        Self::new(error.code(), error.to_string()).with_status(error.status())
    }
}

impl From<Disconnect> for HttpRefusal {
    fn from(disconnect: Disconnect) -> Self {
        let status = disconnect.http_status();
        Self { status, code: u32::from(disconnect.code), message: disconnect.reason, reason: None }
    }
}

impl From<Refused> for HttpRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error(error) => error.into(),
            Refused::Disconnect(disconnect) => disconnect.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_to_come_again_is_told_so_by_the_status_too() {
        // Else an `EventSource` is answered 204, and never comes back.
        for disconnect in [
            Disconnect::CONNECTION_CLOSED,
            Disconnect::SHUTDOWN,
            Disconnect::INTERNAL,
            Disconnect::SLOW,
            Disconnect::INSUFFICIENT_STATE,
            Disconnect::FORCE_RECONNECT,
            Disconnect::TOO_MANY_REQUESTS,
        ] {
            assert!(
                disconnect.reconnects() && HttpRefusal::from(disconnect.clone()).is_temporary(),
                "{disconnect:?}"
            );
        }
        for disconnect in [Disconnect::STALE, Disconnect::INVALID_TOKEN, Disconnect::PERMISSION_DENIED] {
            assert!(
                !disconnect.reconnects() && !HttpRefusal::from(disconnect.clone()).is_temporary(),
                "{disconnect:?}"
            );
        }
    }
}
