//! Variables of the environment that begin like settings and are none: `GORANI_HTTP_ADDRESS` for `GORANI__HTTP__ADDRESS`. Unknown ones
//! with two underscores stop the start; these may belong to somebody else, so they are named and passed over.

use serde_json::Value;

use super::super::Settings;

/// Variables with one underscore that the node reads.
const KNOWN: [&str; 1] = ["GORANI_CONFIG"];
/// Settings without a default, which the defaults written as JSON do not show.
const WITHOUT_DEFAULT: [&str; 9] = [
    "broker.redis.password",
    "broker.redis.database",
    "broker.redis.tls.ca_file",
    "broker.redis.tls.cert_file",
    "broker.redis.tls.key_file",
    "channel.defaults.allow_recovery",
    "channel.defaults.force_recovery",
    "channel.defaults.allow_positioning",
    "channel.defaults.force_positioning",
];

/// A sentence for each variable of this process that begins with `GORANI_`, and is none of its settings.
pub fn of_process() -> Vec<String> {
    strays(
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }),
    )
}

/// The same for these names and values.
fn strays(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let strays = variables.filter(|(name, value)| is_stray(name, value));
    let mut strays: Vec<_> = strays.map(|(name, _)| name).collect();
    if strays.is_empty() {
        return strays;
    }
    strays.sort();
    let keys = setting_keys();
    strays.iter().map(|name| warning(name, &keys)).collect()
}

fn is_stray(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let begins = name.strip_prefix("GORANI_").is_some_and(|rest| !rest.starts_with('_'));
    begins && !KNOWN.contains(&name.as_str()) && !is_service_link(&name, value)
}

/// True for what Kubernetes and Docker set in every container beside a service called `gorani` or `gorani-…`.
fn is_service_link(name: &str, value: &str) -> bool {
    let begins_with_port = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| begins_with_port(rest))
        // GORANI_PORT=tcp://10.0.0.1:8000 is a link; GORANI_PORT=8000 is somebody's guess at a setting.
        || (name.ends_with("_PORT") && value.contains("://"))
}

fn warning(name: &str, keys: &[String]) -> String {
    let written = |text: &str| text.to_ascii_uppercase().replace(['.', '_'], "");
    let wanted = written(name.get("GORANI_".len()..).unwrap_or_default());
    match keys.iter().find(|key| written(key) == wanted) {
        Some(key) => {
            let variable = key.to_ascii_uppercase().replace('.', "__");
            format!(
                "{name} is no setting and has no effect; {key} is GORANI__{variable}, with two underscores"
            )
        }
        None => format!(
            "{name} is no setting and has no effect; variables of settings begin with GORANI__, with two underscores"
        ),
    }
}

/// Every key of the settings, with dots.
fn setting_keys() -> Vec<String> {
    fn walk(value: &Value, key: &str, into: &mut Vec<String>) {
        let Value::Object(table) = value else { return into.push(key.to_owned()) };
        for (name, value) in table {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            walk(value, &key, into);
        }
    }
    let mut keys: Vec<_> = WITHOUT_DEFAULT.map(str::to_owned).into();
    if let Ok(defaults) = serde_json::to_value(Settings::default()) {
        walk(&defaults, "", &mut keys);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<String> {
        strays(names.iter().map(|name| ((*name).to_owned(), "8000".to_owned())))
    }

    #[test]
    fn a_variable_with_one_underscore_is_named_with_the_setting_that_it_resembles() {
        for (name, right) in [
            ("GORANI_HTTP_ADDRESS", "GORANI__HTTP__ADDRESS"),
            ("gorani_http_address", "GORANI__HTTP__ADDRESS"),
            ("GORANI_HTTP__ADDRESS", "GORANI__HTTP__ADDRESS"),
            ("GORANI_API_KEYS", "GORANI__API__KEYS"),
            ("GORANI_TOKEN_HMAC_SECRET", "GORANI__TOKEN__HMAC_SECRET"),
            ("GORANI_BROKER_REDIS_URL", "GORANI__BROKER__REDIS__URL"),
            ("GORANI_BROKER_REDIS_PASSWORD", "GORANI__BROKER__REDIS__PASSWORD"),
            ("GORANI_CHANNEL_DEFAULTS_FORCE_RECOVERY", "GORANI__CHANNEL__DEFAULTS__FORCE_RECOVERY"),
        ] {
            let named = found(&[name]);
            assert!(
                matches!(&*named, [only] if only.contains(name) && only.contains(&format!("{right},"))),
                "{named:?}"
            );
        }
        let named = found(&["GORANI_COLOUR", "PATH", "GORANI_ADDRESS"]);
        assert!(
            matches!(&*named, [first, second] if first.starts_with("GORANI_ADDRESS is no setting") && second.starts_with("GORANI_COLOUR is no setting")),
            "{named:?}"
        );
    }

    #[test]
    fn settings_and_what_a_cluster_sets_by_itself_are_not_named() {
        for name in [
            "GORANI_CONFIG",
            "GORANI__HTTP__ADDRESS",
            "GORANI",
            "GORANIA_HTTP",
            "PATH",
            "GORANI_SERVICE_HOST",
            "GORANI_SERVICE_PORT",
            "GORANI_SERVICE_PORT_HTTP",
            "GORANI_PORT_8000_TCP",
            "GORANI_PORT_8000_TCP_ADDR",
            "GORANI_PORT_8000_TCP_PORT",
            "GORANI_PORT_8000_TCP_PROTO",
            "GORANI_HEADLESS_SERVICE_HOST",
            "GORANI_HEADLESS_PORT_8000_TCP_ADDR",
        ] {
            assert_eq!(found(&[name]), Vec::<String>::new(), "{name}");
        }
        for name in ["GORANI_PORT", "GORANI_HEADLESS_PORT"] {
            assert_eq!(found(&[name]).len(), 1, "{name}");
            let link = (name.to_owned(), "tcp://10.0.0.1:8000".to_owned());
            assert_eq!(strays([link].into_iter()), Vec::<String>::new(), "{name}");
        }
    }
}
