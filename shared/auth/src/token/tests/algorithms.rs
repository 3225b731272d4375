//! Which key opens which token.

use jsonwebtoken::Algorithm;

use super::keys::{ED25519, OTHER_RSA, P256, P384, RSA, hmac, signed_text};
use super::*;

/// A verifier with one key of each kind.
fn by_all_kinds(ecdsa_pem: &str) -> TokenVerifier {
    let settings = TokenSettings {
        hmac_secret: SECRET.to_owned(),
        rsa_public_key: RSA.public_pem.clone(),
        ecdsa_public_key: ecdsa_pem.to_owned(),
        ed25519_public_key: ED25519.public_pem.clone(),
        ..TokenSettings::default()
    };
    TokenVerifier::new(&settings).unwrap()
}

#[test]
fn every_supported_algorithm_opens_with_its_key() {
    let claims = somebody();
    let tokens = [
        hmac(Algorithm::HS256, SECRET, None, &claims),
        hmac(Algorithm::HS384, SECRET, None, &claims),
        hmac(Algorithm::HS512, SECRET, None, &claims),
        RSA.sign(Algorithm::RS256, None, &claims),
        RSA.sign(Algorithm::RS384, None, &claims),
        RSA.sign(Algorithm::RS512, None, &claims),
        P256.sign(Algorithm::ES256, None, &claims),
        ED25519.sign(Algorithm::EdDSA, None, &claims),
    ];
    let verifier = by_all_kinds(&P256.public_pem);
    for token in tokens {
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(
            verifier.connection(&token, NOW).map(|claims| claims.user),
            Ok("42".to_owned()),
            "{header:?}"
        );
    }
    let es384 = P384.sign(Algorithm::ES384, None, &claims);
    assert!(by_all_kinds(&P384.public_pem).connection(&es384, NOW).is_ok());
}

#[test]
fn a_token_of_another_key_of_the_same_kind_has_a_bad_signature() {
    let verifier = by_all_kinds(&P256.public_pem);
    let claims = somebody();
    for token in [
        hmac(Algorithm::HS256, "another secret", None, &claims),
        hmac(Algorithm::HS256, "", None, &claims),
        OTHER_RSA.sign(Algorithm::RS256, None, &claims),
    ] {
        assert_eq!(refused(&verifier, &token), TokenError::Invalid(InvalidToken::Signature));
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let settings = TokenSettings { rsa_public_key: RSA.public_pem.clone(), ..TokenSettings::default() };
    let verifier = TokenVerifier::new(&settings).unwrap();
    let trimmed = RSA.public_pem.trim();
    for secret in [RSA.public_pem.as_str(), trimmed] {
        let forged = hmac(Algorithm::HS256, secret, None, &somebody());
        assert_eq!(refused(&verifier, &forged), TokenError::Invalid(InvalidToken::Algorithm));
        // Also with a secret configured beside it.
        let forged = hmac(Algorithm::HS512, secret, None, &somebody());
        assert_eq!(
            refused(&by_all_kinds(&P256.public_pem), &forged),
            TokenError::Invalid(InvalidToken::Signature)
        );
    }
}

#[test]
fn an_algorithm_that_no_key_is_of_is_refused() {
    let claims = somebody();
    let algorithm = TokenError::Invalid(InvalidToken::Algorithm);
    assert_eq!(refused(&by_secret(), &RSA.sign(Algorithm::RS256, None, &claims)), algorithm);
    assert_eq!(refused(&by_secret(), &ED25519.sign(Algorithm::EdDSA, None, &claims)), algorithm);
    // A P-256 key is none for ES384, and RSA-PSS is not supported though the key would fit.
    let verifier = by_all_kinds(&P256.public_pem);
    assert_eq!(refused(&verifier, &P384.sign(Algorithm::ES384, None, &claims)), algorithm);
    assert_eq!(refused(&verifier, &RSA.sign(Algorithm::PS256, None, &claims)), algorithm);
}

#[test]
fn none_and_unknown_algorithms_are_refused_in_every_spelling() {
    for alg in ["none", "None", "NONE", "nOnE", "hs256", "HS1", "ES512", ""] {
        let header = json!({"typ": "JWT", "alg": alg}).to_string();
        let signed = signed_text(&header, r#"{"sub":"42"}"#, SECRET.as_bytes());
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        for token in [signed, unsigned] {
            assert_eq!(
                refused(&by_secret(), &token),
                TokenError::Invalid(InvalidToken::Algorithm),
                "{alg:?}"
            );
        }
    }
}

#[test]
fn a_critical_extension_that_is_not_understood_is_refused() {
    let header = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    let token = signed_text(header, r#"{"sub":"42"}"#, SECRET.as_bytes());
    assert_eq!(refused(&by_secret(), &token), TokenError::Invalid(InvalidToken::CriticalHeader));
}

#[test]
fn a_key_inside_the_token_is_not_used() {
    let jwk = RSA.jwk(&json!({}));
    let header = json!({"alg": "RS256", "jwk": jwk, "jku": "https://keys.test/"}).to_string();
    let token = signed_text(&header, r#"{"sub":"42"}"#, b"whatever");
    assert_eq!(refused(&by_secret(), &token), TokenError::Invalid(InvalidToken::Algorithm));
}

#[test]
fn any_changed_byte_breaks_the_token() {
    let token = signed(&json!({"sub": "42", "exp": NOW + 60}));
    let verifier = by_secret();
    assert!(verifier.connection(&token, NOW).is_ok());
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verifier.connection(&changed, NOW).is_err(), "byte {at}");
    }
}
