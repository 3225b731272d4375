//! The one table of codes that clients see: disconnects, unsubscribes, and errors of commands, each with its HTTP status.
//!
//! Every way a session can end, on any transport, is a value of this file; over WebSocket it is the close frame's
//! code and reason. `docs/protocols/client.md` §12.
//!
//! The statuses stand here and not in `http`, so that each new code gets one. The API, receivers
//! and SockJS answer with them. `docs/protocols/http.md` §3.5, §3.6.

use std::borrow::Cow;

use actix_http::StatusCode;
use gorani_protocol::sockjs;
use serde::{Deserialize, Serialize};

/// Why a session ends: a code, a reason for people, and through the code whether a client should come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// 1000–4999, as a WebSocket close code.
    pub code: u16,
    /// Short text for people and logs, at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Disconnect {
    /// A code of the table below.
    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// A code with a reason of its own, as embedders and the `disconnect` API give it.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// True if a client of the client protocol reconnects after this code.
    pub fn reconnects(&self) -> bool {
        !matches!(self.code, 3500..=3999 | 4500..=4999)
    }

    /// The HTTP status of a session that is refused with this code. A client that is to come back learns it from the status
    /// too: else an `EventSource` would be answered 204, and never return.
    pub fn http_status(&self) -> StatusCode {
        match self.code {
            3500 => StatusCode::UNAUTHORIZED,
            3501 | 3505 => StatusCode::BAD_REQUEST,
            3504 => StatusCode::SERVICE_UNAVAILABLE,
            _ if self.reconnects() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// WebSocket: the peer or an embedder ended it, all is well.
    pub const NORMAL: Self = Self::fixed(1000, "");
    /// WebSocket: an embedder's handler failed.
    pub const HANDLER_FAILED: Self = Self::fixed(1011, "internal error");
    /// The connection was lost without a close message.
    pub const ABNORMAL: Self = Self::fixed(1006, "connection lost");
    /// SockJS: the request that received was broken off, and with it the session.
    pub const INTERRUPTED: Self = Self::fixed(sockjs::frame::INTERRUPTED.0, sockjs::frame::INTERRUPTED.1);
    /// The server closed an otherwise healthy connection.
    pub const CONNECTION_CLOSED: Self = Self::fixed(3000, "connection closed");
    /// The node is going down; another one will take the client.
    pub const SHUTDOWN: Self = Self::fixed(3001, "shutdown");
    /// Something failed inside the node.
    pub const INTERNAL: Self = Self::fixed(3004, "internal server error");
    /// The connection's token expired and was not refreshed.
    pub const EXPIRED: Self = Self::fixed(3005, "connection expired");
    /// A server-side subscription expired.
    pub const SUBSCRIPTION_EXPIRED: Self = Self::fixed(3006, "subscription expired");
    /// The client did not read fast enough: its outbox went over the limit.
    pub const SLOW: Self = Self::fixed(3008, "slow");
    /// Writing to the connection failed.
    pub const WRITE_ERROR: Self = Self::fixed(3009, "write error");
    /// A server-side subscription lost its position in the stream.
    pub const INSUFFICIENT_STATE: Self = Self::fixed(3010, "insufficient state");
    /// A backend asked for a reconnect.
    pub const FORCE_RECONNECT: Self = Self::fixed(3011, "force reconnect");
    /// The client did not answer a ping in time.
    pub const NO_PONG: Self = Self::fixed(3012, "no pong");
    /// The client sends commands faster than it may.
    pub const TOO_MANY_REQUESTS: Self = Self::fixed(3013, "too many requests");
    /// The token's signature or content is wrong.
    pub const INVALID_TOKEN: Self = Self::fixed(3500, "invalid token");
    /// The client broke the protocol.
    pub const BAD_REQUEST: Self = Self::fixed(3501, "bad request");
    /// The client did not connect in time.
    pub const STALE: Self = Self::fixed(3502, "stale");
    /// A backend ended the connection for good.
    pub const FORCE_DISCONNECT: Self = Self::fixed(3503, "force disconnect");
    /// The user or the node has too many connections.
    pub const CONNECTION_LIMIT: Self = Self::fixed(3504, "connection limit");
    /// The connection has too many subscriptions.
    pub const CHANNEL_LIMIT: Self = Self::fixed(3505, "channel limit");
    /// The client speaks another protocol than this endpoint.
    pub const INAPPROPRIATE_PROTOCOL: Self = Self::fixed(3506, "inappropriate protocol");
    /// The client may not be here.
    pub const PERMISSION_DENIED: Self = Self::fixed(3507, "permission denied");
    /// The feature is switched off.
    pub const NOT_AVAILABLE: Self = Self::fixed(3508, "not available");
    /// One command after the other fails.
    pub const TOO_MANY_ERRORS: Self = Self::fixed(3509, "too many errors");
}

impl Disconnect {
    /// The meaning of a code, for operators.
    pub fn meaning(code: u16) -> &'static str {
        match code {
            1000 => "the client left",
            1006 => "the connection was lost, or the client left without a close message",
            1011 => "an application's handler failed",
            3000 => "the server closed the connection; the client may come back",
            3001 => "the node went down; its clients go to another one",
            3004 => "something failed inside the node",
            3005 => "the connection's token expired and was not refreshed",
            3006 => "a server-side subscription expired",
            3008 => "the client did not read fast enough, and its outbox was full",
            3009 => "writing to the connection failed",
            3010 => "a server-side subscription lost its position in the stream",
            3011 => "the backend asked for a reconnect",
            3012 => "the client did not answer a ping in time",
            3013 => "the client sent commands faster than it may",
            3500 => "the token's signature or content is wrong",
            3501 => "the client broke the protocol",
            3502 => "the client did not connect in time",
            3503 => "the backend ended the connection for good",
            3504 => "the user or the node has too many connections",
            3505 => "the connection has too many subscriptions",
            3506 => "the client speaks another protocol than this endpoint",
            3507 => "the client may not be here",
            3508 => "the feature is switched off",
            3509 => "one command after the other failed",
            1001..=1999 => "a close code of WebSocket",
            4000..=4999 => "a code of the backend",
            _ => "a code of a newer version",
        }
    }
}

