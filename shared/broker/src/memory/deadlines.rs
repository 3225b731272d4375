//! When to look at a channel again because something in it expires.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::clock::Nanos;

/// Stale entries tolerated before the heap is rebuilt, beside one per channel: small enough not to count.
const STALE_SLACK: usize = 64;

/// A heap with at most one valid entry per channel: the owner keeps the deadline that it armed, and an entry that
/// differs from it is stale. The deadline of a channel that lives on is not moved, only looked at when it comes, so
/// publishing does not touch the heap.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Nanos, usize)>>,
}

impl Deadlines {
    pub(super) fn arm(&mut self, at: Nanos, slot: usize) {
        self.heap.push(Reverse((at, slot)));
    }

    /// Takes the earliest entry, if its time has come.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<(Nanos, usize)> {
        let &Reverse((at, _)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Whether evicted channels left so many stale entries that a rebuild pays.
    pub(super) fn is_mostly_stale(&self, channels: usize) -> bool {
        self.heap.len() > 2 * channels + STALE_SLACK
    }

    /// Starts anew with the valid entries.
    pub(super) fn rebuild(&mut self, valid: impl Iterator<Item = (Nanos, usize)>) {
        self.heap = valid.map(Reverse).collect();
    }
}
