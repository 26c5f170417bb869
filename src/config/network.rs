//! A network: an IP address and how many of its first bits count; and the text of a host with its port.

use std::net::IpAddr;
use std::str::FromStr;

/// `host:port`, with brackets around an IPv6 address.
pub fn host_and_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The addresses that begin as `address` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    /// At most 32, or 128.
    bits: u8,
}

impl Network {
    /// Is the address in it? An IPv4 address in the clothes of IPv6 is an IPv4 address.
    pub fn holds(&self, address: IpAddr) -> bool {
        let (own, of) = (bits_of(self.address), bits_of(address.to_canonical()));
        if own.1 != of.1 {
            return false;
        }
        // Shifted by all bits, nothing is left to differ.
        let differing = own.0 ^ of.0;
        let beyond = own.1 - u32::from(self.bits);
        differing.checked_shr(beyond).unwrap_or(0) == 0
    }
}

/// An address as a number, and the bits of its family.
fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

impl FromStr for Network {
    type Err = String;

    /// `ADDRESS` or `ADDRESS/BITS`.
    fn from_str(text: &str) -> Result<Network, String> {
        let wrong =
            || "give an IP address such as 192.168.1.5, or a network such as 10.0.0.0/8".to_owned();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = bits_of(address).1 as u8;
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(wrong)?,
        };
        Ok(Network { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.holds(address.parse().unwrap())
    }

    #[test]
    fn the_first_bits_count() {
        assert!(holds("10.0.0.0/8", "10.255.1.2"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.0.0.7", "10.0.0.7") && !holds("10.0.0.7", "10.0.0.6"));
        assert!(holds("10.0.0.7", "::ffff:10.0.0.7"));
        assert!(holds("0.0.0.0/0", "200.1.2.3") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "fe80::1") && !holds("::/0", "1.2.3.4"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/9", "fdff::1"));
        assert!(holds("::1", "::1") && !holds("::1", "::2"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "host",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
