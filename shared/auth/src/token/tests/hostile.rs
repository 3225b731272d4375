//! Tokens that are made to hurt.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::keys::signed_text;
use super::*;

const HEADER: &str = r#"{"alg":"HS256"}"#;

#[test]
fn a_token_over_the_limit_is_refused_by_its_length_alone() {
    let verifier = by_secret();
    let too_long = TokenError::Invalid(InvalidToken::TooLong);
    for token in [
        "x".repeat(1 << 20),
        ".".repeat(1 << 20),
        "x".repeat(TOKEN_MAX_BYTES + 1),
        signed(&json!({"sub": "4".repeat(TOKEN_MAX_BYTES)})),
        signed_text(HEADER, &"[".repeat(100_000), SECRET.as_bytes()),
    ] {
        assert_eq!(refused(&verifier, &token), too_long);
    }
    assert_eq!(
        refused(&verifier, &"x".repeat(TOKEN_MAX_BYTES)),
        TokenError::Invalid(InvalidToken::Malformed)
    );
}

#[test]
fn a_good_token_just_under_the_limit_is_accepted() {
    // 36 header, 43 signature and 2 dots; 4 characters for 3 bytes of the rest.
    let user = "4".repeat((TOKEN_MAX_BYTES - 90) * 3 / 4 - 20);
    let token = signed(&json!({"sub": user}));
    assert!((TOKEN_MAX_BYTES - 100..=TOKEN_MAX_BYTES).contains(&token.len()), "{}", token.len());
    assert_eq!(by_secret().connection(&token, NOW).unwrap().user, user);
}

#[test]
fn nested_claims_are_refused_past_the_depth_of_the_node() {
    let nested = |depth: usize| {
        let payload = format!(r#"{{"info":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        by_secret().connection(&signed_text(HEADER, &payload, SECRET.as_bytes()), NOW).map(|_| ())
    };
    assert_eq!(nested(TOKEN_MAX_JSON_DEPTH - 1), Ok(()));
    assert_eq!(nested(TOKEN_MAX_JSON_DEPTH), Err(TokenError::Invalid(InvalidToken::TooDeep)));
    assert_eq!(nested(5_000), Err(TokenError::Invalid(InvalidToken::TooDeep)));
    // Brackets inside of strings are no nesting, escaped quotes and backslashes included.
    let payload = format!(r#"{{"info":"\"{}\\","meta":"{}"}}"#, "[{".repeat(100), "[".repeat(100));
    assert!(by_secret().connection(&signed_text(HEADER, &payload, SECRET.as_bytes()), NOW).is_ok());
}

#[test]
fn a_nested_header_is_refused_before_any_key_is_asked() {
    let header = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let token = signed_text(&header, "{}", SECRET.as_bytes());
    assert_eq!(refused(&by_secret(), &token), TokenError::Invalid(InvalidToken::Malformed));
}

#[test]
fn texts_that_are_no_tokens_are_malformed() {
    let good = signed(&somebody());
    let parts: Vec<_> = good.split('.').collect();
    let cases = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b".to_owned(),
        "고라니.고라니.고라니".to_owned(),
        "\0.\0.\0".to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}=="),
        format!("Bearer {good}"),
        parts[..2].join("."),
        format!("{}.{}.!!!", parts[0], parts[1]),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{"), parts[1], parts[2]),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode([0xff, 0xfe]), parts[1], parts[2]),
    ];
    for token in cases {
        assert_eq!(refused(&by_secret(), &token), TokenError::Invalid(InvalidToken::Malformed), "{token:?}");
    }
}

#[test]
fn signed_payloads_that_are_no_claims_are_refused_as_claims() {
    for payload in ["", "42", "[]", "null", "{", "{}{}", r#"{"sub":"1","sub":"2"}"#, "\u{0}", "고라니"] {
        let token = signed_text(HEADER, payload, SECRET.as_bytes());
        assert_eq!(refused(&by_secret(), &token), TokenError::Invalid(InvalidToken::Claims), "{payload:?}");
    }
}

#[test]
fn without_any_key_every_token_is_refused() {
    let verifier = TokenVerifier::new(&TokenSettings::default()).unwrap();
    assert!(!verifier.is_configured());
    let empty_secret = keys::hmac(jsonwebtoken::Algorithm::HS256, "", None, &somebody());
    for token in [signed(&somebody()), empty_secret, String::new()] {
        assert_eq!(refused(&verifier, &token), TokenError::Invalid(InvalidToken::NotConfigured));
        assert_eq!(
            verifier.subscription(&token, NOW).unwrap_err(),
            TokenError::Invalid(InvalidToken::NotConfigured)
        );
    }
}

#[test]
fn errors_show_nothing_of_the_token_or_the_secret() {
    let token = signed(&json!({"sub": ["hidden-claim"], "password": "hidden-claim"}));
    let error = refused(&by_secret(), &token);
    let shown = format!("{error} {error:?} {:?}", by_secret());
    assert!(!shown.contains("hidden-claim") && !shown.contains(SECRET), "{shown}");
    for part in token.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(token in ".*") {
        prop_assert!(by_secret().connection(&token, NOW).is_err());
        prop_assert!(by_secret().subscription(&token, NOW).is_err());
    }

    #[test]
    fn any_signed_header_and_payload_is_judged_without_a_panic(header in ".{0,80}", payload in ".{0,200}") {
        let _ = by_secret().connection(&signed_text(&header, &payload, SECRET.as_bytes()), NOW);
        let _ = by_secret().subscription(&signed_text(HEADER, &payload, SECRET.as_bytes()), NOW);
    }
}
