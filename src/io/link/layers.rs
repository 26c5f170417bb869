//! Layers between a socket and MQTT, one over the other: a WebSocket inside TLS, say.
//!
//! ```text
//! socket ─→ [outer layer] ─→ [inner layer] ─→ MQTT         opened from the socket inwards
//! socket ←─ [outer layer] ←─ [inner layer] ←─ MQTT         sealed from MQTT outwards
//! ```
//!
//! What an inner layer has to say for itself is sealed by those outside it, behind what they have said themselves.

use super::tls::handshake::Handshake;
use super::websocket::Last;
use crate::buffer::Chunks;
use smallvec::SmallVec;
use std::fmt;
use std::net::SocketAddr;

/// The most layers that a connection can have.
const LAYERS_MAX: usize = 3;

/// The peer broke the rules of a layer; the reason is for the log. The layer's answer to the peer, if it has one, is in
/// [`Layer::own_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

/// What a layer has learned of the peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it is, whatever the socket says.
    pub address: SocketAddr,
    /// Its user name, where that is told below MQTT.
    pub user_name: Option<Box<str>>,
}

/// One layer of one connection. *Outside* is the side of the socket, *inside* that of MQTT. The calls come in the order
/// that [`super::Link`] describes; what a layer is given to seal comes from inside it, MQTT or an inner layer's own
/// bytes.
pub trait Layer: Send + fmt::Debug {
    /// Takes bytes from outside, in any cut of the stream, and appends to `inside` what they carry. What is incomplete
    /// is kept.
    ///
    /// Errors: the connection must be closed, and this is not called again. What came before the fault is in `inside`.
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken>;

    /// It has done what it was for and hands through what it is given: it can go.
    fn is_through(&self) -> bool {
        false
    }

    /// Takes what the layer has learned of the peer, which counts from then on. It comes before the first byte of MQTT.
    fn take_peer(&mut self) -> Option<Peer> {
        None
    }

    /// Bytes of memory that the peer makes it keep.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// Must [`Layer::check`] be called? The same as long as the layer is there.
    fn wants_checks(&self) -> bool {
        false
    }

    /// Called every [`LINK_CHECK_MS`](crate::limits::LINK_CHECK_MS), while no send is under way: a layer may have
    /// something to say when nothing was sent for long.
    fn check(&mut self) {}

    /// The peer has said this layer's farewell: nothing follows what was opened.
    fn has_ended(&self) -> bool;

    /// [`Layer::own_bytes`] has something to send.
    fn has_own_bytes(&self) -> bool;

    /// Takes the bytes that this layer itself must send before anything that it seals later; `None`: none.
    fn own_bytes(&mut self) -> Option<Chunks>;

    /// The bytes to send outwards for these, which hold at least one byte; none, if it is broken and seals nothing any
    /// more. Its own bytes have been taken. A new send begins: [`Layer::sent`] counts from here.
    fn seal(&mut self, chunks: Chunks, framed: &mut Last) -> Chunks;

    /// Of what was sealed last, `bytes` more have left, `whole` if these were its last. Gives the bytes, as they were
    /// given to be sealed, that left with them: never too many, and over a whole send all of them.
    fn sent(&mut self, bytes: usize, whole: bool) -> usize;

    /// What was given to be sealed last is not all sealed yet: the rest comes when this part has left. Never of a layer
    /// that is broken.
    fn has_rest(&self) -> bool {
        false
    }

    /// The next part of what was given to be sealed, once the part before has left, behind the layer's own bytes if it
    /// has some. [`Layer::sent`] counts from here.
    fn seal_rest(&mut self) -> Option<Chunks> {
        None
    }

    /// Puts the farewell into the own bytes, unless it was said before or may not be said. Nothing is sealed later.
    fn farewell(&mut self);

    /// A step of the handshake is done elsewhere, or waits to be taken there.
    fn is_away(&self) -> bool {
        false
    }

