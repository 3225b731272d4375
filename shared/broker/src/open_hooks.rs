//! The store of hooks as a node opened it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::RwLock;

use crate::{
    BrokerError,
    hook_store::{HookStorePlan, NO_PARTITION, NOT_OPEN, Partition},
};

/// The beginning of the policies of eviction that touch keys without a time, as the store's are.
const EVICTS_ALL: &str = "allkeys";

/// The plan of an open store, and what its server said. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenHooks {
    plan: Arc<RwLock<Option<Arc<HookStorePlan>>>>,
    evictable: Arc<AtomicBool>,
}

impl OpenHooks {
    /// The plan of an open store that has the partition.
    pub(crate) fn plan(&self, partition: Partition) -> Result<Arc<HookStorePlan>, BrokerError> {
        let plan = self.plan.read().clone();
        let plan = plan.ok_or_else(|| BrokerError::Unavailable(NOT_OPEN.to_owned()))?;
        if partition < plan.partitions { Ok(plan) } else { Err(BrokerError::Limit(NO_PARTITION)) }
    }

    /// The server has so many partitions, and evicts by this policy.
    pub(crate) fn answered(&self, plan: HookStorePlan, partitions: Partition, policy: &str) {
        let may_evict = policy.starts_with(EVICTS_ALL);
        self.evictable.store(may_evict, Ordering::Relaxed);
        if may_evict {
            tracing::warn!(
                policy,
                "Redis may evict the store of hooks: set maxmemory-policy to noeviction, or events are lost"
            );
        }
        if partitions == plan.partitions {
            *self.plan.write() = Some(Arc::new(plan));
        }
    }

    /// True if the server may evict the store, by its settings when the store was opened.
    pub(crate) fn is_evictable(&self) -> bool {
        self.evictable.load(Ordering::Relaxed)
    }
}
