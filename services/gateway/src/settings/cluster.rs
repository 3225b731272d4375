//! Settings of the cluster: leases of nodes, and time for their answers. `docs/architecture.md` §5.7.
//!
//! Settings of going down: how a stopping node sends its clients elsewhere. `docs/architecture.md` §5.10; record 15.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// The shortest secret of a node that is reachable from outside, in bytes: 16 random characters cannot be tried out.
pub(super) const SECRET_MIN_BYTES: usize = 16;

/// The shortest lease: below it a busy moment looks like a death.
const LEASE_MIN: Duration = Duration::from_millis(500);
/// The longest lease: so long a dead node's clients would be held for present.
const LEASE_MAX: Duration = Duration::from_secs(300);
/// The longest wait for other nodes: a backend waits with it.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Bytes of a node's name at most: it stands in log lines and in a label of a metric.
const NODE_NAME_MAX_BYTES: usize = 128;
/// The file in which Linux tells the name of the host.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The node itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// Its name in logs, in the API's `info` and in metrics; empty: the host's. At most 128 bytes of printable text.
    pub name: String,
}

impl NodeSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if is_node_name(&self.name) {
            return Ok(());
        }
        Err(SettingsError::value("node.name", "must be printable text of at most 128 bytes"))
    }

    /// The name; where none is set that of the host, and `id` where the host tells none.
    pub fn name_or(&self, id: &str) -> Arc<str> {
        let host = || std::fs::read_to_string(HOST_NAME_FILE).ok().or_else(|| std::env::var("HOSTNAME").ok());
        let name = if self.name.is_empty() { host().unwrap_or_default() } else { self.name.clone() };
        let name = name.trim();
        if name.is_empty() || !is_node_name(name) { id.into() } else { name.into() }
    }
}

fn is_node_name(name: &str) -> bool {
    name.len() <= NODE_NAME_MAX_BYTES && !name.contains(char::is_control)
}

/// Membership of the cluster, and calls between its nodes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MembershipSettings {
    /// Interval at which a node renews its lease.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Time for which the others take it to be alive after the last renewal.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Time for other nodes to answer a query or acknowledge a command.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// Address where other nodes reach this one, `host:port`; empty: where it listens, or if that is everywhere, the address that
    /// this machine has towards Redis.
    pub advertise: String,
    /// Secret with which nodes authenticate to one another, the same on all; empty: they agree on a random one through Redis.
    pub secret: String,
    /// Requests that this node has forwarded to others and that are under way, at most.
    pub max_forwarded: usize,
}

impl Default for MembershipSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(9),
            answer_timeout: Duration::from_secs(2),
            advertise: String::new(),
            secret: String::new(),
            max_forwarded: 20_000,
        }
    }
}

/// Without the secret.
impl fmt::Debug for MembershipSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heartbeat, lease, answer_timeout, advertise, secret, max_forwarded } = self;
        formatter
            .debug_struct("ClusterSettings")
            .field("heartbeat", heartbeat)
            .field("lease", lease)
            .field("answer_timeout", answer_timeout)
            .field("advertise", advertise)
            .field("secret", if secret.is_empty() { &"" } else { &"***" })
            .field("max_forwarded", max_forwarded)
            .finish()
    }
}

impl MembershipSettings {
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
        if !self.advertise.is_empty() && !is_address(&self.advertise) {
            return problem(
                "cluster.advertise",
                "must be host:port without a scheme, such as 10.0.0.7:8000: where other nodes reach this one",
            );
        }
        if !self.secret.is_empty() && self.secret.len() < SECRET_MIN_BYTES {
            return problem("cluster.secret", "must have at least 16 characters");
        }
        if self.max_forwarded == 0 {
            return problem("cluster.max_forwarded", "must be above 0");
        }
        Ok(())
    }
}

/// True if a text is a host and a port.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let is_host =
            !host.is_empty() && (is_name || format!("{host}:1").parse::<std::net::SocketAddrV6>().is_ok());
        is_port && is_host
    })
}

/// The longest that sessions may be kept while the node goes down: above it a value is a mistake.
const LONGEST: Duration = Duration::from_secs(3600);

/// The drain of a stopping node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainSettings {
    /// Time for which a stopping node reports that it is not ready and serves on as ever, before it stops accepting.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Seconds over which the sessions are then ended; few of them take less, and 0 ends all at once.
    pub seconds: u32,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { grace: Duration::ZERO, seconds: 20 }
    }
}

impl DrainSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.grace > LONGEST {
            return Err(SettingsError::value("drain.grace", "at most 1h"));
        }
        if u64::from(self.seconds) > LONGEST.as_secs() {
            return Err(SettingsError::value("drain.seconds", "at most 3600"));
        }
        Ok(())
    }
}
