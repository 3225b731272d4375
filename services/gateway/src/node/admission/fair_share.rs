//! Something that many clients hold at a time, shared so that no network takes it all.
//!
//! A network may hold at most a quarter of what is free at the moment. So one network alone gets a fifth, ten get seven
//! tenths together, and there is always something left for the next one. No list of the largest holders is needed.
//! Decision record 24.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use parking_lot::Mutex;

use crate::node::client_network::ClientNetwork;

/// A network may hold one part in so many of what is free…
const FREE_PARTS: usize = 4;
/// …but always so many, while any are free: a small limit is not divided to nothing.
const NETWORK_AT_LEAST: usize = 16;

/// Why nothing more can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// All are held.
    All,
    /// This network holds as many as it may.
    Network,
}

/// Counts of holders by some key. Keys without holders are not kept.
#[derive(Debug)]
pub(super) struct HolderCounts<K>(HashMap<K, usize>);

impl<K> Default for HolderCounts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> HolderCounts<K> {
    pub(super) fn get(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: K) {
        if let Entry::Occupied(mut count) = self.0.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if self.0.is_empty() {
            // What a flood took is given back.
            self.0 = HashMap::new();
        }
    }
}

/// The permits that are held, in all and by network. Bounded by what may be held.
#[derive(Debug, Default)]
pub(crate) struct FairShare(Mutex<FairShareHeld>);

#[derive(Debug, Default)]
struct FairShareHeld {
    total: usize,
    networks: HolderCounts<ClientNetwork>,
}

impl FairShare {
    /// Takes one of `most`. Without a network only the total counts.
    ///
    /// # Errors
    /// None can be had.
    pub(crate) fn take(&self, network: Option<ClientNetwork>, most: usize) -> Result<(), Exhausted> {
        let mut held = self.0.lock();
        let free = most.saturating_sub(held.total);
        if free == 0 {
            return Err(Exhausted::All);
        }
        if let Some(network) = network {
            if held.networks.get(&network) >= of_network(free) {
                return Err(Exhausted::Network);
            }
            held.networks.add(network);
        }
        held.total += 1;
        Ok(())
    }

    /// The number out of `most` that one network may hold at the moment.
    pub(super) fn of_network(&self, most: usize) -> usize {
        of_network(most.saturating_sub(self.0.lock().total))
    }

    /// The number that is held.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.0.lock().total
    }

    /// Gives one back.
    pub(crate) fn give_back(&self, network: Option<ClientNetwork>) {
        let mut held = self.0.lock();
        held.total = held.total.saturating_sub(1);
        if let Some(network) = network {
            held.networks.remove(network);
        }
    }
}

fn of_network(free: usize) -> usize {
    (free / FREE_PARTS).max(NETWORK_AT_LEAST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> Option<ClientNetwork> {
        Some(IpAddr::from(Ipv4Addr::from_bits(number)).into())
    }

    /// Takes as many as a network can have.
    fn flood(share: &FairShare, network: Option<ClientNetwork>, most: usize) -> usize {
        (0..2 * most).filter(|_| share.take(network, most).is_ok()).count()
    }

    #[test]
    fn one_network_gets_a_fifth_and_ten_leave_room_for_the_next() {
        let share = FairShare::default();
        assert_eq!(flood(&share, network(0), 50_000), 10_000);
        assert_eq!(share.take(network(0), 50_000), Err(Exhausted::Network));
        for number in 1..10 {
            flood(&share, network(number), 50_000);
        }
        assert!(share.0.lock().total < 45_000);
        assert!(flood(&share, network(10), 50_000) > 1000);
    }

    #[test]
    fn what_is_given_back_can_be_had_again_and_leaves_nothing_behind() {
        let share = FairShare::default();
        let taken = flood(&share, network(1), 1000);
        for _ in 0..taken {
            share.give_back(network(1));
        }
        assert_eq!(flood(&share, network(1), 1000), taken);
        for _ in 0..taken {
            share.give_back(network(1));
        }
        let held = share.0.lock();
        assert_eq!((held.total, held.networks.0.capacity()), (0, 0));
    }

    #[test]
    fn small_limits_are_not_divided_and_the_total_always_holds() {
        let share = FairShare::default();
        assert_eq!(flood(&share, network(1), 2), 2);
        assert_eq!(share.take(network(2), 2), Err(Exhausted::All));
        assert_eq!(share.take(None, 2), Err(Exhausted::All));
        assert_eq!(share.take(None, 0), Err(Exhausted::All));
    }
}
