//! Tests of tokens. Keys are made anew in every run; nothing secret is checked in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod algorithms;
mod claims;
mod hostile;
mod id_token;
mod jwks;
mod keys;
mod rotation;
mod settings;
mod sign;

use std::time::Duration;

use serde_json::{Value, json};

use self::keys::{NOW, SECRET};
use super::*;

/// A verifier with only the secret.
fn by_secret() -> TokenVerifier {
    // Without leeway, so that times are judged to the second.
    let settings =
        TokenSettings { hmac_secret: SECRET.to_owned(), leeway: Duration::ZERO, ..TokenSettings::default() };
    TokenVerifier::new(&settings).unwrap()
}

/// A token with these claims, signed by the secret.
fn signed(claims: &Value) -> String {
    keys::hmac(jsonwebtoken::Algorithm::HS256, SECRET, None, claims)
}

/// Why the claims make an invalid connection token.
fn refused(verifier: &TokenVerifier, token: &str) -> TokenError {
    verifier.connection(token, NOW).unwrap_err()
}

fn somebody() -> Value {
    json!({"sub": "42"})
}
