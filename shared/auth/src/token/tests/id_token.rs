//! ID tokens: whose they are, for whom, and for which login.

use jsonwebtoken::Algorithm;

use super::{
    keys::{ED25519, NOW, OTHER_RSA, P256, RSA, hmac, signed_text},
    *,
};

const EXPECTED: ExpectedIdToken<'_> =
    ExpectedIdToken { issuer: "https://id.test", client_id: "gorani", nonce: "n-1" };

fn keys() -> IdTokenKeys {
    let keys =
        [RSA.jwk(&json!({"kid": "a"})), P256.jwk(&json!({"kid": "b"})), ED25519.jwk(&json!({"kid": "c"}))];
    IdTokenKeys::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// The claims of a good token, with these in their place; `null` takes one away.
fn claims(changed: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.test", "aud": "gorani", "sub": "u-1", "nonce": "n-1", "exp": NOW + 60, "iat": NOW,
    });
    claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn outcome(token: &str) -> Result<(), IdTokenError> {
    keys().verify(token, EXPECTED, NOW).map(|_| ())
}

#[test]
fn a_token_of_the_provider_for_this_client_and_this_login_is_good_and_gives_all_its_claims() {
    let good = claims(&json!({"groups": ["ops"], "realm_access": {"roles": ["a"]}}));
    for token in [
        RSA.sign(Algorithm::RS256, Some("a"), &good),
        RSA.sign(Algorithm::RS256, None, &good),
        RSA.sign(Algorithm::PS256, Some("a"), &good),
        RSA.sign(Algorithm::PS512, None, &good),
        P256.sign(Algorithm::ES256, Some("b"), &good),
        ED25519.sign(Algorithm::EdDSA, Some("c"), &good),
    ] {
        let read = keys().verify(&token, EXPECTED, NOW).unwrap();
        assert_eq!(Value::Object(read), good);
    }
}

#[test]
fn an_rsa_key_that_names_its_algorithm_is_good_for_that_one_alone() {
    let keys = json!({"keys": [RSA.jwk(&json!({"kid": "a", "alg": "PS256"}))]}).to_string();
    let keys = IdTokenKeys::parse(keys.as_bytes()).unwrap();
    let signed = |algorithm| RSA.sign(algorithm, Some("a"), &claims(&json!({})));
    assert!(keys.verify(&signed(Algorithm::PS256), EXPECTED, NOW).is_ok());
    for other in [Algorithm::RS256, Algorithm::PS384] {
        assert_eq!(keys.verify(&signed(other), EXPECTED, NOW).map(|_| ()), Err(IdTokenError::Algorithm));
    }
}

#[test]
fn what_a_token_says_must_be_what_is_expected() {
    for (changed, expected) in [
        (json!({"iss": "https://id.test/"}), Err(IdTokenError::Issuer)),
        (json!({"iss": null}), Err(IdTokenError::Claims)),
        (json!({"aud": "other"}), Err(IdTokenError::Audience)),
        (json!({"aud": null}), Err(IdTokenError::Claims)),
        (json!({"aud": []}), Err(IdTokenError::Audience)),
        (json!({"aud": ["gorani"]}), Ok(())),
        (json!({"aud": ["gorani", "other"]}), Err(IdTokenError::Audience)),
        (json!({"aud": ["gorani", "other"], "azp": "gorani"}), Ok(())),
        (json!({"aud": ["gorani", "other"], "azp": "other"}), Err(IdTokenError::Audience)),
        (json!({"azp": "other"}), Err(IdTokenError::Audience)),
        (json!({"nonce": "n-2"}), Err(IdTokenError::Nonce)),
        (json!({"nonce": ""}), Err(IdTokenError::Nonce)),
        (json!({"nonce": null}), Err(IdTokenError::Nonce)),
        (json!({"nonce": 1}), Err(IdTokenError::Claims)),
        (json!({"sub": ""}), Err(IdTokenError::Claims)),
        (json!({"sub": null}), Err(IdTokenError::Claims)),
        (json!({"exp": null}), Err(IdTokenError::Claims)),
        (json!({"iat": null}), Err(IdTokenError::Claims)),
        (json!({"exp": NOW - 29}), Ok(())),
        (json!({"exp": NOW - 30}), Err(IdTokenError::Expired)),
        (json!({"iat": NOW + 30}), Ok(())),
        (json!({"iat": NOW + 31}), Err(IdTokenError::NotYetValid)),
        (json!({"nbf": NOW + 31}), Err(IdTokenError::NotYetValid)),
    ] {
        let token = RSA.sign(Algorithm::RS256, Some("a"), &claims(&changed));
        assert_eq!(outcome(&token), expected, "{changed}");
    }
}

#[test]
fn only_a_key_of_the_provider_signs() {
    let good = claims(&json!({}));
    let none = |header: &str| signed_text(header, &good.to_string(), b"");
    let public = RSA.public_pem.as_str();
    for (token, expected) in [
        (OTHER_RSA.sign(Algorithm::RS256, Some("a"), &good), IdTokenError::Signature),
        (OTHER_RSA.sign(Algorithm::RS256, Some("z"), &good), IdTokenError::UnknownKey),
        (RSA.sign(Algorithm::RS256, Some("b"), &good), IdTokenError::Algorithm),
        (hmac(Algorithm::HS256, SECRET, Some("a"), &good), IdTokenError::Algorithm),
        (hmac(Algorithm::HS256, public, Some("a"), &good), IdTokenError::Algorithm),
        (hmac(Algorithm::HS256, SECRET, None, &good), IdTokenError::Algorithm),
        (none(r#"{"alg":"none"}"#), IdTokenError::Algorithm),
        (none(r#"{"alg":"None","kid":"a"}"#), IdTokenError::Algorithm),
        (none(r#"{"alg":"RS256","kid":"a"}"#), IdTokenError::Signature),
        (none(r#"{"alg":"RS256","kid":"a","crit":["exp"]}"#), IdTokenError::CriticalHeader),
        (none("{}"), IdTokenError::Algorithm),
        (String::new(), IdTokenError::Malformed),
        ("a.b".to_owned(), IdTokenError::Malformed),
        ("x".repeat(ID_TOKEN_MAX_BYTES + 1), IdTokenError::TooLong),
    ] {
        assert_eq!(outcome(&token), Err(expected), "{token:.80}");
    }
    let deep = format!("{}{}", "[".repeat(TOKEN_MAX_JSON_DEPTH + 1), "]".repeat(TOKEN_MAX_JSON_DEPTH + 1));
    let deep: Value = serde_json::from_str(&deep).unwrap();
    let token = RSA.sign(Algorithm::RS256, Some("a"), &claims(&json!({"groups": deep})));
    assert_eq!(outcome(&token), Err(IdTokenError::TooDeep));
}
