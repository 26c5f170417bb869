//! Makes the TCP connection to the other broker: looks up its name on a thread of its own, then tries the addresses
//! that the name has, one after the other, and waits for none of them.

use crate::config::network::host_and_port;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

/// What each connection of a bridge gets.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// The address of this machine to connect from.
    pub bind_address: Option<String>,
    /// Idle seconds, interval, count.
    pub keepalive: Option<[u32; 3]>,
    /// How long sent bytes may stay unacknowledged.
    pub user_timeout_ms: Option<u32>,
}

/// One attempt.
pub struct Dial {
    options: Options,
    /// `host:port`, for errors.
    name: String,
    step: Step,
    /// Addresses not tried yet.
    left: VecDeque<SocketAddr>,
    /// Of the address tried last.
    error: String,
}

enum Step {
    Resolving(Receiver<io::Result<Vec<SocketAddr>>>),
    Connecting(TcpStream, SocketAddr),
}

/// How far it is.
pub enum Dialled {
    /// Neither there nor given up.
    NotYet,
    /// Connected, and never blocks.
    There(TcpStream),
    /// A clause that says why not.
    Failed(String),
}

impl Dial {
    /// Begins. `wake` is called, on another thread, when the name is looked up.
    pub fn new(host: &str, port: u16, options: Options, wake: impl Fn() + Send + 'static) -> Dial {
        let (reply, answer) = channel();
        let wanted = (host.to_owned(), port);
        match host.parse::<IpAddr>() {
            Ok(ip) => drop(reply.send(Ok(vec![SocketAddr::new(ip, port)]))),
            Err(_) => {
                // The resolver of the system may take half a minute. A thread that cannot be had answers nothing.
                let look_up = move || {
                    let found = wanted.to_socket_addrs().map(Iterator::collect);
                    let _ = reply.send(found);
                    wake();
                };
                let _ = thread::Builder::new()
                    .name("bridge-name".to_owned())
                    .spawn(look_up);
            }
        }
        let name = host_and_port(host, port);
        Dial {
            options,
            name,
            step: Step::Resolving(answer),
            left: VecDeque::new(),
            error: String::new(),
        }
    }

    /// The socket to be polled until it may be written.
    pub fn socket(&self) -> Option<&TcpStream> {
        match &self.step {
            Step::Resolving(_) => None,
            Step::Connecting(stream, _) => Some(stream),
        }
    }

    /// Goes on as far as it can. `writable`: the socket may be written, or has failed.
    pub fn go_on(&mut self, writable: bool) -> Dialled {
        match &self.step {
            Step::Resolving(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => return Dialled::NotYet,
                Err(TryRecvError::Disconnected) => {
                    return Dialled::Failed(format!("{} cannot be looked up", self.name));
                }
                Ok(Err(error)) => {
                    let text = format!("{} cannot be looked up: {error}", self.name);
                    return Dialled::Failed(text);
                }
                Ok(Ok(found)) => self.left = found.into(),
            },
            Step::Connecting(..) if !writable => return Dialled::NotYet,
            Step::Connecting(stream, address) => {
                let error = match stream.take_error() {
                    Ok(None) => match stream.peer_addr() {
                        Ok(_) => return self.there(),
                        Err(error) => error,
                    },
                    Ok(Some(error)) | Err(error) => error,
                };
                self.error = format!("no connection to {address}: {error}");
            }
        }
        while let Some(address) = self.left.pop_front() {
            match self.begin(address) {
                Ok(stream) => {
                    self.step = Step::Connecting(stream, address);
                    return Dialled::NotYet;
                }
                Err(error) => self.error = format!("no connection to {address}: {error}"),
            }
        }
        if self.error.is_empty() {
            self.error = format!("{} has no address", self.name);
        }
        Dialled::Failed(std::mem::take(&mut self.error))
    }

    fn there(&mut self) -> Dialled {
        let (_, none) = channel();
        match std::mem::replace(&mut self.step, Step::Resolving(none)) {
            Step::Connecting(stream, _) => Dialled::There(stream),
            Step::Resolving(_) => Dialled::NotYet,
        }
    }

    fn begin(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        if let Some([idle, interval, count]) = self.options.keepalive {
            setsockopt(&socket, sockopt::KeepAlive, &true)?;
            setsockopt(&socket, sockopt::TcpKeepIdle, &idle)?;
            setsockopt(&socket, sockopt::TcpKeepInterval, &interval)?;
            setsockopt(&socket, sockopt::TcpKeepCount, &count)?;
        }
        if let Some(ms) = self.options.user_timeout_ms {
            setsockopt(&socket, sockopt::TcpUserTimeout, &ms)?;
        }
        if let Some(from) = &self.options.bind_address {
            // As Mosquitto: a name is one of this machine's, in its own files.
            let mut found = (from.as_str(), 0).to_socket_addrs()?;
            let from = found.find(|from| from.is_ipv4() == address.is_ipv4());
            let from = from.ok_or(Errno::EADDRNOTAVAIL)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
        }
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(TcpStream::from(socket)),
            Err(errno) => Err(errno.into()),
        }
    }
}
