//! Responses that outlive their sessions: the last bytes of a stream are written after its session has ended. A node that
//! goes down waits for them ([`crate::drain`]).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The number of responses that are being written.
#[derive(Default)]
pub struct OpenResponses(Arc<AtomicUsize>);

/// A response that is being written; over when dropped.
pub struct OpenResponse(Arc<AtomicUsize>);

impl OpenResponses {
    /// One more response is being written.
    pub fn begin(&self) -> OpenResponse {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenResponse(self.0.clone())
    }

    /// Responses that are being written.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenResponse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
