//! Balancers in front of the node, whose word on who the client is counts: `http.trusted_proxies`. Record 14.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Addresses and networks of balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

/// An address, or all that begin with the same bits: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Bits that all IPv4 addresses have in common where they are written as IPv6.
const MAPPED_BITS: u8 = 96;

/// The text is no address and no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("http.trusted_proxies: {0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
            IpAddr::V6(address) => (address.to_bits(), false),
        };
        let ((own, own_kind), (other, other_kind)) = (bits(self.address), bits(address.to_canonical()));
        let unlike = (own ^ other).leading_zeros();
        own_kind == other_kind && unlike >= self.bits.into()
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most {
            return Err(wrong());
        }
        // An IPv4 network that is written as IPv6 (::ffff:10.0.0.0/104) is the IPv4 network.
        match address.to_canonical() {
            canonical if canonical == address => Ok(Self { address, bits }),
            canonical => match bits.checked_sub(MAPPED_BITS) {
                Some(bits) => Ok(Self { address: canonical, bits }),
                None => Err(wrong()),
            },
        }
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TrustedProxies {
    /// The address of the client behind `peer`. `forwarded` are the lines of `X-Forwarded-For`, in order.
    ///
    /// Each balancer appends the address that it was asked from, so the list is read from its end for as long as its writers
    /// are trusted. An untrusted address may have made up all that stands before it. A port that is not given is 0.
    pub fn client<'a>(
        &self,
        peer: SocketAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> SocketAddr {
        let mut client = peer;
        for entry in forwarded.rev().flat_map(|line| line.rsplit(',')) {
            if !self.trusts(client.ip()) {
                break;
            }
            match address(entry.trim()) {
                Some(address) => client = address,
                None => break,
            }
        }
        SocketAddr::new(client.ip().to_canonical(), client.port())
    }

    /// True if this is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }
}

/// An address as balancers write it: with a port or without.
fn address(text: &str) -> Option<SocketAddr> {
    let alone = text.parse().map(|address| SocketAddr::new(address, 0));
    alone.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies(trusted.iter().map(|text| text.parse().unwrap()).collect());
        proxies.client(SocketAddr::new(peer.parse().unwrap(), 1), forwarded.iter().copied()).ip().to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(client(&[], "10.0.0.1", &["198.51.100.7"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "11.0.0.1", &["198.51.100.7"]), "11.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["::ffff:10.0.0.0/104"], "10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["::ffff:10.0.0.0/104"], "11.0.0.1", &["198.51.100.7"]), "11.0.0.1");
        // The same client, whichever way it is written.
        for written in ["198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407", "[::ffff:198.51.100.7]:80"]
        {
            assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[written]), "198.51.100.7", "{written}");
        }
        assert_eq!(client(&[], "::ffff:198.51.100.7", &[]), "198.51.100.7");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_claims_of_itself_is_not_believed() {
        let trusted = ["10.0.0.0/8", "192.0.2.1"];
        assert_eq!(client(&trusted, "10.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&trusted, "10.0.0.1", &["1.1.1.1", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&trusted, "10.0.0.1", &["1.1.1.1, 198.51.100.7,192.0.2.1"]), "198.51.100.7");
        assert_eq!(client(&trusted, "10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn addresses_may_have_ports_and_six_parts() {
        assert_eq!(client(&["::1"], "::1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client(&["::1"], "::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(client(&["fd00::/8"], "fd12::1", &["[2001:db8::7]:80"]), "2001:db8::7");
        assert_eq!(client(&["::/0"], "10.0.0.1", &["198.51.100.7"]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/8",
            "balancer",
            "10.0.0.1:80",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!("10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1/32");
    }
}
