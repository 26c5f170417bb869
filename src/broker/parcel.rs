//! Parcels: the QoS 0 packets of a turn for one peer shard, as their publishers encoded them. The receiver matches and
//! copies from a parcel as from a receive buffer. So a message that crosses costs one copy here and one match there,
//! but no allocation, no reference count and no slot of the lane for itself.
//!
//! ```text
//! Client ─ run ─┐                               ┌─ run ─ matches ─ outboxes
//! Client ─ run ─┼─ Parcel ─ one slot of a lane ─┼─ run ─ matches ─ outboxes
//! Client ─ run ─┘                               └─ run ─ …
//! ```
//!
//! Only packets that need no new encoding travel in a parcel ([`Verbatim`]); all others travel as a `Message`. Lanes
//! keep their order: any other message to the peer closes its parcel first ([`Outputs::push`](super::Outputs::push)).
//!
//! A parcel's memory goes with it and becomes the receiver's, for its own outboxes and parcels. Where both shards send
//! equally much, nothing is allocated.

use super::passing::Verbatim;
use crate::buffer::Pool;
use crate::buffer::account::Booked;
use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::wire::{Run, Version};

/// Packets of one connection, and where they end in the parcel.
#[derive(Debug)]
struct Packed {
    origin: ConnectionId,
    version: Version,
    packets: u32,
    end: usize,
}

impl Verbatim<'_> {
    /// What its packets take of a parcel.
    pub(super) fn packed_bytes(&self) -> usize {
        self.run.bytes.len() + size_of::<Packed>()
    }
}

/// QoS 0 messages on their way to a peer shard.
#[derive(Default, Debug)]
pub struct Parcel {
    /// A block of a pool.
    bytes: Vec<u8>,
    runs: Vec<Packed>,
    /// What was packed while the lane was full, for its publishers.
    booked: Vec<Booked>,
}

impl Parcel {
    /// Bytes of packets in it, and what it takes to tell them apart.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.runs.len() * size_of::<Packed>()
    }

    /// Messages in it.
    pub fn messages(&self) -> usize {
        self.runs.iter().map(|run| run.packets as usize).sum()
    }

    /// The runs in their order: the publisher's connection on the sending shard, its version and its packets.
    pub(super) fn runs(&self) -> impl Iterator<Item = (ConnectionId, Version, Run<'_>)> {
        let mut start = 0;
        self.runs.iter().map(move |packed| {
            let bytes = &self.bytes[start..packed.end];
            start = packed.end;
            let packets = packed.packets;
            (packed.origin, packed.version, Run { bytes, packets })
        })
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + bytes <= limits::LARGE_BLOCK_BYTES
    }

    fn append(&mut self, origin: ConnectionId, verbatim: &Verbatim<'_>, pool: &mut Pool) {
        let bytes = verbatim.run.bytes;
        let whole = self.bytes.len() + bytes.len();
        if whole > self.bytes.capacity() {
            // Moves the packets from a small block into a large one, once.
            let mut block = pool.take(whole);
            block.extend_from_slice(&self.bytes);
            pool.give(std::mem::replace(&mut self.bytes, block));
        }
        self.bytes.extend_from_slice(bytes);
        self.runs.push(Packed {
            origin,
            version: verbatim.version,
            packets: verbatim.run.packets,
            end: whole,
        });
    }
}

/// The parcels of a shard that are open, at most one for each peer.
#[derive(Default, Debug)]
pub(super) struct Parcels {
    open: Vec<(ShardId, Box<Parcel>)>,
    /// Empty parcels for reuse.
    // Boxed, because a parcel in a lane would take the room of three messages.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Parcel>>,
}

impl Parcels {
    /// Puts packets into the parcel for a peer. Returns the parcel before it if that was full; it must be sent first.
    pub fn append(
        &mut self,
        to: ShardId,
        origin: ConnectionId,
        verbatim: &Verbatim<'_>,
        booked: Option<Booked>,
        pool: &mut Pool,
    ) -> Option<Box<Parcel>> {
        let open = self.open.iter_mut().find(|(shard, _)| *shard == to);
        let (parcel, full) = match open {
            Some((_, parcel)) if parcel.has_room(verbatim.run.bytes.len()) => (parcel, None),
            Some((_, parcel)) => {
                let next = self.spare.pop().unwrap_or_default();
                let full = std::mem::replace(parcel, next);
                (parcel, Some(full))
            }
            None => {
                self.open.push((to, self.spare.pop().unwrap_or_default()));
                let (_, parcel) = self.open.last_mut().expect("just put there");
                (parcel, None)
            }
        };
        parcel.append(origin, verbatim, pool);
        parcel.booked.extend(booked);
        full
    }

