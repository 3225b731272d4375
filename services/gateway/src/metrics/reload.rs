//! Metrics of reading the settings again while the node runs.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    /// `done`, or `refused`: nothing was changed.
    result: &'static str,
}

/// Reloads, by their results.
pub struct ReloadMetrics {
    reloads: Family<ReloadLabel, Counter>,
    last_successful: Gauge,
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
        // The settings of the start were read.
        last_successful.set(1);
        Self { reloads, last_successful }
    }

    /// Counts a reload.
    pub fn count(&self, is_done: bool) {
        self.last_successful.set(is_done.into());
        let result = if is_done { "done" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabel { result }).inc();
    }
}
