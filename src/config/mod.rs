//! What an operator may set: parsed once from the command line, checked against `limits`.
//!
//! - [`Config`]: the whole of it.
//! - [`listener`]: where the broker listens, and by which rules.
//! - [`settings`]: what the broker core is told.
//! - [`memory`]: what all of it may take.
//! - [`mosquitto`]: a `mosquitto.conf`, read; not yet made a `Config`.

pub mod listener;
pub mod memory;
pub mod mosquitto;
pub mod settings;

pub use listener::{Address, Hosts, Listener, Transport};
pub use memory::{MemoryBound, memory_bound};
pub use settings::{ClientIdTakeover, ListenerSettings, Logs, Settings};

use crate::limits;
use crate::random::Secret;
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
    /// By `ListenerId`; at least one.
    pub listeners: Vec<Listener>,
    /// Password file in the format of `mosquitto_passwd`.
    pub passwd: Option<PathBuf>,
    /// `--allow-anonymous` was given.
    pub allow_anonymous: bool,
    /// Shards; `None`: one for one or two cores, else one a core.
    pub shards: Option<u8>,
    /// io_uring or epoll.
    pub io: Io,
    /// Network Connections at a time; `None`: as many as there may be open files.
    pub connections_max: Option<usize>,
    /// How much goes to the log.
    pub logs: Logs,
    /// Deliveries of QoS 1 and 2 under way to one Client, at most.
    pub inflight_max: u16,
    /// Bytes of messages queued for one Session; past it QoS 1 and 2 messages for it are dropped and counted.
    pub session_queue_bytes_max: u32,
    /// Bytes of messages queued for all Sessions of one shard.
    pub shard_queue_bytes_max: u64,
    /// What all Clients together may hold; `None`: by the memory of the machine.
    pub memory_bytes_max: Option<u64>,
    /// Of assigned client ids.
    pub secret: Secret,
}

impl Config {
    /// An address that would let other machines in though nobody said who may connect.
    pub fn open_by_mistake(&self) -> Option<IpAddr> {
        let unsaid = |listener: &&Listener| !self.allow_anonymous && !listener.settings.passwords;
        self.listeners
            .iter()
            .filter(unsaid)
            .find_map(|listener| listener.hosts().beyond_loopback())
    }

    /// What the broker core needs of all this.
    pub fn settings(&self) -> Settings {
        let listeners = self.listeners.iter();
        Settings {
            listeners: listeners
                .map(|listener| listener.settings.clone())
                .collect(),
            logs: self.logs,
            inflight_max: self.inflight_max,
            session_queue_bytes_max: self.session_queue_bytes_max,
            shard_queue_bytes_max: self.shard_queue_bytes_max,
            secret: self.secret.clone(),
            memory_bytes_max: self
                .memory_bytes_max
                .unwrap_or(limits::MEMORY_BYTES_DEFAULT),
            store: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_other_machines_needs_a_word_on_who_may_connect() {
        let mistake = |bind: [u8; 4], allow_anonymous, passwords| {
            let settings = ListenerSettings {
                passwords,
                ..ListenerSettings::default()
            };
            let local = Listener::plain(Vec::new(), 1883, false, settings.clone());
            let named = Listener::plain(vec![bind.into()], 1884, allow_anonymous, settings);
            let config = Config {
                listeners: vec![local, named],
                passwd: None,
                allow_anonymous,
                shards: None,
                io: Io::Auto,
                connections_max: None,
                logs: Logs::Events,
                inflight_max: 20,
                session_queue_bytes_max: 1,
                shard_queue_bytes_max: 1,
                memory_bytes_max: None,
                secret: Secret::default(),
            };
            assert_eq!(config.settings().listeners.len(), 2);
            config.open_by_mistake()
        };
        let far = [10, 0, 0, 1];
        assert_eq!(mistake(far, false, false), Some(far.into()));
        assert_eq!(mistake(far, true, false), None);
        assert_eq!(mistake(far, false, true), None);
        assert_eq!(mistake([127, 0, 0, 2], false, false), None);
    }
}
