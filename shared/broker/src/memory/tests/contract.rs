//! The contract suite, on one node and a clock that is moved by hand.

use std::{sync::Arc, time::Duration};

use super::super::{ManualClock, MemoryBroker, MemorySettings};
use crate::{
    Broker as _,
    contract::{Harness, Node, RecordingSink},
};

#[derive(Default)]
struct OneNode {
    clock: Arc<ManualClock>,
}

impl Harness for OneNode {
    fn max_nodes(&self) -> usize {
        1
    }

    async fn node(&self) -> Node {
        let broker =
            Arc::new(MemoryBroker::with_clock(MemorySettings::default(), Arc::clone(&self.clock) as _));
        let sink = Arc::new(RecordingSink::default());
        broker.start(Arc::clone(&sink) as _).await.unwrap();
        Node { broker, sink }
    }

    fn span(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

crate::broker_contract!(OneNode::default());
