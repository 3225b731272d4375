//! The traffic of a worker's connections: counted on the worker's own thread and added to the node's counters once a second,
//! so that threads do not fight over a counter at every write.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crate::metrics::Metrics;

/// Longest lag of `GET /metrics`.
const ADD_EVERY: Duration = Duration::from_secs(1);

/// Counts since the last addition.
#[derive(Default)]
pub struct TrafficCounters {
    bytes_sent: Cell<u64>,
    bytes_received: Cell<u64>,
    messages_received: Cell<u64>,
    /// Times for which the worker was held at a stretch, where they are worth counting.
    held: RefCell<Vec<Duration>>,
}

/// Shorter turns are as they should be, and are not counted: most are of some microseconds.
const COUNTED_FROM: Duration = Duration::from_millis(1);
/// Turns that are kept until the next addition: more of [`COUNTED_FROM`] do not fit into the time between two.
const KEPT_TURNS: usize = 1024;

impl TrafficCounters {
    /// Bytes went to a socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.set(self.bytes_sent.get() + bytes as u64);
    }

    /// The worker was held for so long: by one connection's input, or by what it delivered at a stretch.
    pub fn held(&self, time: Duration) {
        if time >= COUNTED_FROM {
            let mut held = self.held.borrow_mut();
            if held.len() < KEPT_TURNS {
                held.push(time);
            }
        }
    }

    /// Messages came, with payloads of so many bytes.
    pub fn received(&self, messages: usize, bytes: usize) {
        self.messages_received.set(self.messages_received.get() + messages as u64);
        self.bytes_received.set(self.bytes_received.get() + bytes as u64);
    }

    /// Adds the counts to the node's, for ever.
    pub(super) async fn flush_periodically(self: Rc<Self>, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(ADD_EVERY).await;
            let TrafficCounters { bytes_sent, bytes_received, messages_received, held } = &*self;
            for time in held.take() {
                metrics.worker_turn_seconds.observe(time.as_secs_f64());
            }
            metrics.bytes_sent.inc_by(bytes_sent.take());
            metrics.bytes_received.inc_by(bytes_received.take());
            metrics.messages_received.inc_by(messages_received.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_kept_from_a_millisecond_on_and_no_more_than_fit_between_two_additions() {
        let traffic = TrafficCounters::default();
        traffic.held(COUNTED_FROM - Duration::from_nanos(1));
        assert!(traffic.held.borrow().is_empty());
        traffic.held(COUNTED_FROM);
        assert_eq!(*traffic.held.borrow(), [COUNTED_FROM]);
        for _ in 0..2 * KEPT_TURNS {
            traffic.held(COUNTED_FROM);
        }
        assert_eq!(traffic.held.borrow().len(), KEPT_TURNS);
    }
}
