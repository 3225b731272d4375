//! The headers of SockJS's answers, exact to the byte where the protocol is. `docs/protocols/sockjs.md` §6.
//!
//! `/info`: what a client must know before it chooses a transport. `docs/protocols/sockjs.md` §1.6 and §1.7.

use bytes::{BufMut, BytesMut};

use crate::client::json::{write_integer, write_string};

/// A header: name and value.
pub type Header = (&'static str, String);

/// Seconds for which a preflight may be kept.
pub const PREFLIGHT_MAX_AGE_S: u64 = 31_536_000;

/// The value of `Cache-Control` on everything that must not be kept.
pub const NO_CACHE: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

/// `Content-Type` of plain answers.
pub const PLAIN: &str = "text/plain; charset=UTF-8";

/// Longest list of headers of a preflight that is repeated.
const REQUESTED_HEADERS_MAX_BYTES: usize = 1024;

/// Longest session cookie that is repeated.
const COOKIE_MAX_BYTES: usize = 256;

/// The answer to the `Origin` of a request that is allowed. `null` is an origin like others.
#[must_use]
pub fn cors(origin: Option<&str>) -> Vec<Header> {
    let mut headers = vec![("Vary", "Origin".to_owned())];
    match origin {
        Some(origin) => {
            headers.push(("Access-Control-Allow-Origin", origin.to_owned()));
            headers.push(("Access-Control-Allow-Credentials", "true".to_owned()));
        }
        None => headers.push(("Access-Control-Allow-Origin", "*".to_owned())),
    }
    headers
}

/// The answer to a preflight for a URL that is asked for with `method` (§6.3), without `Expires`, which hangs on the time.
#[must_use]
pub fn preflight(origin: Option<&str>, requested_headers: Option<&str>, method: &str) -> Vec<Header> {
    let mut headers = cors(origin);
    headers.push(("Cache-Control", format!("public, max-age={PREFLIGHT_MAX_AGE_S}")));
    headers.push(("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S.to_string()));
    headers.push(("Access-Control-Allow-Methods", format!("OPTIONS, {method}")));
    if let Some(names) = requested(requested_headers) {
        headers.push(("Access-Control-Allow-Headers", names.to_owned()));
    }
    headers
}

/// The headers that a browser asks to send, if the answer may allow them.
#[must_use]
pub fn requested(headers: Option<&str>) -> Option<&str> {
    headers.filter(|names| {
        !names.trim().is_empty()
            && names.len() <= REQUESTED_HEADERS_MAX_BYTES
            && names.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    })
}

/// The cookie by which a load balancer finds the session again (§6.5): what the client has, or a first one. `cookies` are the
/// values of the request's `Cookie` headers.
#[must_use]
pub fn session_cookie<'c>(cookies: impl IntoIterator<Item = &'c str>) -> String {
    let is_plain = |value: &str| {
        value.len() <= COOKIE_MAX_BYTES
            && value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'))
    };
    let known = cookies
        .into_iter()
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("JSESSIONID="))
        .filter(|value| is_plain(value));
    format!("JSESSIONID={}; path=/", known.unwrap_or("dummy"))
}

/// `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// The contents of `/info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info<'i> {
    /// True if WebSocket is served.
    pub websocket: bool,
    /// True if a load balancer needs a cookie to find the session again.
    pub cookie_needed: bool,
    /// Random, for clients without a source of randomness.
    pub entropy: u32,
    /// The URL of the clients' sessions, instead of the one they asked; empty: the same.
    pub base_url: &'i str,
}

impl Info<'_> {
    /// Appends it as JSON.
    pub fn write(&self, out: &mut BytesMut) {
        let flag = |value: bool| if value { "true" } else { "false" };
        out.extend_from_slice(b"{\"websocket\":");
        out.extend_from_slice(flag(self.websocket).as_bytes());
        out.extend_from_slice(b",\"cookie_needed\":");
        out.extend_from_slice(flag(self.cookie_needed).as_bytes());
        // The protocol fixes this text; which origins may really connect is decided for each request.
        out.extend_from_slice(b",\"origins\":[\"*:*\"],\"entropy\":");
        write_integer(out, self.entropy);
        if !self.base_url.is_empty() {
            out.extend_from_slice(b",\"base_url\":");
            write_string(out, self.base_url);
        }
        out.put_u8(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn cors_repeats_the_origin_also_null_and_only_then_allows_credentials() {
        for origin in ["https://app.example.com", "null"] {
            let headers = cors(Some(origin));
            assert_eq!(value(&headers, "Access-Control-Allow-Origin"), Some(origin));
            assert_eq!(value(&headers, "Access-Control-Allow-Credentials"), Some("true"));
            assert_eq!(value(&headers, "Vary"), Some("Origin"));
        }
        let headers = cors(None);
        assert_eq!(value(&headers, "Access-Control-Allow-Origin"), Some("*"));
        assert_eq!(value(&headers, "Access-Control-Allow-Credentials"), None);
    }

    #[test]
    fn item_7_a_preflight_may_be_kept_and_names_the_method() {
        let headers = preflight(Some("null"), Some("a, b, c"), "POST");
        assert_eq!(value(&headers, "Access-Control-Allow-Headers"), Some("a, b, c"));
        assert_eq!(value(&headers, "Access-Control-Allow-Methods"), Some("OPTIONS, POST"));
        assert_eq!(value(&headers, "Access-Control-Max-Age"), Some("31536000"));
        assert_eq!(value(&headers, "Cache-Control"), Some("public, max-age=31536000"));
        assert_eq!(value(&headers, "Access-Control-Allow-Origin"), Some("null"));
    }

    #[test]
    fn item_7_headers_that_are_not_asked_for_are_not_allowed() {
        let long = "x".repeat(REQUESTED_HEADERS_MAX_BYTES + 1);
        for requested in [None, Some(""), Some(" "), Some(long.as_str())] {
            assert_eq!(value(&preflight(None, requested, "GET"), "Access-Control-Allow-Headers"), None);
        }
    }

    #[test]
    fn item_31_the_cookie_of_the_request_is_repeated_and_else_a_first_one_is_set() {
        assert_eq!(session_cookie([]), "JSESSIONID=dummy; path=/");
        assert_eq!(session_cookie(["a=b", "c=d; JSESSIONID=abcdef; e=f"]), "JSESSIONID=abcdef; path=/");
        assert_eq!(session_cookie(["XJSESSIONID=no"]), "JSESSIONID=dummy; path=/");
        assert_eq!(session_cookie(["JSESSIONID=a\r\nb"]), "JSESSIONID=dummy; path=/");
    }

    fn written(info: Info<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        info.write(&mut out);
        out
    }

    #[test]
    fn item_6_it_is_one_json_object_with_what_the_client_looks_for() {
        let info = Info { websocket: true, cookie_needed: false, entropy: u32::MAX, base_url: "" };
        let text = br#"{"websocket":true,"cookie_needed":false,"origins":["*:*"],"entropy":4294967295}"#;
        assert_eq!(written(info), text.as_slice());
        let info = Info {
            websocket: false,
            cookie_needed: true,
            entropy: 0,
            base_url: "https://push.example.com/x",
        };
        let text = br#"{"websocket":false,"cookie_needed":true,"origins":["*:*"],"entropy":0,"base_url":"https://push.example.com/x"}"#;
        assert_eq!(written(info), text.as_slice());
    }
}
