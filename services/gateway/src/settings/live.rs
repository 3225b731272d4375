//! Settings that a reload puts in place while the node runs, and those that wait for a restart. The table at the head of
//! `deploy/gorani.toml` is made from this one, and a test holds the two equal. Record 61.

use serde_json::Value;

use super::{AdminSettings, ClientSettings, HttpSettings, Settings, StompSettings};

/// Live settings, by the beginnings of their keys, each with what it counts for from then on.
pub const LIVE: [(&str, &str); 15] = [
    ("admin.tls.", "the next TLS handshake, where the listener speaks TLS already"),
    ("api.keys", "the next call"),
    ("api.wrong_keys_per_minute", "the next wrong key"),
    ("channel.defaults.", "the next command; subscriptions stay as they were made"),
    ("channel.namespaces", "the next command; subscriptions stay as they were made"),
    ("client.", "the next command; sizes of buffers and pings: new connections"),
    ("drain.", "the next stop"),
    ("http.handshakes_per_second", "the next handshake"),
    ("http.tls.", "the next TLS handshake, where the listener speaks TLS already"),
    ("http.trusted_proxies", "the next request"),
    ("log.level", "the next line"),
    ("settings.", "at once"),
    ("stomp.tcp.tls.", "the next TLS handshake, where the listener speaks TLS already"),
    ("stomp.wrong_logins_per_minute", "the next wrong login"),
    ("token.", "the next token; what a token opened lasts as long as it said"),
];

/// Settings below those that wait for a restart all the same.
const RESTART_BELOW: [&str; 2] = ["client.max_reads", "client.proxy."];

/// True if a reload puts the setting of this key in place.
pub fn is_live(key: &str) -> bool {
    let begins = |beginning: &str| match beginning.strip_suffix('.') {
        Some(section) => key == section || key.starts_with(beginning),
        None => key == beginning || key.strip_prefix(beginning).is_some_and(|rest| rest.starts_with('.')),
    };
    LIVE.iter().any(|(live, _)| begins(live)) && !RESTART_BELOW.into_iter().any(begins)
}

impl Settings {
    /// These settings with the live ones of `next` in their places: what a node that runs with these has after a reload.
    #[must_use]
    pub fn with_live(&self, next: &Self) -> Self {
        let mut merged = self.clone();
        merged.api.keys.clone_from(&next.api.keys);
        merged.api.wrong_keys_per_minute = next.api.wrong_keys_per_minute;
        merged.channel.defaults = next.channel.defaults;
        merged.channel.default_proxies.clone_from(&next.channel.default_proxies);
        merged.channel.namespaces.clone_from(&next.channel.namespaces);
        merged.client = ClientSettings {
            max_reads: self.client.max_reads,
            proxy: self.client.proxy.clone(),
            ..next.client.clone()
        };
        merged.drain = next.drain.clone();
        merged.log.level.clone_from(&next.log.level);
        merged.settings = next.settings.clone();
        merged.token = next.token.clone();
        merged.admin.put_live(&next.admin);
        merged.http.put_live(&next.http);
        merged.stomp.put_live(&next.stomp);
        merged
    }
}

impl AdminSettings {
    fn put_live(&mut self, next: &Self) {
        if self.tls.is_on() && next.tls.is_on() {
            self.tls = next.tls.clone();
        }
    }
}

impl HttpSettings {
    fn put_live(&mut self, next: &Self) {
        self.handshakes_per_second = next.handshakes_per_second;
        self.trusted_proxies = next.trusted_proxies.clone();
        // A listener begins and ends to speak TLS with the node alone.
        if self.tls.is_on() && next.tls.is_on() {
            self.tls = next.tls.clone();
        }
    }
}

impl StompSettings {
    fn put_live(&mut self, next: &Self) {
        self.wrong_logins_per_minute = next.wrong_logins_per_minute;
        if self.tcp.tls.is_on() && next.tcp.tls.is_on() {
            self.tcp.tls = next.tcp.tls.clone();
        }
    }
}

/// The table of live settings and those that wait for a restart, as comments of TOML.
pub fn table() -> String {
    let width = LIVE.iter().map(|(key, _)| key.len()).max().unwrap_or_default() + 1;
    let mut table = String::from(
        "# SIGHUP and settings.watch read the file and the environment again, whole. Anything wrong in them changes nothing.\n\
         # Live settings are put in place at once, and count for:\n",
    );
    for (key, counts_for) in LIVE {
        let key = if key.ends_with('.') { format!("{key}*") } else { key.to_owned() };
        table.push_str(&format!("#   {key:width$} {counts_for}\n"));
    }
    table.push_str("# All others wait for a restart, and a reload that finds them changed says so:\n");
    let mut line = String::new();
    for key in restart_keys() {
        if line.len() + key.len() > 130 {
            table.push_str(&format!("#  {line}\n"));
            line.clear();
        }
        line.push_str(&format!(" {key}"));
    }
    table.push_str(&format!("#  {line}\n"));
    table
}

