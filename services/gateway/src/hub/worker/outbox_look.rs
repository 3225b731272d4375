//! Looks at the outboxes of a worker's connections, for the gauges of what waits: a part of them each second, so that a worker
//! with many connections is not held. Decision record 60.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use crate::{
    hub::Hub,
    metrics::{Metrics, workers::WaitingOutboxes},
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Connections of one look: those of a worker with more are all seen in some seconds.
const LOOK_CONNECTIONS: usize = 10_000;
/// Connections at a stretch; then others have their turn.
const SLICE_CONNECTIONS: usize = 1_000;

/// The look of a worker at its outboxes.
pub(super) struct OutboxLook {
    pub(super) worker: usize,
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) metrics: Arc<Metrics>,
}

impl OutboxLook {
    /// Looks, for ever.
    pub(super) async fn run(self) {
        // From the end backwards: when a session goes, the last one takes its place, which was seen already.
        let mut left = 0;
        let mut seen = WaitingOutboxes::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if left == 0 {
                left = self.hub.borrow().registry().sessions.len();
                seen = WaitingOutboxes::default();
            }
            let until = left.saturating_sub(LOOK_CONNECTIONS);
            let mut is_sampled = true;
            while left > until {
                let end = left.saturating_sub(SLICE_CONNECTIONS).max(until);
                self.slice(end..left, is_sampled, &mut seen);
                left = end;
                is_sampled = false;
                tokio::task::yield_now().await;
            }
            if left == 0 {
                self.metrics.workers.set_waiting(self.worker, seen);
            }
        }
    }

    fn slice(&self, places: std::ops::Range<usize>, is_sampled: bool, seen: &mut WaitingOutboxes) {
        let hub = self.hub.borrow();
        let sessions = &hub.registry().sessions;
        for (_, session) in places.rev().filter_map(|place| sessions.get_index(place)) {
            let (bytes, waiting_ms) = session.outbox.waiting();
            if is_sampled {
                self.metrics.deliveries.outbox_sampled_bytes.add(bytes as u64);
            }
            if bytes > 0 {
                seen.bytes += bytes as u64;
                seen.connections += 1;
                seen.oldest_ms = seen.oldest_ms.max(waiting_ms.into());
            }
        }
    }
}
