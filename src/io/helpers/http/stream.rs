//! The socket of a connection to the page, with or without TLS. It never waits.

use nix::sys::socket::{Shutdown, shutdown};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// See the module.
pub enum Stream {
    Plain(TcpStream),
    Sealed(Box<Sealed>),
}

/// A connection inside TLS. Steps of its handshake are made here: a few milliseconds of this thread on a small board,
/// one step a turn.
pub struct Sealed {
    stream: TcpStream,
    tls: ServerConnection,
    /// Bytes that were opened and not read.
    opened: usize,
}

impl Stream {
    /// Of a socket just accepted. `tls`: what it is served by, if by TLS.
    ///
    /// Errors: the socket or the terms are of no use.
    pub fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        Ok(match tls {
            None => Stream::Plain(stream),
            Some(config) => Stream::Sealed(Box::new(Sealed {
                stream,
                tls: ServerConnection::new(config).map_err(io::Error::other)?,
                opened: 0,
            })),
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
            Stream::Sealed(sealed) => {
                if !sealed.flush()? {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let count = sealed.tls.writer().write(bytes)?;
                sealed.flush()?;
                match count {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    _ => Ok(count),
                }
            }
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
        matches!(self, Stream::Sealed(sealed) if sealed.tls.wants_write())
    }

    /// Opened bytes wait to be read, of which the system tells nothing.
    pub fn has_opened(&self) -> bool {
        matches!(self, Stream::Sealed(sealed) if sealed.opened > 0)
    }

    /// Says that nothing follows. What the other side still sends can be read.
    pub fn say_end(&mut self) {
        let stream = match self {
            Stream::Plain(stream) => stream,
            Stream::Sealed(sealed) => {
                sealed.tls.send_close_notify();
                // What finds no room is lost: the connection ends anyway.
                let _ = sealed.flush();
                &sealed.stream
            }
        };
        let _ = shutdown(stream.as_raw_fd(), Shutdown::Write);
    }
}

impl Sealed {
    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.opened > 0 {
                let count = self.tls.reader().read(buffer)?;
                self.opened -= count.min(self.opened);
                return Ok(count);
            }
            if self.tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.opened = state.plaintext_bytes_to_read();
                    if state.peer_has_closed() && self.opened == 0 {
                        return Ok(0);
                    }
                    self.flush()?;
                }
                Err(error) => {
                    // The other side is told why.
                    let _ = self.flush();
                    return Err(io::Error::other(error));
                }
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Plain(stream) => stream.as_fd(),
            Stream::Sealed(sealed) => sealed.stream.as_fd(),
        }
    }
}
