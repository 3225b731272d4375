//! The contract suite, on one node and a clock that is moved by hand.

use std::{sync::Arc, time::Duration};

use super::super::{ManualClock, MemoryBroker, MemorySettings};
use crate::contract::{ContractNode, Harness};

#[derive(Default)]
pub(super) struct OneNode {
    pub(super) clock: Arc<ManualClock>,
}

impl Harness for OneNode {
    fn max_nodes(&self) -> usize {
        1
    }

    async fn node(&self) -> ContractNode {
        let broker = MemoryBroker::with_clock(MemorySettings::default(), Arc::clone(&self.clock) as _);
        ContractNode::start(Arc::new(broker)).await
    }

    fn span(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

crate::broker_contract!(OneNode::default());
