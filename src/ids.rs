//! Newtypes of the numbers that travel through the broker, so that none is taken for another.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// A shard: one thread, one core, one `broker::Shard`. Counts from 0; at most
/// [`crate::limits::SHARDS_MAX`] of them, so that a set of shards fits in 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u8);

impl ShardId {
    /// Index into arrays that hold one element a shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The set that holds this shard alone.
    pub fn bit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A listener of the configuration, by its place there. Counts from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListenerId(pub u8);

impl ListenerId {
    /// Index into arrays that hold one element a listener.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A Network Connection of one shard: a slot and the generation of its use, so that a late event of
/// an earlier connection in the same slot is never taken for one of the present connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionId {
    /// Slot, chosen by the driver: small and dense, reused after the connection is gone.
    pub index: u32,
    /// Number of earlier uses of the slot, modulo 2^24.
    pub generation: u32,
}

/// A Session of one shard: a slot and the generation of its use, as with [`ConnectionId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId {
    /// Of a slot; counts from 0.
    pub index: u32,
    /// Never 0, so that an enum with a SessionId in one variant and a slot in another takes no more room than a
    /// SessionId.
    pub generation: NonZeroU32,
}

/// A Session in the store: given once by the shard that first stores it, and never again, also after restarts and with
/// another number of shards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StoredSession(NonZeroU64);

impl StoredSession {
    /// Low bits that name the shard which gave the number.
    const SHARD_BITS: u32 = 6;
    /// The bit of a group's name: no counter reaches it, and ids of tables have 63 bits.
    const GROUP: u64 = 1 << 62;

    /// The `counter`th Session that `shard` stores, from 1 on; `None` for 0, and for more than 2^56 - 1, which no
    /// broker reaches.
    pub fn new(counter: u64, shard: ShardId) -> Option<StoredSession> {
        let fits = counter < Self::GROUP >> Self::SHARD_BITS;
        let number = NonZeroU64::new(counter << Self::SHARD_BITS)?;
        fits.then(|| StoredSession(number | u64::from(shard.0)))
    }

    /// From the number in a store; `None` for a number that no shard gives.
    pub fn from_number(number: u64) -> Option<StoredSession> {
        let named = number >> Self::SHARD_BITS > 0;
        NonZeroU64::new(number).filter(|_| named).map(StoredSession)
    }

    /// The number by which a store knows it.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// Stands for a group, `$share/…`, where it is said who has a passage: a hash of the text, no name of a Session.
    pub fn of_group(filter: &str) -> StoredSession {
        // FNV-1a. Two groups fall together once in 2^62.
        let hash = filter.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let number = NonZeroU64::new(hash & (Self::GROUP - 1)).unwrap_or(NonZeroU64::MIN);
        StoredSession(number | Self::GROUP)
    }

    /// It stands for a group.
    pub fn is_group(self) -> bool {
        self.number() & Self::GROUP != 0
    }

    /// The counter in it.
    pub fn counter(self) -> u64 {
        self.0.get() >> Self::SHARD_BITS
    }
}
const _: () = assert!(crate::limits::SHARDS_MAX <= 1 << StoredSession::SHARD_BITS);

/// A QoS 2 message of a stored Session that crosses to other shards, from PUBLISH to PUBREL; named like a Session, and
/// by no name of one.
pub type Passage = StoredSession;

/// A group of a Shared Subscription at its owner shard: a slot and the generation of its use, as with [`ConnectionId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupId {
    /// Of a slot; counts from 0.
    pub index: u32,
    /// Tells one use of the slot from the next.
    pub generation: u32,
}

/// A Topic Filter's place in the trie of one shard; holds while someone subscribes to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u32);

/// Whose the memory is: a user, or a client id without one, in the account book of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OwnerId(pub u32);
