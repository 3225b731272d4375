//! Errors of logins by an identity provider. Each has a stable code, which the page shows in words; the node's log says more.

use actix_web::http::StatusCode;

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer, or not as the standard says.
    #[error("the identity provider does not answer as it should; the log of the node says why")]
    Unavailable,
    /// The provider does not accept the node as its client.
    #[error(
        "the identity provider refuses this node: check admin.oidc.client_id, client_secret and the redirect address; the log of the node says why"
    )]
    Client,
    /// The request is no answer to a login that this browser began.
    #[error("this browser did not begin this login, or too long ago, or it was used already; log in again")]
    State,
    /// The provider has let nobody in.
    #[error("the identity provider has not let you in")]
    Denied,
    /// The provider does not accept the code.
    #[error("the identity provider does not accept the code of this login; log in again")]
    Code,
    /// The ID token proves nothing.
    #[error("the ID token of the identity provider proves nothing; the log of the node says why")]
    Token,
    /// No value of the claim gives a role.
    #[error("your account has no role here: no value of its claim is in admin.oidc.roles")]
    NoRole,
}

impl OidcError {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "oidc_unavailable",
            Self::Client => "oidc_client",
            Self::State => "oidc_state",
            Self::Denied => "oidc_denied",
            Self::Code => "oidc_code",
            Self::Token => "oidc_token",
            Self::NoRole => "oidc_no_role",
        }
    }

    /// The status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unavailable | Self::Client => StatusCode::SERVICE_UNAVAILABLE,
            Self::State => StatusCode::BAD_REQUEST,
            Self::Denied | Self::NoRole => StatusCode::FORBIDDEN,
            Self::Code | Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// True if whoever logs in is to blame, so that it counts as a failed login.
    pub const fn is_failed_login(self) -> bool {
        !matches!(self, Self::Unavailable | Self::Client)
    }
}
