//! What the broker core needs to know: once for a whole broker ([`Settings`]), and for each listener
//! ([`ListenerSettings`]).

use crate::acl::Rules;
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
    /// The user name is that of the Client's certificate, as `Input::Identified` tells it, whatever CONNECT has. User
    /// names count as checked.
    pub certificate_names: bool,
    /// Its Clients are this process's own: the user name they give is believed, and publishers never wait for them.
    pub own_clients: bool,
    /// Its Clients are bridges.
    pub of_bridges: bool,
    /// Of no meaning where user names are not checked.
    pub client_id_takeover: ClientIdTakeover,
    /// The largest packet accepted, Fixed Header included; told to v5 Clients in CONNACK.
    pub packet_bytes_max: u32,
    /// The largest QoS of a PUBLISH or will, and the largest granted: 0 to 2. [v5 3.2.2.3.4]
    pub qos_max: u8,
    /// Topic Aliases a v5 Client may use. [v5 3.2.2.3.8]
    pub topic_alias_max: u16,
    /// Which of 3.1, 3.1.1 and 5.0 are served.
    pub versions: [bool; 3],
    /// A Client's user name is its client id too, whatever client id CONNECT has.
    pub user_name_is_client_id: bool,
    /// A Client may leave its client id to the broker.
    pub empty_client_id: bool,
    /// What a client id of the broker's begins with.
    pub assigned_prefix: Box<str>,
}

impl ListenerSettings {
    /// QoS 1 and 2 messages that a Client may have in flight towards us.
    pub fn receive_maximum(&self) -> u16 {
        match self.of_bridges {
            true => limits::BRIDGE_RECEIVE_MAXIMUM,
            false => limits::RECEIVE_MAXIMUM,
        }
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        ListenerSettings {
            anonymous: true,
            passwords: false,
            certificate_names: false,
            own_clients: false,
            of_bridges: false,
            client_id_takeover: ClientIdTakeover::Owner,
            packet_bytes_max: limits::PACKET_BYTES_MAX_DEFAULT,
            qos_max: 2,
            topic_alias_max: limits::TOPIC_ALIAS_MAXIMUM,
            versions: [true; 3],
            user_name_is_client_id: false,
            empty_client_id: true,
            assigned_prefix: limits::ASSIGNED_PREFIX.into(),
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
    /// What every client id must begin with.
    pub client_id_prefix: Option<Box<str>>,
    /// Client ids known at a time, connected or not, on all shards together; within a shard each.
    pub clients_max: Option<u32>,
    /// The longest Keep Alive, in seconds; v5 Clients are told.
    pub keep_alive_max_s: Option<u16>,
    /// A Session lives no longer than this without a connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_max_s: u32,
    /// Messages may be retained.
    pub retain_available: bool,
    /// The largest payload of a PUBLISH or will.
    pub payload_bytes_max: Option<u32>,
    /// Messages of QoS 1 and 2 that wait for one Session; `None`: as many as its bytes allow.
    pub queued_max: Option<u32>,
    /// Bytes of QoS 1 and 2 messages in flight to one Client; one message always may be.
    pub inflight_bytes_max: Option<u64>,
    /// QoS 0 messages wait for absent Clients like those of QoS 1.
    pub queue_qos0: bool,
    /// A message is delivered with the QoS of the subscription, even where it was published with less.
    pub upgrade_qos: bool,
    /// Clients before v5 get a message once for each of their subscriptions that match, not once.
    pub duplicates: bool,
    /// A retained message lives no longer than this, in seconds.
    pub retain_expiry_s: Option<u32>,
    /// `$SYS/broker/clients/CLIENT/state` says of each Session whether its Client is connected.
    pub presence: bool,
    /// There is a store: shards hand out what it must know, and answers wait until it is kept.
    pub store: bool,
    /// Who may read and write what, when the shard starts.
    pub rules: Arc<Rules>,
    /// Seconds since 1970 at the shard's time 0, when the shard starts; 0: not known.
    pub calendar_zero_s: u64,
}

impl Settings {
    /// The defaults, with one listener of these settings.
    pub fn with_listener(listener: ListenerSettings) -> Settings {
        Settings {
            listeners: [listener].into(),
            ..Settings::default()
        }
    }

    /// No message may be delivered in the short way for plain QoS 0.
    pub fn wants_general_delivery(&self) -> bool {
        self.upgrade_qos || self.queue_qos0 || self.duplicates
    }

    /// Some PUBLISH packets that the standard allows are not allowed here.
    pub fn restricts_publish(&self) -> bool {
        let restricts = |listener: &ListenerSettings| listener.qos_max < 2;
        !self.retain_available
            || self.payload_bytes_max.is_some()
            || self.listeners.iter().any(restricts)
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
            client_id_prefix: None,
            clients_max: None,
            keep_alive_max_s: None,
            session_expiry_max_s: u32::MAX,
            retain_available: true,
            payload_bytes_max: None,
            queued_max: None,
            inflight_bytes_max: None,
            queue_qos0: false,
            upgrade_qos: false,
            duplicates: false,
            retain_expiry_s: None,
            presence: false,
            store: false,
            rules: Arc::default(),
            calendar_zero_s: 0,
        }
    }
}
