//! The numbers of forwarded requests that were seen: each is taken once. `signature` says what the numbers are.
//!
//! Requests of a node may overtake one another, so the newest numbers are remembered one by one; what is older than those is
//! taken for seen.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Numbers of a node that are remembered one by one: so many requests may overtake one.
const NUMBERS: u64 = 1 << 14;
const WORD_BITS: u64 = 64;
/// Nodes that are remembered, those that are gone included; 2 KiB each.
const NODES: usize = 1024;

/// The numbers that one node has used.
struct ReplayWindow {
    newest: u64,
    /// A ring of bits, by the number's remainder.
    seen: Box<[u64]>,
    /// The number of its last use, counted in requests.
    used: u64,
}

impl ReplayWindow {
    fn new() -> Self {
        let words = usize::try_from(NUMBERS / WORD_BITS).unwrap_or_default();
        Self { newest: 0, seen: vec![0; words].into(), used: 0 }
    }

    fn word(&mut self, number: u64) -> Option<&mut u64> {
        self.seen.get_mut(usize::try_from(number % NUMBERS / WORD_BITS).unwrap_or_default())
    }

    fn is_seen(&mut self, number: u64) -> bool {
        self.word(number).is_some_and(|word| *word & (1 << (number % WORD_BITS)) != 0)
    }

    fn take(&mut self, number: u64) -> bool {
        if number > self.newest {
            if number - self.newest >= NUMBERS {
                self.seen.fill(0);
            } else {
                for passed in self.newest + 1..number {
                    if let Some(word) = self.word(passed) {
                        *word &= !(1 << (passed % WORD_BITS));
                    }
                }
            }
            self.newest = number;
        } else if self.newest - number >= NUMBERS || self.is_seen(number) {
            return false;
        }
        if let Some(word) = self.word(number) {
            *word |= 1 << (number % WORD_BITS);
        }
        true
    }
}

/// The numbers that every node has used towards this one.
#[derive(Default)]
pub(super) struct ReplayWindows(Mutex<SeenNumbers>);

#[derive(Default)]
struct SeenNumbers {
    nodes: HashMap<String, ReplayWindow>,
    requests: u64,
}

impl ReplayWindows {
    /// True if this number of a node is new; it is not from now on. To be asked only of proven signatures: only nodes of the
    /// cluster enter.
    pub(super) fn take(&self, node: &str, number: u64) -> bool {
        let mut seen = self.0.lock();
        seen.requests += 1;
        let requests = seen.requests;
        if !seen.nodes.contains_key(node) {
            if seen.nodes.len() >= NODES {
                // Nodes come and go under new names: the one that was silent for the longest is gone.
                let silent = seen.nodes.iter().min_by_key(|(_, window)| window.used);
                if let Some(name) = silent.map(|(name, _)| name.clone()) {
                    seen.nodes.remove(&name);
                }
            }
            seen.nodes.insert(node.to_owned(), ReplayWindow::new());
        }
        let Some(window) = seen.nodes.get_mut(node) else { return false };
        window.used = requests;
        window.take(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_each_node_is_taken_once_in_whatever_order() {
        let windows = ReplayWindows::default();
        for number in [3, 1, 2, 70, 64, 65, 63, NUMBERS, 4, NUMBERS + 2] {
            assert!(windows.take("a", number), "{number}");
            assert!(!windows.take("a", number), "{number} again");
            assert!(windows.take("b", number), "{number} of another node");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let windows = ReplayWindows::default();
        assert!(windows.take("a", 10 * NUMBERS));
        assert!(!windows.take("a", 9 * NUMBERS));
        assert!(windows.take("a", 9 * NUMBERS + 1));
        assert!(!windows.take("a", 9 * NUMBERS + 1));
        assert!(windows.take("a", 100 * NUMBERS + 1), "the ring begins anew");
        assert!(windows.take("a", 100 * NUMBERS));
    }

    #[test]
    fn a_ring_that_moves_on_forgets_what_it_passed() {
        let windows = ReplayWindows::default();
        for number in 1..3 * NUMBERS {
            assert!(windows.take("a", number), "{number}");
        }
        for number in 2 * NUMBERS + 5..3 * NUMBERS {
            assert!(!windows.take("a", number), "{number}");
        }
    }

    #[test]
    fn nodes_are_bounded() {
        let windows = ReplayWindows::default();
        for node in 0..3 * NODES {
            assert!(windows.take(&node.to_string(), 1));
            assert!(windows.take("a", node as u64 + 1), "one that is busy is not forgotten");
        }
        assert_eq!(windows.0.lock().nodes.len(), NODES);
    }
}
