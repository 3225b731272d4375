//! The node's own lease, and the deaths that it notices when it renews it. `docs/architecture.md` §5.7.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{ClusterMember, description::NodeDescription, kinds, membership::MembershipChange};
use crate::version::VERSION;

/// Pause before an announcement that the broker did not take is retried: others must not take this node for
/// dead longer than they have to once the broker is back.
const RETRY_AFTER: Duration = Duration::from_millis(250);

impl ClusterMember {
    /// Renews the lease until the node retires, and takes the clients of dead nodes out of presence.
    pub(in crate::node) async fn keep_lease(self: Arc<Self>) {
        while !self.peers.retired.load(Ordering::Acquire) {
            let renewed = self.announce().await;
            let pause = if renewed { self.settings.heartbeat } else { RETRY_AFTER };
            tokio::time::sleep(pause).await;
        }
    }

    /// Announces this node once; false if the broker did not take it. No worker is asked for anything: a worker that is held up
    /// must not end the lease.
    pub(in crate::node) async fn announce(self: &Arc<Self>) -> bool {
        let description = NodeDescription {
            version: VERSION.to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            counts: self.queries.counts(),
            address: self.addresses.own(),
            understands: kinds::ALL,
        };
        let lease = self.settings.lease;
        let sent = Instant::now();
        let announced = match self.broker.cluster().announce(&self.id, description.write(), lease).await {
            Ok(announced) => announced,
            Err(error) => {
                tracing::debug!(%error, "renewing the lease failed");
                return false;
            }
        };
        if self.peers.retired.load(Ordering::Acquire) {
            // It was under way when the node ended its lease.
            let _ = self.broker.cluster().retire(&self.id).await;
            return true;
        }
        self.metrics.cluster.members.set(i64::try_from(announced.members.len()).unwrap_or(i64::MAX));
        let MembershipChange { lapsed, died } =
            self.peers.view.lock().announced(&announced, sent, Instant::now());
        if lapsed {
            self.peers.lapses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("lease expired; re-registering presence");
            self.workers.restore_presence();
        }
        for node in died {
            tracing::info!(node, "node left the cluster");
            self.tasks.spawn(self.clone().reap_everywhere(node));
        }
        true
    }

    /// Ends the lease for good: the node is down, and nobody needs to wait for it.
    pub async fn retire(&self) {
        self.peers.retired.store(true, Ordering::Release);
        if let Err(error) = self.broker.cluster().retire(&self.id).await {
            tracing::warn!(%error, "ending the lease failed; it will expire");
        }
    }
}
