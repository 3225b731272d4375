//! The settings of tokens: what is refused at the start, and what is never shown.

use std::time::Duration;

use super::keys::{ED25519, P256, P384, RSA, pem};
use super::*;

fn read(json: Value) -> Result<TokenSettings, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

#[test]
fn every_field_has_a_default_and_unknown_ones_are_refused_by_name() {
    assert_eq!(read(json!({})).unwrap(), TokenSettings::default());
    assert!(!TokenSettings::default().is_configured());
    assert_eq!(TokenSettings::default().validate(), Ok(()));
    let error = read(json!({"hmac_secert": "x"})).unwrap_err();
    assert!(error.contains("unknown field `hmac_secert`"), "{error}");
}

#[test]
fn settings_are_written_and_read_back_the_same() {
    let settings = read(json!({"hmac_secret": "x", "leeway": "5s", "jwks_refresh": "1h 30m"})).unwrap();
    assert_eq!(settings.leeway, Duration::from_secs(5));
    assert_eq!(settings.jwks_refresh, Duration::from_mins(90));
    assert_eq!(read(serde_json::to_value(&settings).unwrap()).unwrap(), settings);
}

#[test]
fn durations_without_a_unit_are_refused_with_an_example() {
    for text in ["5", "soon", "-1s", ""] {
        let error = read(json!({"leeway": text})).unwrap_err();
        assert!(error.contains("bad duration") && error.contains("`300s`"), "{error}");
    }
    assert_eq!(read(json!({"leeway": "0s"})).unwrap().leeway, Duration::ZERO);
}

#[test]
fn each_key_is_refused_where_another_kind_belongs() {
    let cases: Vec<(&str, &str, Option<AuthSettingsError>)> = vec![
        ("rsa_public_key", &RSA.public_pem, None),
        ("ecdsa_public_key", &P256.public_pem, None),
        ("ecdsa_public_key", &P384.public_pem, None),
        ("ed25519_public_key", &ED25519.public_pem, None),
        (
            "rsa_public_key",
            &P256.public_pem,
            Some(AuthSettingsError::PublicKey { setting: "rsa_public_key" }),
        ),
        (
            "ecdsa_public_key",
            &RSA.public_pem,
            Some(AuthSettingsError::PublicKey { setting: "ecdsa_public_key" }),
        ),
        (
            "ecdsa_public_key",
            &ED25519.public_pem,
            Some(AuthSettingsError::PublicKey { setting: "ecdsa_public_key" }),
        ),
        (
            "ed25519_public_key",
            &P256.public_pem,
            Some(AuthSettingsError::PublicKey { setting: "ed25519_public_key" }),
        ),
        ("rsa_public_key", "not PEM", Some(AuthSettingsError::PublicKey { setting: "rsa_public_key" })),
        ("rsa_public_key", " ", Some(AuthSettingsError::PublicKey { setting: "rsa_public_key" })),
        (
            "rsa_public_key",
            &RSA.private_pem,
            Some(AuthSettingsError::PrivateKey { setting: "rsa_public_key" }),
        ),
        (
            "ecdsa_public_key",
            &P256.private_pem,
            Some(AuthSettingsError::PrivateKey { setting: "ecdsa_public_key" }),
        ),
        (
            "ed25519_public_key",
            &ED25519.private_pem,
            Some(AuthSettingsError::PrivateKey { setting: "ed25519_public_key" }),
        ),
    ];
    for (setting, pem, expected) in cases {
        let settings = read(json!({ setting: pem })).unwrap();
        assert_eq!(settings.validate().err(), expected, "{setting}: {pem}");
        assert_eq!(TokenVerifier::new(&settings).err(), expected, "{setting}: {pem}");
    }
}

#[test]
fn damaged_and_weak_keys_are_refused_at_the_start() {
    // The DER of RSAPublicKey {modulus of 1024 bits, exponent 65537}.
    let mut weak = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
    weak.extend([0xc3; 128]);
    weak.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let weak = TokenSettings { rsa_public_key: pem("RSA PUBLIC KEY", &weak), ..TokenSettings::default() };
    assert_eq!(weak.validate(), Err(AuthSettingsError::WeakKey { setting: "rsa_public_key" }));
    let cut = RSA.public_pem.replacen("MII", "", 1);
    let cut = TokenSettings { rsa_public_key: cut, ..TokenSettings::default() };
    assert_eq!(cut.validate(), Err(AuthSettingsError::PublicKey { setting: "rsa_public_key" }));
}

#[test]
fn a_key_may_be_indented_or_followed_by_blank_lines() {
    let rsa_public_key = format!("\n{}\n\n", RSA.public_pem);
    let settings = TokenSettings { rsa_public_key, ..TokenSettings::default() };
    assert_eq!(settings.validate(), Ok(()));
}

#[test]
fn addresses_intervals_and_leeway_are_checked() {
    for (json, expected) in [
        (json!({"jwks_url": "https://keys.test/jwks"}), None),
        (json!({"jwks_url": "http://keycloak:8080/jwks"}), None),
        (json!({"jwks_url": "keys.test/jwks"}), Some(AuthSettingsError::JwksUrl)),
        (json!({"jwks_url": "file:///etc/passwd"}), Some(AuthSettingsError::JwksUrl)),
        (json!({"jwks_url": "https://"}), Some(AuthSettingsError::JwksUrl)),
        (json!({"jwks_url": "https:///x"}), Some(AuthSettingsError::JwksUrl)),
        (
            json!({"jwks_url": "https://keys.test", "jwks_refresh": "1s"}),
            Some(AuthSettingsError::JwksRefresh(Duration::from_secs(10))),
        ),
        (json!({"jwks_refresh": "0s"}), None),
        (json!({"leeway": "5m"}), None),
        (json!({"leeway": "301s"}), Some(AuthSettingsError::Leeway)),
        (json!({"jwks": "{}"}), Some(AuthSettingsError::JwksSyntax { line: 1, column: 2 })),
    ] {
        assert_eq!(read(json.clone()).unwrap().validate().err(), expected, "{json}");
    }
    assert_eq!(AuthSettingsError::Leeway.to_string(), "token.leeway is more than 5m");
}

#[test]
fn debug_output_tells_what_is_set_and_shows_none_of_it() {
    let settings = TokenSettings {
        hmac_secret: "hidden-1".to_owned(),
        rsa_public_key: "hidden-2".to_owned(),
        jwks: "hidden-3".to_owned(),
        jwks_url: "https://user:hidden-4@keys.test".to_owned(),
        ..TokenSettings::default()
    };
    let shown = format!("{settings:?} {:?}", settings.validate());
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(
        shown.contains(r#"hmac_secret: "set""#) && shown.contains(r#"ecdsa_public_key: "not set""#),
        "{shown}"
    );
}
