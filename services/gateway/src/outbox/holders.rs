//! The large outboxes of this thread, so that the largest is found without looking at every connection.
//!
//! An outbox is listed once it holds [`HOLDER_BYTES`], and taken off the list by the next survey that finds it smaller.

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::{Rc, Weak},
};

use super::State;

/// Bytes from which on an outbox is listed.
pub const HOLDER_BYTES: usize = 64 * 1024;
/// Chunks of each outbox that a survey looks at, to tell shared bytes from private ones.
const SAMPLE_CHUNKS: usize = 16;

thread_local! {
    static HOLDERS: RefCell<Vec<Holder>> = const { RefCell::new(Vec::new()) };
}

struct Holder {
    outbox: Weak<RefCell<State>>,
    /// Bytes written so far at the last survey, and surveys since they changed.
    written: u64,
    stalled: u32,
}

/// Lists an outbox.
pub(super) fn list(outbox: &Rc<RefCell<State>>) {
    let holder = Holder { outbox: Rc::downgrade(outbox), written: outbox.borrow().written, stalled: 0 };
    HOLDERS.with_borrow_mut(|holders| holders.push(holder));
}

/// Bytes of this thread's large outboxes. A chunk that many of them share counts once: `is_exact` samples them for that,
/// else the bytes are added up, which is an upper bound and cheaper.
pub fn survey(is_exact: bool) -> usize {
    let mut seen = HashSet::new();
    HOLDERS.with_borrow_mut(|holders| {
        let mut bytes = 0_usize;
        holders.retain_mut(|holder| {
            let Some(outbox) = holder.outbox.upgrade() else { return false };
            let mut state = outbox.borrow_mut();
            if state.bytes < HOLDER_BYTES {
                state.is_listed = false;
                return false;
            }
            let has_moved = std::mem::replace(&mut holder.written, state.written) != state.written;
            holder.stalled = if has_moved { 0 } else { holder.stalled.saturating_add(1) };
            bytes = bytes.saturating_add(if is_exact { state.own_bytes(&mut seen) } else { state.bytes });
            true
        });
        if holders.is_empty() {
            *holders = Vec::new();
        }
        bytes
    })
}

/// Ends the connection of the largest of this thread's outboxes as slow, among those whose client read nothing for so many
/// surveys. Returns the bytes it holds; `None` if there is none.
pub fn end_largest(stalled: u32) -> Option<usize> {
    HOLDERS.with_borrow(|holders| {
        let outboxes = holders.iter().filter(|holder| holder.stalled >= stalled);
        let outboxes = outboxes.filter_map(|holder| holder.outbox.upgrade());
        let largest = outboxes.filter(|outbox| !outbox.borrow().overflowed);
        let largest = largest.max_by_key(|outbox| outbox.borrow().bytes)?;
        let mut state = largest.borrow_mut();
        // The writer is woken, and ends the connection as slow.
        let _ = state.overflow();
        Some(state.bytes)
    })
}

impl State {
    /// Bytes, without those of chunks that are in `seen`; reckoned from a sample.
    fn own_bytes(&self, seen: &mut HashSet<usize>) -> usize {
        let (mut sampled, mut own) = (0_usize, 0_usize);
        for chunk in self.queue.newest_first().take(SAMPLE_CHUNKS) {
            sampled += chunk.len();
            // The end of a chunk stays where it is while its beginning is written.
            if seen.insert(chunk.as_ptr().addr().wrapping_add(chunk.len())) {
                own += chunk.len();
            }
        }
        if sampled == 0 { self.bytes } else { (self.bytes as u128 * own as u128 / sampled as u128) as usize }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::Bytes;

    use super::{super::Outbox, *};

    #[test]
    fn private_bytes_count_in_full_and_shared_ones_once() {
        let shared = Bytes::from(vec![0; HOLDER_BYTES]);
        let outboxes: Vec<Outbox> = (0..50).map(|_| Outbox::new(1 << 20)).collect();
        for outbox in &outboxes {
            outbox.push(shared.clone()).unwrap();
        }
        assert_eq!(survey(false), 50 * HOLDER_BYTES);
        assert_eq!(survey(true), HOLDER_BYTES);
        let private: Vec<Outbox> = (0..5).map(|_| Outbox::new(1 << 20)).collect();
        for outbox in &private {
            outbox.push(Bytes::from(vec![0; HOLDER_BYTES])).unwrap();
        }
        assert_eq!(survey(true), 6 * HOLDER_BYTES);
        drop((outboxes, private));
        assert_eq!(survey(false), 0);
    }

    #[test]
    fn the_largest_is_ended_first_and_each_only_once() {
        let (small, large) = (Outbox::new(1 << 20), Outbox::new(1 << 20));
        small.push(Bytes::from(vec![0; HOLDER_BYTES])).unwrap();
        large.push(Bytes::from(vec![0; 2 * HOLDER_BYTES])).unwrap();
        assert_eq!(end_largest(0), Some(2 * HOLDER_BYTES));
        assert!(large.overflow().is_some() && small.overflow().is_none());
        assert_eq!(end_largest(0), Some(HOLDER_BYTES));
        assert_eq!(end_largest(0), None);
    }

    #[test]
    fn a_client_that_reads_is_not_taken_for_stalled() {
        let outbox = Outbox::new(1 << 20);
        outbox.push(Bytes::from(vec![0; 3 * HOLDER_BYTES])).unwrap();
        survey(false);
        outbox.write_with(|_| Ok::<_, ()>(1000)).unwrap();
        survey(false);
        assert_eq!(end_largest(1), None);
        survey(false);
        assert!(end_largest(1).is_some());
    }

    #[test]
    fn an_outbox_that_is_read_leaves_the_list_and_may_come_again() {
        let outbox = Outbox::new(1 << 20);
        outbox.push(Bytes::from(vec![0; HOLDER_BYTES])).unwrap();
        assert!(outbox.pop().is_some());
        assert_eq!(survey(false), 0);
        outbox.push(Bytes::from(vec![0; HOLDER_BYTES])).unwrap();
        assert_eq!(survey(false), HOLDER_BYTES);
    }
}
