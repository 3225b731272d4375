//! The content of a token before anybody has looked at its signature, and the keys that the settings name.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gorani_auth::{AuthSettingsError, TOKEN_MAX_BYTES, TokenSettings, TokenVerifier};
use serde_json::{Value, json};
use url::Url;

use super::{
    http_client::WebStream,
    terminal::{duration, time},
};

/// Longest time to wait for the keys at `token.jwks_url`.
const JWKS_TIMEOUT: Duration = Duration::from_secs(10);

/// The claims of a token.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Claimed {
    /// It is for one channel.
    pub(super) is_subscription: bool,
    /// By name, in the order in which they are to be read.
    pub(super) facts: Vec<(String, Value)>,
}

/// Reads a token without looking at its signature. `now` in Unix seconds.
pub(super) fn read_unverified(token: &str, now: u64) -> Claimed {
    let part = |index: usize| -> Option<Value> {
        let part = token.split('.').nth(index).filter(|part| part.len() <= TOKEN_MAX_BYTES)?;
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (header, claims) = (part(0), part(1).filter(Value::is_object));
    let Some(claims) = claims else { return Claimed::default() };
    let is_subscription = claims.get("channel").is_some();
    let kind = if is_subscription { "subscription token" } else { "connection token" };
    let mut facts = vec![("kind".to_owned(), json!(kind))];
    if let Some(header) = &header {
        for name in ["alg", "kid"] {
            facts.extend(header.get(name).map(|value| (name.to_owned(), value.clone())));
        }
    }
    for (name, value) in claims.as_object().into_iter().flatten() {
        let value = match value.as_f64() {
            Some(at) if ["exp", "iat", "nbf", "expire_at"].contains(&name.as_str()) => {
                json!(time_text(at, now))
            }
            _ => value.clone(),
        };
        facts.push((name.clone(), value));
    }
    Claimed { is_subscription, facts }
}

/// A time in Unix seconds, and how far away it is.
fn time_text(at: f64, now: u64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let at = at as u64;
    let far = json!(at.abs_diff(now).saturating_mul(1000));
    let date = time(&json!(at.saturating_mul(1000)));
    if at < now {
        format!("{date} ({} ago)", duration(&far))
    } else {
        format!("{date} (in {})", duration(&far))
    }
}

/// The keys of the settings, and what could not be fetched of them.
pub(super) fn verifier(settings: &TokenSettings) -> Result<(TokenVerifier, Vec<String>), AuthSettingsError> {
    let verifier = TokenVerifier::new(settings)?;
    let mut notes = Vec::new();
    if let Some(source) = verifier.jwks_source() {
        let fetched = Url::parse(&source.url).map_err(|error| error.to_string()).and_then(|url| fetch(&url));
        match fetched {
            Ok(json) => {
                if let Err(error) = verifier.install_jwks(&json) {
                    notes.push(format!("the keys at token.jwks_url cannot be used: {error}"));
                }
            }
            Err(error) => notes.push(format!("the keys at token.jwks_url are not known: {error}")),
        }
    }
    Ok((verifier, notes))
}

fn fetch(url: &Url) -> Result<Vec<u8>, String> {
    let host = url.host_str().unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = format!(
        "GET {}{query} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        url.path()
    );
    let answer = WebStream::open(url, JWKS_TIMEOUT)
        .and_then(|mut stream| stream.exchange(request.as_bytes()))
        .map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("status {}", answer.status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_claims_nothing() {
        for text in ["", "a", "..", "a.b.c", "e30.W10.x", &"x".repeat(TOKEN_MAX_BYTES * 2)] {
            assert_eq!(read_unverified(text, 0), Claimed::default(), "{text:.20}");
        }
    }

    #[test]
    fn times_are_dates_and_say_how_far_they_are() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":90,"iat":1e300,"sub":"42","channel":"a"}"#);
        let claimed = read_unverified(&format!("e30.{claims}.x"), 100);
        let fact = |name: &str| claimed.facts.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        assert_eq!(fact("exp"), Some(&json!("1970-01-01T00:01:30.000Z (10.0s ago)")));
        assert!(fact("iat").is_some_and(|at| at.as_str().is_some_and(|at| at.starts_with("- (in "))));
        assert_eq!((fact("sub"), claimed.is_subscription), (Some(&json!("42")), true));
    }
}