    /// Takes the open parcel for a peer.
    #[inline]
    pub fn close(&mut self, to: ShardId) -> Option<Box<Parcel>> {
        let at = self.open.iter().position(|(shard, _)| *shard == to)?;
        Some(self.open.remove(at).1)
    }

    /// Takes any open parcel.
    #[inline]
    pub fn close_any(&mut self) -> Option<(ShardId, Box<Parcel>)> {
        self.open.pop()
    }

    /// Keeps the memory of a handled parcel.
    pub fn reuse(&mut self, mut parcel: Box<Parcel>, pool: &mut Pool) {
        pool.give(std::mem::take(&mut parcel.bytes));
        parcel.runs.clear();
        parcel.booked.clear();
        if self.spare.len() < limits::SPARE_PARCELS_MAX
            && parcel.runs.capacity() <= limits::SPARE_PARCEL_RUNS_MAX
        {
            self.spare.push(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Publish, next_frame};

    const ORIGIN: ConnectionId = ConnectionId {
        index: 7,
        generation: 3,
    };

    fn packet(payload_bytes: usize) -> Vec<u8> {
        let body_bytes = 3 + payload_bytes;
        let mut packet = vec![0x30, body_bytes as u8 | 0x80, (body_bytes >> 7) as u8];
        packet.extend([0, 1, b'a']);
        packet.resize(packet.len() + payload_bytes, b'x');
        packet
    }

    fn append(parcels: &mut Parcels, to: u8, bytes: &[u8], pool: &mut Pool) -> Option<Box<Parcel>> {
        let frame = next_frame(bytes, u32::MAX).unwrap().unwrap();
        let run = Run::of(Version::V311, &frame, bytes, u32::MAX);
        let publish = Publish::decode(Version::V311, &frame).unwrap();
        let verbatim = Verbatim::of(Version::V311, &publish, run).expect("plain");
        parcels.append(ShardId(to), ORIGIN, &verbatim, None, pool)
    }

    #[test]
    fn runs_come_out_as_they_went_in() {
        let (mut parcels, mut pool) = (Parcels::default(), Pool::new());
        let sizes = [200, 3000, 300, 9000, 128];
        for size in sizes {
            let bytes = packet(size).repeat(2);
            assert!(append(&mut parcels, 1, &bytes, &mut pool).is_none());
        }
        assert!(append(&mut parcels, 2, &packet(200), &mut pool).is_none());
        assert!(parcels.close(ShardId(3)).is_none());
        let parcel = parcels.close(ShardId(1)).expect("it is open");
        assert_eq!(parcel.messages(), 10);
        let runs: Vec<_> = parcel.runs().collect();
        assert_eq!(runs.len(), sizes.len());
        for ((origin, version, run), size) in runs.into_iter().zip(sizes) {
            assert_eq!((origin, version, run.packets), (ORIGIN, Version::V311, 2));
            assert_eq!(run.bytes, packet(size).repeat(2));
        }
        let (to, other) = parcels.close_any().expect("it is open");
        assert_eq!((to, other.messages()), (ShardId(2), 1));
        assert!(parcels.close_any().is_none());
        parcels.reuse(parcel, &mut pool);
        assert!(pool.kept_bytes() > 0);
        assert!(append(&mut parcels, 1, &packet(200), &mut pool).is_none());
        let parcel = parcels.close(ShardId(1)).expect("it is open");
        assert_eq!((parcel.messages(), parcel.runs().count()), (1, 1));
    }

    #[test]
    fn a_full_one_goes_before_the_next() {
        let (mut parcels, mut pool) = (Parcels::default(), Pool::new());
        let bytes = packet(15_000);
        let mut gone = 0;
        for count in 1..=20 {
            if let Some(full) = append(&mut parcels, 1, &bytes, &mut pool) {
                assert!(full.bytes.len() <= limits::LARGE_BLOCK_BYTES);
                gone += full.messages();
                assert_eq!(gone, count - 1, "all before this one");
            }
        }
        assert_eq!(gone, 16);
        assert_eq!(parcels.close(ShardId(1)).expect("open").messages(), 4);
    }
}
