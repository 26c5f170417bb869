//! Listening sockets: one an address, accepted from by all shards.
//!
//! A socket has SO_REUSEADDR, so that a restart does not wait for connections in TIME_WAIT, and not SO_REUSEPORT,
//! which would let a second broker take half of the Clients. TCP_NODELAY set here is inherited by every accepted
//! socket.

use crate::config::{Address, Config, Family, Hosts, HttpListener, Listener};
use crate::ids::ListenerId;
use crate::io::holder::Holder;
use crate::io::link::Wrapping;
use crate::io::listening::ListeningSocket;
use crate::io::start_error::StartError;
use crate::limits;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind,
    setsockopt, sockopt,
};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Attempts to find one port that is free on all addresses, when the system is to choose.
const PORT_CHOICES: usize = 8;

/// Who may write to a unix socket, and so connect: its user and its group, as with Mosquitto.
const UNIX_SOCKET_MODE: u32 = 0o770;

/// The listening sockets of all listeners. Copies share them.
#[derive(Clone)]
pub struct ListeningSockets {
    /// Bound and listening; a shard names them by their index.
    pub sockets: Arc<[ListeningSocket]>,
    /// The listener each socket belongs to, and what lies between its connections and MQTT.
    listeners: Arc<[(ListenerId, Wrapping)]>,
}

/// Sockets of the first listener, for MQTT itself.
impl From<Vec<TcpListener>> for ListeningSockets {
    fn from(sockets: Vec<TcpListener>) -> ListeningSockets {
        ListeningSockets::of_one_listener(sockets, &Wrapping::default())
    }
}

impl ListeningSockets {
    /// Sockets of the first listener.
    pub fn of_one_listener(sockets: Vec<TcpListener>, wrapping: &Wrapping) -> ListeningSockets {
        ListeningSockets {
            listeners: vec![(ListenerId(0), wrapping.clone()); sockets.len()].into(),
            sockets: sockets.into_iter().map(ListeningSocket::from).collect(),
        }
    }

    /// The listener of the socket at this place, and what lies between its connections and MQTT.
    pub fn listener(&self, socket: u32) -> (ListenerId, &Wrapping) {
        let (listener, wrapping) = &self.listeners[socket as usize];
        (*listener, wrapping)
    }

    /// The address of each socket, as a log line has it.
    pub fn addresses(&self) -> Vec<String> {
        let sockets = self.sockets.iter().zip(self.listeners.iter());
        sockets
            .map(|(socket, (_, wrapping))| match wrapping.tls {
                Some(_) => format!("{socket} with TLS"),
                None => socket.to_string(),
            })
            .collect()
    }