/// Keys that wait for a restart: a section where all of it does, else its keys one by one.
fn restart_keys() -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(Settings::default()) {
        for (name, section) in sections {
            collect_restart_keys(&name, &section, &mut keys);
        }
    }
    // What is absent in the defaults.
    keys.extend(["admin.keys", "proxies"].map(str::to_owned));
    keys.sort();
    keys
}

fn collect_restart_keys(key: &str, value: &Value, keys: &mut Vec<String>) {
    let mut leaves = Vec::new();
    leaf_keys(key, value, &mut leaves);
    match value {
        _ if leaves.iter().all(|leaf| !is_live(leaf)) => {
            keys.push(if value.is_object() { format!("{key}.*") } else { key.to_owned() });
        }
        Value::Object(map) => {
            for (name, value) in map {
                collect_restart_keys(&format!("{key}.{name}"), value, keys);
            }
        }
        _ => {}
    }
}

/// The keys of all values that are no sections.
fn leaf_keys(key: &str, value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                leaf_keys(&format!("{key}.{name}"), value, keys);
            }
        }
        _ => keys.push(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SHOWN: &str = include_str!("../../../../deploy/gorani.toml");

    #[test]
    fn the_table_in_the_file_that_shows_the_settings_is_that_of_the_code() {
        assert!(SHOWN.contains(&table()), "deploy/gorani.toml lacks this table:\n{}", table());
    }

    /// The settings with another value of this key; `None` where no other value of its kind is one.
    fn changed(settings: &Value, pointer: &str) -> Option<Settings> {
        let mut changed = settings.clone();
        let value = changed.pointer_mut(pointer).unwrap();
        let others: Vec<Value> = match value {
            Value::Bool(value) => vec![(!*value).into()],
            Value::Number(value) => {
                vec![value.as_u64().map_or_else(|| 0.5.into(), |value| (value + 1).into())]
            }
            Value::String(text) => {
                ["1m 7s", "strict", "lenient", "redis", "json", "status", "127.0.0.1:7", "x"]
                    .into_iter()
                    .filter(|other| other != text)
                    .map(Into::into)
                    .collect()
            }
            Value::Array(_) => vec![serde_json::json!(["10.0.0.0/8"]), serde_json::json!([{ "name": "x" }])],
            _ => vec![1.into(), "x".into(), true.into()],
        };
        others.into_iter().find_map(|other| {
            *changed.pointer_mut(pointer).unwrap() = other;
            let read: Settings = serde_json::from_value(changed.clone()).ok()?;
            (serde_json::to_value(&read).unwrap().pointer(pointer) != settings.pointer(pointer))
                .then_some(read)
        })
    }

    #[test]
    fn exactly_the_live_settings_are_apply_settings() {
        let mut running = Settings::default();
        for tls in [&mut running.admin.tls, &mut running.http.tls, &mut running.stomp.tcp.tls] {
            (tls.certificate, tls.key) = ("a".into(), "b".into());
        }
        let as_value = serde_json::to_value(&running).unwrap();
        let mut keys = Vec::new();
        leaf_keys("", &as_value, &mut keys);
        let mut live = 0;
        for key in keys {
            let key = key.trim_start_matches('.');
            let pointer = format!("/{}", key.replace('.', "/"));
            let Some(next) = changed(&as_value, &pointer) else { continue };
            let merged = serde_json::to_value(running.with_live(&next)).unwrap();
            let expected = serde_json::to_value(if is_live(key) { &next } else { &running }).unwrap();
            assert_eq!(merged.pointer(&pointer), expected.pointer(&pointer), "{key}");
            live += usize::from(is_live(key));
        }
        assert!(live > 40, "only {live} live settings were changed");
    }

    #[test]
    fn a_key_that_only_begins_like_a_live_one_is_not_live() {
        assert!(
            is_live("api.keys")
                && is_live("client.max_errors")
                && is_live("channel.namespaces.chat.presence")
        );
        assert!(!is_live("api.keys_of_others") && !is_live("client.max_reads") && !is_live("clients"));
        assert!(
            !is_live("client.proxy.connect.endpoint")
                && !is_live("channel.proxy.subscribe")
                && !is_live("proxies")
        );
    }
}
