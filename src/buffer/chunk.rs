//! A run of bytes on its way to a socket, and the list of them that one send takes.

use super::payload::Payload;
use smallvec::SmallVec;
use std::fmt;

/// A run of bytes to send.
pub enum Chunk {
    /// Packets, or the beginning of one whose payload follows as `Shared`. Goes back to the pool.
    Block(Vec<u8>),
    /// `payload[start..end]`.
    Shared {
        /// Counted: the block stays until the last chunk that names it has been sent.
        payload: Payload,
        /// First byte to be sent.
        start: u32,
        /// One behind the last byte to be sent.
        end: u32,
    },
}

/// What one send takes, in the order of the stream. No chunk is empty.
pub type Chunks = SmallVec<[Chunk; 1]>;

impl Chunk {
    /// The bytes to send.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Block(block) => block,
            Chunk::Shared {
                payload,
                start,
                end,
            } => &payload[*start as usize..*end as usize],
        }
    }
}

impl fmt::Debug for Chunk {
    /// The kind and length alone: the bytes may be many, and hold what Clients say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Chunk::Block(_) => "Block",
            Chunk::Shared { .. } => "Shared",
        };
        write!(f, "{kind}({} bytes)", self.bytes().len())
    }
}
