//! What the tree of retained messages holds for a Topic Name, and what ended Sessions leave in the trie.

use crate::broker::passing::RetainVersion;
use crate::buffer::account::Booked;
use crate::ids::{NodeId, SessionId, ShardId};
use crate::limits;
use crate::session::Message;
use std::num::NonZeroU64;
use std::rc::Rc;

/// A version in one word: the clock above the shard, so that they compare as [`RetainVersion`] does. Not 0, so that a
/// place in the tree without a message takes no more room than a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Packed(NonZeroU64);

/// Bits of the shard.
const SHARD_BITS: u32 = 6;
const _: () = assert!(limits::SHARDS_MAX <= 1 << SHARD_BITS);
/// The highest clock there is room for: a write each nanosecond for nine years.
const CLOCK_MAX: u64 = (u64::MAX >> SHARD_BITS) - 1;

impl Packed {
    fn new(version: RetainVersion) -> Packed {
        let clock = version.clock.min(CLOCK_MAX) + 1;
        let shard = u64::from(version.shard.0) % (1 << SHARD_BITS);
        Packed(NonZeroU64::MIN.saturating_add((clock << SHARD_BITS | shard) - 1))
    }

    fn get(self) -> RetainVersion {
        RetainVersion {
            clock: (self.0.get() >> SHARD_BITS) - 1,
            shard: ShardId((self.0.get() % (1 << SHARD_BITS)) as u8),
        }
    }
}

/// A retained message, or the mark that one was deleted.
#[derive(Debug)]
pub struct Retained {
    version: Packed,
    /// `None`: deleted; kept until every peer's clock has passed `version`, so that no older write brings it back.
    pub message: Option<Rc<Message>>,
}

// There is a place for each retained message.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Option<Retained>>() == 16);

impl Retained {
    pub fn new(version: RetainVersion, message: Option<Rc<Message>>) -> Retained {
        Retained {
            version: Packed::new(version),
            message,
        }
    }

    pub fn version(&self) -> RetainVersion {
        self.version.get()
    }
}

/// An ended Session with subscriptions that are still in the trie.
pub struct Departed {
    pub session: SessionId,
    /// Where they lie.
    pub nodes: Vec<NodeId>,
    /// Counts all of them for its owner until the last is out.
    pub booked: Option<Booked>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_versions_come_back_and_keep_their_order() {
        let clocks = [0, 1, 2, 1 << 32, CLOCK_MAX - 1, CLOCK_MAX];
        let versions = clocks.into_iter().flat_map(|clock| {
            [0, 1, 62, 63].map(|shard| RetainVersion {
                clock,
                shard: ShardId(shard),
            })
        });
        let versions: Vec<RetainVersion> = versions.collect();
        for a in &versions {
            assert_eq!(Packed::new(*a).get(), *a);
            for b in &versions {
                assert_eq!(Packed::new(*a).cmp(&Packed::new(*b)), a.cmp(b));
            }
        }
        // A clock that no broker reaches, as in a damaged store, is the highest.
        let damaged = RetainVersion {
            clock: u64::MAX,
            shard: ShardId(63),
        };
        assert_eq!(Packed::new(damaged).get().clock, CLOCK_MAX);
    }
}
