//! Requests without an answer and their bytes, counted for a whole broker and for each of its servers. `docs/architecture.md` §6.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bits of a counter that hold the bytes; the requests are above them. With both in one number, a request takes one atomic step.
const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;
const ONE_REQUEST: u64 = 1 << BYTES_BITS;

/// Requests that may be counted: half of what the bits hold, so that those which are about to be refused fit too. Their commands
/// would take gigabytes.
pub(super) const MAX_REQUESTS: usize = 1 << 23;

/// A number of requests, and their bytes.
#[derive(Debug, Default)]
pub(in crate::redis) struct PendingCounter(AtomicU64);

/// The part of a counter that one request takes until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    counted: u64,
    counter: Arc<PendingCounter>,
}

impl PendingCounter {
    /// Counts a request. Gives the numbers without it too.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> (Charge, (usize, usize)) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).min(BYTES_MASK);
        let (charge, before) = self.add(ONE_REQUEST | bytes);
        (charge, split(before))
    }

    /// Counts a request that another counter has, too.
    pub(super) fn charge_as(self: &Arc<Self>, other: &Charge) -> Charge {
        self.add(other.counted).0
    }

    fn add(self: &Arc<Self>, counted: u64) -> (Charge, u64) {
        let before = self.0.fetch_add(counted, Ordering::Relaxed);
        (Charge { counted, counter: Arc::clone(self) }, before)
    }

    /// The requests now, and their bytes.
    pub(in crate::redis) fn read(&self) -> (usize, usize) {
        split(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.counter.0.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

fn split(counted: u64) -> (usize, usize) {
    let number = |part: u64| usize::try_from(part).unwrap_or(usize::MAX);
    (number(counted >> BYTES_BITS), number(counted & BYTES_MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_bytes_are_counted_until_their_charges_are_dropped() {
        let (broker, server) = (Arc::<PendingCounter>::default(), Arc::<PendingCounter>::default());
        let (first, before) = broker.charge(300);
        assert_eq!((before, broker.read()), ((0, 0), (1, 300)));
        let (second, before) = broker.charge(5_000_000_000);
        assert_eq!((before, broker.read()), ((1, 300), (2, 5_000_000_300)));
        let at_server = server.charge_as(&second);
        assert_eq!(server.read(), (1, 5_000_000_000));
        drop(first);
        assert_eq!((broker.read(), server.read()), ((1, 5_000_000_000), (1, 5_000_000_000)));
        drop(at_server);
        assert_eq!((broker.read(), server.read()), ((1, 5_000_000_000), (0, 0)));
        drop(second);
        assert_eq!(broker.read(), (0, 0));
    }

    #[test]
    fn as_many_requests_as_may_wait_do_not_run_into_one_another() {
        let counter = Arc::<PendingCounter>::default();
        let full = u64::try_from(MAX_REQUESTS).unwrap_or(u64::MAX) * ONE_REQUEST;
        let (_most, _) = counter.add(full);
        let (_bytes, before) = counter.charge(usize::MAX);
        assert_eq!(before, (MAX_REQUESTS, 0));
        assert_eq!((split(BYTES_MASK).0, counter.read().0), (0, MAX_REQUESTS + 1));
    }
}
