//! What an operator may set: parsed once from the command line, checked against `limits`.

use crate::limits;
use std::net::IpAddr;
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
    /// Logs every packet.
    pub verbose: bool,
    /// What the broker core needs of all this.
    pub settings: Settings,
}

/// What one shard needs to know. The same for all shards of a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clients without a user name may connect.
    pub anonymous: bool,
    /// A password file is in force: user names are checked.
    pub passwords: bool,
    pub verbose: bool,
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
            verbose: false,
            packet_bytes_max: limits::PACKET_BYTES_MAX_DEFAULT,
            inflight_max: limits::INFLIGHT_MAX_DEFAULT,
            session_queue_bytes_max: limits::SESSION_QUEUE_BYTES_MAX_DEFAULT,
            shard_queue_bytes_max: limits::SHARD_QUEUE_BYTES_MAX_DEFAULT,
            seed: 0,
        }
    }
}
