//! A Network Connection as the driver holds it: bytes of the socket on one side, bytes of MQTT on the other.
//!
//! ```text
//! socket ─ receive ─→ open ─→ MQTT ─→ shard ─→ seal ─→ send ─→ socket
//!                       └──→ own bytes (handshake, pong, farewell) ──↗
//! ```
//!
//! A [`Link`] does no I/O: the driver receives and sends. What lies between the two sides are the [`Layer`]s that the
//! listener's [`Wrapping`] asks for. Mostly there is none: opening and sealing give back what they were given and cost
//! nothing. A layer keeps the state of one connection, and moves with the Link when the connection is handed over to
//! another shard, whatever has been sent on it by then.
//!
//! The order of calls:
//!
//! - [`Link::open`] with every run of bytes received, in order; then [`Link::has_ended`].
//! - If [`Link::needs_attention`]: [`Link::take_handshake`], [`Link::take_user_name`], [`Link::has_more`].
//! - [`Link::next_send`] when no send is under way: what it gives is sent before anything sealed later.
//! - [`Link::seal`] when no send is under way and [`Link::next_send`] gives nothing: what it gives is sent next, whole
//!   and unchanged. What is much is sealed in parts, each given by [`Link::next_send`] when the one before has left.
//! - [`Link::sent`] for each part of it that has left.
//! - [`Link::farewell`] when the last was sent, before our side is closed.

pub mod bridged;
#[cfg(test)]
pub mod framed;
mod layers;
pub mod proxy;
pub mod tls;
pub mod websocket;

pub use layers::{Broken, Layer, Next, Peer, Scratch};
pub use tls::handshake::Handshake;

use crate::buffer::Chunks;
use crate::config::{ProxyTerms, Transport, WebSocketTerms};
use crate::ids::ListenerId;
use bridged::Bridged;
use layers::Layers;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tls::Tls;
use tls::server::Server;

/// The socket of a Network Connection and what belongs to it.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// The peer's address.
    pub address: SocketAddr,
    /// The listener that accepted it.
    pub listener: ListenerId,
    state: State,
}

/// What lies between the socket and MQTT.
#[derive(Debug)]
enum State {
    Plain,
    Layered(Box<Layers>),
    /// The other broker's MQTT, and a bridge.
    Bridged(Box<Bridged>),
}

/// What the connections of one listener get between their socket and MQTT. Copies share what layers have in common.
#[derive(Clone, Default, Debug)]
pub struct Wrapping {
    /// A PROXY header comes first.
    pub proxy: Option<ProxyTerms>,
    /// Then TLS.
    pub tls: Option<Arc<Server>>,
    /// MQTT goes in the frames of a WebSocket.
    pub websocket: Option<Arc<WebSocketTerms>>,
    /// So many layers of [`framed`].
    #[cfg(test)]
    pub framed: usize,
}

impl Wrapping {
    /// For a listener of this transport. `tls`: what its TLS goes by, if it has any.
    pub fn of(transport: &Transport, tls: Option<Arc<Server>>) -> Wrapping {
        let websocket = transport.websocket.clone().map(|terms| WebSocketTerms {
            // Behind a PROXY header the request is the Client's own, and so is whatever it says of its address.
            proxies: match transport.proxy {
                Some(_) => Vec::new(),
                None => terms.proxies,
            },
            ..terms
        });
        Wrapping {
            proxy: transport.proxy,
            tls,
            websocket: websocket.map(Arc::new),
            #[cfg(test)]
            framed: transport.framed,
        }
    }

    /// The layers of a new connection, the one next to the socket first; none for MQTT itself.
    fn layers(&self, address: SocketAddr) -> Vec<Box<dyn Layer>> {
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        if let Some(terms) = self.proxy {
            layers.push(Box::new(proxy::Proxy::new(terms)));
        }
        if let Some(server) = &self.tls {
            layers.push(Box::new(Tls::new(Arc::clone(server))));
        }
        #[cfg(test)]
        for _ in 0..self.framed {
            layers.push(Box::<framed::Framed>::default());
        }
        if let Some(terms) = &self.websocket {
            let websocket = websocket::WebSocket::new(terms.clone(), address.ip());
            layers.push(Box::new(websocket));
        }
        layers
    }
}

