//! The memory a broker may take, summed from `limits` and what the operator set.

use super::settings::Settings;
use crate::limits;
use std::fmt;

/// The most memory a broker may take, summed from `limits` and [`Settings`]; in bytes. Its `Display` is the
/// start-up line.
///
/// Not in the sum, because `--memory-limit` bounds them together: retained messages, Topic Filters, the Sessions
/// themselves (without their queues), messages spilled from full lanes, and log lines that wait for a slow reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBound {
    /// Receive buffers, pools, lanes, unfinished CONNECTs and waiting password checks: taken however few Clients
    /// there are.
    pub fixed_bytes: u64,
    /// Messages queued for Clients that are absent or slow, all Sessions together.
    pub queued_bytes_max: u64,
    /// One Network Connection at its worst: a packet of the largest size half received, and an outbox full
    /// but for one byte with one more such packet behind it.
    pub per_connection_bytes_max: u64,
    /// The largest packet that any listener takes.
    pub packet_bytes_max: u64,
}

/// Sums the bounds for a broker of `shards` shards.
pub fn memory_bound(settings: &Settings, shards: usize) -> MemoryBound {
    assert!((1..=limits::SHARDS_MAX).contains(&shards));
    let receive =
        limits::RECEIVE_BUFFERS * limits::RECEIVE_BUFFER_BYTES + limits::LARGE_RECEIVE_BYTES;
    let slots = limits::LANE_SLOTS * limits::LANE_SLOT_BYTES_MAX;
    let lanes = (shards - 1) * (slots + limits::LANE_BYTES_MAX + limits::SPILL_HIGH_BYTES);
    let kept = limits::POOL_KEPT_BYTES_MAX + limits::SPARE_PACKETS_BYTES_MAX;
    let per_shard = receive + kept + lanes + limits::UNACCEPTED_BYTES_MAX;
    let checks = if settings.listeners.iter().any(|listener| listener.passwords) {
        limits::PASSWORD_CHECKS_WAITING_BYTES_MAX
    } else {
        0
    };
    let log = 3 * limits::LOG_BYTES_WAITING_MAX;
    let packets = settings
        .listeners
        .iter()
        .map(|listener| listener.packet_bytes_max);
    let packet_bytes_max = u64::from(packets.max().unwrap_or(0));
    MemoryBound {
        fixed_bytes: (shards * per_shard + checks + log) as u64,
        queued_bytes_max: shards as u64 * settings.shard_queue_bytes_max,
        per_connection_bytes_max: 2 * packet_bytes_max + limits::OUTBOX_BYTES_MAX as u64,
        packet_bytes_max,
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory: about {} for a client with little to do; at most {} for the buffers and queued messages of all together, and {} more for a client \
             only while packets of {} (--max-packet-size) are on their way to and from it; retained messages and subscriptions come on top",
            Size(limits::CONNECTION_BYTES_TYPICAL),
            Size(self.fixed_bytes + self.queued_bytes_max),
            Size(self.per_connection_bytes_max),
            Size(self.packet_bytes_max)
        )
    }
}

/// Bytes in the largest unit that leaves at least 1, rounded up: a bound must not read as less than it is.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= bytes {
                let tenths = (u128::from(self.0) * 10).div_ceil(u128::from(bytes));
                return match tenths % 10 {
                    0 => write!(f, "{} {unit}", tenths / 10),
                    tenth => write!(f, "{}.{tenth} {unit}", tenths / 10),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenerSettings;

    #[test]
    fn the_memory_bound_is_the_sum_of_the_limits() {
        let settings = |passwords| Settings {
            shard_queue_bytes_max: 1 << 28,
            listeners: [(1 << 20, passwords), (1 << 10, false)]
                .map(|(packet_bytes_max, passwords)| ListenerSettings {
                    packet_bytes_max,
                    passwords,
                    ..ListenerSettings::default()
                })
                .into(),
            ..Settings::default()
        };
        let one = memory_bound(&settings(false), 1);
        let log = 3 << 20;
        assert_eq!(one.fixed_bytes, log + (7 << 20) + (32 << 10));
        assert_eq!(one.queued_bytes_max, 1 << 28);
        assert_eq!(one.per_connection_bytes_max, (2 << 20) + (4 << 20));
        assert_eq!(
            one.to_string(),
            "memory: about 1 KiB for a client with little to do; at most 266.1 MiB for the buffers and queued messages of all together, and 6 MiB more for a client \
             only while packets of 1 MiB (--max-packet-size) are on their way to and from it; retained messages and subscriptions come on top"
        );
        let four = memory_bound(&settings(false), 4);
        // 192 KiB of slots, 1 MiB in them and 1 MiB spilled.
        let lanes = 4 * 3 * ((192 << 10) + (2 << 20));
        assert_eq!(four.fixed_bytes - log, 4 * (one.fixed_bytes - log) + lanes);
        assert_eq!(
            memory_bound(&settings(true), 1).fixed_bytes,
            one.fixed_bytes + (1 << 20)
        );
    }

    #[test]
    fn sizes_are_rounded_up() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1025, "1.1 KiB"),
            (1 << 20, "1 MiB"),
            ((1 << 30) - 1, "1024 MiB"),
            (u64::MAX, "17179869184 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
