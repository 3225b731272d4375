//! Tokens of the command line open what they should.

use std::time::Duration;

use serde_json::value::RawValue;

use super::*;

#[test]
fn a_signed_connection_token_opens_a_connection_until_it_expires() {
    let request = ConnectionTokenRequest {
        user: "42".to_owned(),
        ttl: Some(Duration::from_hours(1)),
        channels: vec!["news".to_owned(), "chat:1".to_owned()],
        info: Some(RawValue::from_string(r#"{"name":"Ann"}"#.to_owned()).unwrap()),
        ..ConnectionTokenRequest::default()
    };
    let token = request.sign(SECRET, NOW).unwrap();
    let claims = by_secret().connection(&token, NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.issued_at), ("42", Some(NOW)));
    assert_eq!(claims.expires_at, Some(NOW + 3600));
    assert_eq!(claims.channels, request.channels);
    assert_eq!(claims.info.unwrap().get(), r#"{"name":"Ann"}"#);
    assert!(by_secret().connection(&token, NOW + 3599).is_ok());
    assert_eq!(by_secret().connection(&token, NOW + 3600).unwrap_err(), TokenError::Expired);
}

#[test]
fn a_signed_subscription_token_opens_its_channel() {
    let request = SubscriptionTokenRequest {
        user: "42".to_owned(),
        channel: "$chat:1".to_owned(),
        ..SubscriptionTokenRequest::default()
    };
    let claims = by_secret().subscription(&request.sign(SECRET, NOW).unwrap(), NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.channel.as_str()), ("42", "$chat:1"));
    assert_eq!(claims.expires_at, None);
}

#[test]
fn issuer_and_audience_of_the_settings_are_signed_in() {
    let settings = TokenSettings {
        hmac_secret: SECRET.to_owned(),
        audience: "push".to_owned(),
        issuer: "login".to_owned(),
        ..TokenSettings::default()
    };
    let request = ConnectionTokenRequest {
        audience: settings.audience.clone(),
        issuer: settings.issuer.clone(),
        ..ConnectionTokenRequest::default()
    };
    let token = request.sign(SECRET, NOW).unwrap();
    assert!(TokenVerifier::new(&settings).unwrap().connection(&token, NOW).is_ok());
}

#[test]
fn what_could_not_be_used_is_not_signed() {
    let connection = ConnectionTokenRequest::default();
    assert_eq!(connection.sign("", NOW), Err(SignError::NoSecret));
    let long = ConnectionTokenRequest { user: "4".repeat(TOKEN_MAX_BYTES), ..connection };
    assert_eq!(long.sign(SECRET, NOW), Err(SignError::TooLong));
    assert_eq!(SubscriptionTokenRequest::default().sign(SECRET, NOW), Err(SignError::NoChannel));
}
