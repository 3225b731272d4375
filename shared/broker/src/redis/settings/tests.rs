//! The settings of the Redis broker: what is refused, and what is shown.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn cluster(urls: &[&str]) -> RedisSettings {
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    RedisSettings { cluster: Some(ClusterSettings { urls }), ..RedisSettings::default() }
}

#[test]
fn no_password_is_shown() {
    let url = || "redis://me:s3cret@example.org:1/0".to_owned();
    let settings = RedisSettings {
        url: url(),
        password: "hidden".to_owned(),
        sentinel: Some(SentinelSettings { urls: vec![url()], primary: "primary".to_owned() }),
        ..cluster(&[&url(), "redis://:s3cret@[::1]:2"])
    };
    for shown in [format!("{settings:?}"), serde_json::to_string(&settings).unwrap()] {
        assert!(!shown.contains("s3cret") && !shown.contains("hidden"), "{shown}");
        assert_eq!(shown.matches("example.org:1").count(), 3, "{shown}");
    }
}

#[test]
fn an_address_without_credentials_is_shown_as_it_is() {
    let settings = serde_json::to_value(RedisSettings::default()).unwrap();
    assert_eq!(settings["url"], DEFAULT_URL);
}

#[test]
fn the_servers_of_a_cluster_are_reached_in_one_way() {
    let servers = ["redis://me:pw@a", "redis://me:pw@b:7000/0"];
    assert_eq!(cluster(&servers).seeds(), Ok(vec![("a".to_owned(), 6379), ("b".to_owned(), 7000)]));
    let info = cluster(&servers).connection_info().unwrap();
    assert_eq!(info.redis_settings().username(), Some("me"), "the way to them, not that of `url`");
    assert_eq!(cluster(&[]).validate(), Err(RedisSettingsError::Cluster));
    for odd in ["rediss://me:pw@b", "redis://you:pw@b", "redis://b", "redis+unix:///socket"] {
        assert_eq!(
            cluster(&["redis://me:pw@a", odd]).validate(),
            Err(RedisSettingsError::ClusterUrls),
            "{odd}"
        );
    }
}

#[test]
fn a_cluster_has_one_database_and_no_sentinels() {
    assert_eq!(cluster(&["redis://a/1"]).validate(), Err(RedisSettingsError::ClusterDatabase));
    let database = |database| RedisSettings { database: Some(database), ..cluster(&["redis://a"]) };
    assert_eq!(database(1).validate(), Err(RedisSettingsError::ClusterDatabase));
    assert_eq!(database(0).validate(), Ok(()));
    let sentinel = SentinelSettings { urls: vec!["redis://s".to_owned()], primary: "primary".to_owned() };
    let both = RedisSettings { sentinel: Some(sentinel), ..cluster(&["redis://a"]) };
    assert_eq!(both.validate(), Err(RedisSettingsError::Cluster));
}

#[test]
fn what_cannot_work_is_refused() {
    let default = RedisSettings::default;
    assert_eq!(default().validate(), Ok(()));
    let braces = RedisSettings { prefix: "a{b".to_owned(), ..default() };
    assert_eq!(braces.validate(), Err(RedisSettingsError::Prefix));
    let hasty = RedisSettings { canary_timeout: Duration::from_secs(1), ..default() };
    assert_eq!(hasty.validate(), Err(RedisSettingsError::CanaryTimeout));
    let zero = RedisSettings { request_timeout: Duration::ZERO, ..default() };
    assert_eq!(zero.validate(), Err(RedisSettingsError::Zero("request_timeout")));
    for url in
        ["http://me:s3cret@here", "me:s3cret@here", "s3cret", "redis:s3cret", "redis:6379", "127.0.0.1:6379"]
    {
        let error = RedisSettings { url: url.to_owned(), ..default() }.validate().unwrap_err();
        assert_eq!(error, RedisSettingsError::UrlForm("url"), "{url}");
        assert!(!error.to_string().contains("s3cret"));
    }
}

#[test]
fn sentinels_and_certificates_need_all_their_parts() {
    let default = RedisSettings::default;
    let nobody = SentinelSettings { urls: Vec::new(), primary: "primary".to_owned() };
    let alone = RedisSettings { sentinel: Some(nobody), ..default() };
    assert_eq!(alone.validate(), Err(RedisSettingsError::Sentinel));
    let keyless = TlsSettings { cert_file: Some("cert.pem".into()), ..TlsSettings::default() };
    let keyless = RedisSettings { tls: keyless, ..default() };
    assert!(matches!(keyless.validate(), Err(RedisSettingsError::File(_))));
    let lost = TlsSettings { ca_file: Some("/nowhere/ca.pem".into()), ..TlsSettings::default() };
    let lost = RedisSettings { tls: lost, ..default() };
    assert!(matches!(lost.validate(), Err(RedisSettingsError::File(_))));
}

#[test]
fn unknown_settings_are_refused() {
    assert!(serde_json::from_str::<RedisSettings>(r#"{"pasword":"x"}"#).is_err());
    let read: RedisSettings = serde_json::from_str(r#"{"database":3,"request_timeout":"1s 500ms"}"#).unwrap();
    assert_eq!((read.database, read.request_timeout), (Some(3), Duration::from_millis(1500)));
}
