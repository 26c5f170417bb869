//! A connection of this process to its own broker: one end of a pair of sockets is given to a shard, as with bridges,
//! and comes in by the listener of the page, which believes its user name.

use super::house::House;
use super::rights::{CLIENT_ID, Visitor};
use crate::bridge::{Guest, Heard};
use crate::broker::UNIX_PEER;
use crate::ids::ShardId;
use crate::io::link::{Link, Wrapping};
use crate::io::mail::ToShard;
use crate::limits;
use nix::poll::PollFlags;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// See the module.
pub struct Local {
    socket: UnixStream,
    /// The client.
    pub guest: Guest,
}

impl Local {
    /// Connects. `number`: tells its client id from those of others.
    ///
    /// Errors: the system gives no sockets.
    pub fn open(visitor: &Visitor, house: &House, number: u64) -> io::Result<Local> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut chance = [0; 8];
        // A name that nobody knows beforehand, so that nobody takes it over. Without chance the number has to do.
        let _ = getrandom::fill(&mut chance);
        let client_id = format!("{CLIENT_ID}-{number}-{:016x}", u64::from_ne_bytes(chance));
        let wrapping = Wrapping::default();
        let link = Link::new(theirs.into(), UNIX_PEER, visitor.listener, &wrapping);
        let link = Box::new(link);
        let most = limits::HTTP_LIVE_PACKET_BYTES_MAX;
        let shards = &house.known.shards;
        shards.tell_surely(ShardId(0), ToShard::Connected(link));
        Ok(Local {
            socket: ours,
            guest: Guest::new(&client_id, visitor.user.as_deref(), most),
        })
    }

    /// What it waits for.
    pub fn interest(&mut self) -> PollFlags {
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, !self.guest.outgoing().is_empty());
        interest
    }

    /// Writes what is to be sent, and tells what some reads have brought.
    ///
    /// Errors: a sentence: the connection has ended.
    pub fn turn(&mut self, tell: &mut dyn FnMut(Heard<'_>)) -> Result<(), String> {
        self.send()?;
        let mut buffer = [0; limits::HTTP_READ_BYTES];
        for _ in 0..limits::HTTP_LOCAL_READS_PER_TURN {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err("the broker has ended the connection".to_owned()),
                Ok(count) => self
                    .guest
                    .receive(&buffer[..count], tell)
                    .map_err(|why| format!("{why:?}"))?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), String> {
        while !self.guest.outgoing().is_empty() {
            match self.socket.write(self.guest.outgoing().unsent()) {
                Ok(count) => self.guest.outgoing().taken(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.guest.leave();
        // What finds no room is not said: the broker sees the end anyway.
        let _ = self.send();
    }
}

impl AsFd for Local {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
