//! Randomness that depends on the configured seed alone, so that the same inputs give the same outputs.

use crate::ids::ShardId;

/// SplitMix64. [Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014]
pub(super) struct Random(u64);

impl Random {
    /// Different for each shard.
    pub fn new(seed: u64, shard: ShardId) -> Random {
        Random(seed ^ (u64::from(shard.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
