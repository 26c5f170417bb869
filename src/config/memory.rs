//! The memory a broker may take, summed from `limits` and what the operator set.

use super::settings::Settings;
use crate::limits;
use std::fmt;

/// The most memory a broker may take, summed from `limits` and [`Settings`]; in bytes. Its `Display` is the
/// start-up line, and `docs/limits.md` has it for three machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBound {
    /// Receive buffers, pools, lanes, unfinished CONNECTs, waiting password checks and log lines: taken however few
    /// Clients there are.
    pub fixed_bytes: u64,
    /// All that Clients make the broker hold (`--memory-limit`).
    pub clients_bytes_max: u64,
    /// What the allocator may keep beside that, and what code and tables take.
    pub allocator_bytes_max: u64,
}

impl MemoryBound {
    /// All of it.
    pub fn whole(&self) -> u64 {
        self.fixed_bytes + self.clients_bytes_max + self.allocator_bytes_max
    }
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
    let clients = settings.memory_bytes_max;
    MemoryBound {
        fixed_bytes: (shards * per_shard + checks + log) as u64,
        clients_bytes_max: clients,
        allocator_bytes_max: clients / 100 * limits::ALLOCATOR_PERCENT + limits::ALLOCATOR_BYTES,
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory: at most {} in all: {} for what clients make the broker hold (--memory-limit), {} that the allocator may keep beside it, {} for \
             buffers; a client with little to do takes about {}",
            Size(self.whole()),
            Size(self.clients_bytes_max),
            Size(self.allocator_bytes_max),
            Size(self.fixed_bytes),
            Size(limits::CONNECTION_BYTES_TYPICAL),
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
            memory_bytes_max: 1 << 28,
            listeners: [passwords, false]
                .map(|passwords| ListenerSettings {
                    passwords,
                    ..ListenerSettings::default()
                })
                .into(),
            ..Settings::default()
        };
        let one = memory_bound(&settings(false), 1);
        let log = 3 << 20;
        assert_eq!(one.fixed_bytes, log + (7 << 20) + (32 << 10));
        assert_eq!(one.clients_bytes_max, 1 << 28);
        assert_eq!(one.allocator_bytes_max >> 20, 64 + 8 - 1);
        assert_eq!(
            one.to_string(),
            "memory: at most 338.1 MiB in all: 256 MiB for what clients make the broker hold (--memory-limit), 72 MiB that the allocator may keep beside it, 10.1 MiB for \
             buffers; a client with little to do takes about 1 KiB"
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
