//! An outbox as a holder of memory: what waits in it, and the unfinished input of its connection. [`crate::memory::holders`].

use std::cell::RefCell;

use super::{Outbox, OutboxState};
use crate::memory::holders::{self, HeldBytes, INPUT_BYTES, MemoryHolder};

impl MemoryHolder for RefCell<OutboxState> {
    fn held(&self) -> HeldBytes {
        let state = self.borrow();
        HeldBytes { outboxes: state.bytes, input: state.input_bytes as usize, bodies: 0 }
    }

    fn written(&self) -> u64 {
        self.borrow().written
    }

    fn sample(&self, most: usize, look: &mut dyn FnMut(usize, usize)) {
        for chunk in self.borrow().queue.newest_first().take(most) {
            // The end of a chunk stays where it is while its beginning is written.
            look(chunk.as_ptr().addr().wrapping_add(chunk.len()), chunk.len());
        }
    }

    fn unlist(&self) {
        self.borrow_mut().is_listed = false;
    }

    fn is_ended(&self) -> bool {
        self.borrow().overflowed
    }

    fn end(&self) {
        // The writer is woken, and ends the connection as slow.
        let _ = self.borrow_mut().overflow();
    }
}

impl Outbox {
    /// Tells what the connection holds of input that is not finished, in bytes: parts of messages, frames that wait,
    /// transactions. Little of it does not count.
    pub fn set_input(&self, bytes: usize) {
        let bytes = if bytes < INPUT_BYTES { 0 } else { u32::try_from(bytes).unwrap_or(u32::MAX) };
        let mut state = self.0.borrow_mut();
        if state.input_bytes == bytes {
            return;
        }
        state.input_bytes = bytes;
        if bytes > 0 && !std::mem::replace(&mut state.is_listed, true) {
            drop(state);
            holders::list(&self.0);
        }
    }

    /// Bytes of unfinished input, as far as they count.
    pub fn input_bytes(&self) -> usize {
        self.0.borrow().input_bytes as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use bytes::Bytes;

    use super::*;
    use crate::memory::holders::{OUTBOX_BYTES, STALLED_MEASUREMENTS, measure, measure_exactly};

    fn filled(bytes: usize) -> Outbox {
        let outbox = Outbox::new(1 << 20);
        outbox.push(Bytes::from(vec![0; bytes])).unwrap();
        outbox
    }

    #[test]
    fn private_bytes_count_in_full_and_shared_ones_once() {
        let shared = Bytes::from(vec![0; OUTBOX_BYTES]);
        let outboxes: Vec<Outbox> = (0..50).map(|_| Outbox::new(1 << 20)).collect();
        for outbox in &outboxes {
            outbox.push(shared.clone()).unwrap();
        }
        assert_eq!(measure().held.total(), 50 * OUTBOX_BYTES);
        assert_eq!(measure_exactly().held.total(), OUTBOX_BYTES);
        let private: Vec<Outbox> = (0..5).map(|_| filled(OUTBOX_BYTES)).collect();
        assert_eq!(measure_exactly().held.total(), 6 * OUTBOX_BYTES);
        drop((outboxes, private));
        assert_eq!(measure().held.total(), 0);
    }

    #[test]
    fn to_end_who_shares_gives_back_little_so_who_holds_bytes_of_its_own_is_larger() {
        let shared = Bytes::from(vec![0; 8 * OUTBOX_BYTES]);
        let sharing: Vec<Outbox> = (0..10).map(|_| Outbox::new(1 << 20)).collect();
        for outbox in &sharing {
            outbox.push(shared.clone()).unwrap();
        }
        let private = filled(2 * OUTBOX_BYTES);
        assert_eq!(measure().largest()[0].bytes(), 8 * OUTBOX_BYTES);
        let exact = measure_exactly();
        assert_eq!(exact.largest()[0].bytes(), 2 * OUTBOX_BYTES);
        exact.largest()[0].end();
        assert!(private.overflow().is_some());
    }

    #[test]
    fn the_largest_is_ended_first_and_each_only_once() {
        let (small, large) = (filled(OUTBOX_BYTES), filled(2 * OUTBOX_BYTES));
        assert_eq!(measure().largest()[0].end().total(), 2 * OUTBOX_BYTES);
        assert!(large.overflow().is_some() && small.overflow().is_none());
        assert_eq!(measure().largest()[0].end().total(), OUTBOX_BYTES);
        assert!(measure().largest().is_empty());
    }

    #[test]
    fn a_client_that_reads_is_not_taken_for_stalled() {
        let outbox = filled(3 * OUTBOX_BYTES);
        for _ in 0..STALLED_MEASUREMENTS - 1 {
            measure();
            measure_exactly();
        }
        outbox.write_with(|_| Ok::<_, ()>(1000)).unwrap();
        for _ in 0..STALLED_MEASUREMENTS {
            assert!(measure().stalled().is_empty());
        }
        assert_eq!(measure().stalled().len(), 1);
    }

    #[test]
    fn an_outbox_that_is_read_leaves_the_list_and_may_come_again() {
        let outbox = filled(OUTBOX_BYTES);
        assert!(outbox.pop().is_some());
        assert_eq!(measure().held.total(), 0);
        outbox.push(Bytes::from(vec![0; OUTBOX_BYTES])).unwrap();
        assert_eq!(measure().held.total(), OUTBOX_BYTES);
    }

    #[test]
    fn unfinished_input_counts_from_its_threshold_on_and_ends_its_connection_but_is_never_stalled() {
        let outbox = Outbox::new(1 << 20);
        outbox.set_input(INPUT_BYTES - 1);
        assert_eq!(measure().held, HeldBytes::default());
        outbox.set_input(50_000);
        outbox.set_input(60_000);
        let expected = HeldBytes { input: 60_000, ..HeldBytes::default() };
        assert_eq!((measure().held, measure_exactly().held), (expected, expected));
        for _ in 0..=STALLED_MEASUREMENTS {
            assert!(measure().stalled().is_empty(), "it keeps no reply from anybody");
        }
        outbox.set_input(0);
        assert_eq!(measure().held, HeldBytes::default());
        outbox.set_input(INPUT_BYTES);
        measure().largest()[0].end();
        assert!(outbox.overflow().is_some());
    }

    #[test]
    fn of_more_holders_than_are_ended_at_once_the_largest_are_found() {
        let outboxes: Vec<Outbox> = (0..1000).map(|_| Outbox::new(1 << 20)).collect();
        for (index, outbox) in outboxes.iter().enumerate() {
            outbox.set_input(INPUT_BYTES + index * 7 % 1000);
        }
        for measured in [measure(), measure_exactly()] {
            let sizes: Vec<usize> = measured.largest().iter().map(|largest| largest.bytes()).collect();
            let expected: Vec<usize> =
                (0..holders::ENDED_AT_ONCE).map(|rank| INPUT_BYTES + 999 - rank).collect();
            assert_eq!(sizes, expected);
        }
    }
}
