//! The command line as a configuration, alone or over what a `mosquitto.conf` says.

use super::{
    CertificateFiles, ClientIdTakeover, Config, Control, HttpListener, HttpOn, Io, Listener,
    ListenerSettings, Logs, Network, Settings, StoreConfig, Tls, TlsVersion, Transport,
    WebSocketTerms,
};
use crate::limits;
use crate::random::Secret;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the command line says. What is `None`, empty or false was not said: a file decides, or the default.
#[derive(Clone, Debug)]
pub struct Flags {
    /// 0 lets the system choose.
    pub port: Option<u16>,
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Listeners, in the place of the one that `bind` and `port` make.
    pub listen: Vec<ListenOn>,
    /// Certificates of TLS listeners, each with the key of the same place in `key`.
    pub cert: Vec<PathBuf>,
    /// Keys of `cert`.
    pub key: Vec<PathBuf>,
    /// CAs that TLS listeners trust for certificates of Clients.
    pub ca: Option<PathBuf>,
    /// TLS listeners let in who shows a certificate of `ca` alone.
    pub require_certificate: bool,
    /// Bytes of a TLS record that the broker sends, at most; `None`: 16 KiB.
    pub fragment_bytes_max: Option<u16>,
    /// Where proxies are whose `X-Forwarded-For` is believed, by all WebSocket listeners.
    pub trusted_proxies: Vec<Network>,
    /// Password file, of all listeners.
    pub passwd: Option<PathBuf>,
    /// ACL file, of all listeners.
    pub acl: Option<PathBuf>,
    /// A subscription of which the Client may hear nothing is refused in SUBACK.
    pub refuse_subscriptions: bool,
    /// Clients without a user name may connect, by all listeners.
    pub allow_anonymous: bool,
    /// The broker describes itself to Home Assistant.
    pub home_assistant: bool,
    /// A topic says of each Session whether its Client is connected.
    pub presence: bool,
    /// Shards; `None`: one for one or two cores, else one a core.
    pub shards: Option<u8>,
    /// io_uring or epoll.
    pub io: Io,
    /// Network Connections at a time.
    pub connections_max: Option<usize>,
    /// The largest packet accepted, Fixed Header included.
    pub packet_bytes_max: Option<u32>,
    /// Deliveries of QoS 1 and 2 under way to one Client.
    pub inflight_max: Option<u16>,
    /// Bytes of messages queued for one Session.
    pub session_queue_bytes_max: Option<u32>,
    /// Bytes of all that Clients make grow.
    pub memory_bytes_max: Option<u64>,
    /// Who may take over a Session, by all listeners.
    pub client_id_takeover: ClientIdTakeover,
    /// How much goes to the log.
    pub logs: Option<Logs>,
    /// Of assigned client ids.
    pub secret: Secret,
    /// What the broker remembers, and where.
    pub store: StoreConfig,
    /// Where operators ask it and tell it.
    pub control: Control,
    /// Where the page is shown.
    pub http: Option<HttpOn>,
}

/// The port of MQTT.
pub(super) const PORT: u16 = 1883;

/// A listener of the command line: `mqtts://192.168.1.5:8883`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenOn {
    /// What its connections speak.
    pub scheme: Scheme,
    /// `None`: all addresses, or this machine alone if nobody said who may connect.
    pub host: Option<IpAddr>,
    /// 0 lets the system choose.
    pub port: u16,
}

/// What the connections of a listener speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// MQTT on TCP.
    Mqtt,
    /// MQTT in TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket in TLS.
    Wss,
}

impl Scheme {
    /// The port it has unless another is said.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Mqtt => PORT,
            Scheme::Mqtts => 8883,
            // Where Mosquitto's users have it.
            Scheme::Ws | Scheme::Wss => 9001,
        }
    }

    /// It needs a certificate.
    pub fn has_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    /// MQTT goes in the frames of a WebSocket.
    pub fn has_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

