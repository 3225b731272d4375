//! The addresses of the nodes: each node announces its own with its lease. Decision record 21.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::ClusterMember;

/// Shortest pause between two reads of the members for an unknown node, whatever made-up names ask for.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);

impl ClusterMember {
    /// Announces the address at which the others reach this node, which listens there.
    pub async fn advertise(self: &Arc<Self>, listening: SocketAddr) {
        self.set_address(listening).await;
        self.announce().await;
    }

    pub(in crate::node) async fn set_address(&self, listening: SocketAddr) {
        self.addresses.listening(listening).await;
    }

    /// The address of another node: `host:port`. `None` if it is not alive, or does not say.
    pub async fn address_of(&self, node: &str) -> Option<String> {
        if *node == *self.id {
            return None;
        }
        if let Some(address) = self.known_address(node) {
            return Some(address);
        }
        // It may have begun a moment ago. Those who ask at the same time wait for the same answer.
        let mut looked_at = self.addresses.looked_at.lock().await;
        if let Some(address) = self.known_address(node) {
            return Some(address);
        }
        if looked_at.is_none_or(|at| at.elapsed() >= LOOK_AT_MOST_EVERY) {
            if let Err(error) = self.refresh_members().await {
                tracing::debug!(%error, "reading the cluster's members failed");
            }
            *looked_at = Some(Instant::now());
        }
        self.known_address(node)
    }

    fn known_address(&self, node: &str) -> Option<String> {
        Some(self.peers.description(node).address).filter(|address| !address.is_empty())
    }
}
