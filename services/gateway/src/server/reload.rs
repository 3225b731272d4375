//! Reading the settings again while the node runs: what of them is put in place at once, and what waits for a restart. Records 46 and 61.
//!
//! The order is what makes it safe: everything is read and checked before anything is changed, so a file with a mistake changes
//! nothing. What can be replaced while the node runs is listed in [`crate::settings::live`] and put in place by [`Reloader::apply`].

mod effects;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use gorani_auth::TokenSettings;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use self::effects::{Fate, effects};
use super::tls::{Certificates, TlsError};
use crate::{
    hooks::deliver::ReadHookFiles,
    node::{
        Node,
        cluster::permission_count::NotPermittedOfNode,
        live::{ReloadMode, ReloadRequest},
    },
    proxy::{ProxyFilesError, pool::ReadProxyFiles},
    session::shared::{api_key_uses::ApiKeyUses, policy::Policy},
    settings::{
        ReloadReport, Settings, SettingsError,
        reload_report::{NewCertificate, differences},
    },
    telemetry::{self, LogLevelError},
};

/// Reads the settings, as the start did. It may block.
pub type LoadSettings = Arc<dyn Fn() -> Result<Settings, SettingsError> + Send + Sync>;

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0}; the settings as a whole are good, so a restart takes them")]
    NeedsRestart(SettingsError),
    #[error("settings: {0}")]
    Log(#[from] LogLevelError),
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] ProxyFilesError),
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// New settings that were read and checked, and of which nothing is in place.
struct CheckedSettings {
    /// As they were read.
    loaded: Settings,
    /// The running ones with the live ones of those.
    merged: Settings,
    certificates: Certificates,
    proxy_files: ReadProxyFiles,
    hook_files: Option<ReadHookFiles>,
}

/// Puts settings in place that were changed while the node runs.
pub struct Reloader {
    node: Arc<Node>,
    certificates: Certificates,
    load: LoadSettings,
    /// As they were read the last time, with what waits for a restart.
    loaded: Settings,
    /// Why the last reload was refused; the same refusal is told once.
    refusal: Option<String>,
}

impl Reloader {
    /// The reloader of a node that runs with the settings of its start.
    pub fn new(node: Arc<Node>, certificates: Certificates, load: LoadSettings) -> Self {
        let loaded = (*node.live.running()).clone();
        Self { node, certificates, load, loaded, refusal: None }
    }

    /// Reloads at each signal and at each request to the node, one after the other; looks at the file and at the certificates at the
    /// intervals that the settings say.
    pub async fn run(mut self, mut signals: mpsc::Receiver<()>) {
        let Some(mut requests) = self.node.live.reload_requests() else { return };
        let mut is_signalled = true;
        let (mut watched, mut renewed) = (Instant::now(), Instant::now());
        loop {
            let intervals = self.node.live.running().settings.clone();
            tokio::select! {
                signal = signals.recv(), if is_signalled => match signal {
                    Some(()) => {
                        let began = Instant::now();
                        let is_done = self.reload_and_log(ReloadMode::default()).await.is_ok();
                        self.node.cluster.note_signal("reload", is_done, began.elapsed());
                    }
                    None => is_signalled = false,
                },
                Some(ReloadRequest { mode, answer }) = requests.recv() => {
                    let report =
                        if mode.dry_run { self.dry_run(mode).await } else { self.reload_and_log(mode).await };
                    // Whoever asked may have gone meanwhile.
                    let _ = answer.send(report.map_err(|error| error.to_string()));
                }
                () = due(watched, intervals.watch) => {
                    self.watch().await;
                    watched = Instant::now();
                }
                () = due(renewed, intervals.certificates) => {
                    self.renew_certificates().await;
                    renewed = Instant::now();
                }
            }
        }
    }

