//! The description that a node announces with its lease: a small JSON object. A reader skips what it does not know.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Numbers of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCounts {
    /// Clients that are connected.
    pub clients: usize,
    /// Distinct users among them.
    pub users: usize,
    /// Channels with subscribers.
    pub channels: usize,
    /// Subscriptions of all clients.
    pub subscriptions: usize,
}

/// A node's description of itself. The node's id is beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::node) struct NodeDescription {
    /// Version of the server.
    pub(in crate::node) version: String,
    /// Seconds since the start.
    pub(in crate::node) uptime_s: u64,
    /// Its numbers, some seconds old.
    pub(in crate::node) counts: NodeCounts,
    /// The address where other nodes reach it: `host:port`; empty if it does not know.
    pub(in crate::node) address: String,
    /// The kinds of requests that it understands: see [`super::kinds`]; 0 if it lists none.
    pub(in crate::node) understands: u64,
}

impl NodeDescription {
    pub(super) fn write(&self) -> Bytes {
        // A struct of numbers and a text has no reason to fail; without a description the lease counts all the same.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// One that cannot be read says nothing.
    pub(super) fn read(description: &[u8]) -> Self {
        serde_json::from_slice(description).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_survives_the_trip_and_one_of_another_version_is_read_as_far_as_it_goes() {
        let (version, address) = ("1.2.3".to_owned(), "10.0.0.1:8000".to_owned());
        let description =
            NodeDescription { version, uptime_s: 7, address, understands: 5, ..NodeDescription::default() };
        assert_eq!(NodeDescription::read(&description.write()), description);
        let other = NodeDescription::read(br#"{"version":"9","mood":"good"}"#);
        assert_eq!(other, NodeDescription { version: "9".to_owned(), ..NodeDescription::default() });
        assert_eq!(NodeDescription::read(b"?"), NodeDescription::default());
    }
}
