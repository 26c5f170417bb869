//! On which shard a Session and a Shared Subscription live. Every shard computes the same answer.

use crate::ids::ShardId;

/// The shard where the Session of a client id lives, and the one that notes the writes of a retained topic for the
/// store: FNV-1a of its bytes, modulo the shards. The same in every run.
pub fn home_of(client_id: &str, shards: usize) -> ShardId {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = client_id.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    // The low bits of FNV-1a depend on few bits of the input; fold the high half in.
    ShardId(((hash ^ (hash >> 32)) % shards as u64) as u8)
}

/// The shard that owns the group of a `$share/NAME/FILTER`.
pub(super) fn owner_of(filter: &str, shards: usize) -> ShardId {
    home_of(filter, shards)
}
