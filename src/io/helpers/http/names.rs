//! By which names the page may be asked for, and from which pages.
//!
//! A foreign page cannot read what another host answers, but it can have its own name lead to this machine (DNS
//! rebinding), and then its browser takes this broker for a part of that page. The header `Host` still has the foreign
//! name: on loopback nothing but loopback's own names is served, elsewhere nothing but what this machine, or its
//! certificate, is called.

use crate::io::helpers::bridge::host_name;
use crate::io::link::tls::server::Server;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrLike;
use nix::sys::socket::{AddressFamily, SockaddrStorage};
use std::net::IpAddr;

/// Without the port. `None`: no host at all.
fn bare(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            (
                name,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && !name.is_empty()).then_some(name)
}

/// May a request that came in at `local` be for this `Host`?
pub fn is_ours(host: &str, local: IpAddr, tls: Option<&Server>) -> bool {
    let Some(name) = bare(host) else {
        return false;
    };
    // A name may be written as a whole, with its root.
    let name = name.strip_suffix('.').unwrap_or(name);
    let local = local.to_canonical();
    let address = name.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if local.is_loopback() {
        return match address {
            Some(address) => address.is_loopback(),
            None => name.eq_ignore_ascii_case("localhost"),
        };
    }
    match address {
        // Whatever leads here by a number is no foreign name; but only what is this machine's.
        Some(address) => address == local || of_this_machine(address) || shown(tls, name),
        None => is_host_name(name) || shown(tls, name),
    }
}

/// Is this a page of ours? `origin`: as the browser tells it of the page that asks.
pub fn is_own_page(origin: &str, host: &str, has_tls: bool) -> bool {
    let scheme = match has_tls {
        true => "https://",
        false => "http://",
    };
    origin
        .strip_prefix(scheme)
        .is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

/// The certificate names it.
fn shown(tls: Option<&Server>, name: &str) -> bool {
    tls.is_some_and(|server| server.terms().is_named(name))
}

/// The name of the machine, as it stands or in the local network.
fn is_host_name(name: &str) -> bool {
    let own = host_name();
    let short = own.split('.').next().unwrap_or_default();
    let in_network = ["", ".local", ".lan", ".home", ".fritz.box", ".internal"];
    name.eq_ignore_ascii_case(&own)
        || in_network.iter().any(|end| {
            let before = name.len().checked_sub(end.len());
            before.is_some_and(|at| {
                name.is_char_boundary(at)
                    && name[at..].eq_ignore_ascii_case(end)
                    && name[..at].eq_ignore_ascii_case(short)
            })
        })
}

fn of_this_machine(address: IpAddr) -> bool {
    let ip = |address: SockaddrStorage| match address.family()? {
        AddressFamily::Inet => Some(IpAddr::V4(address.as_sockaddr_in()?.ip())),
        AddressFamily::Inet6 => Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())),
        _ => None,
    };
    getifaddrs().is_ok_and(|mut all| all.any(|one| one.address.and_then(ip) == Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_asked_for_by_its_own_names_alone() {
        let loopback = [127, 0, 0, 1].into();
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(is_ours(host, loopback, None), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "localhost@evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]",
            "[::1",
            "[::1]x",
            "localhost:80:80",
            "localhost:x",
        ] {
            assert!(!is_ours(host, loopback, None), "{host}");
        }
    }

    #[test]
    fn elsewhere_it_is_asked_for_by_names_of_the_machine() {
        let local = [192, 0, 2, 1].into();
        let own = host_name();
        let short = own.split('.').next().unwrap();
        for host in [
            "192.0.2.1:8443".to_owned(),
            own.clone(),
            format!("{short}.local:8443"),
        ] {
            assert!(is_ours(&host, local, None), "{host}");
        }
        for host in [
            "198.51.100.77".to_owned(),
            "localhost".to_owned(),
            format!("{short}.evil.example"),
            "evil.example".to_owned(),
        ] {
            assert!(!is_ours(&host, local, None), "{host}");
        }
    }

    #[test]
    fn a_page_is_ours_by_scheme_host_and_port() {
        assert!(is_own_page("http://localhost:80", "localhost:80", false));
        assert!(is_own_page("https://Broker", "broker", true));
        for origin in [
            "null",
            "https://localhost:80",
            "http://localhost",
            "http://localhost:81",
            "http://evil.example",
            "",
        ] {
            assert!(!is_own_page(origin, "localhost:80", false), "{origin}");
        }
    }
}
