//! The number of traces of the current second, so that a caller who samples everything does not fill a node with spans.
//! Decision record 66.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Traces that begin or are continued at a node in a second, at most.
pub(super) const TRACES_PER_SECOND: u64 = 100;
/// Those of clients among them, who may put a sampled trace into each message: the others are for backends.
pub(super) const CLIENT_TRACES_PER_SECOND: u64 = 50;
/// Bits of the count of a second; the rest is the second.
const COUNT_BITS: u32 = 16;

/// Counts the traces of the current second.
pub(super) struct TraceRate {
    /// Traces in a second at most.
    limit: u64,
    began: Instant,
    /// The second since the begin, and the traces in it.
    state: AtomicU64,
}

impl TraceRate {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, began: Instant::now(), state: AtomicU64::new(0) }
    }

    /// One trace more, if it is not too many.
    pub(super) fn admit(&self) -> bool {
        let second = self.began.elapsed().as_secs();
        let counted = |state: u64| {
            let count = if state >> COUNT_BITS == second { state & ((1 << COUNT_BITS) - 1) } else { 0 };
            (count < self.limit).then_some((second << COUNT_BITS) | (count + 1))
        };
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok()
    }
}
