//! The network that limits by address count under: one IPv4 address, or the /64 of an IPv6 address.
//!
//! A customer of an IPv6 provider has at least a /64, so a limit for each of its 2^64 addresses limits nothing
//! (RFC 6177). An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// Bits of an IPv6 address that name the network.
const IPV6_BITS: u32 = 64;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn network(address: &str) -> String {
        ClientNetwork::from(address.parse::<IpAddr>().unwrap()).to_string()
    }

    #[test]
    fn ipv6_counts_by_its_64_and_ipv4_by_itself() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2:ffff:ffff:ffff:ffff"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
