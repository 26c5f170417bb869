//! Listening sockets: one an address, accepted from by all shards.
//!
//! A socket has SO_REUSEADDR, so that a restart does not wait for connections in TIME_WAIT, and not SO_REUSEPORT,
//! which would let a second broker take half of the Clients. TCP_NODELAY set here is inherited by every accepted
//! socket.

use crate::config::{Address, Config, Hosts, Transport};
use crate::ids::ListenerId;
use crate::io::holder::Holder;
use crate::io::start_error::StartError;
use crate::limits;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, setsockopt, sockopt,
};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Attempts to find one port that is free on all addresses, when the system is to choose.
const PORT_CHOICES: usize = 8;

/// The listening sockets of all listeners. Copies share them.
#[derive(Clone)]
pub struct ListeningSockets {
    /// Bound and listening; a shard names them by their index.
    pub sockets: Arc<[TcpListener]>,
    /// The listener each socket belongs to, and what its connections speak.
    listeners: Arc<[(ListenerId, Transport)]>,
}

/// Sockets of the first listener, for MQTT itself.
impl From<Vec<TcpListener>> for ListeningSockets {
    fn from(sockets: Vec<TcpListener>) -> ListeningSockets {
        ListeningSockets::of_one_listener(sockets, Transport::Plain)
    }
}

impl ListeningSockets {
    /// Sockets of the first listener.
    pub fn of_one_listener(sockets: Vec<TcpListener>, transport: Transport) -> ListeningSockets {
        ListeningSockets {
            listeners: vec![(ListenerId(0), transport); sockets.len()].into(),
            sockets: sockets.into(),
        }
    }

    /// The listener of the socket at this place, and what its connections speak.
    pub fn listener(&self, socket: u32) -> (ListenerId, Transport) {
        self.listeners[socket as usize]
    }
}

/// Binds all addresses of `config` and listens, so that a Client may connect from now on.
///
/// Errors: one sentence with address, port, cause and remedy.
pub fn listen_all(config: &Config) -> Result<ListeningSockets, StartError> {
    let mut sockets = Vec::new();
    let mut listeners = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let Address::Tcp { hosts, port } = &listener.address;
        for socket in listen(hosts, *port)? {
            sockets.push(socket);
            listeners.push((ListenerId(index as u8), listener.transport));
        }
    }
    Ok(ListeningSockets {
        sockets: sockets.into(),
        listeners: listeners.into(),
    })
}

/// The sockets of one listener.
fn listen(hosts: &Hosts, port: u16) -> Result<Vec<TcpListener>, StartError> {
    let mut wanted = hosts.addresses();
    let mut seen = HashSet::new();
    wanted.retain(|ip| seen.insert(*ip));
    // Nobody asked for them by name: a machine without IPv6, or without IPv4, is served by the other.
    let optional = !hosts.must_all_work();
    let attempts = if port == 0 { PORT_CHOICES } else { 1 };
    for _ in 1..attempts {
        match listen_on(&wanted, port, optional) {
            // The system chose a port for the first address that another process has on the second.
            Err((Errno::EADDRINUSE, _)) => {}
            result => return result.map_err(|(_, error)| error),
        }
    }
    listen_on(&wanted, port, optional).map_err(|(_, error)| error)
}

fn listen_on(
    wanted: &[IpAddr],
    mut port: u16,
    optional: bool,
) -> Result<Vec<TcpListener>, (Errno, StartError)> {
    // `::` alone takes IPv4 too; beside an IPv4 address it must not.
    let v6_only = wanted.iter().any(IpAddr::is_ipv4);
    let mut listeners = Vec::new();
    let mut missing = None;
    for &ip in wanted {
        let address = SocketAddr::new(ip, port);
        match listen_at(address, v6_only) {
            Ok(listener) => {
                if let Ok(bound) = listener.local_addr() {
                    port = bound.port();
                }
                listeners.push(listener);
            }
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT)) if optional => {
                missing = Some((errno, refusal(address, errno)));
            }
            Err(errno) => return Err((errno, refusal(address, errno))),
        }
    }
    match missing {
        Some(missing) if listeners.is_empty() => Err(missing),
        _ => Ok(listeners),
    }
}

/// Binds one address; a port in use is tried again for a moment.
fn listen_at(address: SocketAddr, v6_only: bool) -> nix::Result<TcpListener> {
    let until = Instant::now() + Duration::from_millis(limits::BIND_RETRY_MS);
    loop {
        match listen_once(address, v6_only) {
            Err(Errno::EADDRINUSE) if address.port() != 0 && Instant::now() < until => {
                thread::sleep(Duration::from_millis(limits::BIND_RETRY_MS / 30));
            }
            result => return result,
        }
    }
}

fn listen_once(address: SocketAddr, v6_only: bool) -> nix::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    // Blocking: io_uring waits on a socket only if it may block.
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &v6_only)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&socket, Backlog::new(limits::LISTEN_BACKLOG)?)?;
    Ok(TcpListener::from(socket))
}

fn refusal(address: SocketAddr, errno: Errno) -> StartError {
    let port = address.port();
    let text = match errno {
        Errno::EADDRINUSE => {
            let holder = Holder::of(port);
            format!("cannot listen on {address}: port {port} is in use {holder}")
        }
        Errno::EADDRNOTAVAIL => format!(
            "cannot listen on {address}: this machine has no such address; give --bind an address that `ip address` shows"
        ),
        Errno::EACCES => format!(
            "cannot listen on {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another --port"
        ),
        Errno::EAFNOSUPPORT => {
            format!("cannot listen on {address}: this machine has no IPv6; choose another --bind")
        }
        errno => format!("cannot listen on {address}: {}", errno.desc()),
    };
    StartError::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::TcpStream;

    fn named(bind: &[&str]) -> Hosts {
        Hosts::Named(bind.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    #[test]
    fn what_is_accepted_has_no_delay() {
        let listeners = listen(&named(&["127.0.0.1"]), 0).unwrap();
        let client = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
        let (accepted, _) = listeners[0].accept().unwrap();
        assert!(getsockopt(&accepted, sockopt::TcpNoDelay).unwrap());
        drop(client);
    }

    #[test]
    fn without_a_wish_loopback_alone_on_one_port() {
        let listeners = listen(&Hosts::Loopback, 0).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(
            addresses
                .iter()
                .all(|address| address.port() == addresses[0].port())
        );
        assert_ne!(addresses[0].port(), 0);
    }

    #[test]
    fn an_address_given_twice_is_bound_once() {
        let listeners = listen(&named(&["127.0.0.1", "127.0.0.1"]), 0).unwrap();
        assert_eq!(listeners.len(), 1);
    }

    #[test]
    fn both_families_on_all_interfaces_do_not_meet() {
        let listeners = listen(&named(&["0.0.0.0", "::"]), 0).unwrap();
        assert_eq!(listeners.len(), 2);
        let dual = listen(&named(&["::"]), 0).unwrap();
        let port = dual[0].local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let started = Instant::now();
        let error = listen(&named(&["127.0.0.1"]), port).unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(limits::BIND_RETRY_MS));
        let text = error.to_string();
        assert!(
            text.contains(&format!("port {port} is in use by ")),
            "{text}"
        );
        assert!(
            text.contains(&format!("(process {})", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let text = listen(&named(&["192.0.2.1"]), 0).unwrap_err().to_string();
        assert!(text.contains("no such address"), "{text}");
    }
}
