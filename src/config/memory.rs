//! The memory a broker may take, summed from `limits` and what the operator set.

use super::settings::Settings;
use super::{Config, Control};
use crate::limits;
use std::fmt;

/// The most memory a broker may take, summed from `limits` and [`Settings`]; in bytes. Its `Display` is the
/// start-up line, and `docs/limits.md` has it for three machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBound {
    /// Receive buffers, pools, lanes, unfinished CONNECTs, waiting password checks and log lines, and what operators
    /// and other brokers make it hold: taken however few Clients there are.
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

/// What holds memory beside the shards, of which a broker may have none.
#[derive(Clone, Default, Debug)]
pub struct Beside {
    /// The page is served.
    pub page: bool,
    /// There is a control socket.
    pub control: bool,
    /// The largest packet of each bridge, in bytes.
    pub bridges: Vec<u32>,
}

impl Beside {
    /// Of a configuration.
    pub fn of(config: &Config) -> Beside {
        let bridges = config.bridges.iter();
        Beside {
            page: !config.http.is_empty(),
            control: config.control != Control::Off,
            bridges: bridges
                .map(|bridge| {
                    let most = limits::BRIDGE_PACKET_BYTES_MAX;
                    bridge.packet_bytes_max.unwrap_or(most)
                })
                .collect(),
        }
    }

    fn bytes(&self) -> usize {
        let page = if self.page { page_bytes() } else { 0 };
        let control = if self.control { control_bytes() } else { 0 };
        // Of each side: a packet that comes, and what is not sent yet. Messages in flight are in `--memory-limit`.
        let side = limits::BRIDGE_READ_BYTES + limits::BRIDGE_UNREAD_BYTES_MAX;
        let bridge = |packet: &u32| 2 * (*packet as usize + side);
        page + control + self.bridges.iter().map(bridge).sum::<usize>()
    }
}

/// What the page may hold; `limits::http` has each of them.
fn page_bytes() -> usize {
    use limits::*;
    // Its topic too may be all signs that JSON has other names for.
    let entry = JSON_GROWTH * (HTTP_LIST_VALUE_BYTES_MAX + u16::MAX as usize);
    // A body comes, or a list goes.
    let work = HTTP_BODY_BYTES_MAX.max(HTTP_LIST_BYTES_MAX + entry);
    let connection = HTTP_HEAD_BYTES_MAX + work + HTTP_UNSENT_BYTES_MAX + HTTP_PIECE_BYTES;
    let values = HTTP_ALL_UNSENT_BYTES_MAX + JSON_GROWTH * CONTROL_VALUE_BYTES_MAX;
    let packet = HTTP_LIVE_PACKET_BYTES_MAX as usize;
    let live = HTTP_LIVE_UNSENT_BYTES_MAX + HTTP_LIVE_REQUEST_BYTES_MAX + packet;
    // One body at a time becomes a message: as JSON, as its value, as a packet.
    let at_work = 3 * HTTP_BODY_BYTES_MAX;
    HTTP_CONNECTIONS_MAX * connection
        + values
        + HTTP_LIVES_MAX * live
        + HTTP_NEWS_BYTES_MAX
        + at_work
}

/// What the control socket may hold.
fn control_bytes() -> usize {
    use limits::*;
    let page = JSON_GROWTH * SURVEY_BYTES_MAX;
    let connection = CONTROL_REQUEST_BYTES_MAX + CONTROL_ANSWER_BYTES_MAX + page;
    let values = CONTROL_ALL_UNSENT_BYTES_MAX + JSON_GROWTH * CONTROL_VALUE_BYTES_MAX;
    CONTROL_CONNECTIONS_MAX * connection + values
}

/// Sums the bounds for a broker of `shards` shards.
pub fn memory_bound(settings: &Settings, shards: usize, beside: &Beside) -> MemoryBound {
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
        fixed_bytes: (shards * per_shard + checks + log + beside.bytes()) as u64,
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
        let alone = Beside::default();
        let one = memory_bound(&settings(false), 1, &alone);
        let log = 3 << 20;
        assert_eq!(one.fixed_bytes, log + (7 << 20) + (32 << 10));
        assert_eq!(one.clients_bytes_max, 1 << 28);
        assert_eq!(one.allocator_bytes_max >> 20, 64 + 8 - 1);
        assert_eq!(
            one.to_string(),
            "memory: at most 338.1 MiB in all: 256 MiB for what clients make the broker hold (--memory-limit), 72 MiB that the allocator may keep beside it, 10.1 MiB for \
             buffers; a client with little to do takes about 1 KiB"
        );
        let four = memory_bound(&settings(false), 4, &alone);
        // 192 KiB of slots, 1 MiB in them and 1 MiB spilled.
        let lanes = 4 * 3 * ((192 << 10) + (2 << 20));
        assert_eq!(four.fixed_bytes - log, 4 * (one.fixed_bytes - log) + lanes);
        assert_eq!(
            memory_bound(&settings(true), 1, &alone).fixed_bytes,
            one.fixed_bytes + (1 << 20)
        );
    }

    #[test]
    fn what_operators_and_other_brokers_may_make_it_hold_is_in_the_sum() {
        let settings = Settings::default();
        let fixed = |beside: &Beside| memory_bound(&settings, 1, beside).fixed_bytes;
        let alone = fixed(&Beside::default());
        let more = |beside: &Beside| fixed(beside) - alone;
        let page = Beside {
            page: true,
            ..Beside::default()
        };
        // 32 bodies, 16 MiB unsent and one value more, four WebSockets.
        assert!(more(&page) >= (32 << 20) + (22 << 20) + 4 * (256 << 10));
        assert_eq!(more(&page).div_ceil(1 << 20), 72);
        let control = Beside {
            control: true,
            ..Beside::default()
        };
        assert_eq!(more(&control), 24 << 20);
        let bridges = Beside {
            bridges: vec![1 << 20, 16 << 20],
            ..Beside::default()
        };
        assert_eq!(
            more(&bridges),
            (2 * (17 << 20)) + 4 * (2 << 20) + 4 * (64 << 10)
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
