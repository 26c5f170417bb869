//! Where Network Connections come from, as far as it counts.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the first 64 bits of an IPv6 address, because whoever has one of these mostly has them all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source(u128);

/// The bits of an IPv6 address that count.
const PREFIX: u128 = !(u64::MAX as u128);

impl Source {
    /// That of Sessions of before a restart whose Clients have not come back.
    pub const UNKNOWN: Source = Source(0);

    /// All that counts of the address; different sources have different bits.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// The source with these bits.
    pub fn of_bits(bits: u128) -> Source {
        Source(bits)
    }

    /// Of a peer address; an IPv4 address that is written as IPv6 is one of IPv4.
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Source(address.to_bits() & PREFIX),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.0);
        match address.to_ipv4_mapped() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:0:7::1"), of("2001:db8:0:7:a:b:c:d"));
        assert_ne!(of("2001:db8:0:7::1"), of("2001:db8:0:8::1"));
        assert_eq!(of("2001:db8:0:7::1").to_string(), "2001:db8:0:7::/64");
    }
}