/// Why a subscription ends while the connection goes on. From 2500 on, the client resubscribes (and recovers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribed {
    /// 2000–2999; 0: the client left.
    pub code: u32,
    /// Short text for people.
    pub reason: &'static str,
}

impl Unsubscribed {
    /// The client left; only the backend is told this.
    pub const CLIENT: Self = Self { code: 0, reason: "client unsubscribed" };
    /// A backend ended the subscription.
    pub const SERVER: Self = Self { code: 2000, reason: "server unsubscribe" };
    /// The subscription lost its position in the stream.
    pub const INSUFFICIENT_STATE: Self = Self { code: 2500, reason: "insufficient state" };
    /// The settings no longer permit the subscription. Its client asks again, so that a token or the backend may let it in; else it
    /// gets error 103, and ends.
    pub const NOT_PERMITTED: Self = Self { code: 2500, reason: "no longer permitted" };
    /// The subscription's token expired and was not refreshed.
    pub const EXPIRED: Self = Self { code: 2501, reason: "subscription expired" };
}

/// Why one command, or one request of the HTTP API, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct ErrorCode {
    /// 100–111 of the client protocol; the HTTP API uses the same numbers.
    pub code: u32,
    /// Short text for people, stable.
    pub message: &'static str,
    /// True if the same request may succeed a moment later.
    pub temporary: bool,
}

impl ErrorCode {
    const fn fixed(code: u32, message: &'static str) -> Self {
        Self { code, message, temporary: false }
    }

    /// The same error, where the same request may succeed a moment later.
    pub(crate) const fn temporarily(self) -> Self {
        Self { temporary: true, ..self }
    }

