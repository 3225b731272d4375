//! The report of a reload, or of a dry run: changes by key, without secrets, and their effects on those who are there.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Settings;

/// Keys whose texts may be shown: none of them is a secret or holds one.
const PUBLIC_TEXTS: [&str; 12] = [
    "api.error_mode",
    "broker.kind",
    "client.allowed_origins",
    "client.personal_channels",
    "http.address",
    "http.trusted_proxies",
    "log.format",
    "log.level",
    "node.name",
    "stomp.tcp.address",
    "token.audience",
    "token.issuer",
];

/// The changes of a reload, or of a dry run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReloadReport {
    /// True if nothing was changed, because nothing was to be.
    pub dry_run: bool,
    /// The fingerprint of the settings that count after it.
    pub fingerprint: String,
    /// Settings that are put in place.
    pub live: Vec<SettingChange>,
    /// Settings that differ from those that the node runs with, and wait for a restart.
    pub restart: Vec<SettingChange>,
    /// Listeners with another certificate.
    pub certificates: Vec<NewCertificate>,
    /// The effects on those who are there, a sentence each.
    pub effects: Vec<String>,
    /// Subscriptions of this node that the settings do not permit; absent where a worker did not answer in time.
    pub not_permitted: Option<u64>,
    /// True if these end now.
    pub enforced: bool,
}

/// A certificate that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewCertificate {
    /// The section of the listener's settings.
    pub listener: &'static str,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
}

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingChange {
    /// Its key.
    pub key: String,
    /// Its value before; absent where it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Its value after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(formatter, "{}: {before} → {after}", self.key),
            (None, Some(Value::String(after))) => write!(formatter, "{}: {after}", self.key),
            _ => write!(formatter, "{}: changed", self.key),
        }
    }
}

impl fmt::Display for ReloadReport {
    /// A page for a terminal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dry_run, fingerprint, live, restart, certificates, effects, .. } = self;
        let done = if *dry_run { "would be put in place" } else { "put in place" };
        if live.is_empty() && restart.is_empty() && certificates.is_empty() {
            writeln!(formatter, "nothing differs from what the node runs with")?;
        }
        live.iter().try_for_each(|change| writeln!(formatter, "{done}: {change}"))?;
        for NewCertificate { listener, fingerprint } in certificates {
            writeln!(formatter, "{done}: {listener}: certificate {fingerprint}")?;
        }
        effects.iter().try_for_each(|effect| writeln!(formatter, "  {effect}"))?;
        restart.iter().try_for_each(|change| writeln!(formatter, "waits for a restart: {change}"))?;
        writeln!(formatter, "fingerprint: {fingerprint}")
    }
}

/// The settings that differ. Never with values that may be secrets.
pub fn differences(before: &Settings, after: &Settings) -> Vec<SettingChange> {
    let mut changes = Vec::new();
    if let (Ok(old), Ok(new)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        compare("", &old, &new, &mut changes);
    }
    // Passwords and credentials in addresses are not written, so a change of them alone has no key that shows it.
    for (section, differs) in [
        ("broker", before.broker != after.broker),
        ("stomp", before.stomp != after.stomp),
        ("cluster", before.cluster != after.cluster),
        ("client.proxy", before.client.proxy != after.client.proxy),
        ("channel.proxy", before.channel.proxy != after.channel.proxy),
        ("rpc", before.rpc != after.rpc),
        ("proxies", before.proxies != after.proxies),
        ("hooks", before.hooks != after.hooks),
    ] {
        if differs && !changes.iter().any(|change| change.key.starts_with(section)) {
            changes.push(SettingChange { key: section.to_owned(), before: None, after: None });
        }
    }
    changes
}

fn compare(key: &str, old: &Value, new: &Value, changes: &mut Vec<SettingChange>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => compare_maps(key, old, new, changes),
        (Value::Array(old_items), Value::Array(new_items)) if old != new => {
            match (by_name(old_items), by_name(new_items)) {
                (Some(old), Some(new)) => compare_maps(key, &old, &new, changes),
                _ => changes.push(change(key, old, new)),
            }
        }
        (old, new) if old != new => changes.push(change(key, old, new)),
        _ => {}
    }
}

fn compare_maps(
    key: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    changes: &mut Vec<SettingChange>,
) {
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    for name in names {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => compare(&key, old, new, changes),
            (None, Some(Value::Object(_))) => changes.push(whole(key, "added")),
            (Some(Value::Object(_)), None) => changes.push(whole(key, "removed")),
            (old, new) => {
                changes.push(change(&key, old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null)))
            }
        }
    }
}

/// Items with names, by their names; `None` where one has none.
fn by_name(items: &[Value]) -> Option<Map<String, Value>> {
    let named = |item: &Value| Some((item.get("name")?.as_str()?.to_owned(), item.clone()));
    items.iter().map(named).collect()
}

fn whole(key: String, what: &str) -> SettingChange {
    SettingChange { key, before: None, after: Some(what.into()) }
}

fn change(key: &str, old: &Value, new: &Value) -> SettingChange {
    let is_public = is_public(key, old) && is_public(key, new);
    let public = |value: &Value| is_public.then(|| value.clone());
    SettingChange { key: key.to_owned(), before: public(old), after: public(new) }
}

fn is_public(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        _ if PUBLIC_TEXTS.contains(&key) => true,
        Value::String(text) => humantime::parse_duration(text).is_ok(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_text(text, &HashMap::new()).unwrap()
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let mut told: Vec<String> =
            differences(&settings(before), &settings(after)).iter().map(ToString::to_string).collect();
        told.sort();
        told
    }

    #[test]
    fn numbers_and_times_are_shown_and_secrets_are_not() {
        let after = "[client]\nmax_subscriptions = 7\nping_interval = '30s'\nallowed_origins = ['https://a.test']\n\
                     [token]\nhmac_secret = 'hidden-hidden-hidden-hidden-hidden'\n[api]\nkeys = ['hidden-hidden-hidden']";
        let told = told("", after);
        assert_eq!(
            told,
            [
                "api.keys: changed",
                r#"client.allowed_origins: [] → ["https://a.test"]"#,
                "client.max_subscriptions: 128 → 7",
                r#"client.ping_interval: "25s" → "30s""#,
                "token.hmac_secret: changed",
            ]
        );
    }

    #[test]
    fn a_password_that_is_not_written_is_told_by_its_section() {
        let before = Settings::default();
        assert_eq!(differences(&before, &before), []);
        let mut after = before.clone();
        after.broker.redis.password = "hidden".to_owned();
        let changes = differences(&before, &after);
        assert!(changes.len() == 1 && changes[0].key.starts_with("broker"), "{changes:?}");
        assert!(!format!("{changes:?}").contains("hidden"));
    }

    #[test]
    fn namespaces_are_compared_by_their_names() {
        let told = told(
            "[channel]\nnamespaces = [{ name = 'a' }, { name = 'b', presence = true }]",
            "[channel]\nnamespaces = [{ name = 'b' }, { name = 'c' }]",
        );
        assert_eq!(
            told,
            [
                "channel.namespaces.a: removed",
                "channel.namespaces.b.presence: true → false",
                "channel.namespaces.c: added",
            ]
        );
    }
}
