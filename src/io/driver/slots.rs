//! The sockets of one shard, by slot. A slot is used again only when the kernel holds no operation of its last use;
//! each use has its own generation, so that an answer or an output of an earlier use is recognised.

use crate::broker::{CloseCause, HandOver};
use crate::buffer::Chunks;
use crate::ids::{ConnectionId, ShardId};
use crate::io::link::Link;

/// Where a Network Connection is in its life.
#[derive(Debug)]
pub enum Phase {
    /// The shard knows it.
    Open,
    /// The shard has forgotten it and it leaves for another shard once no receive is under way.
    HandingOver {
        to: ShardId,
        hand_over: Box<HandOver>,
    },
    /// The shard has forgotten it; its last bytes are being sent. What it still sends is thrown away.
    Closing,
    /// Our side is closed; we wait for the peer's end, so that our last bytes are not overtaken by a reset.
    Lingering,
    /// Only answers of the kernel are awaited.
    Ending,
}

/// The receive of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    Off,
    Armed,
    /// Armed, and a cancellation is on its way to it.
    Cancelling,
}

/// The send of a connection; there is one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Send {
    Off,
    /// Bytes of the shard; it is told what has left.
    Shards,
    /// Bytes of the link itself.
    Links,
}

/// One use of a slot.
#[derive(Debug)]
pub struct Socket {
    pub link: Link,
    pub phase: Phase,
    pub receive: Receive,
    /// The shard takes bytes.
    pub reading: bool,
    /// It sends large packets.
    pub large: bool,
    /// The peer has closed its side.
    pub ended: bool,
    pub send: Send,
    /// Bytes of the shard that came while a send was under way: its last bytes before `Close`, or what waits for the
    /// link's own.
    pub waiting: Option<Box<Chunks>>,
    /// A send failed; what the peer sent before is still read, then the connection is over for this cause.
    pub send_failed: Option<CloseCause>,
    /// Already in the list of slots to look at when the turn ends.
    pub touched: bool,
}

impl Socket {
    pub fn new(link: Link, reading: bool) -> Socket {
        Socket {
            link,
            phase: Phase::Open,
            receive: Receive::Off,
            reading,
            large: false,
            ended: false,
            send: Send::Off,
            waiting: None,
            send_failed: None,
            touched: false,
        }
    }

    /// Does the kernel hold no operation of this socket?
    pub fn idle(&self) -> bool {
        self.receive == Receive::Off && self.send == Send::Off
    }

    /// What the shard wants to send, as it is to be sent now; `None`: it waits for the end of the send under way.
    #[inline]
    pub fn seal_or_keep(&mut self, chunks: Chunks) -> Option<Chunks> {
        if self.send == Send::Off {
            self.send = Send::Shards;
            return Some(self.link.seal(chunks));
        }
        match &mut self.waiting {
            Some(waiting) => waiting.extend(chunks),
            None => self.waiting = Some(Box::new(chunks)),
        }
        None
    }

    /// The next bytes to send, when no send is under way.
    #[inline]
    pub fn next_send(&mut self) -> Option<Chunks> {
        assert!(self.send == Send::Off);
        if let Some(own) = self.link.own_bytes() {
            self.send = Send::Links;
            return Some(own);
        }
        let waiting = self.waiting.take()?;
        self.send = Send::Shards;
        Some(self.link.seal(*waiting))
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// All slots of a shard.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// Puts a socket into a free slot.
    pub fn insert(&mut self, socket: Socket) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        assert!(slot.socket.is_none());
        slot.socket = Some(socket);
        ConnectionId {
            index,
            generation: slot.generation,
        }
    }

    /// The socket of exactly this use of the slot.
    pub fn get(&mut self, connection: ConnectionId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(connection.index as usize)?;
        if slot.generation == connection.generation {
            slot.socket.as_mut()
        } else {
            None
        }
    }

    /// Takes the socket out; the slot is free for its next generation.
    pub fn remove(&mut self, connection: ConnectionId) -> Socket {
        let slot = &mut self.slots[connection.index as usize];
        assert!(slot.generation == connection.generation);
        let socket = slot.socket.take().expect("the slot is in use");
        assert!(socket.idle());
        slot.generation = (slot.generation + 1) & 0xFF_FFFF;
        self.free.push(connection.index);
        socket
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;
    use crate::ids::ListenerId;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_slot_is_used_again_under_its_next_generation() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = || {
            let socket = TcpStream::connect(address).unwrap().into();
            Link::new(socket, address, ListenerId(0), Transport::Plain)
        };
        let socket = || Socket::new(link(), true);
        let mut slots = Slots::default();
        let first = slots.insert(socket());
        let second = slots.insert(socket());
        assert_eq!((first.index, second.index, slots.used()), (0, 1, 2));
        slots.remove(first);
        assert!(slots.get(first).is_none());
        assert_eq!(slots.used(), 1);
        let third = slots.insert(socket());
        assert_eq!((third.index, third.generation), (0, 1));
        assert!(slots.get(first).is_none() && slots.get(third).is_some());
    }
}