    async fn reload_and_log(&mut self, mode: ReloadMode) -> Result<ReloadReport, ReloadError> {
        let result = self.reload(mode).await;
        self.node.metrics.reload.count(result.is_ok());
        self.node.live.reloaded(result.as_ref().map_err(ToString::to_string));
        match &result {
            Ok(report) => log(report),
            Err(error) => {
                tracing::error!(%error, "settings not reloaded; the node goes on with those before");
            }
        }
        self.refusal = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn reload(&mut self, mode: ReloadMode) -> Result<ReloadReport, ReloadError> {
        let read = self.read().await?;
        let (before, keys_of) = (self.node.live.running(), self.node.policy.get());
        let mut report = report(&before, &read, mode);
        report.certificates = self.apply(read, &before)?;
        // After that, so that nobody subscribes by the settings before and is not counted.
        let policy = self.node.policy.get();
        let uses = &keys_of.api_keys.uses;
        self.add_effects(&mut report, (&before, &self.node.live.running()), (&policy, uses), mode).await;
        if drops_secret(&before.token, &self.node.live.running().token) {
            tracing::warn!(
                "the token secret was replaced and is not in token.hmac_secret_previous; tokens signed by it are refused from now on"
            );
        }
        Ok(report)
    }

    async fn dry_run(&self, mode: ReloadMode) -> Result<ReloadReport, ReloadError> {
        let read = self.read().await?;
        let before = self.node.live.running();
        let mut report = report(&before, &read, mode);
        report.certificates = certificates(self.certificates.differing_from(&read.certificates));
        let (policy, keys_of) = (Arc::new(self.node.live.policy_of(&read.merged)?), self.node.policy.get());
        let uses = &keys_of.api_keys.uses;
        self.add_effects(&mut report, (&before, &read.merged), (&policy, uses), mode).await;
        Ok(report)
    }

    /// Counts the subscriptions that the policy does not permit, says what becomes of them, and has them ended if that is wanted.
    async fn add_effects(
        &self,
        report: &mut ReloadReport,
        (before, after): (&Settings, &Settings),
        (policy, uses): (&Arc<Policy>, &ApiKeyUses),
        mode: ReloadMode,
    ) {
        let found = match self.node.cluster.not_permitted(policy).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(%error, "subscriptions that the settings no longer permit were not counted");
                None
            }
        };
        let fate = match mode {
            ReloadMode { enforce: true, dry_run: true } => Fate::WouldEnd,
            ReloadMode { enforce: true, dry_run: false } if found.is_some() => Fate::End,
            _ => Fate::Stay,
        };
        let counts = found.as_ref().map(NotPermittedOfNode::by_namespace);
        report.effects = effects(before, after, counts, fate, uses);
        report.not_permitted = found.as_ref().map(NotPermittedOfNode::count);
        report.enforced = fate == Fate::End;
        if let Some(found) = found.filter(|_| fate == Fate::End) {
            self.node.cluster.end_not_permitted(found);
        }
    }

    /// Reads all of it, and checks that the node can run with the live ones.
    async fn read(&self) -> Result<CheckedSettings, ReloadError> {
        let (load, proxies, running) =
            (self.load.clone(), self.node.proxies.clone(), self.node.live.running());
        let hooks = self.node.hook_delivery.clone();
        let read = move || {
            let loaded = load()?;
            telemetry::check_level(&loaded.log.level)?;
            let merged = running.with_live(&loaded);
            // A live setting may need one that waits for a restart: a namespace a proxy that is new.
            merged.validate().map_err(ReloadError::NeedsRestart)?;
            let certificates = Certificates::open(&loaded)?;
            Ok::<_, ReloadError>(CheckedSettings {
                loaded,
                merged,
                certificates,
                proxy_files: proxies.read_files()?,
                hook_files: hooks.map(|hooks| hooks.read_files()).transpose()?,
            })
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// Puts in place what was read. What can fail comes first.
    fn apply(
        &mut self,
        read: CheckedSettings,
        before: &Settings,
    ) -> Result<Vec<NewCertificate>, ReloadError> {
        let CheckedSettings { loaded, merged, certificates: read, proxy_files, hook_files } = read;
        let level = merged.log.level.clone();
        self.node.live.apply_settings(merged)?;
        if level != before.log.level {
            telemetry::set_level(&level)?;
        }
        // The names of their files wait for a restart; what is in them does not.
        self.node.proxies.replace_files(proxy_files);
        if let (Some(hooks), Some(files)) = (&self.node.hook_delivery, &hook_files) {
            hooks.replace_files(files);
        }
        let pending = differences(&self.node.live.running(), &loaded).len();
        self.node.metrics.reload.restart_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.loaded = loaded;
        Ok(self.replace_certificates(&read))
    }

    /// Reloads where the settings are no longer those that were read the last time. The same refusal is told once.
    async fn watch(&mut self) {
        let load = self.load.clone();
        let read = tokio::task::spawn_blocking(move || load()).await;
        let read = read.map_err(ReloadError::from).and_then(|read| read.map_err(ReloadError::from));
        let is_same = match &read {
            Ok(settings) => *settings == self.loaded && self.refusal.is_none(),
            Err(error) => self.refusal.as_ref() == Some(&error.to_string()),
        };
        if !is_same {
            let refusal = self.refusal.clone();
            if let Err(error) = self.reload_quietly(refusal).await {
                tracing::debug!(%error, "settings are still refused");
            }
        }
    }

    /// Reloads, and tells a refusal only where it is not this one.
    async fn reload_quietly(&mut self, refusal: Option<String>) -> Result<(), ReloadError> {
        if refusal.is_some()
            && let Err(error) = self.read().await
            && refusal == Some(error.to_string())
        {
            return Err(error);
        }
        self.reload_and_log(ReloadMode::default()).await.map(drop)
    }

    fn replace_certificates(&self, read: &Certificates) -> Vec<NewCertificate> {
        let changed = self.certificates.replace_by(read);
        self.certificates.show_ends(&self.node.metrics.certificates);
        certificates(changed)
    }

    /// Reads the files of certificates again, whose names stay.
    async fn renew_certificates(&mut self) {
        let running = self.node.live.running();
        let read = tokio::task::spawn_blocking(move || Certificates::open(&running)).await;
        match read.map_err(ReloadError::from).and_then(|read| read.map_err(ReloadError::from)) {
            Ok(read) => self.replace_certificates(&read).iter().for_each(log_certificate),
            Err(error) => {
                tracing::error!(%error, "certificates not renewed; the listeners go on with those before")
            }
        }
    }
}

/// The report without its effects.
fn report(before: &Settings, read: &CheckedSettings, mode: ReloadMode) -> ReloadReport {
    ReloadReport {
        dry_run: mode.dry_run,
        fingerprint: read.merged.fingerprint(),
        live: differences(before, &read.merged),
        restart: differences(&read.merged, &read.loaded),
        ..ReloadReport::default()
    }
}

/// Ready when the interval is over; never where it is zero.
async fn due(since: Instant, interval: Duration) {
    if interval.is_zero() { std::future::pending().await } else { sleep_until(since + interval).await }
}

fn certificates(changed: Vec<(&'static str, String)>) -> Vec<NewCertificate> {
    changed.into_iter().map(|(listener, fingerprint)| NewCertificate { listener, fingerprint }).collect()
}

fn log(report: &ReloadReport) {
    let keys = |changes: &[crate::settings::reload_report::SettingChange]| {
        changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>().join(", ")
    };
    tracing::info!(changed = keys(&report.live), fingerprint = report.fingerprint, "settings reloaded");
    report.certificates.iter().for_each(log_certificate);
    for effect in &report.effects {
        tracing::info!(effect, "effect of the reload");
    }
    if !report.restart.is_empty() {
        tracing::warn!(settings = keys(&report.restart), "changed settings wait for a restart");
    }
}

fn log_certificate(certificate: &NewCertificate) {
    let NewCertificate { listener, fingerprint } = certificate;
    tracing::info!(listener, fingerprint, "certificate replaced; new TLS handshakes get it");
}

/// True if the secret of today is neither the secret of tomorrow nor the one before it.
fn drops_secret(today: &TokenSettings, tomorrow: &TokenSettings) -> bool {
    let secret = &today.hmac_secret;
    !secret.is_empty() && *secret != tomorrow.hmac_secret && *secret != tomorrow.hmac_secret_previous
}