impl Link {
    /// A connection just accepted.
    pub fn new(
        socket: OwnedFd,
        address: SocketAddr,
        listener: ListenerId,
        wrapping: &Wrapping,
    ) -> Link {
        let layers = wrapping.layers(address);
        let state = if layers.is_empty() {
            State::Plain
        } else {
            State::Layered(Box::new(Layers::new(layers)))
        };
        Link {
            socket,
            address,
            listener,
            state,
        }
    }

    /// A connection of this broker's own to another broker, as if that were a Client that comes by this listener.
    pub fn bridged(
        socket: OwnedFd,
        address: SocketAddr,
        listener: ListenerId,
        bridged: Bridged,
    ) -> Link {
        Link {
            socket,
            address,
            listener,
            state: State::Bridged(Box::new(bridged)),
        }
    }

    /// The bridge, if this is one.
    #[inline]
    pub fn bridge(&mut self) -> Option<&mut Bridged> {
        match &mut self.state {
            State::Bridged(bridged) => Some(bridged),
            State::Plain | State::Layered(_) => None,
        }
    }

    /// Is it the connection of a bridge?
    #[inline]
    pub fn is_bridged(&self) -> bool {
        matches!(self.state, State::Bridged(_))
    }

    /// Nothing is to be received for now.
    #[inline]
    pub fn is_held(&self) -> bool {
        matches!(&self.state, State::Bridged(bridged) if bridged.is_held())
    }

    /// The bytes of MQTT in what was received; none, if no more than a part of something has come. Layers put what they
    /// open into `scratch`.
    ///
    /// [`Broken`]: these are the last bytes. The connection must be closed when they are handled, and this is not
    /// called again.
    #[inline]
    pub fn open<'a>(
        &mut self,
        received: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> (&'a [u8], Option<Broken>) {
        match &mut self.state {
            State::Plain => (received, None),
            State::Layered(layers) => layers.open(received, scratch),
            State::Bridged(bridged) => scratch.open_by(|inside| bridged.open(received, inside)),
        }
    }

    /// Takes what has been learned of the peer, and has it for its own address from then on. Comes before the first
    /// byte of MQTT is given to the shard.
    #[inline]
    pub fn take_peer(&mut self) -> Option<Peer> {
        match &mut self.state {
            State::Plain => None,
            State::Bridged(_) => None,
            State::Layered(layers) => {
                let peer = layers.take_peer();
                if let Some(peer) = &peer {
                    self.address = peer.address;
                }
                if layers.is_empty() {
                    self.state = State::Plain;
                }
                peer
            }
        }
    }

    /// Bytes of memory that the peer makes the link keep, if these are others than when this was asked last.
    #[inline]
    pub fn kept_change(&mut self) -> Option<usize> {
        match &mut self.state {
            State::Plain | State::Bridged(_) => None,
            State::Layered(layers) => layers.kept_change(),
        }
    }

    /// The bytes that were told last.
    pub fn kept_bytes(&self) -> usize {
        match &self.state {
            State::Plain | State::Bridged(_) => 0,
            State::Layered(layers) => layers.kept_told(),
        }
    }

    /// Must [`Link::check`] be called?
    #[inline]
    pub fn wants_checks(&self) -> bool {
        match &self.state {
            State::Plain | State::Bridged(_) => false,
            State::Layered(layers) => layers.wants_checks(),
        }
    }

    /// Called every [`LINK_CHECK_MS`](crate::limits::LINK_CHECK_MS) while no send is under way. There may be own bytes
    /// then.
    pub fn check(&mut self) {
        if let State::Layered(layers) = &mut self.state {
            layers.check();
        }
    }

