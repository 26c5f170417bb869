//! What an operator may set: parsed once from the command line, checked against `limits`.

use crate::limits;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// How sockets are driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Io {
    /// The best this machine allows.
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

/// Who may take over a Session by a CONNECT with its client id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientIdTakeover {
    /// The user who made it, where user names are checked.
    Owner,
    /// Whoever may connect.
    Any,
}

/// The whole configuration of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port; 0 lets the system choose (the start-up line tells which).
    pub port: u16,
    /// Addresses to listen on. Empty: all interfaces with a password file or `allow_anonymous`, else loopback.
    pub bind: Vec<IpAddr>,
    /// Password file in the format of `mosquitto_passwd`.
    pub passwd: Option<PathBuf>,
    /// `--allow-anonymous` was given.
    pub allow_anonymous: bool,
    /// Shards; `None`: one for one or two cores, else one a core.
    pub shards: Option<u8>,
    pub io: Io,
    /// Network Connections at a time; `None`: as many as there may be open files.
    pub connections_max: Option<usize>,
    pub logs: Logs,
    /// What the broker core needs of all this.
    pub settings: Settings,
}

impl Config {
    /// Nobody said who may connect, so nobody may from the network: only this machine.
    pub fn loopback_only(&self) -> bool {
        self.passwd.is_none() && !self.allow_anonymous
    }

    /// An address of `--bind` that would let others in though nobody said who may connect.
    pub fn open_by_mistake(&self) -> Option<IpAddr> {
        let other_machines = |address: &&IpAddr| !address.to_canonical().is_loopback();
        self.bind
            .iter()
            .find(other_machines)
            .copied()
            .filter(|_| self.loopback_only())
    }

    /// Addresses to listen on, in order.
    ///
    /// Those of `--bind` where given: each must work. Else `127.0.0.1` and `::1` with neither a password file nor
    /// `--allow-anonymous`. Else all interfaces, `::` for IPv6 and `0.0.0.0` for IPv4. In these two cases one
    /// address that works is enough.
    pub fn listen_addresses(&self) -> Vec<IpAddr> {
        if !self.bind.is_empty() {
            self.bind.clone()
        } else if self.loopback_only() {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()]
        }
    }
}

/// The most memory a broker may take, summed from `limits` and `Config`; in bytes. Its `Display` is the
/// start-up line.
///
/// Not in the sum, because no limit bounds their bytes yet: retained messages, Topic Filters, the Sessions
/// themselves (without their queues), messages spilled from full lanes, and log lines that wait for a slow reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBound {
    /// Receive buffers, pools, lanes, unfinished CONNECTs and waiting password checks: taken however few Clients there are.
    pub fixed_bytes: u64,
    /// Messages queued for Clients that are absent or slow, all Sessions together.
    pub queued_bytes_max: u64,
    /// One Network Connection at its worst: a packet of the largest size half received, and an outbox full
    /// but for one byte with one more such packet behind it.
    pub per_connection_bytes_max: u64,
}

