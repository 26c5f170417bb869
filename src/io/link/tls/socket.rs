//! A TCP socket inside TLS, of the threads that look after sockets of their own: those of the bridges and of the page.
//! It never waits.

use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// See the module.
pub struct TlsSocket {
    stream: TcpStream,
    tls: Connection,
    /// Bytes that were opened and not read.
    opened: usize,
}

impl TlsSocket {
    /// The handshake is still to be made: by [`TlsSocket::receive`] and [`TlsSocket::flush`], or as part of
    /// [`TlsSocket::read`]. `stream` does not block.
    pub fn new(stream: TcpStream, tls: impl Into<Connection>) -> TlsSocket {
        TlsSocket {
            stream,
            tls: tls.into(),
            opened: 0,
        }
    }

    /// The handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Receives and opens; `false`: nothing follows, neither of TCP nor of TLS.
    ///
    /// Errors: those of the socket; a [`rustls::Error`] inside, of which the other side has been told.
    pub fn receive(&mut self) -> io::Result<bool> {
        if self.tls.read_tls(&mut self.stream)? == 0 {
            return Ok(false);
        }
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.opened = state.plaintext_bytes_to_read();
                Ok(true)
            }
            Err(error) => {
                let _ = self.flush();
                Err(io::Error::other(error))
            }
        }
    }

    /// As [`Read::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.opened == 0 {
            if !self.receive()? {
                return Ok(0);
            }
            // An answer of TLS itself. The next flush tells what goes wrong.
            let _ = self.flush();
        }
        let count = self.tls.reader().read(buffer)?;
        self.opened -= count.min(self.opened);
        Ok(count)
    }

    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.tls.writer().write(bytes)?;
        // Whoever wrote does not write the same again: that is sealed already.
        self.flush()?;
        match count {
            0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// Sends what was sealed; `false`: not all has left.
    pub fn flush(&mut self) -> io::Result<bool> {
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

    /// Seals that nothing follows, once however often this is called. [`TlsSocket::flush`] sends it.
    pub fn say_end(&mut self) {
        self.tls.send_close_notify();
    }

    /// What was sealed has not left.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Opened bytes wait to be read, of which the system tells nothing.
    pub fn has_opened(&self) -> bool {
        self.opened > 0
    }
}

impl AsFd for TlsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
