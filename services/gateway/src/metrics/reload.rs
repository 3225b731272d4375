//! Metrics of reading the settings again while the node runs.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::clock;

/// Labels of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    /// `done`, or `refused`: nothing was changed.
    result: &'static str,
}

/// Labels of the settings that the node runs with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FingerprintLabel {
    fingerprint: String,
}

/// Reloads, by their results.
pub struct ReloadMetrics {
    reloads: Family<ReloadLabel, Counter>,
    last_successful: Gauge,
    last_at: Gauge,
    info: Family<FingerprintLabel, Gauge>,
    /// Changed settings that wait for a restart.
    pub restart_pending: Gauge,
    /// Nodes whose settings differ from those of this one.
    pub differing_nodes: Gauge,
}

impl ReloadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (reloads, last_successful) = (Family::default(), Gauge::default());
        registry.register("settings_reloads", "Reloads of the settings by result", reloads.clone());
        registry.register(
            "settings_last_reload_successful",
            "0 after a reload that was refused: the node runs with the settings before it",
            last_successful.clone(),
        );
        let last_at = Gauge::default();
        registry.register(
            "settings_last_reload_timestamp_seconds",
            "Unix time of the last reload that was done, or of the start",
            last_at.clone(),
        );
        let (info, restart_pending, differing_nodes) =
            (Family::default(), Gauge::default(), Gauge::default());
        registry.register(
            "settings_info",
            "1, with the fingerprint of the settings that must be equal on all nodes",
            info.clone(),
        );
        registry.register(
            "settings_restart_pending",
            "Changed settings that wait for a restart, by the last reload",
            restart_pending.clone(),
        );
        registry.register(
            "settings_differing_nodes",
            "Nodes of the cluster whose settings differ from those of this node",
            differing_nodes.clone(),
        );
        // The settings of the start were read.
        last_successful.set(1);
        last_at.set(unix_s());
        Self { reloads, last_successful, last_at, info, restart_pending, differing_nodes }
    }

    /// Notes the fingerprint of the settings that count now.
    pub fn running(&self, fingerprint: &str) {
        self.info.clear();
        self.info.get_or_create(&FingerprintLabel { fingerprint: fingerprint.to_owned() }).set(1);
    }

    /// Counts a reload.
    pub fn count(&self, is_done: bool) {
        self.last_successful.set(is_done.into());
        if is_done {
            self.last_at.set(unix_s());
        }
        let result = if is_done { "done" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabel { result }).inc();
    }
}

fn unix_s() -> i64 {
    i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX)
}