/// Sums the bounds for a broker of `shards` shards.
pub fn memory_bound(config: &Config, shards: usize) -> MemoryBound {
    assert!((1..=limits::SHARDS_MAX).contains(&shards));
    let receive =
        limits::RECEIVE_BUFFERS * limits::RECEIVE_BUFFER_BYTES + limits::LARGE_RECEIVE_BYTES;
    let slots = limits::LANE_SLOTS * limits::LANE_SLOT_BYTES_MAX;
    let lanes = (shards - 1) * (slots + limits::LANE_BYTES_MAX + limits::SPILL_HIGH_BYTES);
    let kept = limits::POOL_KEPT_BYTES_MAX + limits::SPARE_PACKETS_BYTES_MAX;
    let per_shard = receive + kept + lanes + limits::UNACCEPTED_BYTES_MAX;
    let waiting_checks =
        limits::PASSWORD_CHECKS_WAITING_MAX * limits::CONNECT_PACKET_BYTES_MAX as usize;
    let checks = if config.settings.passwords {
        waiting_checks
    } else {
        0
    };
    let settings = &config.settings;
    MemoryBound {
        fixed_bytes: (shards * per_shard + checks) as u64,
        queued_bytes_max: shards as u64 * settings.shard_queue_bytes_max,
        per_connection_bytes_max: 2 * u64::from(settings.packet_bytes_max)
            + limits::OUTBOX_BYTES_MAX as u64,
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory: at most {} for buffers, {} for queued messages and {} for each connection that moves packets of the largest size; retained messages and subscriptions come on top",
            Size(self.fixed_bytes),
            Size(self.queued_bytes_max),
            Size(self.per_connection_bytes_max)
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

/// What is logged; each one more than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Logs {
    /// Warnings and errors.
    Faults,
    /// And what happens: who comes, who goes, start and stop.
    Events,
    /// And every packet received.
    Packets,
}

/// What one shard needs to know. The same for all shards of a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clients without a user name may connect.
    pub anonymous: bool,
    /// A password file is in force: user names are checked.
    pub passwords: bool,
    pub client_id_takeover: ClientIdTakeover,
    pub logs: Logs,
    pub packet_bytes_max: u32,
    pub inflight_max: u16,
    pub session_queue_bytes_max: u32,
    pub shard_queue_bytes_max: u64,
    /// Seed of assigned client ids and of hashing.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            anonymous: true,
            passwords: false,
            client_id_takeover: ClientIdTakeover::Owner,
            logs: Logs::Events,
            packet_bytes_max: limits::PACKET_BYTES_MAX_DEFAULT,
            inflight_max: limits::INFLIGHT_MAX_DEFAULT,
            session_queue_bytes_max: limits::SESSION_QUEUE_BYTES_MAX_DEFAULT,
            shard_queue_bytes_max: limits::SHARD_QUEUE_BYTES_MAX_DEFAULT,
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            port: 1883,
            bind: Vec::new(),
            passwd: None,
            allow_anonymous: false,
            shards: None,
            io: Io::Auto,
            connections_max: None,
            logs: Logs::Events,
            settings: Settings::default(),
        }
    }

    #[test]
    fn only_who_says_who_may_connect_is_open_to_the_network() {
        let texts = |config: &Config| -> Vec<String> {
            let addresses = config.listen_addresses();
            addresses.iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(texts(&config()), ["127.0.0.1", "::1"]);
        assert!(config().loopback_only());
        let open = Config {
            allow_anonymous: true,
            ..config()
        };
        assert_eq!(texts(&open), ["::", "0.0.0.0"]);
        let passwd = Config {
            passwd: Some("passwd".into()),
            ..config()
        };
        assert_eq!(texts(&passwd), ["::", "0.0.0.0"]);
        let bind = Config {
            bind: vec![[10, 0, 0, 1].into()],
            ..config()
        };
        assert_eq!(texts(&bind), ["10.0.0.1"]);
        assert_eq!(bind.open_by_mistake(), Some([10, 0, 0, 1].into()));
        let local = Config {
            bind: vec![[127, 0, 0, 2].into()],
            ..config()
        };
        assert_eq!(local.open_by_mistake(), None);
        let meant = Config {
            allow_anonymous: true,
            ..bind
        };
        assert_eq!(meant.open_by_mistake(), None);
    }

    #[test]
    fn the_memory_bound_is_the_sum_of_the_limits() {
        let mut config = config();
        config.settings.packet_bytes_max = 1 << 20;
        config.settings.shard_queue_bytes_max = 1 << 28;
        let one = memory_bound(&config, 1);
        assert_eq!(one.fixed_bytes, (7 << 20) + (32 << 10));
        assert_eq!(one.queued_bytes_max, 1 << 28);
        assert_eq!(one.per_connection_bytes_max, (2 << 20) + (4 << 20));
        assert_eq!(
            one.to_string(),
            "memory: at most 7.1 MiB for buffers, 256 MiB for queued messages and 6 MiB for each connection that moves packets of the largest size; retained messages and subscriptions come on top"
        );
        let four = memory_bound(&config, 4);
        // 192 KiB of slots, 1 MiB in them and 1 MiB spilled.
        let lanes = 4 * 3 * ((192 << 10) + (2 << 20));
        assert_eq!(four.fixed_bytes, 4 * one.fixed_bytes + lanes);
        config.settings.passwords = true;
        assert_eq!(
            memory_bound(&config, 1).fixed_bytes,
            one.fixed_bytes + (16 << 20)
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
