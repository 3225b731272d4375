//! JWK sets: which of their keys are used, and for what.

use jsonwebtoken::Algorithm;

use super::keys::{ED25519, OTHER_RSA, P256, P384, RSA, hmac, signed_text};
use super::*;

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn by_set(keys: &[Value]) -> TokenVerifier {
    TokenVerifier::new(&TokenSettings { jwks: set(keys), ..TokenSettings::default() }).unwrap()
}

fn by_url() -> TokenVerifier {
    let jwks_url = "https://keys.test/jwks.json".to_owned();
    TokenVerifier::new(&TokenSettings { jwks_url, ..TokenSettings::default() }).unwrap()
}

#[test]
fn the_kid_picks_the_key() {
    let verifier = by_set(&[
        RSA.jwk(&json!({"kid": "a"})),
        OTHER_RSA.jwk(&json!({"kid": "b"})),
        P256.jwk(&json!({"kid": "c", "use": "sig", "alg": "ES256"})),
        P384.jwk(&json!({"kid": "d"})),
        ED25519.jwk(&json!({"kid": "e", "key_ops": ["verify"]})),
    ]);
    let claims = somebody();
    for (token, expected) in [
        (RSA.sign(Algorithm::RS256, Some("a"), &claims), None),
        (RSA.sign(Algorithm::RS512, Some("a"), &claims), None),
        (OTHER_RSA.sign(Algorithm::RS256, Some("b"), &claims), None),
        (P256.sign(Algorithm::ES256, Some("c"), &claims), None),
        (P384.sign(Algorithm::ES384, Some("d"), &claims), None),
        (ED25519.sign(Algorithm::EdDSA, Some("e"), &claims), None),
        (RSA.sign(Algorithm::RS256, Some("b"), &claims), Some(InvalidToken::Signature)),
        (RSA.sign(Algorithm::RS256, Some("e"), &claims), Some(InvalidToken::Algorithm)),
        (RSA.sign(Algorithm::RS256, Some("z"), &claims), Some(InvalidToken::NoSuchKey)),
        (RSA.sign(Algorithm::RS256, None, &claims), Some(InvalidToken::AmbiguousKey)),
        // Without a kid, exactly one key of the set fits.
        (P256.sign(Algorithm::ES256, None, &claims), None),
        (hmac(Algorithm::HS256, SECRET, Some("a"), &claims), Some(InvalidToken::Algorithm)),
    ] {
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let outcome = verifier.connection(&token, NOW).map(|_| ()).map_err(Some);
        let expected = expected.map_or(Ok(()), |reason| Err(Some(TokenError::Invalid(reason))));
        assert_eq!(outcome, expected, "{:?} kid {:?}", header.alg, header.kid);
    }
}

#[test]
fn a_key_checks_only_the_algorithm_it_names() {
    let verifier = by_set(&[RSA.jwk(&json!({"kid": "a", "alg": "RS512"}))]);
    assert!(verifier.connection(&RSA.sign(Algorithm::RS512, Some("a"), &somebody()), NOW).is_ok());
    let other = RSA.sign(Algorithm::RS256, Some("a"), &somebody());
    assert_eq!(refused(&verifier, &other), TokenError::Invalid(InvalidToken::Algorithm));
}

#[test]
fn two_keys_of_one_id_are_told_apart_by_their_kind() {
    let verifier = by_set(&[RSA.jwk(&json!({"kid": "a"})), P256.jwk(&json!({"kid": "a"}))]);
    assert!(verifier.connection(&RSA.sign(Algorithm::RS256, Some("a"), &somebody()), NOW).is_ok());
    assert!(verifier.connection(&P256.sign(Algorithm::ES256, Some("a"), &somebody()), NOW).is_ok());
}

#[test]
fn the_key_of_the_settings_serves_tokens_without_a_known_kid() {
    let settings = TokenSettings {
        hmac_secret: SECRET.to_owned(),
        rsa_public_key: RSA.public_pem.clone(),
        jwks: set(&[OTHER_RSA.jwk(&json!({"kid": "a"}))]),
        ..TokenSettings::default()
    };
    let verifier = TokenVerifier::new(&settings).unwrap();
    for token in [
        RSA.sign(Algorithm::RS256, None, &somebody()),
        RSA.sign(Algorithm::RS256, Some("elsewhere"), &somebody()),
        OTHER_RSA.sign(Algorithm::RS256, Some("a"), &somebody()),
        hmac(Algorithm::HS256, SECRET, Some("elsewhere"), &somebody()),
    ] {
        assert!(verifier.connection(&token, NOW).is_ok());
    }
}

#[test]
fn keys_that_cannot_check_our_signatures_are_skipped_and_the_others_used() {
    let good = P256.jwk(&json!({"kid": "good"}));
    let useless = [
        RSA.jwk(&json!({"use": "enc"})),
        RSA.jwk(&json!({"key_ops": ["encrypt"]})),
        RSA.jwk(&json!({"alg": "RSA-OAEP"})),
        RSA.jwk(&json!({"alg": "PS256"})),
        RSA.jwk(&json!({"alg": "ES256"})),
        RSA.jwk(&json!({"n": "AQAB"})),
        P256.jwk(&json!({"crv": "P-384"})),
        P256.jwk(&json!({"crv": "P-521"})),
        P256.jwk(&json!({"crv": "secp256k1"})),
        P256.jwk(&json!({"x": "AA"})),
        ED25519.jwk(&json!({"crv": "X25519"})),
        ED25519.jwk(&json!({"x": "AA"})),
        ED25519.jwk(&json!({"crv": "P-256"})),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "good"}),
        json!({"kty": "martian"}),
        json!({}),
        json!(42),
        json!(null),
    ];
    let verifier = by_url();
    for key in &useless {
        let alone = set(std::slice::from_ref(key));
        assert_eq!(verifier.install_jwks(alone.as_bytes()), Err(AuthSettingsError::JwksWithoutKeys), "{key}");
        let beside = set(&[key.clone(), good.clone()]);
        assert_eq!(verifier.install_jwks(beside.as_bytes()), Ok(1), "{key}");
        assert!(verifier.connection(&P256.sign(Algorithm::ES256, Some("good"), &somebody()), NOW).is_ok());
    }
}

