//! The subscriptions of this node that a policy does not permit: for what is told before and after a reload, and for the reload that
//! ends them. Record 71.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::{ClusterMember, peers::ClusterError};
use crate::{
    hub::scan::{ScanRequest, permissions::NotPermitted},
    session::shared::{enforcement::Enforcement, policy::Policy},
};

/// The subscriptions of a node that a policy does not permit. Unless they are ended, they stay.
pub struct NotPermittedOfNode {
    by_namespace: BTreeMap<String, u64>,
    workers: Vec<oneshot::Sender<Arc<Enforcement>>>,
}

impl NotPermittedOfNode {
    /// Their numbers by namespace; the empty name is that of channels without one.
    pub fn by_namespace(&self) -> &BTreeMap<String, u64> {
        &self.by_namespace
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.by_namespace.values().sum()
    }
}

impl ClusterMember {
    /// Counts the subscriptions of this node's clients that a policy does not permit.
    ///
    /// # Errors
    /// Too many scans are under way, or a worker does not answer in time.
    pub async fn not_permitted(&self, policy: &Arc<Policy>) -> Result<NotPermittedOfNode, ClusterError> {
        let request = |answer| ScanRequest::NotPermitted { policy: policy.clone(), answer };
        let mut of_node = NotPermittedOfNode { by_namespace: BTreeMap::new(), workers: Vec::new() };
        for NotPermitted { by_namespace, end } in self.ask_workers(request).await? {
            for (namespace, count) in by_namespace {
                *of_node.by_namespace.entry(namespace).or_default() += count;
            }
            of_node.workers.push(end);
        }
        Ok(of_node)
    }

    /// Ends those that were counted, and that are still not permitted at the moment of each. Those that an earlier call has not ended
    /// yet are among them, so that one stops.
    pub fn end_not_permitted(&self, found: NotPermittedOfNode) {
        let enforcement = Enforcement::new(found.count());
        self.workers.enforcement.replace(&enforcement);
        for worker in found.workers {
            // A worker that is gone has no sessions any more.
            let _ = worker.send(enforcement.clone());
        }
    }
}
