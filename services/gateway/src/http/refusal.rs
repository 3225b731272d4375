//! Refusals: the reasons that requests for sessions share, and the answer of receivers, a status and the code of the client
//! protocol as JSON. `docs/protocols/http.md` §3.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use gorani_protocol::websocket::HandshakeRefusal;
use serde::Serialize;

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    endpoint::EndpointRefused,
    metrics::labels::RefusalLabel,
    node::{Node, admission::permits::NoPermit},
    settings::{ClientSettings, connect_codes::ConnectFailureResponse},
};

/// The header of a refusal that is temporary: it may be otherwise a second later, here or on another node.
pub const RETRY_AFTER: (HeaderName, HeaderValue) =
    (header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
/// Seconds until a client that is refused for now comes again.
pub const RETRY_AFTER_SECONDS: &str = "1";

/// True if an endpoint that refuses with this HTTP status may not refuse a second later: the client is told when to retry.
pub fn may_retry(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// Why a request is refused by what its node knows of its client, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// Its origin is no text.
    #[error("the origin is no text")]
    OriginUnreadable,
    /// The node is going down.
    #[error("this node is draining, try another")]
    Draining,
    /// `http.handshakes_per_second`.
    #[error("too many sessions from this address")]
    TooManyHandshakes,
    /// There is no slot for a session.
    #[error(transparent)]
    NoPermit(#[from] NoPermit),
}

impl RequestRefused {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::OriginUnreadable => StatusCode::BAD_REQUEST,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyHandshakes => StatusCode::TOO_MANY_REQUESTS,
            Self::NoPermit(no_permit) => {
                StatusCode::from_u16(no_permit.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

impl From<RequestRefused> for EndpointRefused {
    fn from(refused: RequestRefused) -> Self {
        match refused {
            RequestRefused::Draining => HandshakeRefusal::Draining.into(),
            refused => Self::Status(refused.status().as_u16(), refused.to_string()),
        }
    }
}

/// Counts a request that leads nowhere, and logs it. `code`: of the client protocol, where the answer has one.
pub fn count(node: &Node, status: u16, code: Option<u32>, reason: &str) {
    node.metrics.handshakes_refused.get_or_create(&RefusalLabel { status }).inc();
    tracing::debug!(status, code, reason, "request refused");
}

/// A request that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// A code of the client protocol: an error (100 and up) or a disconnect (3000 and up).
    pub code: u32,
    /// A description for people.
    pub message: Cow<'static, str>,
    /// The case of the code, where programs want to tell cases apart. Stable.
    pub reason: Option<&'static str>,
    /// The response that the settings give to this error of a connect.
    pub connect_failure: Option<Box<ConnectFailureResponse>>,
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
        let (status, code, message) = (error.http_status(), error.code, message.into());
        Self { status, code, message, reason: None, connect_failure: None }
    }

    /// The refusal of a connect, with the status and the body that the settings give to its error.
    pub fn of_connect(refused: Refused, settings: &ClientSettings) -> Self {
        let settings = &settings.connect_code_to_http_response;
        let temporary = match &refused {
            Refused::Backend(error) => error.temporary,
            Refused::Error(error) if settings.enabled => error.temporary,
            _ => return refused.into(),
        };
        let refusal = Self::from(refused);
        match settings.response(refusal.code, temporary) {
            Some(response) => {
                Self { status: response.status, connect_failure: Some(Box::new(response)), ..refusal }
            }
            None => refusal,
        }
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

    /// True if the same request may succeed a moment later, here or on another node.
    pub fn is_temporary(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Counts it, and logs it.
    pub fn count(&self, node: &Node) {
        count(node, self.status.as_u16(), Some(self.code), &self.message);
    }

    /// The response.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(("Cache-Control", "no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        if let Some(failure) = &self.connect_failure {
            if let Some(time) = failure.retry_after {
                response.insert_header((header::RETRY_AFTER, time.as_secs().to_string()));
            }
            if !failure.body.is_empty() {
                return response.body(failure.body.clone());
            }
        } else if self.is_temporary() {
            response.insert_header(RETRY_AFTER);
        }
        response.json(RefusalBody {
            error: RefusalError { code: self.code, message: &self.message, reason: self.reason },
        })
    }
}

impl From<RequestRefused> for HttpRefusal {
    fn from(refused: RequestRefused) -> Self {
        match refused {
            RequestRefused::OriginUnreadable => Self::bad_request(refused.to_string()),
            RequestRefused::Draining => Disconnect::SHUTDOWN.into(),
            RequestRefused::NoPermit(NoPermit::Full) => Disconnect::CONNECTION_LIMIT.into(),
            RequestRefused::TooManyHandshakes | RequestRefused::NoPermit(_) => {
                Self::new(ErrorCode::TOO_MANY_REQUESTS, refused.to_string()).with_status(refused.status())
            }
        }
    }
}

impl From<ErrorCode> for HttpRefusal {
    fn from(error: ErrorCode) -> Self {
        Self::new(error, error.message)
    }
}

impl From<Disconnect> for HttpRefusal {
    fn from(disconnect: Disconnect) -> Self {
        let status = disconnect.http_status();
        let code = u32::from(disconnect.code);
        Self { status, code, message: disconnect.reason, reason: None, connect_failure: None }
    }
}

impl From<Refused> for HttpRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error(error) => error.into(),
            Refused::Backend(error) => Self {
                status: error.http_status(),
                code: error.code,
                message: error.message.into(),
                reason: None,
                connect_failure: None,
            },
            Refused::Disconnect(disconnect) => disconnect.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disconnect::ProxyError,
        settings::connect_codes::{ConnectStatusSettings, StatusOfCodeSettings, StatusResponseSettings},
    };

    #[test]
    fn a_connect_that_the_backend_refuses_has_the_status_of_its_error_or_the_one_that_the_settings_name() {
        let error = |code, temporary| ProxyError { code, message: "no".to_owned(), temporary };
        let mut settings = ClientSettings::default();
        let refused = |error, settings: &ClientSettings| {
            let refusal = HttpRefusal::of_connect(Refused::Backend(error), settings);
            let response = refusal.response();
            let retry = response.headers().get(header::RETRY_AFTER).cloned();
            (response.status().as_u16(), retry.map(|retry| retry.to_str().unwrap_or_default().to_owned()))
        };
        assert_eq!(refused(error(1000, false), &settings), (403, None));
        assert_eq!(refused(error(100, true), &settings), (503, Some("5".to_owned())));
        let to = StatusResponseSettings { status_code: 418, body: "a teapot".to_owned() };
        settings.connect_code_to_http_response = ConnectStatusSettings {
            enabled: true,
            transforms: vec![StatusOfCodeSettings { code: 1000, to }],
        };
        assert_eq!(refused(error(1000, false), &settings), (418, None));
        // An error of the node's own keeps its status, unless the settings name one.
        let own = HttpRefusal::of_connect(ErrorCode::TOKEN_EXPIRED.into(), &settings);
        assert_eq!(own, ErrorCode::TOKEN_EXPIRED.into());
    }

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
