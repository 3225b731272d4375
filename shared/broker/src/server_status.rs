//! One server of a broker, as operators see it.

use std::time::Duration;

/// A server that the node is connected to, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerStatus {
    /// Host and port, or the name under which it is found.
    pub address: String,
    /// The reason why the node would not deliver through it; absent where it would.
    pub trouble: Option<String>,
    /// Milliseconds since the Unix epoch since when both connections are up.
    pub connected_since_ms: Option<u64>,
    /// Connections that were lost after they had been usable.
    pub connections_lost: u64,
    /// The reason why a connection was last lost, or not opened.
    pub last_error: Option<String>,
    /// Time since the last canary came back.
    pub canary_age: Option<Duration>,
    /// Time that the last canary took.
    pub round_trip: Option<Duration>,
    /// Requests to it without an answer, sent or still to be sent.
    pub pending_requests: usize,
    /// Bytes that these requests take.
    pub pending_bytes: usize,
    /// Channels that the node listens to on it.
    pub subscriptions: usize,
    /// The server's answer about itself.
    pub facts: ServerFacts,
}

/// The answer of a server to `INFO`. All absent if it does not answer that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFacts {
    /// `master`, `slave`.
    pub role: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// `maxmemory-policy`. Anything but `noeviction` loses data when the memory is full.
    pub maxmemory_policy: Option<String>,
    /// The number of its replicas; of a replica, the state of the link to its primary.
    pub replication: Option<String>,
    /// Bytes of memory that it uses.
    pub used_memory: Option<u64>,
}

impl ServerFacts {
    /// Reads the answer to `INFO`.
    pub(crate) fn read(info: &str) -> Self {
        let field = |name: &str| {
            let values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            // It is shown to people.
            values.map(|value| value.trim().chars().take(64).collect::<String>()).next()
        };
        let role = field("role");
        let replication = match role.as_deref() {
            Some("master") => field("connected_slaves").map(|count| format!("replicas: {count}")),
            _ => field("master_link_status").map(|status| format!("link to the primary: {status}")),
        };
        Self {
            role,
            version: field("redis_version"),
            maxmemory_policy: field("maxmemory_policy"),
            replication,
            used_memory: field("used_memory").and_then(|bytes| bytes.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_its_role_its_version_its_policy_and_its_replicas() {
        let info = "# Server\r\nredis_version:7.4.1\r\nrole:master\r\nconnected_slaves:2\r\n\
                    used_memory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n";
        let facts = ServerFacts::read(info);
        assert_eq!(facts.version.as_deref(), Some("7.4.1"));
        assert_eq!(facts.maxmemory_policy.as_deref(), Some("allkeys-lru"));
        assert_eq!(facts.replication.as_deref(), Some("replicas: 2"));
        assert_eq!(facts.used_memory, Some(1_048_576));
        let replica = ServerFacts::read("role:slave\r\nmaster_link_status:down\r\n");
        assert_eq!(replica.replication.as_deref(), Some("link to the primary: down"));
        assert_eq!(ServerFacts::read("redis"), ServerFacts::default());
        let long = ServerFacts::read(&format!("redis_version:{}", "9".repeat(10_000)));
        assert_eq!(long.version.map(|version| version.len()), Some(64));
    }
}
