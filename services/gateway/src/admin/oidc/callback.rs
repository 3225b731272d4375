//! The browser comes back from the provider. The answer is a page that goes on to the admin page and no redirect: a cookie with
//! `SameSite=Strict` is not sent where a chain of redirects began at another site.

use actix_web::{
    HttpResponse, ResponseError as _,
    http::{
        StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
};

use crate::admin::error::AdminError;

/// Bytes of a parameter at most. Some providers put much into a code.
const PARAMETER_MAX_BYTES: usize = 8 * 1024;
/// The page takes nothing from anywhere.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Its address has the code.
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The parameters with which the browser comes back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CallbackQuery {
    /// Of the login that it answers.
    pub(super) state: String,
    /// Of a login that succeeded.
    pub(super) code: String,
    /// Of one that did not.
    pub(super) error: String,
    /// The provider that answers, where it says so (RFC 9207).
    pub(super) issuer: Option<String>,
}

impl CallbackQuery {
    /// Reads a query; none where a parameter comes twice or is too long.
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut read = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let own = match &*name {
                "state" => &mut read.state,
                "code" => &mut read.code,
                "error" => &mut read.error,
                "iss" => read.issuer.insert(String::new()),
                _ => continue,
            };
            if value.len() > PARAMETER_MAX_BYTES || seen.contains(&name) {
                return None;
            }
            own.push_str(&value);
            seen.push(name);
        }
        Some(read)
    }
}

/// The page after a login that succeeded.
pub(super) fn success() -> HttpResponse {
    page(StatusCode::OK, "../", "Logged in.")
}

/// The page after one that did not: the admin page says the rest in the language of who reads it.
pub(super) fn failure(error: &AdminError) -> HttpResponse {
    let retry_after = error.answer().headers().get(RETRY_AFTER).cloned();
    let seconds = retry_after.as_ref().and_then(|value| value.to_str().ok());
    let seconds = seconds.map(|seconds| format!("&amp;seconds={seconds}")).unwrap_or_default();
    let address = format!("../#/overview?failed={}{seconds}", error.code());
    let mut response = page(error.status_code(), &address, &error.to_string());
    if let Some(value) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// `text` is one of this program, and never one that came with a request.
fn page(status: StatusCode, address: &str, text: &str) -> HttpResponse {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0; url={address}\">\
         <title>Gorani</title><p>{text}</p><p><a href=\"{address}\">Gorani</a></p></html>"
    );
    let mut response = HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_query_has_each_parameter_once_and_not_endless() {
        let read =
            CallbackQuery::parse("state=s&code=a%2Fb&session_state=x&session_state=y&iss=https%3A%2F%2Fid")
                .unwrap();
        assert_eq!(
            (read.state.as_str(), read.code.as_str(), read.issuer.as_deref()),
            ("s", "a/b", Some("https://id"))
        );
        assert_eq!(CallbackQuery::parse("").unwrap(), CallbackQuery::default());
        assert_eq!(CallbackQuery::parse("state=a&state=b"), None);
        assert_eq!(CallbackQuery::parse("iss=a&iss=b"), None);
        let long = |bytes: usize| CallbackQuery::parse(&format!("code={}", "x".repeat(bytes)));
        assert!(long(PARAMETER_MAX_BYTES).is_some() && long(PARAMETER_MAX_BYTES + 1).is_none());
    }
}
