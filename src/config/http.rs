//! Where the HTTP page listens, and who may come in there: programs of this machine, or who logs in through TLS.

use super::listener::{Family, Hosts, Listener};
use super::settings::ListenerSettings;
use super::tls::Tls;
use std::path::PathBuf;

/// `--http ADDR:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpOn {
    /// Addresses, or loopback.
    pub hosts: Hosts,
    /// 0 lets the system choose.
    pub port: u16,
}

/// One listener of the page and its API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpListener {
    /// Where it takes connections.
    pub hosts: Hosts,
    /// 0 lets the system choose.
    pub port: u16,
    /// `None`: both.
    pub family: Option<Family>,
    /// `None`: what is sent can be read on the way.
    pub tls: Option<Tls>,
    /// Whose users log in. `None`: nobody need log in.
    pub passwd: Option<PathBuf>,
    /// Who may read and write which topics. `None`: everything is allowed.
    pub acl: Option<PathBuf>,
    /// Who has no user name may publish and subscribe, as by MQTT.
    pub anonymous: bool,
    /// `FILE:LINE` of the configuration that made it; `None`: the command line did.
    pub place: Option<String>,
}

impl HttpListener {
    /// Other machines can reach it, as far as that is seen without asking the machine.
    pub fn is_beyond_loopback(&self) -> bool {
        match &self.hosts {
            Hosts::Loopback => false,
            Hosts::Named(_) => self.hosts.beyond_loopback().is_some(),
            Hosts::Interface { name, .. } => name != "lo",
            Hosts::Name(name) => !name.eq_ignore_ascii_case("localhost"),
            Hosts::All => true,
        }
    }

    /// Why it must not be opened: one sentence with the remedy. It would be open to the network, or passwords could be
    /// read on the way.
    pub fn refusal(&self) -> Option<String> {
        if !self.is_beyond_loopback() {
            return None;
        }
        let (login, tls) = (self.passwd.is_some(), self.tls.is_some());
        let text = match (&self.place, login, tls) {
            (_, true, true) => return None,
            (None, false, _) => {
                "--http lets other machines look at the broker without a password: add --passwd FILE, or give --http 127.0.0.1:PORT"
            }
            (None, true, false) => {
                "--http lets other machines log in with passwords that can be read on the way: add --cert FILE and --key FILE, or give --http 127.0.0.1:PORT"
            }
            (Some(_), false, _) => {
                "`protocol http_api` lets other machines look at the broker without a password: add a `password_file`, or 127.0.0.1 behind the port of the `listener`"
            }
            (Some(_), true, false) => {
                "`protocol http_api` lets other machines log in with passwords that can be read on the way: add `certfile` and `keyfile`, or 127.0.0.1 behind the port of the `listener`"
            }
        };
        Some(match &self.place {
            Some(place) => format!("{place}: {text}"),
            None => text.to_owned(),
        })
    }

    /// What holds for the MQTT clients of who has come in by it. `first`: the first listener of MQTT.
    pub(super) fn settings(&self, first: &Listener) -> ListenerSettings {
        ListenerSettings {
            anonymous: self.anonymous,
            passwords: self.passwd.is_some(),
            own_clients: true,
            packet_bytes_max: first.settings.packet_bytes_max,
            qos_max: first.settings.qos_max,
            ..ListenerSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsVersion;

    #[test]
    fn the_network_is_served_with_login_and_tls_alone() {
        let named = |ip: [u8; 4]| Hosts::Named(vec![ip.into()]);
        let interface = |name: &str| Hosts::Interface {
            name: name.to_owned(),
            address: None,
        };
        let listener = |hosts: &Hosts, passwd: bool, tls: bool| HttpListener {
            hosts: hosts.clone(),
            port: 8080,
            family: None,
            tls: tls.then(|| Tls {
                certificates: Vec::new(),
                ca_file: None,
                ca_folder: None,
                revoked: None,
                client_certificate_required: false,
                user_name: None,
                client_dates_ignored: false,
                version_min: TlsVersion::V1_2,
                fragment_bytes_max: None,
            }),
            passwd: passwd.then(|| PathBuf::from("passwd")),
            acl: None,
            anonymous: true,
            place: None,
        };
        for here in [
            Hosts::Loopback,
            named([127, 0, 0, 9]),
            interface("lo"),
            Hosts::Name("LocalHost".to_owned()),
        ] {
            assert_eq!(listener(&here, false, false).refusal(), None);
        }
        for far in [
            Hosts::All,
            named([192, 0, 2, 1]),
            named([0, 0, 0, 0]),
            interface("eth0"),
            Hosts::Name("broker.example".to_owned()),
        ] {
            let refused = |passwd, tls| listener(&far, passwd, tls).refusal();
            assert!(refused(false, false).unwrap().contains("--passwd"));
            assert!(refused(false, true).unwrap().contains("--passwd"));
            assert!(refused(true, false).unwrap().contains("--cert"));
            assert_eq!(refused(true, true), None);
        }
    }
}
