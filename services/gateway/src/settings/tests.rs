//! Settings: the file that shows them, what is refused and how it is said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hooks;
mod proxy;
mod secrets;

use std::collections::HashMap;

use serde_json::Value;

use super::*;

const SHOWN: &str = include_str!("../../../../deploy/gorani.toml");
const DEVELOPMENT: &str = include_str!("../../../../deploy/gorani.dev.toml");

fn environment(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn load(text: &str) -> Result<Settings, String> {
    Settings::from_text(text, &environment(&[])).map_err(|error| error.to_string())
}

/// The dotted keys of a table.
fn keys(value: &Value, prefix: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            table.iter().for_each(|(key, value)| keys(value, &format!("{prefix}.{key}"), into))
        }
        _ => into.push(prefix.to_owned()),
    }
}

#[test]
fn the_file_that_shows_the_settings_is_equal_to_the_code() {
    assert_eq!(load(SHOWN).unwrap(), Settings::default());
    let (mut in_file, mut in_code) = (Vec::new(), Vec::new());
    let file: Value = config::Config::builder()
        .add_source(config::File::from_str(SHOWN, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .unwrap();
    keys(&file, "", &mut in_file);
    keys(&serde_json::to_value(Settings::default()).unwrap(), "", &mut in_code);
    in_file.sort();
    in_code.sort();
    assert_eq!(in_file, in_code);
}

#[test]
fn the_development_settings_are_good() {
    load(DEVELOPMENT).unwrap();
}

#[test]
fn what_is_wrong_is_said_in_one_line_that_names_the_key() {
    for (text, named) in [
        ("[http]\nadress = '0.0.0.0:80'", "adress"),
        ("[http]\naddress = 'nowhere'", "http.address"),
        ("[http]\nworkers = 1000", "http.workers"),
        ("[http]\ntrusted_proxies = ['10.0.0.0/33']", "http.trusted_proxies"),
        ("[http]\nworkers = 'many'", "http.workers"),
        ("[node]\nname = \"a\\u0007b\"", "node.name"),
        ("[http.tls]\ncertificate = 'a.pem'", "http.tls"),
        ("[admin]\naddress = 'nowhere'", "admin.address"),
        ("[admin]\naddress = '127.0.0.1:8000'", "admin.address"),
        ("[admin]\naddress = '127.0.0.1:8001'\n[admin.tls]\nkey = 'a.pem'", "admin.tls"),
        ("[admin.tls]\ncertificate = 'a.pem'\nkey = 'b.pem'", "admin.address"),
        ("[client]\nping_interval = 25", "client.ping_interval"),
        ("[client]\npong_timeout = '25s'", "client.pong_timeout"),
        ("[client]\nallowed_origins = ['not an origin']", "client.allowed_origins"),
        ("[client]\npersonal_channels = ['nowhere:orders']", "client.personal_channels"),
        ("[client]\npersonal_channels = ['orders#42']", "client.personal_channels"),
        ("[client]\npersonal_channels = ['']", "client.personal_channels"),
        ("[token]\nrsa_public_key = 'x'", "token"),
        ("[[channel.namespaces]]\nname = 'a'\nhistory_sise = 1", "history_sise"),
        ("[[channel.namespaces]]\nname = 'a'\nhistory_size = 1", "history"),
        ("[broker]\nkind = 'carrier-pigeon'", "broker.kind"),
        ("[drain]\nseconds = 4000", "drain.seconds"),
        ("[drain]\ngrace = '2h'", "drain.grace"),
        ("[development]\npage_api_key = true", "api.keys"),
        ("[cluster]\nadvertise = 'http://node-1:8000'", "cluster.advertise"),
        ("[cluster]\nadvertise = 'node-1'", "cluster.advertise"),
        ("[cluster]\nadvertise = '::1:8000'", "cluster.advertise"),
        ("[cluster]\nsecret = 'short'", "cluster.secret"),
        ("[cluster]\nmax_forwarded = 0", "cluster.max_forwarded"),
        ("colour = 'blue'", "colour"),
        ("[http", "settings"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(named), "{text:?} gave {error:?}");
        assert_eq!(error.trim().lines().count(), 1, "{error:?}");
    }
}

#[test]
fn operators_are_served_where_clients_are_unless_they_have_an_address_of_their_own() {
    let address = |text: &str| {
        let settings = Settings::from_text(text, &environment(&[])).unwrap();
        (settings.operator_listener().address.to_string(), settings.listens_beyond_loopback())
    };
    assert_eq!(address(""), ("127.0.0.1:8000".to_owned(), false));
    assert_eq!(address("[admin]\naddress = '127.0.0.1:8001'"), ("127.0.0.1:8001".to_owned(), false));
    let open = address("[admin]\naddress = '0.0.0.0:8001'");
    assert_eq!(open, ("0.0.0.0:8001".to_owned(), true), "secrets must be as long as for clients");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::load(Some(Path::new("/nowhere/gorani.toml"))).unwrap_err().to_string();
    assert!(error.contains("/nowhere/gorani.toml"), "{error}");
}

#[test]
fn the_environment_goes_over_the_file() {
    let variables = [
        ("GORANI__HTTP__ADDRESS", "0.0.0.0:9000"),
        ("GORANI__HTTP__WORKERS", "3"),
        ("GORANI__HTTP__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("GORANI__CLIENT__ALLOW_ANONYMOUS", "true"),
        ("GORANI__CLIENT__PING_INTERVAL", "40s"),
        ("GORANI__API__KEYS", "0123456789012345,0000000000000002"),
        ("GORANI__TOKEN__HMAC_SECRET", "0012345678901234567890"),
        ("GORANI__CHANNEL__DEFAULTS__HISTORY_SIZE", "5"),
        ("GORANI__CHANNEL__DEFAULTS__HISTORY_TTL", "60s"),
    ];
    let settings = Settings::from_text("[http]\nworkers = 1", &environment(&variables)).unwrap();
    assert_eq!(settings.http.address.port(), 9000);
    assert_eq!(settings.http.workers, 3);
    assert_ne!(settings.http.trusted_proxies, TrustedProxies::default());
    assert!(settings.client.allow_anonymous);
    assert_eq!(settings.client.ping_interval.as_secs(), 40);
    // Digits are no number: zeros at the head of a secret stay.
    assert_eq!(settings.api.keys, ["0123456789012345", "0000000000000002"]);
    assert_eq!(settings.token.hmac_secret, "0012345678901234567890");
    assert_eq!(settings.channel.defaults.history_size, 5);
}

#[test]
fn an_unknown_variable_of_the_environment_stops_the_start() {
    let error =
        Settings::from_text("", &environment(&[("GORANI__HTTP__ADRESS", "x")])).unwrap_err().to_string();
    assert!(error.contains("adress"), "{error}");
}
