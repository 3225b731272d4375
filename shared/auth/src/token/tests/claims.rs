//! The claims of good tokens, and the conditions they must meet.

use std::time::Duration;

use super::*;

#[test]
fn all_claims_of_a_connection_token_are_read() {
    let token = signed(&json!({
        "sub": "42", "exp": NOW + 60, "iat": NOW - 5, "jti": "t-1", "aud": "a", "iss": "b",
        "info": {"name": "Ann"}, "meta": {"role": [1, 2]},
        "channels": ["news", "chat:1", "news"],
        "subs": {
            "chat:1": {"info": {"a": 1}, "data": "hi", "override": {
                "presence": {"value": true}, "force_recovery": {"value": false}}},
            "plain": {}, "nothing": null,
        },
        "somebody_elses": {"claim": true},
    }));
    let claims = by_secret().connection(&token, NOW).unwrap();
    assert_eq!(claims.user, "42");
    assert_eq!((claims.expires_at, claims.issued_at), (Some(NOW + 60), Some(NOW - 5)));
    assert_eq!(claims.id.as_deref(), Some("t-1"));
    assert_eq!(claims.info.as_ref().unwrap().get(), r#"{"name":"Ann"}"#);
    assert_eq!(claims.meta.as_ref().unwrap().get(), r#"{"role":[1,2]}"#);
    assert_eq!(claims.channels, ["news", "chat:1"]);
    let chat = &claims.subs["chat:1"];
    assert_eq!(chat.info.as_ref().unwrap().get(), r#"{"a":1}"#);
    assert_eq!(chat.data.as_ref().unwrap().get(), r#""hi""#);
    let expected =
        OptionOverrides { presence: Some(true), force_recovery: Some(false), ..OptionOverrides::default() };
    assert_eq!(chat.overrides, expected);
    let server_side: Vec<_> =
        claims.server_side().map(|(channel, claims)| (channel, claims.is_some())).collect();
    assert_eq!(server_side, [("chat:1", true), ("nothing", true), ("plain", true), ("news", false)]);
}

#[test]
fn all_claims_of_a_subscription_token_are_read() {
    let token = signed(&json!({
        "sub": "42", "channel": "$chat:1", "client": "c-1", "exp": NOW + 60, "iat": NOW, "jti": "t-2",
        "info": [1], "data": {"b": null}, "override": {"join_leave": {"value": true}, "presence": null},
    }));
    let claims = by_secret().subscription(&token, NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.channel.as_str()), ("42", "$chat:1"));
    assert_eq!(claims.client.as_deref(), Some("c-1"));
    assert_eq!((claims.expires_at, claims.issued_at), (Some(NOW + 60), Some(NOW)));
    assert_eq!(claims.id.as_deref(), Some("t-2"));
    assert_eq!(claims.info.unwrap().get(), "[1]");
    assert_eq!(claims.data.unwrap().get(), r#"{"b":null}"#);
    assert_eq!(claims.overrides, OptionOverrides { join_leave: Some(true), ..OptionOverrides::default() });
}

#[test]
fn info_and_data_in_base64_are_the_json_that_their_bytes_are() {
    // {"a":1} with a newline before it, and three bytes that are no JSON.
    let (json, bytes) = ("CnsiYSI6MX0=", "AP8B");
    let connection = signed(&json!({
        "sub": "42", "info": {"kept": false}, "b64info": json,
        "subs": {"news": {"b64info": bytes, "b64data": json}, "chat": {"info": 1, "b64info": ""}},
    }));
    let claims = by_secret().connection(&connection, NOW).unwrap();
    assert_eq!(claims.info.unwrap().get(), r#"{"a":1}"#);
    let told = |raw: &Option<Box<serde_json::value::RawValue>>| raw.as_ref().map(|raw| raw.get().to_owned());
    assert_eq!(told(&claims.subs["news"].info).as_deref(), Some(r#""AP8B""#));
    assert_eq!(told(&claims.subs["news"].data).as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(told(&claims.subs["chat"].info).as_deref(), Some("1"));
    let subscription = signed(&json!({"sub": "42", "channel": "news", "b64info": json, "b64data": bytes}));
    let claims = by_secret().subscription(&subscription, NOW).unwrap();
    assert_eq!(claims.info.unwrap().get(), r#"{"a":1}"#);
    assert_eq!(claims.data.unwrap().get(), r#""AP8B""#);
    let bad = signed(&json!({"sub": "42", "b64info": "no base64"}));
    assert!(matches!(by_secret().connection(&bad, NOW), Err(TokenError::Invalid(_))));
}

#[test]
fn an_empty_connection_token_is_an_anonymous_user_for_ever() {
    let claims = by_secret().connection(&signed(&json!({})), NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.expires_at), ("", None));
    assert!(claims.info.is_none() && claims.server_side().next().is_none());
}

#[test]
fn a_subscription_token_opens_no_connection_and_a_connection_token_no_channel() {
    let verifier = by_secret();
    let subscription = signed(&json!({"sub": "42", "channel": "news"}));
    assert_eq!(refused(&verifier, &subscription), TokenError::Invalid(InvalidToken::WrongKind));
    for claims in [somebody(), json!({"sub": "42", "channel": ""}), json!({"sub": "42", "channel": null})] {
        let error = verifier.subscription(&signed(&claims), NOW).unwrap_err();
        assert_eq!(error, TokenError::Invalid(InvalidToken::Claims), "{claims}");
    }
}

#[test]
fn times_are_judged_by_the_callers_clock_and_the_leeway() {
    let strict = by_secret();
    let settings = TokenSettings {
        hmac_secret: SECRET.to_owned(),
        leeway: Duration::from_secs(10),
        ..TokenSettings::default()
    };
    let lenient = TokenVerifier::new(&settings).unwrap();
    let (expired, early) = (TokenError::Expired, TokenError::NotYetValid);
    for (claims, by_strict, by_lenient) in [
        (json!({"exp": NOW + 1}), Ok(()), Ok(())),
        (json!({"exp": NOW}), Err(expired), Ok(())),
        (json!({"exp": NOW - 9}), Err(expired), Ok(())),
        (json!({"exp": NOW - 10}), Err(expired), Err(expired)),
        (json!({"exp": 0}), Err(expired), Err(expired)),
        (json!({"exp": -5}), Err(expired), Err(expired)),
        (json!({"exp": u64::MAX}), Ok(()), Ok(())),
        (json!({"exp": null}), Ok(()), Ok(())),
        (json!({"nbf": NOW}), Ok(()), Ok(())),
        (json!({"nbf": NOW + 1}), Err(early), Ok(())),
        (json!({"nbf": NOW + 10}), Err(early), Ok(())),
        (json!({"nbf": NOW + 11}), Err(early), Err(early)),
        (json!({"nbf": u64::MAX}), Err(early), Err(early)),
        // Clocks differ: a token from a moment ahead shows in its iat, and is judged by nbf only.
        (json!({"iat": NOW + 3}), Ok(()), Ok(())),
    ] {
        let token = signed(&claims);
        assert_eq!(strict.connection(&token, NOW).map(|_| ()), by_strict, "{claims}");
        assert_eq!(lenient.connection(&token, NOW).map(|_| ()), by_lenient, "{claims} with leeway");
    }
}

#[test]
fn a_time_with_a_fraction_is_rounded_down() {
    let verifier = by_secret();
    let token = signed(&json!({"exp": NOW as f64 + 1.9}));
    assert_eq!(verifier.connection(&token, NOW).unwrap().expires_at, Some(NOW + 1));
    assert_eq!(verifier.connection(&token, NOW + 1).unwrap_err(), TokenError::Expired);
}

#[test]
fn expire_at_decides_when_the_connection_ends_and_exp_when_the_token_does() {
    let verifier = by_secret();
    for (claims, expected) in [
        (json!({"exp": NOW + 60, "expire_at": NOW + 3600}), Ok(Some(NOW + 3600))),
        (json!({"exp": NOW + 60, "expire_at": NOW + 5}), Ok(Some(NOW + 5))),
        (json!({"exp": NOW + 60, "expire_at": 0}), Ok(None)),
        (json!({"exp": NOW + 60}), Ok(Some(NOW + 60))),
        (json!({"expire_at": NOW + 5}), Ok(Some(NOW + 5))),
        (json!({"exp": NOW - 1, "expire_at": NOW + 3600}), Err(TokenError::Expired)),
        (json!({"exp": NOW - 1, "expire_at": 0}), Err(TokenError::Expired)),
        (json!({"exp": NOW + 60, "expire_at": NOW}), Err(TokenError::Expired)),
    ] {
        let connection = verifier.connection(&signed(&claims), NOW).map(|claims| claims.expires_at);
        assert_eq!(connection, expected, "{claims}");
        let mut claims = claims;
        claims["channel"] = json!("news");
        let subscription = verifier.subscription(&signed(&claims), NOW).map(|claims| claims.expires_at);
        assert_eq!(subscription, expected, "{claims}");
    }
}

#[test]
fn a_bad_signature_is_told_before_expiry() {
    let claims = json!({"sub": "42", "exp": NOW - 1});
    assert_eq!(refused(&by_secret(), &signed(&claims)), TokenError::Expired);
    let forged = keys::hmac(jsonwebtoken::Algorithm::HS256, "another secret", None, &claims);
    assert_eq!(refused(&by_secret(), &forged), TokenError::Invalid(InvalidToken::Signature));
}

#[test]
fn issuer_and_audience_are_checked_when_set() {
    let settings = TokenSettings {
        hmac_secret: SECRET.to_owned(),
        audience: "push".to_owned(),
        issuer: "login".to_owned(),
        ..TokenSettings::default()
    };
    let verifier = TokenVerifier::new(&settings).unwrap();
    let (issuer, audience) = (Err(InvalidToken::Issuer), Err(InvalidToken::Audience));
    for (claims, expected) in [
        (json!({"iss": "login", "aud": "push"}), Ok(())),
        (json!({"iss": "login", "aud": ["shop", "push"]}), Ok(())),
        (json!({"iss": "login", "aud": ["shop"]}), audience),
        (json!({"iss": "login", "aud": []}), audience),
        (json!({"iss": "login", "aud": "pushy"}), audience),
        (json!({"iss": "login", "aud": ""}), audience),
        (json!({"iss": "login"}), audience),
        (json!({"iss": "other", "aud": "push"}), issuer),
        (json!({"iss": "", "aud": "push"}), issuer),
        (json!({"aud": "push"}), issuer),
        // A token of an unknown issuer gets no answer about its age.
        (json!({"iss": "other", "aud": "push", "exp": 1}), issuer),
    ] {
        let outcome = verifier.connection(&signed(&claims), NOW).map(|_| ());
        assert_eq!(outcome, expected.map_err(TokenError::Invalid), "{claims}");
        assert!(by_secret().connection(&signed(&claims), 0).is_ok(), "without conditions: {claims}");
    }
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    for (claim, claims) in [
        ("sub", json!({"sub": ["42"]})),
        ("sub", json!({"sub": true, "exp": "soon"})),
        ("sub", json!({"sub": {}})),
        ("exp", json!({"exp": "soon"})),
        ("exp", json!({"exp": [1]})),
        ("exp", json!({"exp": true})),
        ("aud", json!({"aud": 1})),
        ("aud", json!({"aud": [1]})),
        ("iss", json!({"iss": {}})),
        ("channels", json!({"channels": "news"})),
        ("channels", json!({"channels": [1]})),
        ("subs", json!({"subs": ["news"]})),
        ("subs", json!({"subs": {"news": true}})),
        ("subs", json!({"subs": {"news": {"override": {"presence": true}}}})),
        ("override", json!({"override": {"presence": {"value": "yes"}}})),
    ] {
        let error = refused(&by_secret(), &signed(&claims));
        assert_eq!(error, TokenError::Invalid(InvalidToken::Claim(claim)), "{claims}");
    }
}

#[test]
fn a_numeric_subject_is_the_text_of_the_number() {
    for (payload, user, has_subject) in [
        (r#"{"sub":42}"#, "42", true),
        (r#"{"sub": 0 }"#, "0", true),
        (r#"{"sub":-7}"#, "-7", true),
        (r#"{"sub":18446744073709551616123}"#, "18446744073709551616123", true),
        (r#"{"sub":1.50}"#, "1.50", true),
        (r#"{"sub":"4\u0032"}"#, "42", true),
        (r#"{"sub":""}"#, "", true),
        (r#"{"sub":null}"#, "", false),
        ("{}", "", false),
    ] {
        let token = keys::signed_text(r#"{"alg":"HS256"}"#, payload, SECRET.as_bytes());
        let claims = by_secret().connection(&token, NOW).unwrap();
        assert_eq!((&*claims.user, claims.has_subject), (user, has_subject), "{payload}");
    }
    let subscription = signed(&json!({"sub": 42, "channel": "news"}));
    assert_eq!(by_secret().subscription(&subscription, NOW).unwrap().user, "42");
}

#[test]
fn embedded_json_is_passed_on_as_it_stands_but_for_newlines_between_its_parts() {
    let payload = "{\"sub\":\"42\",\"info\":{\n  \"a\" : 1.50,\r\n  \"b\":\"x\\ny\"\n},\"meta\":null}";
    let token = keys::signed_text(r#"{"alg":"HS256"}"#, payload, SECRET.as_bytes());
    let claims = by_secret().connection(&token, NOW).unwrap();
    assert_eq!(claims.info.unwrap().get(), r#"{  "a" : 1.50,  "b":"x\ny"}"#);
    assert!(claims.meta.is_none());
}
