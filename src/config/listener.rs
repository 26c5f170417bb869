//! Listeners: where the broker listens, what its connections speak there, and which rules hold for them.

use super::proxy::ProxyTerms;
use super::settings::ListenerSettings;
use super::tls::Tls;
use super::websocket::WebSocketTerms;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// One listener. A broker has at least one; its place in [`super::Config::listeners`] is its `ListenerId`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Where it takes connections.
    pub address: Address,
    /// What lies between the socket and MQTT.
    pub transport: Transport,
    /// What holds for every connection that comes by it.
    pub settings: ListenerSettings,
    /// Password file in the format of `mosquitto_passwd`. Without one there are no users.
    pub passwd: Option<PathBuf>,
    /// The operator said who may connect, so it may listen to other machines.
    pub may_be_reached: bool,
    /// Network Connections at a time; `None`: as many as the whole broker may have.
    pub connections_max: Option<usize>,
    /// `FILE:LINE` of the configuration that made it; `None`: the command line did.
    pub place: Option<String>,
    /// ACL file in the format of Mosquitto. Without one everything is allowed.
    pub acl: Option<PathBuf>,
}

/// Where a listener listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// One address, all addresses, or loopback alone.
        hosts: Hosts,
        /// The same for all hosts; 0 lets the system choose (the start-up line tells which).
        port: u16,
        /// `None`: both.
        family: Option<Family>,
    },
    /// A unix socket of this path.
    Unix(PathBuf),
}

/// One of the two kinds of IP addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Such as 127.0.0.1.
    Ipv4,
    /// Such as ::1.
    Ipv6,
}

impl Family {
    /// Is the address of this family?
    pub fn is_of(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Family::Ipv4)
    }
}

/// The addresses of this machine that a listener takes connections at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// These, and each of them must work.
    Named(Vec<IpAddr>),
    /// What this name means when the broker starts; one that works is enough.
    Name(String),
    /// The addresses that a network interface has when the broker starts, or that one of them which is named.
    Interface {
        /// As `ip address` shows it.
        name: String,
        /// The one that is named.
        address: Option<IpAddr>,
    },
    /// `127.0.0.1` and `::1`; one that works is enough.
    Loopback,
    /// All interfaces: `::` for IPv6 and `0.0.0.0` for IPv4; one that works is enough.
    All,
}

/// What a listener's connections carry MQTT in: nothing, or layers, the one next to the socket first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Transport {
    /// Each connection begins with a PROXY header.
    pub proxy: Option<ProxyTerms>,
    /// What is sent cannot be read on the way.
    pub tls: Option<Tls>,
    /// MQTT goes in the frames of a WebSocket.
    pub websocket: Option<WebSocketTerms>,
    /// So many layers of `io::link::framed`.
    #[cfg(test)]
    pub framed: usize,
}

impl Transport {
    /// The same layers on the same terms, but for those of TLS: its files are read again, and others may be named.
    pub fn is_but_for_tls(&self, other: &Transport) -> bool {
        let layers = |transport: &Transport| Transport {
            tls: None,
            ..transport.clone()
        };
        self.tls.is_some() == other.tls.is_some() && layers(self) == layers(other)
    }
}

impl Hosts {
    /// The addresses, in the order in which they are bound; none for what only the machine knows.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Hosts::Named(addresses) => addresses.clone(),
            Hosts::Name(_) | Hosts::Interface { .. } => Vec::new(),
            Hosts::Loopback => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Hosts::All => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        }
    }

    /// Each address must work: the operator named them.
    pub fn must_all_work(&self) -> bool {
        matches!(self, Hosts::Named(_))
    }

    /// An address that other machines can reach.
    pub fn beyond_loopback(&self) -> Option<IpAddr> {
        let other_machines = |address: &IpAddr| !address.to_canonical().is_loopback();
        self.addresses().into_iter().find(other_machines)
    }
}

impl Listener {
    /// A listener of the command line, for MQTT on TCP.
    ///
    /// `bind`: the addresses the operator named. Without one, all interfaces, unless nobody said who may connect
    /// (neither a password file nor `--allow-anonymous`): then this machine alone.
    pub fn plain(
        bind: Vec<IpAddr>,
        port: u16,
        allow_anonymous: bool,
        passwd: Option<PathBuf>,
        settings: ListenerSettings,
    ) -> Listener {
        let may_be_reached = allow_anonymous || settings.passwords;
        let hosts = if !bind.is_empty() {
            Hosts::Named(bind)
        } else if may_be_reached {
            Hosts::All
        } else {
            Hosts::Loopback
        };
        Listener {
            address: Address::Tcp {
                hosts,
                port,
                family: None,
            },
            transport: Transport::default(),
            settings,
            passwd,
            may_be_reached,
            connections_max: None,
            place: None,
            acl: None,
        }
    }

    /// An address that other machines can reach, though nobody said who may connect.
    pub fn open_by_mistake(&self) -> Option<IpAddr> {
        match &self.address {
            Address::Tcp { hosts, .. } if !self.may_be_reached => hosts.beyond_loopback(),
            _ => None,
        }
    }

    /// Its port; 0 lets the system choose, and a unix socket has none.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp { port, .. } => *port,
            Address::Unix(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bind: &[&str], allow_anonymous: bool, passwords: bool) -> Hosts {
        let bind = bind.iter().map(|ip| ip.parse().unwrap()).collect();
        let settings = ListenerSettings {
            passwords,
            ..ListenerSettings::default()
        };
        let listener = Listener::plain(bind, 1883, allow_anonymous, None, settings);
        match listener.address {
            Address::Tcp { hosts, .. } => hosts,
            Address::Unix(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn a_listener_is_open_to_the_network_only_when_someone_said_who_may_connect() {
        let texts = |hosts: Hosts| -> Vec<String> {
            hosts.addresses().iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(texts(hosts(&[], false, false)), ["127.0.0.1", "::1"]);
        assert_eq!(texts(hosts(&[], true, false)), ["::", "0.0.0.0"]);
        assert_eq!(texts(hosts(&[], false, true)), ["::", "0.0.0.0"]);
        assert_eq!(texts(hosts(&["10.0.0.1"], false, false)), ["10.0.0.1"]);
    }

    #[test]
    fn addresses_that_other_machines_reach_are_found() {
        let named = |bind: &[&str]| hosts(bind, false, false).beyond_loopback();
        let far = Some([10, 0, 0, 1].into());
        assert_eq!(named(&["127.0.0.2", "10.0.0.1"]), far);
        assert_eq!(named(&["127.0.0.2", "::1", "::ffff:127.0.0.1"]), None);
        assert_eq!(Hosts::Loopback.beyond_loopback(), None);
        assert!(Hosts::All.beyond_loopback().is_some());
    }

    #[test]
    fn an_address_for_other_machines_needs_a_word_on_who_may_connect() {
        let mistake = |bind: [u8; 4], allow_anonymous, passwords| {
            let settings = ListenerSettings {
                passwords,
                ..ListenerSettings::default()
            };
            let bind = vec![bind.into()];
            Listener::plain(bind, 1884, allow_anonymous, None, settings).open_by_mistake()
        };
        let far = [10, 0, 0, 1];
        assert_eq!(mistake(far, false, false), Some(far.into()));
        assert_eq!(mistake(far, true, false), None);
        assert_eq!(mistake(far, false, true), None);
        assert_eq!(mistake([127, 0, 0, 2], false, false), None);
    }
}