    /// Removes the files of unix sockets, when the broker stops.
    pub fn remove_files(&self) {
        for path in self.sockets.iter().filter_map(ListeningSocket::path) {
            // The user the broker runs as may not be allowed to; the next start replaces the file.
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds all addresses of `config` and listens, so that a Client may connect from now on. `wrappings`: of its
/// listeners, in their order.
///
/// Errors: one sentence with address, port, cause and remedy.
pub fn listen_all(config: &Config, wrappings: &[Wrapping]) -> Result<ListeningSockets, StartError> {
    let mut sockets = Vec::new();
    let mut listeners = Vec::new();
    assert!(wrappings.len() == config.listeners.len());
    for (index, (listener, wrapping)) in config.listeners.iter().zip(wrappings).enumerate() {
        let opened = match &listener.address {
            Address::Tcp {
                hosts,
                port,
                family,
            } => Wanted::of(hosts, *family)
                .and_then(|wanted| listen(&wanted, *port, listener.place.is_some()))
                .map(|sockets| sockets.into_iter().map(ListeningSocket::from).collect()),
            Address::Unix(path) => listen_unix(path).map(|socket| vec![socket]),
        };
        let opened: Vec<ListeningSocket> = opened.map_err(|error| placed(listener, error))?;
        let id = ListenerId(index as u8);
        listeners.extend(opened.iter().map(|_| (id, wrapping.clone())));
        sockets.extend(opened);
    }
    Ok(ListeningSockets {
        sockets: sockets.into(),
        listeners: listeners.into(),
    })
}

/// Binds the listeners of the page, in their order.
///
/// Errors: one sentence; also where other machines would reach one that they must not.
pub fn listen_http(config: &Config) -> Result<Vec<Vec<TcpListener>>, StartError> {
    let open = |http: &HttpListener| {
        if let Some(refusal) = http.refusal() {
            return Err(StartError::new(refusal));
        }
        let wanted = Wanted::of(&http.hosts, http.family);
        let opened = wanted.and_then(|wanted| listen(&wanted, http.port, http.place.is_some()));
        opened.map_err(|error| match &http.place {
            Some(place) => StartError::new(format!("{place}: {error}")),
            None => {
                let text = error.to_string().replace("--port", "--http");
                StartError::new(text.replace("--bind", "--http"))
            }
        })
    };
    config.http.iter().map(open).collect()
}

/// The error with the line of the configuration that asks for the listener.
fn placed(listener: &Listener, error: StartError) -> StartError {
    match &listener.place {
        Some(place) => StartError::new(format!("{place}: {error}")),
        None => error,
    }
}

/// The addresses of a listener.
struct Wanted {
    addresses: Vec<IpAddr>,
    /// One that works is enough: nobody asked for them by name, so a machine without IPv6, or without IPv4, is served
    /// by the other.
    optional: bool,
}

impl Wanted {
    /// Asks the machine what names and interfaces mean.
    fn of(hosts: &Hosts, family: Option<Family>) -> Result<Wanted, StartError> {
        let mut addresses = match hosts {
            Hosts::Name(name) => addresses_of_name(name)?,
            Hosts::Interface { name, address } => addresses_of_interface(name, *address)?,
            hosts => hosts.addresses(),
        };
        let before = addresses.first().copied();
        addresses.retain(|address| family.is_none_or(|family| family.is_of(address)));
        let mut seen = HashSet::new();
        addresses.retain(|ip| seen.insert(*ip));
        match before {
            Some(other) if addresses.is_empty() => Err(StartError::new(format!(
                "cannot listen on {other}: `socket_domain` wants the other family of addresses"
            ))),
            _ => Ok(Wanted {
                addresses,
                optional: !hosts.must_all_work(),
            }),
        }
    }
}

fn addresses_of_name(name: &str) -> Result<Vec<IpAddr>, StartError> {
    let found = (name, 0).to_socket_addrs();
    let found: Vec<IpAddr> = found
        .map_err(|error| {
            StartError::new(format!(
                "cannot listen on {name}: no address of that name is found ({error}); give an address that `ip address` shows"
            ))
        })?
        .map(|address| address.ip())
        .collect();
    Ok(found)
}

/// The addresses of a network interface, but for those of IPv6 that hold on one link alone.
fn addresses_of_interface(name: &str, only: Option<IpAddr>) -> Result<Vec<IpAddr>, StartError> {
    let all = getifaddrs().map_err(|errno| {
        let why = errno.desc();
        StartError::new(format!("cannot ask for the addresses of `{name}`: {why}"))
    })?;
    let ip = |address: SockaddrStorage| match address.family()? {
        AddressFamily::Inet => Some(IpAddr::V4(address.as_sockaddr_in()?.ip())),
        AddressFamily::Inet6 => Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())),
        _ => None,
    };
    let one_link = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let found: Vec<IpAddr> = all
        .filter(|interface| interface.interface_name == name)
        .filter_map(|interface| ip(interface.address?))
        .filter(|ip| !one_link(ip))
        .filter(|ip| only.is_none_or(|only| only == *ip))
        .collect();
    match (found.is_empty(), only) {
        (false, _) => Ok(found),
        (true, None) => Err(StartError::new(format!(
            "cannot listen on the interface `{name}`: it has no address; `ip address` shows all interfaces"
        ))),
        (true, Some(only)) => Err(StartError::new(format!(
            "cannot listen on {only}: the interface `{name}` has no such address; `ip address` shows all interfaces"
        ))),
    }
}

/// The sockets of one listener. `of_file`: a configuration names it, so remedies are not flags.
fn listen(wanted: &Wanted, port: u16, of_file: bool) -> Result<Vec<TcpListener>, StartError> {
    // To find who has a port takes a look at all processes: only for what is told.
    let refused = |(errno, address)| refusal(address, errno, of_file);
    let attempts = if port == 0 { PORT_CHOICES } else { 1 };
    for _ in 1..attempts {
        match listen_on(wanted, port, of_file) {
            // The system chose a port for the first address that another process has on the second.
            Err((Errno::EADDRINUSE, _)) => {}
            result => return result.map_err(refused),
        }
    }
    listen_on(wanted, port, of_file).map_err(refused)
}

/// Errors: why, and for which address.
fn listen_on(
    wanted: &Wanted,
    mut port: u16,
    of_file: bool,
) -> Result<Vec<TcpListener>, (Errno, SocketAddr)> {
    // A port that the system chose is not worth waiting for: it chooses another one.
    let patience = Duration::from_millis(if port == 0 { 0 } else { limits::BIND_RETRY_MS });
    // `::` alone takes IPv4 too; beside an IPv4 address it must not.
    let v6_only = of_file || wanted.addresses.iter().any(IpAddr::is_ipv4);
    let mut listeners = Vec::new();
    let mut missing = None;
    for &ip in &wanted.addresses {
        let address = SocketAddr::new(ip, port);
        match listen_at(address, v6_only, patience) {
            Ok(listener) => {
                if let Ok(bound) = listener.local_addr() {
                    port = bound.port();
                }
                listeners.push(listener);
            }
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT)) if wanted.optional => {
                missing = Some((errno, address));
            }
            Err(errno) => return Err((errno, address)),
        }
    }
    match missing {
        Some(missing) if listeners.is_empty() => Err(missing),
        _ => Ok(listeners),
    }
}

