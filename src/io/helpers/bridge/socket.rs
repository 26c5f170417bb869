//! The sockets of a bridge: of this broker, and of the other one, with or without TLS. None of them ever waits.

use crate::io::link::tls::outward;
use crate::io::link::tls::socket::TlsSocket;
use rustls::ClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A connection.
pub enum Socket {
    /// To this broker.
    Local(UnixStream),
    /// To the other broker.
    Remote(TcpStream),
    /// The same inside TLS.
    Sealed(Box<TlsSocket>),
}

impl Socket {
    /// A connection whose handshake is to begin.
    pub fn sealed(stream: TcpStream, tls: ClientConnection) -> Socket {
        Socket::Sealed(Box::new(TlsSocket::new(stream, tls)))
    }

    /// Goes on with the handshake; `true`: it is over.
    pub fn shake(&mut self) -> io::Result<bool> {
        match self {
            Socket::Local(_) | Socket::Remote(_) => Ok(true),
            Socket::Sealed(sealed) => shake(sealed).map_err(explained),
        }
    }

    /// As [`Read::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Local(stream) => stream.read(buffer),
            Socket::Remote(stream) => stream.read(buffer),
            Socket::Sealed(sealed) => sealed.read(buffer).map_err(explained),
        }
    }

    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Local(stream) => stream.write(bytes),
            Socket::Remote(stream) => stream.write(bytes),
            Socket::Sealed(sealed) => sealed.write(bytes),
        }
    }

    /// Sends what was sealed; `false`: not all has left.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Socket::Local(_) | Socket::Remote(_) => Ok(true),
            Socket::Sealed(sealed) => sealed.flush(),
        }
    }

    /// Says the end, and sends what was sealed; `false`: not all has left.
    pub fn finish(&mut self) -> io::Result<bool> {
        let Socket::Sealed(sealed) = self else {
            return Ok(true);
        };
        sealed.say_end();
        sealed.flush()
    }

    /// What was sealed has not left.
    pub fn wants_write(&self) -> bool {
        matches!(self, Socket::Sealed(sealed) if sealed.wants_write())
    }

    /// Opened bytes wait to be read.
    pub fn has_opened(&self) -> bool {
        matches!(self, Socket::Sealed(sealed) if sealed.has_opened())
    }
}

fn shake(socket: &mut TlsSocket) -> io::Result<bool> {
    loop {
        if !socket.flush()? {
            return Ok(false);
        }
        if !socket.is_handshaking() {
            return Ok(true);
        }
        match socket.receive() {
            Ok(true) => {}
            Ok(false) => return Err(closed_early()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(closed_early());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn closed_early() -> io::Error {
    let text = "the other broker has closed the connection during the handshake of TLS: is that the port for TLS?";
    io::Error::other(text)
}

/// The same; one of TLS says what to do.
fn explained(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(of_tls) => io::Error::other(outward::why(of_tls)),
        None => error,
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Local(stream) => stream.as_fd(),
            Socket::Remote(stream) => stream.as_fd(),
            Socket::Sealed(sealed) => sealed.as_fd(),
        }
    }
}
