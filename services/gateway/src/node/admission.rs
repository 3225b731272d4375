//! Admission: how many WebSocket handshakes a second one address may make (IPv6: one /64). Off unless set.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::node::{Node, client_network::ClientNetwork};

/// Addresses remembered at most; beyond them, all that are not in debt are forgotten.
const ADDRESSES: usize = 100_000;

/// A bucket for each address: it holds a second's worth of handshakes.
#[derive(Default)]
pub(super) struct Admission {
    buckets: Mutex<HashMap<ClientNetwork, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Admission {
    fn allows(&self, address: ClientNetwork, per_second: u32, now: Instant) -> bool {
        let full = f64::from(per_second);
        let refill =
            |bucket: &Bucket| (bucket.left + now.duration_since(bucket.at).as_secs_f64() * full).min(full);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| now.duration_since(bucket.at) < Duration::from_secs(1));
            if buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { left: full, at: now });
        bucket.left = refill(bucket);
        bucket.at = now;
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        allowed
    }
}

impl Node {
    /// Whether this address may make another handshake now.
    pub fn allows_handshake(&self, address: IpAddr) -> bool {
        match self.settings.http.handshakes_per_second {
            0 => true,
            limit => self.admission.allows(address.into(), limit, Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_has_its_handshakes_each_second_and_does_not_take_those_of_others() {
        let admission = Admission::default();
        let start = Instant::now();
        let [one, other] = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
        let allowed =
            |address, at| (0..5).filter(|_| admission.allows(ClientNetwork::from(address), 3, at)).count();
        assert_eq!(allowed(one, start), 3);
        assert_eq!(allowed(other, start), 3);
        assert_eq!(allowed(one, start + Duration::from_secs(1)), 3);
        assert_eq!(allowed(one, start + Duration::from_millis(1400)), 1);
    }
}
