//! The network that limits by address count under, one IPv4 address or the /64 of an IPv6 address, and the share that each may
//! hold of something of which there is little.
//!
//! A customer of an IPv6 provider has at least a /64, so a limit for each of its 2^64 addresses limits nothing
//! (RFC 6177). An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use parking_lot::Mutex;

/// Bits of an IPv6 address that name the network.
const IPV6_BITS: u32 = 64;
/// A network may hold one part in so many of what is free…
const FREE_PARTS: usize = 4;
/// …but always so many, while any are free: a small limit is not divided to nothing.
const NETWORK_AT_LEAST: usize = 16;

/// The network that counts as one client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << (128 - IPV6_BITS));
                Self(Ipv6Addr::from_bits(network).into())
            }
            address => Self(address),
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "{address}/{IPV6_BITS}"),
        }
    }
}

/// The addresses that a session comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionSource {
    /// The client's address, as far as it is known. A trusted proxy that names no client is none.
    pub client: Option<IpAddr>,
    /// The peer of a TCP connection that can carry many sessions, unless it is a trusted proxy.
    pub connection: Option<SocketAddr>,
}

impl SessionSource {
    /// The network that limits count under.
    pub fn network(&self) -> Option<ClientNetwork> {
        self.client.map(ClientNetwork::from)
    }
}

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

/// Something that many clients hold at a time, shared so that no network takes it all: the permits that are held, in all and by
/// network. Bounded by what may be held.
///
/// A network may hold at most a quarter of what is free at the moment. So one network alone gets a fifth, ten get seven
/// tenths together, and there is always something left for the next one. No list of the largest holders is needed.
/// Decision record 24.
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
    use std::net::Ipv4Addr;

    use super::*;

    fn text(address: &str) -> String {
        ClientNetwork::from(address.parse::<IpAddr>().unwrap()).to_string()
    }

    #[test]
    fn ipv6_counts_by_its_64_and_ipv4_by_itself() {
        assert_eq!(text("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(text("2001:db8:1:2:ffff:ffff:ffff:ffff"), text("2001:db8:1:2::1"));
        assert_ne!(text("2001:db8:1:3::1"), text("2001:db8:1:2::1"));
        assert_eq!(text("192.0.2.1"), "192.0.2.1");
        assert_eq!(text("::ffff:192.0.2.1"), "192.0.2.1");
    }

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
