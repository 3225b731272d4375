//! Settings of the cluster: leases of nodes, and time for their answers. Design §5, "Membership".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SettingsError;

/// The shortest lease: below it a busy moment looks like a death.
const LEASE_MIN: Duration = Duration::from_millis(500);
/// The longest lease: so long a dead node's clients would be held for present.
const LEASE_MAX: Duration = Duration::from_secs(300);
/// The longest wait for other nodes: a backend waits with it.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How the nodes of a cluster know one another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// How often a node says that it is alive.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How long others believe it after the last time.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Time for other nodes to answer a question or acknowledge an order.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(9),
            answer_timeout: Duration::from_secs(2),
        }
    }
}

impl ClusterSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            return problem("cluster.lease", "must be between 500ms and 5m");
        }
        if self.heartbeat.is_zero() || self.heartbeat.saturating_mul(2) > self.lease {
            return problem("cluster.heartbeat", "must be above 0s and at most half of cluster.lease");
        }
        if self.answer_timeout.is_zero() || self.answer_timeout > ANSWER_TIMEOUT_MAX {
            return problem("cluster.answer_timeout", "must be above 0s and at most 60s");
        }
        Ok(())
    }
}
