//! What the lanes between shards carry.

use crate::broker::{HandOver, PeerMessage};
use crate::io::link::Link;
use crate::limits;
use crate::mesh::Bounds;

/// One item of a lane.
pub enum Crossing {
    /// A connection moves to the receiver, where its Session's home is.
    Adopt(Box<Link>, Box<HandOver>),
    /// What one shard says to another.
    Said(PeerMessage),
}

impl Crossing {
    /// Bytes it holds on the heap, beside its slot in a lane.
    fn bytes(&self) -> usize {
        match self {
            Crossing::Adopt(_, hand_over) => hand_over.request.bytes() + hand_over.bytes.len(),
            Crossing::Said(message) => message.bytes(),
        }
    }
}

/// The bounds of a lane between two shards.
pub const LANE_BOUNDS: Bounds<Crossing> = Bounds {
    items: limits::LANE_SLOTS,
    bytes: limits::LANE_BYTES_MAX,
    bytes_of: Crossing::bytes,
};

// The memory of a slot is part of the bound that is logged at the start; wrapping a message must add nothing to it.
const _: () = assert!(size_of::<Crossing>() <= limits::LANE_SLOT_BYTES_MAX);
const _: () = assert!(size_of::<Crossing>() == size_of::<PeerMessage>());
