//! The ID token of a session. The browser keeps it in a cookie that it sends with the logout alone, and the node passes it on to the
//! provider as `id_token_hint`: without one, a provider asks whether the logout is meant, and who does not answer stays logged in there.
//! OpenID Connect RP-Initiated Logout §2; decision record 69.
//!
//! It is no key to anything here: it proves one login that is over, and the session has a cookie of its own.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SET_COOKIE},
};
use url::Url;

use crate::{
    admin::{
        access::{RequestRoute, cookies},
        error::AdminError,
        state::AdminScope,
    },
    settings::oidc::CALLBACK,
};

/// The cookie over TLS and on the machine itself. It has a path, so that its name cannot begin with `__Host-`.
const COOKIE_OVER_TLS: &str = "__Secure-gorani_id_token";
const COOKIE_ON_LOOPBACK: &str = "gorani_id_token";
/// The path below that of the admin page to which it is sent.
const LOGOUT: &str = "/api/logout";
/// Bytes of an ID token that is kept at most. The headers of the answer must fit into the 4 KiB that nginx has for them, and the address
/// of the logout into the 4 KiB that servers in Java often have for a request line.
const HINT_MAX_BYTES: usize = 2048;

/// The ID token of the session that a request ends, where the browser has one.
pub(super) fn of_request<'r>(scope: &AdminScope, request: &'r HttpRequest) -> Option<&'r str> {
    cookies(request, cookie_name(scope, request)).take(1).find(|token| is_kept(token))
}

/// Sets the cookie, or removes that of an older login where the token is too long for one. `redirect_url`: the address to which the
/// provider has sent the browser back.
pub(super) fn keep(
    scope: &AdminScope,
    request: &HttpRequest,
    redirect_url: &Url,
    token: &str,
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    let seconds = scope.admin.settings.session_max.as_secs();
    let (token, seconds) = if is_kept(token) { (token, seconds) } else { ("", 0) };
    append(scope, request, redirect_url, (token, seconds), response)
}

/// Removes the cookie.
pub(super) fn forget(
    scope: &AdminScope,
    request: &HttpRequest,
    redirect_url: &Url,
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    append(scope, request, redirect_url, ("", 0), response)
}

fn append(
    scope: &AdminScope,
    request: &HttpRequest,
    redirect_url: &Url,
    (token, seconds): (&str, u64),
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    let name = cookie_name(scope, request);
    let secure = if name == COOKIE_OVER_TLS { " Secure;" } else { "" };
    // The path as the browser sees it: a balancer may serve the page below another one.
    let page = redirect_url.path().strip_suffix(CALLBACK).unwrap_or_default();
    let line =
        format!("{name}={token}; HttpOnly;{secure} SameSite=Strict; Path={page}{LOGOUT}; Max-Age={seconds}");
    let line = HeaderValue::from_str(&line).map_err(|_| AdminError::Internal)?;
    response.headers_mut().append(SET_COOKIE, line);
    Ok(())
}

fn cookie_name(scope: &AdminScope, request: &HttpRequest) -> &'static str {
    match scope.route(request) {
        RequestRoute::Secure => COOKIE_OVER_TLS,
        RequestRoute::Loopback | RequestRoute::Plain => COOKIE_ON_LOOPBACK,
    }
}

/// True for a text of the form of a JWT that is short enough.
fn is_kept(token: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=HINT_MAX_BYTES).contains(&token.len()) && token.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_if_it_fits_and_can_stand_in_a_cookie() {
        assert!(is_kept("eyJhbGciOiJSUzI1NiJ9.e30.c2ln_-"));
        assert!(is_kept(&"x".repeat(HINT_MAX_BYTES)));
        for token in ["", "a b", "a;b", "a=b", "가", &"x".repeat(HINT_MAX_BYTES + 1)] {
            assert!(!is_kept(token), "{token:.20}");
        }
    }
}
