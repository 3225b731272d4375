//! Secrets that change while tokens are about: two at a time, and other settings in the place of those there are.

use jsonwebtoken::Algorithm;

use super::*;
use crate::token::tests::keys::{RSA, hmac};

const NEXT: &str = "the-secret-after-it-long-enough-for-hs512-0123456789-0123456789-01";

/// The settings after a rotation.
fn rotated() -> TokenSettings {
    TokenSettings {
        hmac_secret: NEXT.to_owned(),
        hmac_secret_previous: SECRET.to_owned(),
        leeway: Duration::ZERO,
        ..TokenSettings::default()
    }
}

/// The settings when the rotation is over.
fn done() -> TokenSettings {
    TokenSettings { hmac_secret_previous: String::new(), ..rotated() }
}

#[test]
fn tokens_of_both_secrets_open_connections_and_subscriptions_whatever_their_algorithm_and_kid() {
    let verifier = TokenVerifier::new(&rotated()).unwrap();
    let subscription = json!({"sub": "42", "channel": "$chat:1"});
    for secret in [NEXT, SECRET] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            for kid in [None, Some("2026-11")] {
                let connection = verifier.connection(&hmac(algorithm, secret, kid, &somebody()), NOW);
                assert_eq!(connection.unwrap().user, "42", "{algorithm:?} {kid:?}");
                let subscription = verifier.subscription(&hmac(algorithm, secret, kid, &subscription), NOW);
                assert_eq!(subscription.unwrap().channel, "$chat:1", "{algorithm:?} {kid:?}");
            }
        }
    }
}

#[test]
fn a_token_of_neither_secret_is_refused_and_one_of_the_previous_keeps_its_conditions() {
    let verifier = TokenVerifier::new(&rotated()).unwrap();
    let signature = TokenError::Invalid(InvalidToken::Signature);
    let by = |secret, claims: &Value| hmac(Algorithm::HS256, secret, None, claims);
    for secret in ["", "another", &NEXT[1..], &SECRET[1..]] {
        assert_eq!(refused(&verifier, &by(secret, &somebody())), signature, "{secret:?}");
    }
    assert_eq!(refused(&verifier, &by(SECRET, &json!({"sub": "42", "exp": NOW}))), TokenError::Expired);
    let wrong = TokenError::Invalid(InvalidToken::Claim("sub"));
    assert_eq!(refused(&verifier, &by(SECRET, &json!({"sub": ["42"]}))), wrong);
}

#[test]
fn a_secret_of_the_past_alone_is_refused_and_opens_nothing() {
    let alone = TokenSettings { hmac_secret: String::new(), ..rotated() };
    assert_eq!(TokenVerifier::new(&alone).err(), Some(AuthSettingsError::PreviousSecretAlone));
    assert!(!alone.is_configured());
    // With a key of another kind too: what is signed by HMAC would be checked by the past alone.
    let with_rsa = TokenSettings { rsa_public_key: RSA.public_pem.clone(), ..alone };
    assert_eq!(TokenVerifier::new(&with_rsa).err(), Some(AuthSettingsError::PreviousSecretAlone));
}

#[test]
fn a_rotation_in_two_steps_refuses_only_what_is_signed_by_the_removed_secret() {
    let verifier = by_secret();
    let by = |secret| hmac(Algorithm::HS256, secret, None, &somebody());
    let accepted = |verifier: &TokenVerifier, secret| verifier.connection(&by(secret), NOW).is_ok();
    assert!(accepted(&verifier, SECRET) && !accepted(&verifier, NEXT));
    let between = verifier.renewed(&rotated()).unwrap();
    assert!(accepted(&between, SECRET) && accepted(&between, NEXT));
    let done = between.renewed(&done()).unwrap();
    assert!(!accepted(&done, SECRET) && accepted(&done, NEXT));
}

#[test]
fn settings_that_are_refused_change_nothing() {
    let verifier = TokenVerifier::new(&rotated()).unwrap();
    let by = |secret| hmac(Algorithm::HS256, secret, None, &somebody());
    for broken in [
        TokenSettings { jwks: "{".to_owned(), ..done() },
        TokenSettings { rsa_public_key: "no PEM".to_owned(), ..done() },
        TokenSettings { leeway: Duration::from_hours(1), ..done() },
        TokenSettings { hmac_secret: String::new(), ..rotated() },
    ] {
        assert!(verifier.renewed(&broken).is_err(), "{broken:?}");
        assert!(verifier.connection(&by(SECRET), NOW).is_ok() && verifier.connection(&by(NEXT), NOW).is_ok());
    }
}

#[test]
fn issuer_and_audience_follow_the_settings_too() {
    let verifier = by_secret();
    let token = signed(&somebody());
    let verifier = verifier.renewed(&TokenSettings { issuer: "login".to_owned(), ..rotated() }).unwrap();
    assert_eq!(refused(&verifier, &token), TokenError::Invalid(InvalidToken::Issuer));
    let verifier = verifier.renewed(&rotated()).unwrap();
    assert!(verifier.connection(&token, NOW).is_ok());
    let verifier = verifier.renewed(&TokenSettings::default()).unwrap();
    assert_eq!(refused(&verifier, &token), TokenError::Invalid(InvalidToken::NotConfigured));
}

#[test]
fn fetched_keys_stay_until_the_next_fetch_and_go_with_their_address() {
    let url = |url: &str| TokenSettings { jwks_url: url.to_owned(), ..TokenSettings::default() };
    let verifier = TokenVerifier::new(&url("https://keys.test/a")).unwrap();
    let token = RSA.sign(Algorithm::RS256, Some("a"), &somebody());
    verifier.install_jwks(json!({"keys": [RSA.jwk(&json!({"kid": "a"}))]}).to_string().as_bytes()).unwrap();
    let verifier = verifier.renewed(&url("https://keys.test/b")).unwrap();
    assert_eq!(verifier.jwks_source().unwrap().url, "https://keys.test/b");
    assert!(verifier.connection(&token, NOW).is_ok() && !verifier.awaits_keys());
    let verifier = verifier.renewed(&rotated()).unwrap();
    assert_eq!(refused(&verifier, &token), TokenError::Invalid(InvalidToken::Algorithm));
    let verifier = verifier.renewed(&url("https://keys.test/a")).unwrap();
    assert!(verifier.awaits_keys());
}