impl Flags {
    /// The configuration of a broker that reads no file: one listener.
    pub fn config(self) -> Config {
        let settings = ListenerSettings {
            anonymous: self.allow_anonymous || self.passwd.is_none(),
            passwords: self.passwd.is_some(),
            client_id_takeover: self.client_id_takeover,
            packet_bytes_max: self
                .packet_bytes_max
                .unwrap_or(limits::PACKET_BYTES_MAX_DEFAULT),
            ..ListenerSettings::default()
        };
        let listener = |bind, port, transport: Transport| {
            let mut listener = Listener::plain(
                bind,
                port,
                self.allow_anonymous,
                self.passwd.clone(),
                settings.clone(),
            );
            listener.acl.clone_from(&self.acl);
            listener.transport = transport;
            listener
        };
        let listeners = match self.listen.as_slice() {
            [] => vec![listener(
                self.bind.clone(),
                self.port.unwrap_or(PORT),
                Transport::default(),
            )],
            listen => listen
                .iter()
                .map(|on| listener(on.host.into_iter().collect(), on.port, self.transport(on)))
                .collect(),
        };
        self.around(listeners)
    }

    /// The listener of the page that `--http` asks for: with the rights of `first`, the first one of MQTT.
    pub(super) fn http_listener(&self, first: &Listener) -> Option<HttpListener> {
        let on = self.http.clone()?;
        let mut listener = HttpListener {
            hosts: on.hosts,
            port: on.port,
            family: None,
            tls: None,
            passwd: first.passwd.clone(),
            acl: first.acl.clone(),
            anonymous: first.settings.anonymous,
            place: None,
        };
        // Programs of this machine need none.
        if listener.is_beyond_loopback() && !self.cert.is_empty() {
            listener.tls = Some(Tls {
                // Who comes logs in.
                client_certificate_required: false,
                ..self.tls()
            });
        }
        Some(listener)
    }

    /// What a listener carries MQTT in.
    fn transport(&self, on: &ListenOn) -> Transport {
        let websocket = || WebSocketTerms {
            proxies: self.trusted_proxies.clone(),
            ..WebSocketTerms::default()
        };
        Transport {
            proxy: None,
            tls: on.scheme.has_tls().then(|| self.tls()),
            websocket: on.scheme.has_websocket().then(websocket),
            #[cfg(test)]
            framed: 0,
        }
    }

    /// TLS as the command line has it.
    fn tls(&self) -> Tls {
        let pairs = self.cert.iter().cloned().zip(self.key.iter().cloned());
        Tls {
            certificates: pairs
                .map(|(certificate, key)| CertificateFiles { certificate, key })
                .collect(),
            ca_file: self.ca.clone(),
            ca_folder: None,
            revoked: None,
            client_certificate_required: self.require_certificate,
            user_name: None,
            client_dates_ignored: false,
            version_min: TlsVersion::V1_2,
            fragment_bytes_max: self.fragment_bytes_max,
        }
    }

    /// All but the listeners.
    pub(super) fn around(self, listeners: Vec<Listener>) -> Config {
        let http = listeners
            .first()
            .and_then(|first| self.http_listener(first));
        let session_queue_bytes_max = self
            .session_queue_bytes_max
            .unwrap_or(limits::SESSION_QUEUE_BYTES_MAX_DEFAULT);
        Config {
            listeners,
            shards: self.shards,
            io: self.io,
            connections_max: self.connections_max,
            memory_bytes_max: self.memory_bytes_max,
            core: Settings {
                logs: self.logs.unwrap_or(Logs::Events),
                inflight_max: self.inflight_max.unwrap_or(limits::INFLIGHT_MAX_DEFAULT),
                session_queue_bytes_max,
                // What one Client may queue, a shard must be able to hold.
                shard_queue_bytes_max: limits::SHARD_QUEUE_BYTES_MAX_DEFAULT
                    .max(session_queue_bytes_max.into()),
                secret: self.secret,
                presence: self.presence,
                ..Settings::default()
            },
            check_retain_source: false,
            refuse_subscriptions: self.refuse_subscriptions,
            store: self.store,
            control: self.control,
            http: http.into_iter().collect(),
            sys_interval_s: Some(limits::SYS_INTERVAL_S),
            home_assistant: self.home_assistant,
            logs: self.logs,
            logging: None,
            user: None,
            pid_file: None,
            notes: Vec::new(),
            bridges: Vec::new(),
            source: None,
        }
    }
}