#[test]
fn a_secret_in_a_set_signs_nothing() {
    let verifier = by_set(&[
        P256.jwk(&json!({"kid": "good"})),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}),
    ]);
    let forged = hmac(Algorithm::HS256, "secret", Some("shared"), &somebody());
    assert_eq!(refused(&verifier, &forged), TokenError::Invalid(InvalidToken::Algorithm));
}

#[test]
fn an_unknown_kid_asks_for_a_fetch_and_the_installed_set_answers_it() {
    let verifier = by_url();
    assert!(verifier.is_configured());
    assert_eq!(verifier.jwks_source().unwrap().url, "https://keys.test/jwks.json");
    assert!(verifier.awaits_keys() && !by_secret().awaits_keys());
    let first = RSA.sign(Algorithm::RS256, Some("first"), &somebody());
    let second = OTHER_RSA.sign(Algorithm::RS256, Some("second"), &somebody());
    let without = RSA.sign(Algorithm::RS256, None, &somebody());
    for token in [&first, &second, &without] {
        assert_eq!(refused(&verifier, token), TokenError::UnknownKey);
    }

    assert_eq!(verifier.install_jwks(set(&[RSA.jwk(&json!({"kid": "first"}))]).as_bytes()), Ok(1));
    assert!(verifier.connection(&first, NOW).is_ok());
    assert!(verifier.connection(&without, NOW).is_ok());
    assert!(!verifier.awaits_keys());
    assert_eq!(refused(&verifier, &second), TokenError::UnknownKey);

    // Rotated: the new set replaces the old one, and withdrawn keys allow nothing.
    assert_eq!(verifier.install_jwks(set(&[OTHER_RSA.jwk(&json!({"kid": "second"}))]).as_bytes()), Ok(1));
    assert!(verifier.connection(&second, NOW).is_ok());
    assert_eq!(refused(&verifier, &first), TokenError::UnknownKey);
}

#[test]
fn no_fetch_is_asked_for_a_token_that_no_set_could_open() {
    let verifier = by_url();
    let hmac = hmac(Algorithm::HS256, SECRET, Some("k"), &somebody());
    assert_eq!(refused(&verifier, &hmac), TokenError::Invalid(InvalidToken::Algorithm));
    assert_eq!(refused(&verifier, "a.b.c"), TokenError::Invalid(InvalidToken::Malformed));
    let none = signed_text(r#"{"alg":"none","kid":"k"}"#, "{}", b"x");
    assert_eq!(refused(&verifier, &none), TokenError::Invalid(InvalidToken::Algorithm));
}

#[test]
fn a_set_that_is_refused_leaves_the_old_one_in_place() {
    let verifier = by_url();
    verifier.install_jwks(set(&[RSA.jwk(&json!({"kid": "a"}))]).as_bytes()).unwrap();
    let too_many: Vec<_> = (0..=JWKS_MAX_KEYS).map(|_| json!({})).collect();
    let padded = format!("{}{}", set(&[RSA.jwk(&json!({}))]), " ".repeat(JWKS_MAX_BYTES));
    let deep = format!(r#"{{"keys":[{}]}}"#, "[".repeat(100_000));
    for (json, expected) in [
        ("", AuthSettingsError::JwksSyntax { line: 1, column: 0 }),
        ("{}", AuthSettingsError::JwksSyntax { line: 1, column: 2 }),
        ("<html>", AuthSettingsError::JwksSyntax { line: 1, column: 1 }),
        (r#"{"keys":[]}"#, AuthSettingsError::JwksWithoutKeys),
        (set(&too_many).as_str(), AuthSettingsError::JwksTooManyKeys),
        (padded.as_str(), AuthSettingsError::JwksTooLarge),
    ] {
        assert_eq!(verifier.install_jwks(json.as_bytes()), Err(expected));
    }
    assert!(matches!(verifier.install_jwks(deep.as_bytes()), Err(AuthSettingsError::JwksSyntax { .. })));
    assert!(matches!(verifier.install_jwks(b"\xff\xfe"), Err(AuthSettingsError::JwksSyntax { .. })));
    assert!(verifier.connection(&RSA.sign(Algorithm::RS256, Some("a"), &somebody()), NOW).is_ok());
}

#[test]
fn a_set_is_replaced_while_other_threads_check() {
    let verifier = by_url();
    let json = set(&[ED25519.jwk(&json!({"kid": "a"}))]);
    verifier.install_jwks(json.as_bytes()).unwrap();
    let token = ED25519.sign(Algorithm::EdDSA, Some("a"), &somebody());
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| (0..50).for_each(|_| assert!(verifier.connection(&token, NOW).is_ok())));
        }
        (0..50).for_each(|_| assert_eq!(verifier.install_jwks(json.as_bytes()), Ok(1)));
    });
}