    /// The peer has said its farewell: nothing follows what was opened, though the socket may stay open.
    #[inline]
    pub fn has_ended(&self) -> bool {
        match &self.state {
            State::Plain | State::Bridged(_) => false,
            State::Layered(layers) => layers.has_ended(),
        }
    }

    /// After [`Link::open`] and [`Link::end_handshake`]: there is more to do than to hand on what was opened.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        match &self.state {
            State::Plain => false,
            State::Layered(layers) => layers.needs_attention(),
            State::Bridged(bridged) => bridged.has_own_bytes() || bridged.has_more(),
        }
    }

    /// Does the link itself have something to send?
    #[inline]
    pub fn has_own_bytes(&self) -> bool {
        match &self.state {
            State::Plain => false,
            State::Layered(layers) => layers.has_own_bytes(),
            State::Bridged(bridged) => bridged.has_own_bytes(),
        }
    }

    /// Takes what the link itself has to send now: what is left of what was sealed last, then bytes of its own.
    #[inline]
    pub fn next_send(&mut self, scratch: &mut Scratch) -> Option<Next> {
        match &mut self.state {
            State::Plain => None,
            State::Layered(layers) => layers.next_send(scratch),
            State::Bridged(bridged) => bridged.own_bytes().map(Next::Own),
        }
    }

    /// Bytes of MQTT as they are sent; none, if the link is broken and can seal nothing any more. Only after bytes of
    /// MQTT have come, so any handshake is over.
    #[inline]
    pub fn seal(&mut self, chunks: Chunks, scratch: &mut Scratch) -> Chunks {
        match &mut self.state {
            State::Plain => chunks,
            State::Layered(layers) => layers.seal(chunks, scratch),
            State::Bridged(bridged) => {
                bridged.swallow(chunks);
                Chunks::new()
            }
        }
    }

    /// Of what was sealed last, `bytes` more have left; `whole`: that was the rest. Gives the bytes of MQTT that left
    /// with them; over a whole send these come to what was given to be sealed.
    #[inline]
    pub fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        match &mut self.state {
            // A bridge sends bytes of its own alone.
            State::Plain | State::Bridged(_) => bytes,
            State::Layered(layers) => layers.sent(bytes, whole),
        }
    }

    /// Puts the farewell of each layer into the own bytes, unless it was said before or may not be said. No send is
    /// under way.
    #[inline]
    pub fn farewell(&mut self, scratch: &mut Scratch) {
        match &mut self.state {
            State::Plain => {}
            State::Layered(layers) => layers.farewell(scratch),
            State::Bridged(bridged) => bridged.farewell(),
        }
    }

    /// Takes a step of a handshake that is too long for a shard. Nothing is received before it comes back.
    pub fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match &mut self.state {
            State::Plain | State::Bridged(_) => None,
            State::Layered(layers) => layers.take_handshake(),
        }
    }

    /// The step is done. Errors: as [`Link::open`].
    pub fn end_handshake(&mut self, handshake: Box<Handshake>) -> Result<(), Broken> {
        match &mut self.state {
            State::Plain | State::Bridged(_) => Ok(()),
            State::Layered(layers) => layers.end_handshake(handshake),
        }
    }

    /// Takes the user name that the handshake has shown, if it has and that was not taken yet. The shard must know it
    /// before the first byte of MQTT.
    pub fn take_user_name(&mut self) -> Option<Box<str>> {
        match &mut self.state {
            State::Plain | State::Bridged(_) => None,
            State::Layered(layers) => layers.take_user_name(),
        }
    }

    /// What was received has more to be opened: [`Link::open`] is to be called with nothing, after the user name was
    /// taken.
    pub fn has_more(&self) -> bool {
        match &self.state {
            State::Plain => false,
            State::Layered(layers) => layers.has_more(),
            State::Bridged(bridged) => bridged.has_more(),
        }
    }
}

impl AsFd for Link {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
