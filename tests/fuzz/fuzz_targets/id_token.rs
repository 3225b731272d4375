//! ID tokens against arbitrary texts: what the provider did not sign is refused, what it signed is judged without a panic, and what is
//! accepted is for this client and this login; and the provider's JWK set, which comes from outside too.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gorani_auth::{ExpectedIdToken, IdTokenKeys};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

/// Not a secret: the first test key of RFC 8032, as PKCS #8.
const PRIVATE_KEY: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, //
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, //
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// Its public part.
const KEY_SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","use":"sig"}]}"#;
/// "Now", in Unix seconds.
const NOW: u64 = 1_800_000_000;
/// Seconds by which clocks may differ.
const LEEWAY: f64 = 30.0;
/// The header of signed payloads.
const HEADER: &str = r#"{"alg":"EdDSA","kid":"a"}"#;
const EXPECTED: ExpectedIdToken<'_> =
    ExpectedIdToken { issuer: "https://id.test", client_id: "gorani", nonce: "n-1" };

static KEYS: LazyLock<IdTokenKeys> = LazyLock::new(|| IdTokenKeys::parse(KEY_SET).expect("a key"));

fuzz_target!(|data: &[u8]| {
    let text = std::str::from_utf8(data).unwrap_or_default();
    assert!(KEYS.verify(text, EXPECTED, NOW).is_err(), "nobody signed this");
    keeps_its_promises(&signed(HEADER.as_bytes(), data));
    // The first line as header, the rest as claims.
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        keeps_its_promises(&signed(&data[..end], &data[end + 1..]));
    }
    if let Ok(keys) = IdTokenKeys::parse(data) {
        let _ = keys.verify(&signed(HEADER.as_bytes(), b"{}"), EXPECTED, NOW);
    }
});

fn signed(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_ed_der(&PRIVATE_KEY);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).expect("it signs");
    format!("{message}.{signature}")
}

fn keeps_its_promises(token: &str) {
    let Ok(claims) = KEYS.verify(token, EXPECTED, NOW) else { return };
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    assert_eq!((text("iss"), text("nonce")), (Some(EXPECTED.issuer), Some(EXPECTED.nonce)));
    assert!(text("sub").is_some_and(|sub| !sub.is_empty()));
    assert!(is_for_this_client(&claims), "{claims:?}");
    // The node's own reading is in whole seconds.
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    assert!(number("exp").is_some_and(|end| end + LEEWAY > NOW as f64));
    assert!(number("iat").is_some_and(|begin| begin < NOW as f64 + LEEWAY + 1.0));
}

fn is_for_this_client(claims: &Map<String, Value>) -> bool {
    let is_client = |value: &Value| value.as_str() == Some(EXPECTED.client_id);
    let is_its_party = claims.get("azp").is_none_or(|party| party.is_null() || is_client(party));
    let is_audience = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_client),
        Some(audience) => is_client(audience),
        None => false,
    };
    is_its_party && is_audience
}
