//! Tokens against arbitrary texts: what nobody signed is refused, what is signed is judged without a panic, and what is
//! accepted keeps its promises; and JWK sets, which come from outside too.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gorani_auth::{TokenSettings, TokenVerifier};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;

/// Not a secret: the fuzzer's own key.
const SECRET: &str = "fuzz-only-secret";
/// "Now", in Unix seconds.
const NOW: u64 = 1_800_000_000;
/// The header of signed payloads.
const HEADER: &str = r#"{"alg":"HS256"}"#;

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let jwks_url = "https://keys.test/".to_owned();
    let settings = TokenSettings { hmac_secret: SECRET.to_owned(), jwks_url, ..TokenSettings::default() };
    TokenVerifier::new(&settings).expect("valid settings")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(VERIFIER.connection(text, NOW).is_err(), "nobody signed this");
        assert!(VERIFIER.subscription(text, NOW).is_err(), "nobody signed this");
    }
    keeps_its_promises(&signed(HEADER.as_bytes(), data));
    // The first line as header, the rest as claims.
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        keeps_its_promises(&signed(&data[..end], &data[end + 1..]));
    }
    let _ = VERIFIER.install_jwks(data);
});

fn signed(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("it signs");
    format!("{message}.{signature}")
}

fn keeps_its_promises(token: &str) {
    let in_one_line = |json: &Option<Box<serde_json::value::RawValue>>| {
        json.as_ref().is_none_or(|json| !json.get().contains(['\n', '\r']))
    };
    // Clocks may differ by the leeway.
    let leeway = TokenSettings::default().leeway.as_secs();
    let is_ahead = |end: Option<u64>| end.is_none_or(|end| end.saturating_add(leeway) > NOW);
    if let Ok(claims) = VERIFIER.connection(token, NOW) {
        assert!(is_ahead(claims.expires_at));
        assert!(in_one_line(&claims.info) && in_one_line(&claims.meta));
        assert!(claims.subs.values().all(|sub| in_one_line(&sub.info) && in_one_line(&sub.data)));
        let mut channels: Vec<_> = claims.server_side().map(|(channel, _)| channel).collect();
        let all = channels.len();
        channels.sort_unstable();
        channels.dedup();
        assert_eq!(channels.len(), all, "a channel twice");
        assert!(VERIFIER.subscription(token, NOW).is_err(), "no token is of both kinds");
    }
    if let Ok(claims) = VERIFIER.subscription(token, NOW) {
        assert!(is_ahead(claims.expires_at) && !claims.channel.is_empty());
        assert!(in_one_line(&claims.info) && in_one_line(&claims.data));
    }
}
