//! What a worker's connections move: counted on the worker's own thread and added to the node's counters once a second,
//! so that threads do not fight over a counter at every write.

use std::{cell::Cell, rc::Rc, time::Duration};

use crate::hub::worker::Worker;

/// How far behind `GET /metrics` may be.
const ADD_EVERY: Duration = Duration::from_secs(1);

/// Counts since the last addition.
#[derive(Default)]
pub struct Tally {
    bytes_sent: Cell<u64>,
    bytes_received: Cell<u64>,
    messages_received: Cell<u64>,
}

impl Tally {
    /// Bytes went to a socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.set(self.bytes_sent.get() + bytes as u64);
    }

    /// Messages came, with payloads of so many bytes.
    pub fn received(&self, messages: usize, bytes: usize) {
        self.messages_received.set(self.messages_received.get() + messages as u64);
        self.bytes_received.set(self.bytes_received.get() + bytes as u64);
    }
}

impl Worker {
    /// Adds the counts to the node's, for ever.
    pub(super) async fn keep_counting(self: Rc<Self>) {
        loop {
            tokio::time::sleep(ADD_EVERY).await;
            let Tally { bytes_sent, bytes_received, messages_received } = &self.tally;
            self.metrics.bytes_sent.inc_by(bytes_sent.take());
            self.metrics.bytes_received.inc_by(bytes_received.take());
            self.metrics.messages_received.inc_by(messages_received.take());
        }
    }
}
