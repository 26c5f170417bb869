//! What an operator may set: parsed once from the command line, checked against `limits`.
//!
//! - [`Config`]: the whole of it.
//! - [`listener`]: where the broker listens, and by which rules.
//! - [`http`]: where the page listens.
//! - [`network`]: a set of addresses.
//! - [`proxy`]: the PROXY protocol.
//! - [`websocket`]: what is asked of WebSockets.
//! - [`tls`]: with which certificates.
//! - [`settings`]: what the broker core is told.
//! - [`store`]: what it remembers.
//! - [`memory`]: what all of it may take.
//! - [`flags`]: the command line.
//! - [`mosquitto`]: a `mosquitto.conf`, read.
//! - [`mod@file`]: a `mosquitto.conf` under the command line, as a [`Config`].

pub mod file;
pub mod flags;
pub mod http;
pub mod listener;
pub mod memory;
pub mod mosquitto;
pub mod network;
pub mod proxy;
pub mod settings;
pub mod store;
pub mod tls;
pub mod websocket;

pub use flags::{Flags, ListenOn, Scheme};
pub use http::{HttpListener, HttpOn};
pub use listener::{Address, Family, Hosts, Listener, Transport};
pub use memory::{Beside, MemoryBound, memory_bound};
pub use mosquitto::{CertificateName, TlsVersion};
pub use network::Network;
pub use proxy::{ProxyTerms, ProxyVersion};
pub use settings::{ClientIdTakeover, ListenerSettings, Logs, Settings};
pub use store::{Durability, StoreConfig};
pub use tls::{CertificateFiles, Tls};
pub use websocket::WebSocketTerms;

use crate::ids::ListenerId;
use crate::limits;
use mosquitto::{At, Bridge, Logging, Note};
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

/// Where the control socket is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Control {
    /// Where commands look for it; none where that is not possible.
    #[default]
    Default,
    /// At this path, or the start is refused.
    At(PathBuf),
    /// There is none.
    Off,
}

/// The whole configuration of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// By `ListenerId`; at least one.
    pub listeners: Vec<Listener>,
    /// Shards; `None`: one for one or two cores, else one a core.
    pub shards: Option<u8>,
    /// io_uring or epoll.
    pub io: Io,
    /// Network Connections at a time; `None`: as many as there may be open files.
    pub connections_max: Option<usize>,
    /// What all Clients together may hold; `None`: by the memory of the machine.
    pub memory_bytes_max: Option<u64>,
    /// What the broker core is told beside the listeners and the memory, whose values here do not count.
    pub core: Settings,
    /// A retained message is sent only while its publisher may still write there.
    pub check_retain_source: bool,
    /// A subscription of which the Client may hear nothing is refused in SUBACK, not granted as by Mosquitto.
    pub refuse_subscriptions: bool,
    /// How often values below `$SYS` are published, in seconds; `None`: never.
    pub sys_interval_s: Option<u16>,
    /// The broker describes itself to Home Assistant.
    pub home_assistant: bool,
    /// How much goes to the log, by the command line.
    pub logs: Option<Logs>,
    /// Where the log goes and what it holds, by the file; `None`: to standard error.
    pub logging: Option<Logging>,
    /// Whom root becomes once everything is open; `None`: nobody else.
    pub user: Option<User>,
    /// Where the number of the process is written.
    pub pid_file: Option<At<PathBuf>>,
    /// What the broker remembers, and where.
    pub store: StoreConfig,
    /// Where operators ask it and tell it.
    pub control: Control,
    /// Where it shows its page; at most [`limits::HTTP_LISTENERS_MAX`].
    pub http: Vec<HttpListener>,
    /// What the operator should be told of the files this was made of.
    pub notes: Vec<Note>,
    /// Connections to other brokers.
    pub bridges: Vec<Bridge>,
    /// The file this was read from; `None`: none was.
    pub source: Option<Source>,
}

/// Where a configuration comes from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The main file.
    pub file: PathBuf,
    /// They go before what it says.
    pub flags: Flags,
}

/// A user of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum User {
    /// The one of this name, who must exist.
    Named(At<String>),
    /// `mosquitto`, or `nobody` where there is none.
    Mosquitto,
}

impl Config {
    /// The limit of connections of each listener, by its number.
    pub fn connections_max_by_listener(&self) -> Vec<Option<usize>> {
        let listeners = self.listeners.iter();
        listeners.map(|listener| listener.connections_max).collect()
    }

    /// The password file of each listener, by its number.
    pub fn password_files(&self) -> Vec<Option<PathBuf>> {
        let listeners = self.listeners.iter();
        listeners
            .map(|listener| listener.passwd.clone())
            // Bridges have none.
            .chain([None])
            .chain(self.http.iter().map(|http| http.passwd.clone()))
            .collect()
    }

    /// The password file, if there is one for all listeners.
    pub fn only_password_file(&self) -> Option<PathBuf> {
        let mut files: Vec<PathBuf> = self.password_files().into_iter().flatten().collect();
        files.dedup();
        files.pop().filter(|_| files.is_empty())
    }

    /// The listener behind those of MQTT, by which this broker's bridges come in.
    pub fn bridges_listener(&self) -> ListenerId {
        ListenerId(self.listeners.len() as u8)
    }

    /// By which bridges without `local_username` come in. No ACL file holds for it, as in Mosquitto none does for
    /// bridges.
    pub fn nameless_bridges_listener(&self) -> ListenerId {
        ListenerId((self.listeners.len() + 1 + self.http.len()) as u8)
    }

    /// The listener behind that of the bridges, by which who uses the page comes in; of this one of `self.http`.
    pub fn http_listener(&self, index: usize) -> ListenerId {
        ListenerId((self.listeners.len() + 1 + index) as u8)
    }

    /// Its rules. User names are those of the configuration, so they count as checked.
    fn of_bridges(&self) -> Option<ListenerSettings> {
        let first = self.listeners.first()?;
        self.source.as_ref()?;
        Some(ListenerSettings {
            passwords: true,
            own_clients: true,
            of_bridges: true,
            packet_bytes_max: first.settings.packet_bytes_max,
            ..ListenerSettings::default()
        })
    }

    /// The ACL file that holds for bridges: the one that all listeners share, if they do.
    pub fn bridges_acl(&self) -> Option<&PathBuf> {
        let first = self.listeners.first()?.acl.as_ref()?;
        let mut others = self.listeners.iter();
        others
            .all(|listener| listener.acl.as_ref() == Some(first))
            .then_some(first)
    }

    /// What the broker core needs of all this.
    pub fn settings(&self) -> Settings {
        let mut listeners: Vec<ListenerSettings> = self
            .listeners
            .iter()
            .map(|listener| listener.settings.clone())
            .collect();
        if let Some(first) = self.listeners.first() {
            let bridges = self.of_bridges();
            // Without bridges nobody comes by their place.
            listeners.push(bridges.clone().unwrap_or_default());
            listeners.extend(self.http.iter().map(|http| http.settings(first)));
            listeners.extend(bridges);
        }
        Settings {
            listeners: listeners.into(),
            memory_bytes_max: self
                .memory_bytes_max
                .unwrap_or(limits::MEMORY_BYTES_DEFAULT),
            ..self.core.clone()
        }
    }
}