    /// Takes a step of the handshake that is too long for a shard. Nothing is opened before it comes back.
    fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        None
    }

    /// The step is done. Errors: as [`Layer::open`].
    fn end_handshake(&mut self, handshake: Box<Handshake>) -> Result<(), Broken> {
        drop(handshake);
        Ok(())
    }

    /// It has bytes from outside that it can open now, so it must be given the next, or none, at once.
    fn has_more(&self) -> bool {
        false
    }

    /// Takes the Client's user name, if this layer knows it and it has not been taken.
    fn take_user_name(&mut self) -> Option<Box<str>> {
        None
    }
}

/// What all connections of a shard share.
#[derive(Default)]
pub struct Scratch {
    /// Where layers put what they open: one buffer a layer. A layer opens not much more than one receive and what it
    /// had kept, so they stay small.
    opened: [Vec<u8>; LAYERS_MAX],
    /// What a WebSocket has framed last.
    framed: Last,
}

impl Scratch {
    /// As [`super::Link::open`], by one who appends what it opens.
    pub fn open_by(
        &mut self,
        open: impl FnOnce(&mut Vec<u8>) -> Option<Broken>,
    ) -> (&[u8], Option<Broken>) {
        let [inside, ..] = &mut self.opened;
        inside.clear();
        let broken = open(inside);
        (inside, broken)
    }

    /// Gives memory back that what comes next can do without.
    pub fn shrink(&mut self) {
        *self = Scratch::default();
    }
}

/// What a link sends of itself.
pub enum Next {
    /// The next part of what was sealed last.
    Rest(Chunks),
    /// Bytes of its layers' own.
    Own(Chunks),
}

/// The layers of a connection, at least one; the outermost first.
#[derive(Debug)]
pub struct Layers {
    /// Mostly one, which then takes no list on the heap.
    layers: SmallVec<[Box<dyn Layer>; 1]>,
    /// Own bytes of the layers, sealed and ready to be sent.
    own: Chunks,
    /// What a layer that has gone had learned.
    peer: Option<Box<Peer>>,
    /// The sum of [`Layer::kept_bytes`] that was told last.
    kept_told: u32,
    /// The layer that gave away a step of its handshake last.
    shaking: usize,
}

