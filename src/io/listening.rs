//! One listening socket, of TCP or of the machine itself. `listener` opens all that a configuration asks for.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// A listening socket. Its `Display` is its address, as a log line has it.
#[derive(Debug)]
pub enum ListeningSocket {
    /// Of IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix socket and its file.
    Unix(UnixListener, PathBuf),
}

impl ListeningSocket {
    /// Accepts one connection. By the standard library: the socket is close-on-exec, and blocking.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            ListeningSocket::Tcp(listener) => listener.accept().map(|(socket, _)| socket.into()),
            ListeningSocket::Unix(listener, _) => {
                listener.accept().map(|(socket, _)| socket.into())
            }
        }
    }

    /// Whether [`ListeningSocket::accept`] returns at once where nobody waits.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            ListeningSocket::Tcp(listener) => listener.set_nonblocking(nonblocking),
            ListeningSocket::Unix(listener, _) => listener.set_nonblocking(nonblocking),
        }
    }

    /// The port of one of TCP.
    pub fn port(&self) -> Option<u16> {
        match self {
            ListeningSocket::Tcp(listener) => Some(listener.local_addr().ok()?.port()),
            ListeningSocket::Unix(..) => None,
        }
    }

    /// The file of a unix socket.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            ListeningSocket::Tcp(_) => None,
            ListeningSocket::Unix(_, path) => Some(path),
        }
    }
}

impl From<TcpListener> for ListeningSocket {
    fn from(listener: TcpListener) -> ListeningSocket {
        ListeningSocket::Tcp(listener)
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Tcp(listener) => listener.as_fd(),
            ListeningSocket::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl AsRawFd for ListeningSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Display for ListeningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListeningSocket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(error) => write!(f, "a socket without address: {error}"),
            },
            ListeningSocket::Unix(_, path) => write!(f, "{}", path.display()),
        }
    }
}
