//! The options that hold for a channel: those of its namespace, its proxies among them, each with where it comes from.

use gorani_auth::{ChannelName, ChannelOptions, ChannelSettings};
use serde_json::{Map, Value, json};

/// The options of a channel's namespace, by name. `from_environment`: the settings that variables have set.
pub(super) fn option_rows<P>(
    channel: &str,
    options: &ChannelOptions,
    settings: &ChannelSettings<P>,
    from_environment: &[String],
) -> Vec<Value> {
    let namespace = ChannelName::parse(channel).namespace;
    let written = match namespace {
        None => written_defaults(settings),
        Some(name) => settings.namespaces.iter().find(|one| one.name == name).map_or_else(Map::new, |one| {
            let mut table = table(serde_json::to_value(one).unwrap_or_default());
            table.remove("name");
            table
        }),
    };
    let built_in = written_defaults(&ChannelSettings::<()>::default());
    let rows = written.iter().map(|(name, value)| {
        let source = if namespace.is_none() && from_environment.contains(&format!("channel.defaults.{name}"))
        {
            "environment"
        } else if built_in.get(name) == Some(value) {
            "default"
        } else {
            "file"
        };
        json!({"name": name, "value": value, "source": source})
    });
    // Those that the settings leave out follow from whether history is kept.
    let following = [
        ("allow_positioning", options.allow_positioning),
        ("allow_recovery", options.allow_recovery),
        ("force_positioning", options.force_positioning),
        ("force_recovery", options.force_recovery),
    ];
    let following = following.iter().filter(|(name, _)| !written.contains_key(*name));
    rows.chain(following.map(|(name, value)| json!({"name": name, "value": value, "source": "default"})))
        .collect()
}

/// The options of channels without a namespace, as they stand in the settings.
fn written_defaults<P>(settings: &ChannelSettings<P>) -> Map<String, Value> {
    let defaults: ChannelSettings = ChannelSettings {
        defaults: settings.defaults,
        default_proxies: settings.default_proxies.clone(),
        ..ChannelSettings::default()
    };
    table(serde_json::to_value(defaults).unwrap_or_default()["defaults"].take())
}

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(table) => table,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::settings::Settings;

    const SETTINGS: &str = r#"
        [channel.defaults]
        history_size = 5
        history_ttl = "1m"
        presence = true
        [[channel.namespaces]]
        name = "chat"
        history_size = 9
        history_ttl = "1m"
        allow_recovery = false
        subscribe_proxy_enabled = true
        [channel.proxy.subscribe]
        endpoint = "http://localhost/"
    "#;

    fn of(channel: &str, name: &str) -> (Value, String) {
        let settings = Settings::from_text(SETTINGS, &std::collections::HashMap::new()).unwrap().channel;
        let options = match ChannelName::parse(channel).namespace {
            Some(name) => settings.namespaces.iter().find(|one| one.name == name).unwrap().options,
            None => settings.defaults,
        };
        let variables = ["channel.defaults.presence".to_owned()];
        let rows = option_rows(channel, &options, &settings, &variables);
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
        (row["value"].clone(), row["source"].as_str().unwrap().to_owned())
    }

    #[test]
    fn each_option_says_where_it_comes_from() {
        let (yes, no) = (Value::from(true), Value::from(false));
        for (channel, name, value, source) in [
            ("news", "history_size", Value::from(5), "file"),
            ("news", "presence", yes.clone(), "environment"),
            ("news", "join_leave", no.clone(), "default"),
            ("news", "allow_recovery", yes.clone(), "default"),
            ("chat:a", "history_size", Value::from(9), "file"),
            ("chat:a", "presence", no.clone(), "default"),
            ("$chat:a", "allow_recovery", no.clone(), "file"),
            ("chat:a", "subscribe_proxy_enabled", yes, "file"),
            ("chat:a", "publish_proxy_enabled", no, "default"),
        ] {
            assert_eq!(of(channel, name), (value, source.to_owned()), "{channel} {name}");
        }
    }
}