/// Binds one address; a port in use is tried again for so long.
fn listen_at(address: SocketAddr, v6_only: bool, patience: Duration) -> nix::Result<TcpListener> {
    let until = Instant::now() + patience;
    loop {
        match listen_once(address, v6_only) {
            Err(Errno::EADDRINUSE) if Instant::now() < until => {
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

/// Listens on a unix socket, in the place of one that nobody listens on any more.
fn listen_unix(path: &Path) -> Result<ListeningSocket, StartError> {
    let shown = path.display();
    let cannot =
        |why: String| StartError::new(format!("cannot listen on unix socket {shown}: {why}"));
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(cannot(
                "something else is there: give another path".to_owned(),
            ));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(cannot(
                "a program listens there: stop it, or give another path".to_owned(),
            ));
        }
        Ok(_) => fs::remove_file(path)
            .map_err(|error| cannot(format!("the one that is left there stays: {error}")))?,
        Err(_) => {}
    }
    let open = |path: &Path| -> io::Result<UnixListener> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(UNIX_SOCKET_MODE))?;
        // Blocking, see `listen_once`; and with our backlog.
        socket::listen(&listener, Backlog::new(limits::LISTEN_BACKLOG)?)?;
        Ok(listener)
    };
    let listener = open(path).map_err(|error| {
        cannot(format!(
            "{error}; its folder must be there, and writable for this user"
        ))
    })?;
    Ok(ListeningSocket::Unix(listener, path.to_path_buf()))
}

fn refusal(address: SocketAddr, errno: Errno, of_file: bool) -> StartError {
    let port = address.port();
    let (port_option, address_option) = match of_file {
        true => ("port", "address"),
        false => ("--port", "--bind"),
    };
    let text = match errno {
        Errno::EADDRINUSE => {
            let holder = Holder::of(port).to_string();
            let holder = holder.replace("--port", port_option);
            format!("cannot listen on {address}: port {port} is in use {holder}")
        }
        Errno::EADDRNOTAVAIL if of_file => format!(
            "cannot listen on {address}: this machine has no such address; give an address that `ip address` shows"
        ),
        Errno::EADDRNOTAVAIL => format!(
            "cannot listen on {address}: this machine has no such address; give --bind an address that `ip address` shows"
        ),
        Errno::EACCES => format!(
            "cannot listen on {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another {port_option}"
        ),
        Errno::EAFNOSUPPORT => {
            format!(
                "cannot listen on {address}: this machine has no IPv6; choose another {address_option}"
            )
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

    fn listen(hosts: &Hosts, port: u16) -> Result<Vec<TcpListener>, StartError> {
        super::listen(&Wanted::of(hosts, None)?, port, false)
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
    fn a_port_that_the_system_chose_is_not_waited_for() {
        let started = Instant::now();
        let error = listen(&named(&["127.0.0.1", "0.0.0.0"]), 0).unwrap_err();
        assert!(error.to_string().contains("is in use"), "{error}");
        // Each of the attempts would take as long.
        let one = Duration::from_millis(limits::BIND_RETRY_MS);
        assert!(started.elapsed() < one * PORT_CHOICES as u32 / 2);
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

    #[test]
    fn names_and_interfaces_are_asked_for() {
        let local =
            |hosts: Hosts, family| Wanted::of(&hosts, family).map(|wanted| wanted.addresses);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let localhost = local(Hosts::Name("localhost".to_owned()), Some(Family::Ipv4)).unwrap();
        assert_eq!(localhost, [loopback]);
        let interface = |name: &str, address| Hosts::Interface {
            name: name.to_owned(),
            address,
        };
        let found = local(interface("lo", None), Some(Family::Ipv4)).unwrap();
        assert!(found.contains(&loopback), "{found:?}");
        assert_eq!(
            local(interface("lo", Some(loopback)), None).unwrap(),
            [loopback]
        );
        for (hosts, family, words) in [
            (interface("no such", None), None, "it has no address"),
            (
                interface("lo", Some([192, 0, 2, 1].into())),
                None,
                "the interface `lo` has no such address",
            ),
            (
                named(&["127.0.0.1"]),
                Some(Family::Ipv6),
                "the other family",
            ),
            (
                Hosts::Name("no.such.invalid".to_owned()),
                None,
                "no address of that name",
            ),
        ] {
            let text = local(hosts, family).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_replaces_one_that_is_left_and_nothing_else() {
        let name = format!("mqttfast-test-listener-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let first = listen_unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, UNIX_SOCKET_MODE);
        let text = listen_unix(&path).unwrap_err().to_string();
        assert!(text.contains("a program listens there"), "{text}");
        drop(first);
        let second = listen_unix(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        let text = listen_unix(&path).unwrap_err().to_string();
        assert!(text.contains("something else is there"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        fs::remove_file(&path).unwrap();
    }
}
