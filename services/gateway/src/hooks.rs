//! Hooks: what happens to clients and channels of this node, written into the broker's store of hooks, which tells the backend of it.
//! `docs/adr/0051-hooks-tracked.md`.
//!
//! - [`tracker`]: what happens, as connections report it; [`state`] and [`session_state`] keep it by partition.
//! - [`flush`]: brings it to the store; [`repair`]: what comes again after a fault. [`change_batch`]: the changes of one call.
//! - [`event`]: what events say, and for whom they are.
//! - [`lease`]: which node takes care of which partition. [`reap`]: what that one does.
//! - [`partition`]: the partition of a name.
//! - [`deliver`]: events go from the store to the endpoints; [`endpoint`]: an endpoint; [`event_json`]: an event as it is sent.
//!   `docs/adr/0052-hooks-delivered.md`.

mod attempt;
mod batch;
mod change_batch;
pub mod deliver;
pub mod endpoint;
pub mod event;
pub mod event_json;
mod flush;
pub mod lease;
pub mod partition;
mod pusher;
mod queue_delivery;
mod reap;
mod repair;
mod session_state;
mod state;
pub mod store;
pub mod tracker;

use std::{sync::Arc, time::Duration};

use gorani_broker::Broker;
use tokio::{sync::Notify, time::Instant};

use self::{
    flush::PartitionFlush,
    lease::{NodeWatch, PartitionLeases},
    reap::PartitionCare,
    tracker::HookTracker,
};
use crate::tasks::Tasks;

/// Pause between two looks at what the store does not have yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Hooks of a node that has an endpoint for them.
pub struct Hooks {
    /// The node's sessions, channels and members.
    pub tracker: Arc<HookTracker>,
    /// The partitions that the node owns.
    pub leases: Arc<PartitionLeases>,
    care: Arc<PartitionCare>,
    broker: Arc<dyn Broker>,
    node: Arc<str>,
}

impl Hooks {
    /// Hooks over an open store.
    pub fn new(
        tracker: Arc<HookTracker>,
        node: Arc<str>,
        broker: Arc<dyn Broker>,
        nodes: Arc<dyn NodeWatch>,
    ) -> Arc<Self> {
        let leases = PartitionLeases::new(tracker.count(), node.clone(), broker.clone(), nodes.clone());
        let care = Arc::new(PartitionCare {
            tracker: tracker.clone(),
            broker: broker.clone(),
            leases: leases.clone(),
            nodes,
            node: node.clone(),
            died: Notify::new(),
        });
        Arc::new(Self { tracker, leases, care, broker, node })
    }

    /// Starts all that runs by itself; to be called within the node's runtime.
    pub fn start(&self, tasks: &Tasks) {
        for partition in 0..self.tracker.count() {
            let (tracker, broker) = (self.tracker.clone(), self.broker.clone());
            tasks.spawn(PartitionFlush::new(tracker, broker, self.node.clone(), partition).run());
        }
        tasks.spawn(self.leases.clone().run());
        tasks.spawn(self.care.clone().run());
    }

    /// A node has died: the partitions that are owned here are looked through at once.
    pub fn node_died(&self) {
        self.care.died.notify_one();
    }

    /// The sessions of the node have ended: waits until the store has all of it, for so long at most. False if it does not.
    pub async fn flush(&self, time_limit: Duration) -> bool {
        self.tracker.end_waits();
        let until = Instant::now() + time_limit;
        while self.tracker.pending() > 0 {
            if Instant::now() >= until {
                let pending = self.tracker.pending();
                tracing::warn!(
                    pending,
                    "the store of hooks did not get everything; another node ends the rest"
                );
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
