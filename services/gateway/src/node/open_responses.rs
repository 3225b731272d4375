//! Responses that outlive their sessions: the last bytes of a stream are written after its session has ended. A node that
//! goes down waits for them ([`crate::drain`]).

use std::sync::{Arc, atomic::Ordering};

use super::Node;

/// A response that is being written; over when dropped.
pub struct OpenResponse(Arc<Node>);

impl Node {
    /// One more response is being written.
    pub fn open_response(self: &Arc<Self>) -> OpenResponse {
        self.open_responses.fetch_add(1, Ordering::Relaxed);
        OpenResponse(self.clone())
    }

    /// Responses that are being written.
    pub fn open_responses(&self) -> usize {
        self.open_responses.load(Ordering::Relaxed)
    }
}

impl Drop for OpenResponse {
    fn drop(&mut self) {
        self.0.open_responses.fetch_sub(1, Ordering::Relaxed);
    }
}
