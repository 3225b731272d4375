//! The parts that a reload replaces while the node runs: the policy in one step, and the limits of admission. And the way to ask for one.
//! Record 61.

use std::sync::{Arc, OnceLock};

use gorani_auth::{ApiKeys, Origins, TokenVerifier};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::unix_ms,
    metrics::{Metrics, commands::CommandMetrics},
    proxy::routes::routes,
    proxy_call::ProxyCounts,
    refusal_log::RefusalLog,
    session::shared::{
        api_key_uses::{ApiKeyUses, NotedApiKeys},
        current_policy::CurrentPolicy,
        policy::Policy,
    },
    settings::{ReloadReport, Settings, SettingsError},
};

/// Called with settings that are put in place. It cannot refuse them.
pub(super) type OnNewSettings = Box<dyn Fn(&Settings) + Send + Sync>;

/// Reloads that may wait: each reads the whole file.
const WAITING: usize = 8;

/// The settings that count now, what a reload replaces, and the way to have them read again.
pub struct LiveSettings {
    policy: Arc<CurrentPolicy>,
    /// Puts in place what other parts of the node keep of them.
    on_applied: OnNewSettings,
    metrics: Arc<Metrics>,
    running: RwLock<Arc<Settings>>,
    last: RwLock<Option<LastReload>>,
    reloads: OnceLock<mpsc::Sender<ReloadRequest>>,
}

/// The newest reload, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// The settings were taken.
    pub ok: bool,
    /// Keys of settings that it found changed, and that wait for a restart.
    pub waiting: Vec<String>,
    /// The numbers of settings that it changed, or the reason why it changed none.
    pub message: String,
}

/// The parts of a reload that are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadMode {
    /// True if nothing is to change.
    pub dry_run: bool,
    /// True if subscriptions end that the settings no longer permit. No signal and no watched file asks for that.
    #[serde(default)]
    pub enforce: bool,
}

/// A reload that is asked for.
pub struct ReloadRequest {
    /// The parts of it that are carried out.
    pub mode: ReloadMode,
    /// Gets the report, or why nothing was changed.
    pub answer: oneshot::Sender<Result<ReloadReport, String>>,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadFailed {
    /// An embedder did not say from where.
    #[error("this node cannot read its settings again")]
    NotAvailable,
    /// Too many are under way.
    #[error("too many reloads wait already")]
    Busy,
    /// The settings are refused; those before go on.
    #[error("{0}")]
    Refused(String),
}

impl LiveSettings {
    /// Those of a node that starts.
    pub(super) fn new(
        settings: &Settings,
        policy: Arc<CurrentPolicy>,
        metrics: Arc<Metrics>,
        on_applied: OnNewSettings,
    ) -> Self {
        on_applied(settings);
        metrics.reload.running(&settings.fingerprint());
        let running = RwLock::new(Arc::new(settings.clone()));
        let last = RwLock::default();
        Self { policy, on_applied, metrics, running, last, reloads: OnceLock::new() }
    }

    /// The settings that count now: those of the start, with what reloads have put in place.
    pub fn running(&self) -> Arc<Settings> {
        self.running.read().clone()
    }

    /// Puts the live ones of `next` in place; the others must be those of the start. Sessions take the policy between two of their turns.
    ///
    /// # Errors
    /// They are refused, and nothing has changed.
    pub fn apply_settings(&self, next: Settings) -> Result<(), SettingsError> {
        let policy = self.policy_of(&next)?;
        (self.on_applied)(&next);
        self.policy.replace(policy);
        self.metrics.reload.running(&next.fingerprint());
        *self.running.write() = Arc::new(next);
        Ok(())
    }

