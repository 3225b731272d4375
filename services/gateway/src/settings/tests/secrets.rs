//! Values never appear in errors; weak secrets stop the start where strangers can reach the node; `Debug` shows no key.

use super::*;

/// Stands for a secret in every value.
const CANARY: &str = "canary-c0ffee";
/// Settings that an error may show: these hold no secret, and an operator has to find the bad entry of a list.
const SHOWN: [&str; 3] = ["http.trusted_proxies", "client.allowed_origins", "client.personal_channels"];

/// Every key of the settings with its default.
fn defaults() -> Vec<(String, Value)> {
    fn walk(value: &Value, key: &str, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => table.iter().for_each(|(name, value)| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(value, &key, into);
            }),
            _ => into.push((key.to_owned(), value.clone())),
        }
    }
    let mut keys = Vec::new();
    walk(&serde_json::to_value(Settings::default()).unwrap(), "", &mut keys);
    // Absent by default, and secret.
    for key in ["broker.redis.password", "broker.redis.sentinel.urls", "broker.redis.cluster.urls"] {
        keys.push((key.to_owned(), Value::Null));
    }
    // Absent, since they follow from others.
    for option in ["force_positioning", "force_recovery", "allow_positioning", "allow_recovery"] {
        keys.push((format!("channel.defaults.{option}"), Value::Null));
    }
    assert!(keys.len() > 100, "{}", keys.len());
    keys
}

#[test]
fn no_error_shows_a_value_of_the_wrong_kind() {
    let wrong = [
        format!("'{CANARY}'"),
        format!("['{CANARY}']"),
        format!("{{ a = '{CANARY}' }}"),
        format!("[{{ name = '{CANARY}', password = ['{CANARY}'] }}]"),
        format!("\"{CANARY}"),
        format!("'{CANARY}' '{CANARY}'"),
    ];
    let mut refused = 0;
    for (key, _) in defaults() {
        for value in &wrong {
            let Err(error) = load(&format!("{key} = {value}\n")) else { continue };
            refused += 1;
            assert_eq!(error.trim().lines().count(), 1, "{error:?}");
            let may_show = SHOWN.iter().any(|shown| key.starts_with(shown));
            assert!(may_show || !error.contains(CANARY), "{key} = {value} gave {error:?}");
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn no_error_shows_a_variable_of_the_environment() {
    for (key, _) in defaults() {
        let name = format!("GORANI__{}", key.to_ascii_uppercase().replace('.', "__"));
        for value in [CANARY.to_owned(), format!("shop:{CANARY}"), format!("{CANARY}, {CANARY}")] {
            let Err(error) = Settings::from_text("", &environment(&[(&name, &value)])) else { continue };
            let error = error.to_string();
            let may_show = SHOWN.iter().any(|shown| key.starts_with(shown));
            assert!(may_show || !error.contains(CANARY), "{name}={value} gave {error:?}");
        }
    }
}

#[test]
fn an_error_of_the_wrong_kind_names_the_key_and_what_it_must_be() {
    let error = load("[api]\nkeys = 'topsecretkey'").unwrap_err();
    assert_eq!(error, "settings: api.keys: must be a sequence");
    let variables = [("GORANI__STOMP__USERS", "shop:topsecretkey")];
    let error = Settings::from_text("", &environment(&variables)).unwrap_err().to_string();
    assert!(error.contains("stomp.users") && !error.contains("topsecretkey"), "{error}");
    let error = load("[http]\nworkers = 'many'").unwrap_err();
    assert!(error.contains("http.workers: must be an integer"), "{error}");
    let error = load("[broker]\nkind = 'pigeon'").unwrap_err();
    assert!(error.contains("broker.kind") && !error.contains("pigeon"), "{error}");
}

/// Settings with a weak secret each, and its key.
const WEAK: [(&str, &str); 3] = [
    ("api.keys", "[api]\nkeys = ['0123456789abcdef', '0123456789abcde']"),
    ("token.hmac_secret", "[token]\nhmac_secret = 'short'"),
    ("stomp.users", "[[stomp.users]]\nname = 'shop'\npassword = '0123456789abcde'"),
];

#[test]
fn a_weak_secret_stops_the_start_of_a_node_that_strangers_reach_and_is_a_warning_elsewhere() {
    let beyond = [
        "http.address = '0.0.0.0:8000'",
        "http.address = '[::]:8000'",
        "http.address = '192.0.2.1:80'",
        "stomp.tcp.address = '0.0.0.0:61613'",
    ];
    let within = [
        "",
        "http.address = '127.0.0.2:1'",
        "http.address = '[::1]:1'",
        "http.address = '[::ffff:127.0.0.1]:1'",
    ];
    for (key, weak) in WEAK {
        for address in beyond {
            let error = load(&format!("{address}\n{weak}")).unwrap_err();
            assert!(error.contains(key) && error.contains("16 characters"), "{error}");
        }
        for address in within {
            let settings = Settings::from_text(&format!("{address}\n{weak}"), &environment(&[])).unwrap();
            assert!(settings.warnings().iter().any(|warning| warning.starts_with(key)), "{address} {key}");
        }
    }
    let strong =
        "http.address = '0.0.0.0:1'\napi.keys = ['0123456789abcdef']\ntoken.hmac_secret = '0123456789abcdef'";
    let settings = Settings::from_text(strong, &environment(&[])).unwrap();
    assert_eq!(settings.warnings(), Vec::<String>::new());
}

#[test]
fn a_secret_that_the_environment_holds_empty_stops_the_start() {
    for name in ["GORANI__TOKEN__HMAC_SECRET", "GORANI__BROKER__REDIS__PASSWORD", "gorani__cluster__secret"] {
        for value in ["", " ", "\n"] {
            let error = Settings::from_text("", &environment(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: the variable is empty")), "{error}");
        }
    }
    // Not set, or set to nothing in the file, where somebody wrote it: none.
    load("[token]\nhmac_secret = ''").unwrap();
    assert!(Settings::from_text("", &environment(&[("GORANI__API__KEYS", "")])).is_err());
}

#[test]
fn debug_shows_no_secret() {
    let text = format!(
        "[api]\nkeys = ['{CANARY}-1-long-enough']\n[token]\nhmac_secret = '{CANARY}-2'\njwks_url = 'https://u:{CANARY}@keys.test/'\n\
         [[stomp.users]]\nname = 'shop'\npassword = '{CANARY}-3'\n[cluster]\nsecret = '{CANARY}-4-long-enough'\n\
         [broker.redis]\nurl = 'redis://user:{CANARY}-5@127.0.0.1/0'\npassword = '{CANARY}-6'\n\
         [broker.redis.sentinel]\nurls = ['redis://:{CANARY}-7@127.0.0.1']\nprimary = 'm'\n"
    );
    let settings = Settings::from_text(&text, &environment(&[])).unwrap();
    let shown = format!("{settings:?} {settings:#?}");
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("1 set"), "{shown}");
}
