//! The sockets of a bridge: of this broker, and of the other one, with or without TLS. None of them ever waits.

use crate::io::link::tls::outward;
use rustls::{ClientConnection, Error};
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
    Sealed(Box<Sealed>),
}

/// A connection inside TLS.
pub struct Sealed {
    stream: TcpStream,
    tls: ClientConnection,
    /// Bytes that were opened and not read.
    opened: usize,
    /// The end was said.
    ended: bool,
}

impl Socket {
    /// A connection whose handshake is to begin.
    pub fn sealed(stream: TcpStream, tls: ClientConnection) -> Socket {
        Socket::Sealed(Box::new(Sealed {
            stream,
            tls,
            opened: 0,
            ended: false,
        }))
    }

    /// Goes on with the handshake; `true`: it is over.
    pub fn shake(&mut self) -> io::Result<bool> {
        match self {
            Socket::Local(_) | Socket::Remote(_) => Ok(true),
            Socket::Sealed(sealed) => sealed.shake(),
        }
    }

    /// As [`Read::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Local(stream) => stream.read(buffer),
            Socket::Remote(stream) => stream.read(buffer),
            Socket::Sealed(sealed) => sealed.read(buffer),
        }
    }

    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Local(stream) => stream.write(bytes),
            Socket::Remote(stream) => stream.write(bytes),
            Socket::Sealed(sealed) => {
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
            Socket::Local(_) | Socket::Remote(_) => Ok(true),
            Socket::Sealed(sealed) => sealed.flush(),
        }
    }

    /// Says the end, and sends what was sealed; `false`: not all has left.
    pub fn finish(&mut self) -> io::Result<bool> {
        let Socket::Sealed(sealed) = self else {
            return Ok(true);
        };
        if !std::mem::replace(&mut sealed.ended, true) {
            sealed.tls.send_close_notify();
        }
        sealed.flush()
    }

    /// What was sealed has not left.
    pub fn wants_write(&self) -> bool {
        matches!(self, Socket::Sealed(sealed) if sealed.tls.wants_write())
    }

    /// Opened bytes wait to be read.
    pub fn has_opened(&self) -> bool {
        matches!(self, Socket::Sealed(sealed) if sealed.opened > 0)
    }
}

impl Sealed {
    /// Sends what was sealed; `false`: not all has left.
    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                // Whoever wrote does not write the same again: that is sealed already.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Receives and opens; `false`: the other side has closed.
    fn receive(&mut self) -> io::Result<bool> {
        if self.tls.read_tls(&mut self.stream)? == 0 {
            return Ok(false);
        }
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.opened = state.plaintext_bytes_to_read();
                Ok(true)
            }
            Err(error) => {
                // The other side is told why.
                let _ = self.flush();
                Err(failed(&error))
            }
        }
    }

    fn shake(&mut self) -> io::Result<bool> {
        loop {
            if !self.flush()? {
                return Ok(false);
            }
            if !self.tls.is_handshaking() {
                return Ok(true);
            }
            match self.receive() {
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

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.opened > 0 {
                let count = self.tls.reader().read(buffer)?;
                self.opened -= count.min(self.opened);
                return Ok(count);
            }
            if !self.receive()? {
                return Ok(0);
            }
            if self.opened == 0 && self.tls.wants_write() {
                let _ = self.flush();
            }
            // The end that the other side has said.
            if self.opened == 0 && !self.tls.wants_read() {
                return Ok(0);
            }
        }
    }
}

fn closed_early() -> io::Error {
    let text = "the other broker has closed the connection during the handshake of TLS: is that the port for TLS?";
    io::Error::other(text)
}

fn failed(error: &Error) -> io::Error {
    io::Error::other(outward::why(error))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Local(stream) => stream.as_fd(),
            Socket::Remote(stream) => stream.as_fd(),
            Socket::Sealed(sealed) => sealed.stream.as_fd(),
        }
    }
}
