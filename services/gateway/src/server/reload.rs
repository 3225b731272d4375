//! Reading the settings again while the node runs: what of them is put in place at once, and what waits for a restart. Record 46.
//!
//! The order is what makes it safe: everything is read and checked before anything is changed, so a file with a mistake changes
//! nothing. What can be replaced while the node runs is listed in [`LIVE`] and put in place by [`Reloader::apply`].

use std::sync::Arc;

use gorani_auth::TokenSettings;
use serde_json::Value;
use tokio::sync::mpsc;

use super::tls::{Certificates, TlsError};
use crate::{
    node::Node,
    proxy::ProxyFilesError,
    settings::{Settings, SettingsError},
};

/// Reads the settings, as the start did. It may block.
pub type LoadSettings = Arc<dyn Fn() -> Result<Settings, SettingsError> + Send + Sync>;

/// Settings that a reload puts in place, by the beginnings of their keys. Every other one waits for a restart.
const LIVE: [&str; 3] = ["token.", "http.tls.", "stomp.tcp.tls."];

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] ProxyFilesError),
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The outcome of a reload.
struct Reloaded {
    /// Keys of settings that were put in place.
    changed: Vec<String>,
    /// Keys of settings that differ from those that the node runs with.
    pending: Vec<String>,
    /// Listeners with another certificate, and its fingerprint.
    certificates: Vec<(&'static str, String)>,
    /// Tokens that were good until now are refused.
    is_secret_dropped: bool,
}

/// Puts settings in place that were changed while the node runs.
pub struct Reloader {
    node: Arc<Node>,
    certificates: Certificates,
    load: LoadSettings,
    /// The settings that the node runs with.
    running: Settings,
}

impl Reloader {
    /// `running`: the settings of the start, as they were loaded.
    pub fn new(node: Arc<Node>, certificates: Certificates, load: LoadSettings, running: Settings) -> Self {
        Self { node, certificates, load, running }
    }

    /// Reloads at each request, one after the other, until nobody can send any more.
    pub async fn run(mut self, mut requests: mpsc::Receiver<()>) {
        while requests.recv().await.is_some() {
            let result = self.reload().await;
            self.node.metrics.reload.count(result.is_ok());
            match result {
                Ok(reloaded) => reloaded.log(),
                Err(error) => {
                    tracing::error!(%error, "settings not reloaded; the node goes on with those before")
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let (load, proxies) = (self.load.clone(), self.node.proxies.clone());
        let hooks = self.node.hook_delivery.clone();
        let read = move || {
            let settings = load()?;
            let certificates = Certificates::open(&settings)?;
            let hook_files = hooks.map(|hooks| hooks.read_files()).transpose()?;
            Ok::<_, ReloadError>((settings, certificates, proxies.read_files()?, hook_files))
        };
        let (settings, certificates, proxy_files, hook_files) = tokio::task::spawn_blocking(read).await??;
        let reloaded = self.apply(settings, &certificates)?;
        // Their names wait for a restart; what is in them does not.
        self.node.proxies.replace_files(proxy_files);
        if let (Some(hooks), Some(files)) = (&self.node.hook_delivery, &hook_files) {
            hooks.replace_files(files);
        }
        Ok(reloaded)
    }

    fn apply(&mut self, settings: Settings, read: &Certificates) -> Result<Reloaded, ReloadError> {
        let before = self.running.clone();
        let replaced = self.node.policy.replace_token_settings(&settings.token);
        replaced.map_err(|error| SettingsError::Value { key: "token", problem: error.to_string() })?;
        let certificates = self.certificates.replace_by(read);
        self.running.token = settings.token.clone();
        // A listener begins and ends to speak TLS with the node alone.
        for (running, next) in [
            (&mut self.running.http.tls, &settings.http.tls),
            (&mut self.running.stomp.tcp.tls, &settings.stomp.tcp.tls),
        ] {
            if running.is_on() && next.is_on() {
                running.clone_from(next);
            }
        }
        let is_live = |key: &String| LIVE.iter().any(|live| key.starts_with(live));
        Ok(Reloaded {
            changed: changed_keys(&before, &self.running).into_iter().filter(is_live).collect(),
            pending: changed_keys(&self.running, &settings),
            certificates,
            is_secret_dropped: drops_secret(&before.token, &settings.token),
        })
    }
}

impl Reloaded {
    fn log(&self) {
        tracing::info!(changed = self.changed.join(", "), "settings reloaded");
        for (listener, fingerprint) in &self.certificates {
            tracing::info!(listener, fingerprint, "certificate replaced; new TLS handshakes get it");
        }
        if self.is_secret_dropped {
            tracing::warn!(
                "the token secret was replaced and is not in token.hmac_secret_previous; tokens signed by it are refused from now on"
            );
        }
        if !self.pending.is_empty() {
            tracing::warn!(settings = self.pending.join(", "), "changed settings wait for a restart");
        }
    }
}

/// True if the secret of today is neither the secret of tomorrow nor the one before it.
fn drops_secret(today: &TokenSettings, tomorrow: &TokenSettings) -> bool {
    let secret = &today.hmac_secret;
    !secret.is_empty() && *secret != tomorrow.hmac_secret && *secret != tomorrow.hmac_secret_previous
}

/// The keys whose values differ, never with the values, which may be secrets.
fn changed_keys(before: &Settings, after: &Settings) -> Vec<String> {
    let mut changed = Vec::new();
    if let (Ok(old), Ok(new)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        compare("", &old, &new, &mut changed);
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
    ] {
        if differs && !changed.iter().any(|key| key.starts_with(section)) {
            changed.push(section.to_owned());
        }
    }
    changed
}

fn compare(key: &str, old: &Value, new: &Value, changed: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                compare(&key, &value(old), &value(new), changed);
            }
        }
        (old, new) if old != new => changed.push(key.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_change_is_told_by_its_key_and_never_by_its_value() {
        let before = Settings::default();
        let mut after = before.clone();
        assert_eq!(changed_keys(&before, &after), [""; 0]);
        after.token.hmac_secret = "hidden".to_owned();
        after.client.max_subscriptions += 1;
        after.broker.redis.password = "hidden".to_owned();
        let mut changed = changed_keys(&before, &after);
        changed.sort();
        assert_eq!(changed.len(), 3, "{changed:?}");
        assert!(changed[0].starts_with("broker"), "{changed:?}");
        assert_eq!(changed[1..], ["client.max_subscriptions", "token.hmac_secret"]);
    }

    #[test]
    fn every_live_setting_is_one() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        for live in LIVE {
            let section = format!("/{}", live.trim_end_matches('.').replace('.', "/"));
            assert!(settings.pointer(&section).is_some_and(Value::is_object), "{live}");
        }
    }

    #[test]
    fn a_secret_is_dropped_where_neither_of_the_next_two_is_it() {
        let secrets = |now: &str, previous: &str| TokenSettings {
            hmac_secret: now.to_owned(),
            hmac_secret_previous: previous.to_owned(),
            ..TokenSettings::default()
        };
        for (today, tomorrow, expected) in [
            (secrets("a", ""), secrets("b", "a"), false),
            (secrets("a", ""), secrets("a", ""), false),
            (secrets("", ""), secrets("b", ""), false),
            (secrets("b", "a"), secrets("b", ""), false),
            (secrets("a", ""), secrets("b", ""), true),
            (secrets("a", ""), secrets("", ""), true),
            (secrets("b", "a"), secrets("c", "a"), true),
        ] {
            assert_eq!(drops_secret(&today, &tomorrow), expected, "{today:?} {tomorrow:?}");
        }
    }
}