    /// The HTTP status of this code. The API answers with those of 102, 103, 105 to 110 and 112 only where the caller wants
    /// statuses ([`crate::settings::ErrorMode`]), and in what is refused before the call is decoded.
    ///
    /// | status | code |
    /// |---|---|
    /// | 400 | 107 the request is malformed |
    /// | 401 | 101 no or wrong credentials, 109 and 110 they are expired |
    /// | 403 | 103 not allowed |
    /// | 404 | 102 no such namespace, 104 no such method |
    /// | 409 | 105, 108 the channel does not keep what was asked for, 112 the position is of another epoch |
    /// | 413 | 106 larger than a limit |
    /// | 429 | 111 too many |
    /// | 503 | 120 nothing was done, 121 the outcome is unknown: the broker or a living node gave no answer |
    /// | 500 | 100, and what has no line here |
    pub const fn http_status(self) -> StatusCode {
        match self.code {
            107 => StatusCode::BAD_REQUEST,
            101 | 109 | 110 => StatusCode::UNAUTHORIZED,
            103 => StatusCode::FORBIDDEN,
            102 | 104 => StatusCode::NOT_FOUND,
            105 | 108 | 112 => StatusCode::CONFLICT,
            106 => StatusCode::PAYLOAD_TOO_LARGE,
            111 => StatusCode::TOO_MANY_REQUESTS,
            120 | 121 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Something failed inside the node or its broker.
    pub const INTERNAL: Self = Self { code: 100, message: "internal server error", temporary: true };
    /// No valid credentials.
    pub const UNAUTHORIZED: Self = Self::fixed(101, "unauthorized");
    /// The channel's namespace does not exist.
    pub const UNKNOWN_CHANNEL: Self = Self::fixed(102, "unknown channel");
    /// The client may not do this on this channel.
    pub const PERMISSION_DENIED: Self = Self::fixed(103, "permission denied");
    /// No such command.
    pub const METHOD_NOT_FOUND: Self = Self::fixed(104, "method not found");
    /// The client is subscribed already.
    pub const ALREADY_SUBSCRIBED: Self = Self::fixed(105, "already subscribed");
    /// A limit of the settings is reached.
    pub const LIMIT_EXCEEDED: Self = Self::fixed(106, "limit exceeded");
    /// More clients are present than one answer holds.
    pub const PRESENCE_TOO_LARGE: Self =
        Self::fixed(106, "limit exceeded: too many clients, use presence_stats");
    /// The request is malformed or incomplete.
    pub const BAD_REQUEST: Self = Self::fixed(107, "bad request");
    /// The feature is switched off for this channel, or not offered.
    pub const NOT_AVAILABLE: Self = Self::fixed(108, "not available");
    /// The token expired: get a new one and try again.
    pub const TOKEN_EXPIRED: Self = Self::fixed(109, "token expired");
    /// The connection or subscription is expired already.
    pub const EXPIRED: Self = Self::fixed(110, "expired");
    /// Too many requests at the moment.
    pub const TOO_MANY_REQUESTS: Self = Self { code: 111, message: "too many requests", temporary: true };
    /// The position cannot be recovered from.
    pub const UNRECOVERABLE_POSITION: Self = Self::fixed(112, "unrecoverable position");
    /// The broker cannot be reached: nothing was done. HTTP 503.
    pub const UNAVAILABLE: Self = Self { code: 120, message: "broker unavailable", temporary: true };
    /// The broker, or a node that lives, did not answer: the outcome is unknown, an idempotency key makes a retry safe. HTTP 503.
    pub const UNKNOWN_OUTCOME: Self =
        Self { code: 121, message: "broker gave no answer, outcome unknown", temporary: true };
    /// The backend was asked and gave no answer that can be read: nobody knows whether it did what it was asked for.
    pub const UNKNOWN_ANSWER: Self =
        Self { code: 121, message: "backend gave no answer, outcome unknown", temporary: true };
}

/// An error of a backend, which it chose itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    /// Any number but 0; by convention 400 to 1999.
    pub code: u32,
    /// For the client.
    pub message: String,
    /// True if the client may try again.
    pub temporary: bool,
}

impl From<ErrorCode> for ProxyError {
    fn from(ErrorCode { code, message, temporary }: ErrorCode) -> Self {
        Self { code, message: message.to_owned(), temporary }
    }
}

impl ProxyError {
    /// The HTTP status of a connect that it refuses.
    pub fn http_status(&self) -> StatusCode {
        if self.temporary { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN }
    }
}

/// A refusal: either an error, or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// One command or request fails.
    Error(ErrorCode),
    /// The same with an error of the backend, or because it could not be asked.
    Backend(ProxyError),
    /// The connection ends.
    Disconnect(Disconnect),
}

impl From<ErrorCode> for Refused {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error)
    }
}

impl Refused {
    /// Its number: that of an error, or of a disconnect.
    pub fn code(&self) -> u32 {
        match self {
            Self::Error(error) => error.code,
            Self::Backend(error) => error.code,
            Self::Disconnect(disconnect) => disconnect.code.into(),
        }
    }

    /// The disconnect of a connection that was refused before it began.
    pub fn disconnect(self) -> Disconnect {
        match self {
            Self::Disconnect(disconnect) => disconnect,
            Self::Error(ErrorCode { temporary: true, .. })
            | Self::Backend(ProxyError { temporary: true, .. }) => Disconnect::INTERNAL,
            Self::Error(ErrorCode::BAD_REQUEST) => Disconnect::BAD_REQUEST,
            Self::Error(ErrorCode::NOT_AVAILABLE) => Disconnect::NOT_AVAILABLE,
            Self::Error(_) | Self::Backend(_) => Disconnect::PERMISSION_DENIED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_status_of_its_code_whatever_its_message_says() {
        for (error, status) in [
            (ErrorCode::PRESENCE_TOO_LARGE, ErrorCode::LIMIT_EXCEEDED.http_status()),
            (ErrorCode::TOKEN_EXPIRED.temporarily(), StatusCode::UNAUTHORIZED),
        ] {
            assert_eq!(error.http_status(), status, "{error:?}");
        }
    }
}
