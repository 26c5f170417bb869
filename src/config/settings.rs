//! What the broker core needs to know: once for a whole broker ([`Settings`]), and for each listener
//! ([`ListenerSettings`]).

use crate::ids::ListenerId;
use crate::limits;
use crate::random::Secret;
use std::sync::Arc;

/// Who may take over a Session by a CONNECT with its client id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientIdTakeover {
    /// The user who made it, where user names are checked.
    Owner,
    /// Whoever may connect.
    Any,
}

/// What is logged; each one more than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Logs {
    /// Warnings and errors.
    Warnings,
    /// And what happens: who comes, who goes, start and stop.
    Events,
    /// And every packet received.
    Packets,
}

/// The rules for the Network Connections of one listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Clients without a user name may connect.
    pub anonymous: bool,
    /// A password file is in force: user names are checked.
    pub passwords: bool,
    /// Of no meaning where user names are not checked.
    pub client_id_takeover: ClientIdTakeover,
    /// The largest packet accepted, Fixed Header included; told to v5 Clients in CONNACK.
    pub packet_bytes_max: u32,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        ListenerSettings {
            anonymous: true,
            passwords: false,
            client_id_takeover: ClientIdTakeover::Owner,
            packet_bytes_max: limits::PACKET_BYTES_MAX_DEFAULT,
        }
    }
}

/// What one shard needs to know. The same for all shards of a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By [`ListenerId`]; at least one.
    pub listeners: Arc<[ListenerSettings]>,
    /// A shard reports a packet received only where this asks for it.
    pub logs: Logs,
    /// Deliveries of QoS 1 and 2 under way to one Client, at most; a v5 Client may ask for fewer.
    pub inflight_max: u16,
    /// Bytes of messages queued for one Session; past it QoS 1 and 2 messages for it are dropped and counted.
    pub session_queue_bytes_max: u32,
    /// Bytes of messages queued for all Sessions of one shard.
    pub shard_queue_bytes_max: u64,
    /// Of assigned client ids.
    pub secret: Secret,
    /// What all Clients together may hold, in bytes; each shard has an equal part of it.
    pub memory_bytes_max: u64,
    /// There is a store: shards hand out what it must know, and answers wait until it is kept.
    pub store: bool,
}

impl Settings {
    /// The defaults, with one listener of these settings.
    pub fn with_listener(listener: ListenerSettings) -> Settings {
        Settings {
            listeners: [listener].into(),
            ..Settings::default()
        }
    }

    /// The rules for connections of this listener. Panics if there is none: drivers name listeners of the
    /// configuration alone.
    #[inline]
    pub fn listener(&self, id: ListenerId) -> &ListenerSettings {
        &self.listeners[id.index()]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listeners: [ListenerSettings::default()].into(),
            logs: Logs::Events,
            inflight_max: limits::INFLIGHT_MAX_DEFAULT,
            session_queue_bytes_max: limits::SESSION_QUEUE_BYTES_MAX_DEFAULT,
            shard_queue_bytes_max: limits::SHARD_QUEUE_BYTES_MAX_DEFAULT,
            secret: Secret::default(),
            memory_bytes_max: limits::MEMORY_BYTES_DEFAULT,
            store: false,
        }
    }
}