    /// The policy that such settings make. It is not in place.
    ///
    /// # Errors
    /// They are refused.
    pub fn policy_of(&self, next: &Settings) -> Result<Policy, SettingsError> {
        let before = self.policy.get();
        let mut policy = first_policy(next, &self.policy.node_id, before.counts.clone())?;
        policy.tokens = before.tokens.renewed(&next.token).map_err(|error| refused("token", &error))?;
        let keys = &self.running().api.keys;
        policy.api_keys.uses = ApiKeyUses::new(&next.api.keys, (keys, &before.api_keys.uses));
        policy.proxy_counts = before.proxy_counts.clone();
        policy.node_name = before.node_name.clone();
        policy.key_wanted = before.key_wanted.clone();
        policy.log = before.log.clone();
        policy.command_log = before.command_log.clone();
        Ok(policy)
    }

    /// Takes note of a reload that was carried out or refused.
    pub fn reloaded(&self, outcome: Result<&ReloadReport, String>) {
        let ok = outcome.is_ok();
        let (waiting, message) = match outcome {
            Ok(report) => (
                report.restart.iter().map(|change| change.key.clone()).collect(),
                format!("{} changed, {} wait for a restart", report.live.len(), report.restart.len()),
            ),
            // Those that waited before still do.
            Err(reason) => (self.last_reload().map(|last| last.waiting).unwrap_or_default(), reason),
        };
        *self.last.write() = Some(LastReload { at: unix_ms(), ok, waiting, message });
    }

    /// The newest reload since the start, if there was one.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.last.read().clone()
    }

    /// Takes note of the settings as they were loaded, which the node was started with.
    pub fn loaded(&self, settings: Settings) {
        *self.running.write() = Arc::new(settings);
    }

    /// The requests of [`Self::reload`], for the one who carries them out; `None` if somebody has them already.
    pub fn reload_requests(&self) -> Option<mpsc::Receiver<ReloadRequest>> {
        let (sender, requests) = mpsc::channel(WAITING);
        self.reloads.set(sender).ok().map(|()| requests)
    }

    /// Reads the settings again and puts the live ones in place, or says what would change.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn reload(&self, mode: ReloadMode) -> Result<ReloadReport, ReloadFailed> {
        let reloads = self.reloads.get().ok_or(ReloadFailed::NotAvailable)?;
        let (answer, answered) = oneshot::channel();
        reloads.try_send(ReloadRequest { mode, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReloadFailed::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadFailed::NotAvailable,
        })?;
        answered.await.map_err(|_| ReloadFailed::NotAvailable)?.map_err(ReloadFailed::Refused)
    }
}

/// The policy of a node that starts.
///
/// # Errors
/// The settings are refused.
pub(super) fn first_policy(
    settings: &Settings,
    id: &Arc<str>,
    counts: CommandMetrics,
) -> Result<Policy, SettingsError> {
    Ok(Policy {
        tokens: TokenVerifier::new(&settings.token).map_err(|error| refused("token", &error))?,
        rules: settings.channel.rules().map_err(|error| refused("channel", &error))?,
        api_keys: NotedApiKeys {
            keys: ApiKeys::new(settings.api.keys.clone()).map_err(|error| refused("api.keys", &error))?,
            uses: ApiKeyUses::new(&settings.api.keys, (&[], &ApiKeyUses::default())),
        },
        origins: Origins::new(&settings.client.allowed_origins)
            .map_err(|error| refused("client.allowed_origins", &error))?,
        proxies: routes(settings),
        proxy_counts: Arc::new(ProxyCounts::default()),
        hooks_want_meta: settings.hooks.endpoints.iter().any(|endpoint| endpoint.include_connection_meta),
        describes_clients: settings.serves_admin(),
        // The rest of the time in which the node waits for its last sessions is for their close handshakes.
        call_grace: settings.http.shutdown_timeout / 2,
        settings: settings.client.clone(),
        node_id: id.clone(),
        node_name: settings.node.name_or(id),
        key_wanted: Arc::default(),
        counts,
        log: Arc::new(RefusalLog::default()),
        command_log: Arc::default(),
        replaced_by: OnceLock::new(),
    })
}

fn refused(key: &'static str, error: &dyn std::fmt::Display) -> SettingsError {
    SettingsError::Value { key, problem: error.to_string() }
}
