//! Layers between a socket and MQTT, one over the other: a WebSocket inside TLS, say.
//!
//! ```text
//! socket ─→ [outer layer] ─→ [inner layer] ─→ MQTT         opened from the socket inwards
//! socket ←─ [outer layer] ←─ [inner layer] ←─ MQTT         sealed from MQTT outwards
//! ```
//!
//! What an inner layer has to say for itself is sealed by those outside it, behind what they have said themselves.

use crate::buffer::Chunks;
use std::fmt;

/// The most layers that a connection can have.
const LAYERS_MAX: usize = 3;

/// The peer broke the rules of a layer; the reason is for the log. The layer's answer to the peer, if it has one, is in
/// [`Layer::own_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

/// One layer of one connection. *Outside* is the side of the socket, *inside* that of MQTT. The calls come in the order
/// that [`super::Link`] describes; what a layer is given to seal comes from inside it, MQTT or an inner layer's own
/// bytes.
pub trait Layer: Send + fmt::Debug {
    /// Takes bytes from outside, in any cut of the stream, and appends to `inside` what they carry. What is incomplete
    /// is kept.
    ///
    /// Errors: the connection must be closed, and this is not called again.
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken>;

    /// The peer has said this layer's farewell: nothing follows what was opened.
    fn has_ended(&self) -> bool;

    /// [`Layer::own_bytes`] has something to send.
    fn has_own_bytes(&self) -> bool;

    /// Takes the bytes that this layer itself must send before anything that it seals later; `None`: none.
    fn own_bytes(&mut self) -> Option<Chunks>;

    /// The bytes to send outwards for these, which hold at least one byte. Its own bytes have been taken. A new send
    /// begins: [`Layer::sent`] counts from here.
    fn seal(&mut self, chunks: Chunks) -> Chunks;

    /// Of what was sealed last, `bytes` more have left, `whole` if these were its last. Gives the bytes, as they were
    /// given to be sealed, that left with them: never too many, and over a whole send all of them.
    fn sent(&mut self, bytes: usize, whole: bool) -> usize;

    /// Puts the farewell into the own bytes, unless it was said before or may not be said. Nothing is sealed later.
    fn farewell(&mut self);
}

/// Where layers put what they open: one buffer a layer, the same for all connections of a shard. A layer opens not much
/// more than one receive and what it had kept, so they stay small.
#[derive(Default)]
pub struct Scratch([Vec<u8>; LAYERS_MAX]);

/// The layers of a connection, at least one; the outermost first.
#[derive(Debug)]
pub struct Layers {
    layers: Vec<Box<dyn Layer>>,
    /// Own bytes of the layers, sealed and ready to be sent.
    own: Chunks,
}

impl Layers {
    /// The outermost first; at least one.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Layers {
        assert!((1..=LAYERS_MAX).contains(&layers.len()));
        Layers {
            layers,
            own: Chunks::new(),
        }
    }

    /// As [`super::Link::open`].
    pub fn open<'a>(
        &mut self,
        received: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Result<&'a [u8], Broken> {
        let mut bytes = received;
        for (layer, inside) in self.layers.iter_mut().zip(&mut scratch.0) {
            inside.clear();
            layer.open(bytes, inside)?;
            bytes = inside;
        }
        Ok(bytes)
    }

    /// As [`super::Link::has_ended`].
    pub fn has_ended(&self) -> bool {
        self.layers.iter().any(|layer| layer.has_ended())
    }

    /// As [`super::Link::has_own_bytes`].
    pub fn has_own_bytes(&self) -> bool {
        !self.own.is_empty() || self.layers.iter().any(|layer| layer.has_own_bytes())
    }

    /// As [`super::Link::own_bytes`].
    pub fn own_bytes(&mut self) -> Option<Chunks> {
        for index in 0..self.layers.len() {
            self.gather(index);
        }
        let own = std::mem::take(&mut self.own);
        (!own.is_empty()).then_some(own)
    }

    /// Appends the own bytes of one layer. Those of the layers outside it have been gathered.
    fn gather(&mut self, index: usize) {
        let Some(own) = self.layers[index].own_bytes() else {
            return;
        };
        let sealed = self.seal_outside(index, own);
        self.own.extend(sealed);
    }

    /// Seals what comes out of the layer `inner`, by all outside it.
    fn seal_outside(&mut self, inner: usize, mut chunks: Chunks) -> Chunks {
        for layer in self.layers[..inner].iter_mut().rev() {
            chunks = layer.seal(chunks);
        }
        chunks
    }

    /// As [`super::Link::seal`].
    pub fn seal(&mut self, chunks: Chunks) -> Chunks {
        self.seal_outside(self.layers.len(), chunks)
    }

    /// As [`super::Link::sent`].
    pub fn sent(&mut self, mut bytes: usize, whole: bool) -> usize {
        for layer in &mut self.layers {
            bytes = layer.sent(bytes, whole);
        }
        bytes
    }

    /// As [`super::Link::farewell`]: from the innermost outwards, as nothing follows the farewell of a layer outside.
    pub fn farewell(&mut self) {
        for index in 0..self.layers.len() {
            self.gather(index);
        }
        for index in (0..self.layers.len()).rev() {
            self.layers[index].farewell();
            self.gather(index);
        }
    }
}
