//! Bounds of bridges.

use super::{BRIDGE_RECEIVE_MAXIMUM, PACKET_BYTES_MAX_DEFAULT};

/// Bridges of one configuration; each may take two connections and one thread that looks up names.
pub const BRIDGES_MAX: usize = 64;
/// The largest packet a bridge takes from the other broker, unless its configuration says less.
pub const BRIDGE_PACKET_BYTES_MAX: u32 = PACKET_BYTES_MAX_DEFAULT;
/// Unsent bytes to one side of a bridge above which QoS 0 for the other broker is dropped, and nothing is read from the
/// other broker.
pub const BRIDGE_UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// Unsent bytes to the other broker, beside QoS 1 and 2 messages that it has not acknowledged and one of QoS 0, above
/// which it is given up. Of a broker that keeps to the rules these are the messages of QoS 0 and its acknowledgements.
pub const BRIDGE_UNREAD_BYTES_MAX: usize = 2 * BRIDGE_UNSENT_BYTES_MAX;
/// Two acknowledgements for each Packet Identifier, and what is asked first.
const _: () = assert!(
    BRIDGE_UNREAD_BYTES_MAX - BRIDGE_UNSENT_BYTES_MAX >= 2 * 6 * BRIDGE_RECEIVE_MAXIMUM as usize
);
/// Bytes that one read of a bridge takes.
pub const BRIDGE_READ_BYTES: usize = 64 * 1024;
/// How long names are looked up and a connection is made, its TLS included.
pub const BRIDGE_CONNECT_MS: u64 = 10_000;
/// How long a broker may take for CONNACK, and for the answers to what is asked first.
pub const BRIDGE_LOGIN_MS: u64 = 10_000;
/// How long PINGRESP may take while nothing else comes.
pub const BRIDGE_PING_ANSWER_MS: u64 = 15_000;
/// A connection that ended sooner counts as a failure of its address.
pub const BRIDGE_STABLE_MS: u64 = 10_000;
/// How long the failures of an address are remembered.
pub const BRIDGE_ADDRESS_MEMORY_MS: u64 = 600_000;
/// Messages remembered in order to find loops.
pub const BRIDGE_LOOP_ENTRIES: usize = 4096;
/// Bytes of a payload that are looked at for that.
pub const BRIDGE_LOOP_HASHED_BYTES: usize = 1024;
/// A message that comes in so soon after it went out has come back.
pub const BRIDGE_LOOP_WITHIN_MS: u64 = 1_000;
/// Returns of one message that make a loop.
pub const BRIDGE_LOOP_RETURNS: u16 = 8;
/// Bridges a v5 message may have crossed.
pub const BRIDGE_HOPS_MAX: u32 = 16;
/// How long a bridge rests after a loop.
pub const BRIDGE_LOOP_PAUSE_MS: u64 = 300_000;
/// Retained messages that a bridge remembers to have written here, 24 bytes each. Of further ones, deletions that are
/// made while it is away are not noticed.
pub const BRIDGE_RETAINED_MAX: usize = 32_768;
/// Pause between two looks whether a broker has sent all retained messages, and looks in a row at which nothing came.
pub const BRIDGE_REPLAY_PAUSE_MS: u64 = 500;
/// See `BRIDGE_REPLAY_PAUSE_MS`.
pub const BRIDGE_REPLAY_QUIET: u8 = 3;
/// How often a bridge looks for what shards answer, while it compares retained messages.
pub const BRIDGE_COMPARE_MS: u64 = 20;
/// How often a lazy bridge looks whether messages wait.
pub const BRIDGE_LOOK_MS: u64 = 1_000;
/// How often a bridge tells of messages that it drops.
pub const BRIDGE_DROPS_TOLD_MS: u64 = 60_000;
/// How long the last bytes of a connection may take before it is closed.
pub const BRIDGE_FAREWELL_MS: u64 = 1_000;
