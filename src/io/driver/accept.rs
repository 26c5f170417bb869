//! Accepting: one accept a listener stays armed, and each new connection counts against the broker's
//! [`Capacity`](crate::mesh::Capacity). That is less than the open files there may be, so the last descriptors stay
//! free for the broker itself. A connection beyond it is refused in CONNACK; one beyond those that can be refused is
//! closed at once. Connections that were let in before are served as ever.

use super::kernel::Kernel;
use crate::broker::{LogLevel, UNIX_PEER};
use crate::io::link::Link;
use crate::io::seat::Seat;
use crate::io::words;
use crate::limits;
use crate::mesh::Admitted;
use crate::time::Time;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getpeername};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be armed when the turn begins.
    Off,
    Armed,
    /// Refused by the machine; armed again at this time.
    Paused(Time),
    Stopped,
}

/// A new connection that was let in.
pub struct Newcomer {
    /// Its socket is set up, but not known to the shard yet.
    pub link: Link,
    /// Whether its CONNECT will be served or refused.
    pub admitted: Admitted,
}

/// The accepts of one shard.
pub struct Accepting {
    listeners: Vec<State>,
    /// Complaints that were not logged since the last one that was.
    unlogged: u64,
    logged: Option<Time>,
}

impl Accepting {
    /// All accepts off; `listeners` counts the listening sockets.
    pub fn new(listeners: usize) -> Accepting {
        Accepting {
            listeners: vec![State::Off; listeners],
            unlogged: 0,
            logged: None,
        }
    }

    /// Arms what is to be armed.
    pub fn arm(&mut self, kernel: &mut impl Kernel, now: Time) -> io::Result<()> {
        for (index, state) in self.listeners.iter_mut().enumerate() {
            match *state {
                State::Paused(until) if now < until => {}
                State::Off | State::Paused(_) => {
                    kernel.accept(index as u32)?;
                    *state = State::Armed;
                }
                State::Armed | State::Stopped => {}
            }
        }
        Ok(())
    }

    /// When [`Accepting::arm`] has something to do even if no completion comes.
    pub fn next_deadline(&self) -> Option<Time> {
        let until = |state: &State| match *state {
            State::Off => Some(Time(0)),
            State::Paused(until) => Some(until),
            State::Armed | State::Stopped => None,
        };
        self.listeners.iter().filter_map(until).min()
    }

    /// The new connection, if there is one and it was let in; it is given back to the capacity when its socket is
    /// closed.
    pub fn on_accepted(
        &mut self,
        listener: u32,
        result: Result<OwnedFd, i32>,
        more: bool,
        seat: &Seat,
        now: Time,
    ) -> Option<Newcomer> {
        let state = &mut self.listeners[listener as usize];
        if *state == State::Stopped {
            return None;
        }
        if !more {
            *state = State::Off;
        }
        match result {
            Ok(socket) => self.seated(socket, listener, seat, now),
            // The new connection was lost before it was accepted; it is no longer in the queue.
            Err(
                libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::ECANCELED | libc::EAGAIN,
            ) => None,
            Err(errno) => {
                *state = State::Paused(now + limits::ACCEPT_PAUSE_MS);
                let text = match errno {
                    libc::EMFILE | libc::ENFILE => {
                        "cannot accept connections: no open file is left (raise LimitNOFILE= or ulimit -n)"
                            .to_owned()
                    }
                    errno => {
                        let error = io::Error::from_raw_os_error(errno);
                        format!("cannot accept connections: {error}")
                    }
                };
                self.complain(seat, now, &text);
                None
            }
        }
    }

    fn seated(
        &mut self,
        socket: OwnedFd,
        listener: u32,
        seat: &Seat,
        now: Time,
    ) -> Option<Newcomer> {
        let listeners = &seat.common.listeners;
        let at = listener;
        let (listener, wrapping) = listeners.listener(listener);
        // No address: the peer has already closed or reset the connection.
        let address = peer_of(socket.as_fd())?;
        let link = Link::new(socket, address, listener, wrapping);
        let port = || listeners.sockets.get(at as usize)?.port();
        seat.common.log.accepted(address, port);
        let admitted = seat.common.places.take(listener);
        if admitted != Some(Admitted::Within) {
            let most = seat.common.places.most(listener);
            let address = words::peer(address);
            let text = format!(
                "refused a connection from {address}: all {most} connections are in use (limits: --max-connections, max_connections, and open files: LimitNOFILE= or ulimit -n)"
            );
            self.complain(seat, now, &text);
        }
        Some(Newcomer {
            link,
            admitted: admitted?,
        })
    }

    /// Accepts no more.
    pub fn stop(&mut self, kernel: &mut impl Kernel) -> io::Result<()> {
        for (index, state) in self.listeners.iter_mut().enumerate() {
            *state = State::Stopped;
            kernel.cancel_accept(index as u32)?;
        }
        Ok(())
    }

    /// A connection had to be given up as the machine could not take it: `error` says why.
    pub fn cannot_serve(&mut self, seat: &Seat, now: Time, error: &io::Error) {
        self.complain(seat, now, &format!("dropped a new connection: {error}"));
    }

    fn complain(&mut self, seat: &Seat, now: Time, text: &str) {
        if let Some(at) = self.logged
            && now.since_ms(at) < limits::LOG_REPEAT_MS
        {
            self.unlogged += 1;
            return;
        }
        self.logged = Some(now);
        let unlogged = std::mem::take(&mut self.unlogged);
        let more = match unlogged {
            0 => String::new(),
            count => format!("; {count} more since this was last logged"),
        };
        seat.common
            .log
            .line(LogLevel::Warning, format!("{text}{more}"));
    }
}

/// The address of a peer: an IPv4 peer of an IPv6 socket as what it is, and for all peers of unix sockets
/// [`UNIX_PEER`]. `None`: it is gone.
fn peer_of(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    let name: SockaddrStorage = getpeername(socket.as_raw_fd()).ok()?;
    match name.family()? {
        AddressFamily::Inet => Some(SocketAddr::V4((*name.as_sockaddr_in()?).into())),
        AddressFamily::Inet6 => {
            let address = SocketAddr::V6((*name.as_sockaddr_in6()?).into());
            Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
        }
        _ => Some(UNIX_PEER),
    }
}
