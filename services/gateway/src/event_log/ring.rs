//! Ring: a list that forgets its oldest entries, bounded in entries and in bytes.

use std::collections::VecDeque;

/// An entry of a ring.
pub trait RingEntry {
    /// Its time in milliseconds since the Unix epoch.
    fn at(&self) -> u64;
    /// Bytes of the texts that it holds, in addition to its own size. Texts that others share count in full.
    fn text_bytes(&self) -> usize;
}

/// The newest entries of one kind. One that holds nothing takes no memory.
#[derive(Debug)]
pub struct Ring<T> {
    entries: VecDeque<T>,
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
    /// The number of the oldest entry that is kept; all before it are forgotten.
    first: u64,
}

impl<T> Default for Ring<T> {
    /// A ring that keeps nothing.
    fn default() -> Self {
        Self { entries: VecDeque::new(), max_entries: 0, max_bytes: 0, bytes: 0, first: 0 }
    }
}

impl<T: RingEntry> Ring<T> {
    /// An empty ring with these bounds.
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { max_entries, max_bytes, ..Self::default() }
    }

    /// True if it keeps nothing at all.
    pub fn is_off(&self) -> bool {
        self.max_entries == 0
    }

    /// Adds the newest entry, and forgets the oldest ones that no longer fit. An entry larger than the whole ring is not kept.
    pub fn push(&mut self, entry: T) {
        if self.is_off() {
            return;
        }
        self.bytes += size_of_entry(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size_of_entry(&oldest));
            self.first += 1;
        }
    }

    /// The time from which on it knows everything; `began` is the time of its beginning. `None` if it keeps nothing.
    pub fn known_since(&self, began: u64) -> Option<u64> {
        if self.is_off() {
            return None;
        }
        if self.first == 0 {
            return Some(began);
        }
        // Others of the same millisecond may be forgotten.
        Some(self.entries.front().map_or(u64::MAX, |oldest| oldest.at().saturating_add(1)))
    }

    /// Bytes that its entries take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().rev()
    }

    /// The same, to change; the bytes of their texts stay.
    pub fn newest_first_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().rev()
    }

    /// The number after that of the newest entry, with which [`Ring::older`] begins.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Up to `count` entries before the one with this number, newest first, and the number to go on with; `None` at the end.
    /// Entries that came or were forgotten in the meantime do no harm.
    pub fn older(&self, before: u64, count: usize) -> (impl Iterator<Item = &T>, Option<u64>) {
        let end = usize::try_from(before.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = end.min(self.entries.len());
        let begin = end.saturating_sub(count);
        let next = (begin > 0).then(|| self.first + begin as u64);
        (self.entries.range(begin..end).rev(), next)
    }
}

fn size_of_entry<T: RingEntry>(entry: &T) -> usize {
    size_of::<T>() + entry.text_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Entry(u64, usize);

    impl RingEntry for Entry {
        fn at(&self) -> u64 {
            self.0
        }

        fn text_bytes(&self) -> usize {
            self.1
        }
    }

    fn times(ring: &Ring<Entry>) -> Vec<u64> {
        ring.newest_first().map(RingEntry::at).collect()
    }

    #[test]
    fn a_ring_forgets_its_oldest_entries_and_says_since_when_it_knows_all() {
        let mut ring = Ring::new(3, usize::MAX);
        assert_eq!(ring.known_since(5), Some(5));
        (10..13).for_each(|at| ring.push(Entry(at, 0)));
        assert_eq!((times(&ring), ring.known_since(5)), (vec![12, 11, 10], Some(5)));
        ring.push(Entry(13, 0));
        assert_eq!((times(&ring), ring.known_since(5)), (vec![13, 12, 11], Some(12)));
    }

    #[test]
    fn a_ring_is_bounded_in_bytes_however_long_the_names_are() {
        let most = 10 * (size_of::<Entry>() + 100);
        let mut ring = Ring::new(1000, most);
        for at in 0..500 {
            ring.push(Entry(at, 100));
            assert!(ring.bytes() <= most);
        }
        assert_eq!(ring.newest_first().count(), 10);
        ring.push(Entry(500, most));
        assert_eq!(
            (ring.bytes(), ring.known_since(0)),
            (0, Some(u64::MAX)),
            "nothing fits beside it, nor it"
        );
    }

    #[test]
    fn a_ring_that_is_off_keeps_nothing() {
        let mut ring = Ring::default();
        ring.push(Entry(1, 0));
        assert_eq!((times(&ring), ring.known_since(1)), (vec![], None));
    }

    #[test]
    fn a_ring_is_read_in_pieces_while_entries_come_and_go() {
        let mut ring = Ring::new(4, usize::MAX);
        (1..=4).for_each(|at| ring.push(Entry(at, 0)));
        let (piece, next) = ring.older(ring.end(), 2);
        assert_eq!(piece.map(RingEntry::at).collect::<Vec<_>>(), [4, 3]);
        ring.push(Entry(5, 0));
        let (piece, next) = ring.older(next.unwrap_or_default(), 2);
        assert_eq!((piece.map(RingEntry::at).collect::<Vec<_>>(), next), (vec![2], None), "1 is forgotten");
    }
}
