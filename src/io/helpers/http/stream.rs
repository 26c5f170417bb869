//! The socket of a connection to the page, with or without TLS. It never waits.

use crate::io::link::tls::socket::TlsSocket;
use crate::limits;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// See the module.
pub enum Stream {
    Plain(TcpStream),
    /// Steps of its handshake are made here: a few milliseconds of this thread on a small board, one step a turn.
    Sealed(Box<TlsSocket>),
}

impl Stream {
    /// Of a socket just accepted. `tls`: what it is served by, if by TLS.
    ///
    /// Errors: the socket or the terms are of no use.
    pub fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::SndBuf, &limits::HTTP_SEND_BUFFER_BYTES)?;
        Ok(match tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let tls = ServerConnection::new(config).map_err(io::Error::other)?;
                Stream::Sealed(Box::new(TlsSocket::new(stream, tls)))
            }
        })
    }

    /// As [`Read::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Sealed(sealed) => sealed.read(buffer),
        }
    }

    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Sealed(sealed) => sealed.write(bytes),
        }
    }

    /// Sends what was sealed; `false`: not all has left.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Plain(_) => Ok(true),
            Stream::Sealed(sealed) => sealed.flush(),
        }
    }

    /// What was sealed has not left.
    pub fn wants_write(&self) -> bool {
        matches!(self, Stream::Sealed(sealed) if sealed.wants_write())
    }

    /// Opened bytes wait to be read, of which the system tells nothing.
    pub fn has_opened(&self) -> bool {
        matches!(self, Stream::Sealed(sealed) if sealed.has_opened())
    }

    /// Says that nothing follows. What the other side still sends can be read.
    pub fn say_end(&mut self) {
        if let Stream::Sealed(sealed) = self {
            sealed.say_end();
            // What finds no room is lost: the connection ends anyway.
            let _ = sealed.flush();
        }
        let _ = shutdown(self.as_fd().as_raw_fd(), Shutdown::Write);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Plain(stream) => stream.as_fd(),
            Stream::Sealed(sealed) => sealed.as_fd(),
        }
    }
}