impl Layers {
    /// The outermost first; at least one.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Layers {
        assert!((1..=LAYERS_MAX).contains(&layers.len()));
        Layers {
            layers: layers.into_iter().collect(),
            own: Chunks::new(),
            peer: None,
            kept_told: 0,
            shaking: 0,
        }
    }

    /// As [`super::Link::open`].
    pub fn open<'a>(
        &mut self,
        received: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> (&'a [u8], Option<Broken>) {
        let mut bytes = received;
        let mut broken = None;
        let mut some_through = false;
        for (layer, inside) in self.layers.iter_mut().zip(&mut scratch.opened) {
            inside.clear();
            // The fault of the outermost is the reason: what an inner layer makes of the rest says less.
            broken = broken.or(layer.open(bytes, inside).err());
            some_through |= layer.is_through();
            bytes = inside;
            if bytes.is_empty() && broken.is_some() {
                break;
            }
        }
        if some_through {
            self.drop_through();
        }
        (bytes, broken)
    }

    /// Lets layers go that are through, and keeps what they have learned.
    #[cold]
    fn drop_through(&mut self) {
        self.peer = self.take_peer().map(Box::new);
        self.layers.retain(|layer| !layer.is_through());
    }

    /// There is none any more: what is received is MQTT.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.peer.is_none()
    }

    /// As [`super::Link::take_peer`].
    pub fn take_peer(&mut self) -> Option<Peer> {
        // What an inner layer has learned was said by who is next to an outer one.
        let inner = self.layers.iter_mut().rev();
        let mut learned = inner.filter_map(|layer| layer.take_peer());
        learned
            .next()
            .or_else(|| self.peer.take().map(|peer| *peer))
    }

    /// As [`super::Link::kept_change`].
    pub fn kept_change(&mut self) -> Option<usize> {
        let kept = self.layers.iter().map(|layer| layer.kept_bytes());
        let kept = kept.sum::<usize>() as u32;
        (std::mem::replace(&mut self.kept_told, kept) != kept).then_some(kept as usize)
    }

    /// As [`super::Link::kept_bytes`].
    pub fn kept_told(&self) -> usize {
        self.kept_told as usize
    }

    /// As [`super::Link::wants_checks`].
    pub fn wants_checks(&self) -> bool {
        self.layers.iter().any(|layer| layer.wants_checks())
    }

    /// As [`super::Link::check`].
    pub fn check(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.check());
    }

    /// As [`super::Link::has_more`].
    pub fn has_more(&self) -> bool {
        self.layers.iter().any(|layer| layer.has_more())
    }

    /// As [`super::Link::take_handshake`].
    pub fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        let mut layers = self.layers.iter_mut().enumerate();
        let (index, handshake) =
            layers.find_map(|(index, layer)| Some((index, layer.take_handshake()?)))?;
        self.shaking = index;
        Some(handshake)
    }

    /// As [`super::Link::end_handshake`].
    pub fn end_handshake(&mut self, handshake: Box<Handshake>) -> Result<(), Broken> {
        self.layers[self.shaking].end_handshake(handshake)
    }

    /// As [`super::Link::take_user_name`].
    pub fn take_user_name(&mut self) -> Option<Box<str>> {
        self.layers
            .iter_mut()
            .find_map(|layer| layer.take_user_name())
    }

    /// As [`super::Link::has_ended`].
    pub fn has_ended(&self) -> bool {
        self.layers.iter().any(|layer| layer.has_ended())
    }

    /// As [`super::Link::needs_attention`].
    pub fn needs_attention(&self) -> bool {
        !self.own.is_empty()
            || self.layers.iter().any(|layer| {
                layer.has_own_bytes() || layer.has_ended() || layer.has_more() || layer.is_away()
            })
    }

    /// As [`super::Link::has_own_bytes`].
    pub fn has_own_bytes(&self) -> bool {
        !self.own.is_empty() || self.layers.iter().any(|layer| layer.has_own_bytes())
    }

    /// As [`super::Link::next_send`].
    pub fn next_send(&mut self, scratch: &mut Scratch) -> Option<Next> {
        // The outermost layer that has a rest goes on; what layers inside it have to say must not come in between.
        let index = self.layers.iter().position(|layer| layer.has_rest());
        if let Some(index) = index
            && let Some(rest) = self.layers[index].seal_rest()
        {
            return Some(Next::Rest(self.seal_outside(index, rest, scratch)));
        }
        for index in 0..self.layers.len() {
            self.gather(index, scratch);
        }
        let own = std::mem::take(&mut self.own);
        (!own.is_empty()).then_some(Next::Own(own))
    }

    /// Appends the own bytes of one layer. Those of the layers outside it have been gathered.
    fn gather(&mut self, index: usize, scratch: &mut Scratch) {
        let Some(own) = self.layers[index].own_bytes() else {
            return;
        };
        let sealed = self.seal_outside(index, own, scratch);
        self.own.extend(sealed);
    }

    /// Seals what comes out of the layer `inner`, by all outside it.
    fn seal_outside(&mut self, inner: usize, mut chunks: Chunks, scratch: &mut Scratch) -> Chunks {
        for layer in self.layers[..inner].iter_mut().rev() {
            chunks = layer.seal(chunks, &mut scratch.framed);
        }
        chunks
    }

    /// As [`super::Link::seal`].
    pub fn seal(&mut self, chunks: Chunks, scratch: &mut Scratch) -> Chunks {
        self.seal_outside(self.layers.len(), chunks, scratch)
    }

    /// As [`super::Link::sent`].
    pub fn sent(&mut self, mut bytes: usize, mut whole: bool) -> usize {
        for layer in &mut self.layers {
            bytes = layer.sent(bytes, whole);
            // Of what an inner layer has sealed, there is more to come.
            whole &= !layer.has_rest();
        }
        bytes
    }

    /// As [`super::Link::farewell`]: from the innermost outwards, as nothing follows the farewell of a layer outside.
    pub fn farewell(&mut self, scratch: &mut Scratch) {
        for index in 0..self.layers.len() {
            self.gather(index, scratch);
        }
        for index in (0..self.layers.len()).rev() {
            self.layers[index].farewell();
            self.gather(index, scratch);
        }
    }
}
