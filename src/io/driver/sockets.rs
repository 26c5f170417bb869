//! The sockets of one shard, by slot. A slot is used again only when the kernel holds no operation of its last use;
//! each use has its own generation, so that an answer or an output of an earlier use is recognised.

use crate::broker::{CloseCause, HandOver};
use crate::buffer::Chunks;
use crate::ids::{ConnectionId, ShardId};
use crate::io::link::{Link, Next, Scratch};

/// Where a Network Connection is in its life.
#[derive(Debug)]
pub enum SocketState {
    /// The shard knows it.
    Open,
    /// The shard has given it up. It moves to another shard when no receive and no send is under way.
    HandingOver {
        /// The home of its Session.
        to: ShardId,
        /// What the shard has given up; bytes that still come are appended.
        hand_over: Box<HandOver>,
    },
    /// The shard has closed it and its last bytes are being sent. What the peer still sends is thrown away.
    Closing,
    /// Our side is closed; we wait for the peer's end, so that our last bytes are not overtaken by a reset.
    Lingering,
    /// It is dropped as soon as the kernel has answered its last operations.
    Ending,
}

/// The receive of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    /// The kernel has no operation for it.
    Off,
    /// The kernel will answer with bytes, the end, or an error.
    Armed,
    /// Armed, and a cancellation is on its way to it.
    Cancelling,
}

/// The send of a connection; there is one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Send {
    /// The kernel has no operation for it.
    Off,
    /// Bytes of the shard, which hears how many have left.
    Shards,
    /// As `Shards`: the next part of a send that its link seals in parts.
    Rest,
    /// Bytes of the link's own: a handshake, a pong, a farewell.
    Links,
}

/// One use of a slot.
#[derive(Debug)]
pub struct Socket {
    /// The descriptor and what lies between it and MQTT.
    pub link: Link,
    /// How far its life has come, as the driver sees it.
    pub state: SocketState,
    /// What the kernel has been asked to receive.
    pub receive: Receive,
    /// The shard wants to read.
    pub reading: bool,
    /// A large packet is coming in: receive into the large buffer.
    pub large: bool,
    /// A helper has a step of its handshake: nothing is received until that comes back.
    pub away: bool,
    /// The peer has closed its side.
    pub ended: bool,
    /// What the kernel has been asked to send.
    pub send: Send,
    /// Bytes of the shard that came while a send was under way: its last bytes before `Close`, or bytes that wait
    /// until the link's own bytes are sent.
    pub waiting: Option<Box<Chunks>>,
    /// A send failed. What the peer had sent before is still read, then the connection ends with this cause.
    pub send_failed: Option<CloseCause>,
    /// Already in the list of sockets to look at when the turn ends.
    pub touched: bool,
    /// Of a bridge: the next turn attends to it.
    pub attended: bool,
}

impl Socket {
    /// Open, with no operation under way.
    pub fn new(link: Link, reading: bool) -> Socket {
        Socket {
            link,
            state: SocketState::Open,
            receive: Receive::Off,
            reading,
            large: false,
            away: false,
            ended: false,
            send: Send::Off,
            waiting: None,
            send_failed: None,
            touched: false,
            attended: false,
        }
    }

    /// Does the kernel hold no operation of this socket?
    pub fn idle(&self) -> bool {
        self.receive == Receive::Off && self.send == Send::Off
    }

    /// Seals bytes of the shard, to be sent now. `None`: they were kept until the send under way has ended, or the link
    /// is broken.
    #[inline]
    pub fn seal_or_keep(&mut self, chunks: Chunks, scratch: &mut Scratch) -> Option<Chunks> {
        if self.send == Send::Off {
            return self.seal(chunks, scratch);
        }
        match &mut self.waiting {
            Some(waiting) => waiting.extend(chunks),
            None => self.waiting = Some(Box::new(chunks)),
        }
        None
    }

    /// The next bytes to send: the link's first, then the shard's. No send may be under way.
    #[inline]
    pub fn next_send(&mut self, scratch: &mut Scratch) -> Option<Chunks> {
        assert!(self.send == Send::Off);
        match self.link.next_send(scratch) {
            Some(Next::Own(own)) => {
                self.send = Send::Links;
                return Some(own);
            }
            Some(Next::Rest(rest)) => {
                self.send = Send::Rest;
                return Some(rest);
            }
            None => {}
        }
        let waiting = self.waiting.take()?;
        self.seal(*waiting, scratch)
    }

    /// Begins a send of the shard. `None`: the link is broken and seals nothing more, so there is none.
    #[inline]
    fn seal(&mut self, chunks: Chunks, scratch: &mut Scratch) -> Option<Chunks> {
        let sealed = self.link.seal(chunks, scratch);
        if sealed.is_empty() {
            return None;
        }
        self.send = Send::Shards;
        Some(sealed)
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// All sockets of a shard.
#[derive(Default)]
pub struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Sockets {
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
    use crate::ids::ListenerId;
    use crate::io::link::Wrapping;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_slot_is_used_again_under_its_next_generation() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = || {
            let socket = TcpStream::connect(address).unwrap().into();
            Link::new(socket, address, ListenerId(0), &Wrapping::default())
        };
        let socket = || Socket::new(link(), true);
        let mut sockets = Sockets::default();
        let first = sockets.insert(socket());
        let second = sockets.insert(socket());
        assert_eq!((first.index, second.index, sockets.used()), (0, 1, 2));
        sockets.remove(first);
        assert!(sockets.get(first).is_none());
        assert_eq!(sockets.used(), 1);
        let third = sockets.insert(socket());
        assert_eq!((third.index, third.generation), (0, 1));
        assert!(sockets.get(first).is_none() && sockets.get(third).is_some());
    }
}
