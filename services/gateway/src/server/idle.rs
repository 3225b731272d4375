//! The idle connections of a worker, by age and by network. [`super::slots`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::node::client_network::ClientNetwork;

/// New or kept connections, in the order in which they became so. Those without a network count in all, and for no address.
pub(super) struct IdleList<T> {
    next: u64,
    by_age: BTreeMap<u64, T>,
    by_network: HashMap<ClientNetwork, BTreeSet<u64>>,
}

impl<T> Default for IdleList<T> {
    fn default() -> Self {
        Self { next: 0, by_age: BTreeMap::new(), by_network: HashMap::new() }
    }
}

impl<T> IdleList<T> {
    /// Adds one as the youngest, and gives its number.
    pub(super) fn insert(&mut self, network: Option<ClientNetwork>, connection: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_age.insert(number, connection);
        if let Some(network) = network {
            self.by_network.entry(network).or_default().insert(number);
        }
        number
    }

    /// Takes one out; nothing is kept of a network without any.
    pub(super) fn remove(&mut self, network: Option<ClientNetwork>, number: u64) {
        self.by_age.remove(&number);
        if let Some(network) = network
            && let Some(numbers) = self.by_network.get_mut(&network)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_network.remove(&network);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn count_of(&self, network: ClientNetwork) -> usize {
        self.by_network.get(&network).map_or(0, BTreeSet::len)
    }

    /// The one that has been idle for the longest time.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.by_age.first_key_value().map(|(_, connection)| connection)
    }

    pub(super) fn oldest_of(&self, network: ClientNetwork) -> Option<&T> {
        self.by_age.get(self.by_network.get(&network)?.first()?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_age.values()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn the_oldest_is_told_in_all_and_by_network_and_nothing_stays_of_those_that_left() {
        let [one, other] =
            [1, 2].map(|last| ClientNetwork::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, last))));
        let mut list = IdleList::default();
        let proxied = list.insert(None, "proxied");
        let first = list.insert(Some(one), "first");
        let second = list.insert(Some(other), "second");
        let third = list.insert(Some(one), "third");
        assert_eq!((list.len(), list.count_of(one), list.count_of(other)), (4, 2, 1));
        assert_eq!((list.oldest(), list.oldest_of(one)), (Some(&"proxied"), Some(&"first")));
        list.remove(None, proxied);
        list.remove(Some(one), first);
        assert_eq!((list.oldest(), list.oldest_of(one)), (Some(&"second"), Some(&"third")));
        list.remove(Some(one), third);
        list.remove(Some(other), second);
        assert_eq!((list.len(), list.oldest(), list.oldest_of(one)), (0, None, None));
        assert!(list.by_network.is_empty());
    }
}
