//! Settings of `GET /metrics`: which labels tell things apart, and their values. `docs/metrics.md`.

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// Values of the labels `sdk` and `version` at most.
const CLIENTS_MAX: usize = 64;
/// Bytes of such a value at most.
const CLIENT_MAX_BYTES: usize = 64;

/// `GET /metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Tell the channels of different namespaces apart, by the label `namespace`.
    pub namespaces: bool,
    /// Names of SDKs that have a value of their own in `client_connections`, some with the beginning of a version: `js/5.4`. Others
    /// are counted as `other`.
    pub clients: Vec<String>,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        let clients = ["js", "dart", "swift", "java", "go", "python", "csharp"];
        Self { namespaces: true, clients: clients.map(str::to_owned).to_vec() }
    }
}

impl MetricsSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let refused = |problem: &str| Err(SettingsError::value("metrics.clients", problem));
        if self.clients.len() > CLIENTS_MAX {
            return refused("at most 64");
        }
        let is_usable = |client: &String| {
            let is_plain = client.chars().all(|letter| letter.is_ascii_graphic());
            is_plain && !client.is_empty() && client.len() <= CLIENT_MAX_BYTES && !client.starts_with('/')
        };
        if self.clients.iter().all(is_usable) {
            Ok(())
        } else {
            refused("each is the name of an SDK, or name/version: at most 64 characters without spaces")
        }
    }
}
