//! Errors of the admin API: a status, a stable code, and a message for people, as JSON.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{
            ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
};
use serde_json::json;

use super::{
    oidc::error::OidcError,
    throttle::{Throttled, whole_seconds},
};
use crate::{event_log::trace::TRACES_MAX, http::body::BodyError, node::cluster::ClusterError};

/// Headers of all data, errors too.
pub(super) const DATA_HEADERS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];
/// Time after which a trace may be tried again: one that is on may last minutes.
const TRACES_RETRY: Duration = Duration::from_secs(60);

/// Why a request is refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody is logged in.
    #[error("log in, or send a key: Authorization: Bearer")]
    LoginRequired,
    /// The key or the token of the request is none.
    #[error("this key is not known")]
    WrongKey,
    /// A login failed, for whatever reason.
    #[error("the password is wrong")]
    LoginFailed,
    /// Too many failed logins.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// A login by a provider failed.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// A login over plain HTTP.
    #[error(
        "over plain HTTP a login could be read on its way: use https, or a trusted proxy that says X-Forwarded-Proto: https"
    )]
    Insecure,
    /// Not a request of the admin page.
    #[error("{0}")]
    CrossSite(&'static str),
    /// The right of who asks does not go so far.
    #[error("{0}")]
    Forbidden(&'static str),
    /// There is no such call.
    #[error("there is no such call")]
    UnknownCall,
    /// A change that was asked for by GET, or a read by POST.
    #[error("this call takes {0} only")]
    WrongVerb(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// A list of all connections is never given.
    #[error("name a user, client, address, transport, sdk, channel, or lagging=1")]
    FilterRequired,
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// Too many of these at a time.
    #[error("too many requests of this kind at the moment")]
    Busy,
    /// As many tails as a node has at a time.
    #[error("{0} tails are open on this node already")]
    TooManyTails(usize),
    /// As many traces as a cluster has at a time.
    #[error("{} traces are on already: end one, or wait", TRACES_MAX)]
    TooManyTraces,
    /// The node has no secret to sign tokens of users with.
    #[error(
        "token.hmac_secret is not set, and the token of a try is signed with it; keys that only verify cannot sign"
    )]
    NoTokenSecret,
    /// The page has an address of its own, at which no client connects.
    #[error(
        "admin.address is set, and clients connect at http.address: the page may connect to its own address only"
    )]
    ClientsElsewhere,
    /// Something that the answer needs does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The body cannot be read.
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyError),
    /// The node failed.
    #[error("the node failed to answer")]
    Internal,
}

impl AdminError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::LoginRequired => "login_required",
            Self::WrongKey => "wrong_key",
            Self::LoginFailed => "login_failed",
            Self::Throttled(_) => "too_many_attempts",
            Self::Oidc(error) => error.code(),
            Self::Insecure => "insecure",
            Self::CrossSite(_) => "cross_site",
            Self::Forbidden(_) => "forbidden",
            Self::UnknownCall => "unknown_call",
            Self::WrongVerb(_) => "wrong_verb",
            Self::BadRequest(_) | Self::Body(_) => "bad_request",
            Self::FilterRequired => "filter_required",
            Self::NotFound(_) => "not_found",
            Self::Busy => "busy",
            Self::TooManyTails(_) => "too_many_tails",
            Self::TooManyTraces => "too_many_traces",
            Self::NoTokenSecret => "no_token_secret",
            Self::ClientsElsewhere => "clients_elsewhere",
            Self::Unavailable(_) => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Nothing can be signed yet.
    pub fn no_cluster_secret() -> Self {
        Self::Unavailable("the secret of the cluster is not known yet".to_owned())
    }

    /// The response.
    pub fn answer(&self) -> HttpResponse {
        self.error_response()
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(Throttled(wait)) => Some(*wait),
            Self::Busy
            | Self::TooManyTails(_)
            | Self::Unavailable(_)
            | Self::Oidc(OidcError::Unavailable) => Some(Duration::from_secs(1)),
            Self::TooManyTraces => Some(TRACES_RETRY),
            _ => None,
        }
    }
}

impl From<ClusterError> for AdminError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Busy => Self::Busy,
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl ResponseError for AdminError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::LoginRequired | Self::WrongKey | Self::LoginFailed => StatusCode::UNAUTHORIZED,
            Self::Throttled(_) | Self::Busy | Self::TooManyTails(_) | Self::TooManyTraces => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Insecure | Self::CrossSite(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::UnknownCall | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongVerb(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) | Self::FilterRequired => StatusCode::BAD_REQUEST,
            Self::NoTokenSecret | Self::ClientsElsewhere => StatusCode::CONFLICT,
            Self::Body(error) => error.status(),
            Self::Oidc(error) => error.status(),
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let error = json!({"error": {"code": self.code(), "message": self.to_string()}});
        let mut response = HttpResponse::build(self.status_code()).json(error);
        for (name, value) in DATA_HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Self::WrongVerb(verb) = self {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(verb));
        }
        response
    }
}
