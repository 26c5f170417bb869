//! A `mosquitto.conf` under the command line: what a flag says wins, the file says the rest.
//!
//! Who may come in by which listener is decided in [`mosquitto`]. Here each value is put where the
//! broker has a place for it, and the start is refused where the broker has none and Clients would find another broker
//! than the file describes.

use super::mosquitto::{
    self, At, Exit, Files, Kind, LogTypes, Mosquitto, Note, Place, Protocol, Refused,
};
use super::{
    Address, CertificateFiles, Config, Family, Flags, Hosts, HttpListener, Listener,
    ListenerSettings, Logs, ProxyTerms, ProxyVersion, Settings, Source, StoreConfig, Tls,
    Transport, User, WebSocketTerms,
};
use crate::limits;
use std::net::IpAddr;
use std::path::PathBuf;

/// The options of a `mosquitto.conf` that this broker implements, by their first names; beside them `listener 0`, a
/// listener on a unix socket, and `protocol websockets`. `tests/mosquitto/implemented.txt` names a test for each.
pub const IMPLEMENTED: &[&str] = &[
    "accept_protocol_versions",
    "acl_file",
    "allow_anonymous",
    "allow_duplicate_messages",
    "allow_zero_length_clientid",
    "auto_id_prefix",
    "autosave_interval",
    "bind_address",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "check_retain_source",
    "clientid_prefixes",
    "connection",
    "connection_messages",
    "crlfile",
    "disable_client_cert_date_checks",
    "enable_proxy_protocol",
    "global_max_clients",
    "global_max_connections",
    "http_dir",
    "include_dir",
    "keyfile",
    "home_assistant",
    "listener",
    "listener 0",
    "listener_allow_anonymous",
    "listener_auto_id_prefix",
    "log_dest",
    "log_facility",
    "log_timestamp",
    "log_timestamp_format",
    "log_type",
    "max_connections",
    "max_fragment_size",
    "max_inflight_bytes",
    "max_inflight_messages",
    "max_keepalive",
    "max_packet_size",
    "max_qos",
    "max_queued_bytes",
    "max_queued_messages",
    "max_topic_alias",
    "memory_limit",
    "message_size_limit",
    "password_file",
    "per_listener_settings",
    "persistence",
    "persistence_file",
    "persistence_location",
    "persistent_client_expiration",
    "pid_file",
    "port",
    "presence",
    "protocol",
    "protocol websockets",
    "proxy_protocol_v2_require_tls",
    "queue_qos0_messages",
    "require_certificate",
    "retain_available",
    "retain_expiry_interval",
    "set_tcp_nodelay",
    "socket_domain",
    "sys_interval",
    "tls_version",
    "upgrade_outgoing_qos",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "user",
    "websockets_headers_size",
    "websockets_origin",
];

impl Source {
    /// Reads the file and all it includes, under the flags.
    ///
    /// Errors: the faults of the files, what they ask for that there is not yet, or a contradiction to the flags.
    pub fn read(&self, files: &dyn Files) -> Result<(Config, Mosquitto), Refused> {
        let mut file = mosquitto::read(&self.file, files)?;
        let mut config = self.flags.clone().over(&file)?;
        config.source = Some(self.clone());
        file.notes.clone_from(&config.notes);
        Ok((config, file))
    }
}

impl Flags {
    /// The configuration of a broker that reads `file`. What must be said of the file is in `notes`: what is said of
    /// its lines, what is not implemented yet, and what was taken otherwise than it stands there.
    ///
    /// Errors: the file asks for what there is not yet, or contradicts the flags.
    pub fn over(self, file: &Mosquitto) -> Result<Config, Refused> {
        let mut notes = file.notes.clone();
        notes.extend(file.not_yet(IMPLEMENTED)?);
        if file.listeners.len() > limits::LISTENERS_MAX {
            let place = file.listeners[limits::LISTENERS_MAX].place.clone();
            let most = limits::LISTENERS_MAX;
            let reason = format!("at most {most} listeners: remove some");
            return Err(refused(place.unwrap_or_else(|| main_file(file)), reason));
        }
        let listeners = self.listeners(file, &mut notes)?;
        let http = self.http_listeners(file, &listeners)?;
        let said_logs = self.logs;
        let global = &file.global;
        let memory = global.memory_bytes_max.map(|bytes| {
            at_least(
                bytes,
                limits::MEMORY_BYTES_LEAST,
                "memory_limit",
                file,
                &mut notes,
            )
        });
        let queue = global.queued_bytes_max.map(|bytes| {
            let least = limits::SESSION_QUEUE_BYTES_MAX_LEAST.into();
            let bytes = at_least(bytes, least, "max_queued_bytes", file, &mut notes);
            u32::try_from(bytes).unwrap_or(u32::MAX)
        });
        let connections = global.connections_max.map(|most| most as usize);
        let flags = Flags {
            connections_max: self.connections_max.or(connections),
            inflight_max: Some(
                self.inflight_max
                    .unwrap_or(global.inflight_max.unwrap_or(u16::MAX)),
            ),
            session_queue_bytes_max: self.session_queue_bytes_max.or(queue),
            memory_bytes_max: self.memory_bytes_max.or(memory),
            logs: self.logs.or(Some(logs(global.logging.types))),
            store: StoreConfig {
                persistence: self.store.persistence.or(Some(global.persistence)),
                directory: self.store.directory.or_else(|| {
                    let folder = global.persistence_folder.as_ref();
                    folder.map(|folder| folder.value.clone())
                }),
                import: Some(global.database()),
                ..self.store
            },
            ..self
        };
        let config = flags.around(listeners);
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
        let client_id_prefix = global.client_id_prefix.as_ref();
        Ok(Config {
            core: Settings {
                client_id_prefix: client_id_prefix.map(|prefix| prefix.value.as_str().into()),
                clients_max: global.clients_max,
                keep_alive_max_s: global.keep_alive_max_s,
                session_expiry_max_s: global.session_expiry_s.map_or(u32::MAX, seconds),
                retain_available: global.retain_available,
                payload_bytes_max: global.payload_bytes_max,
                queued_max: global.queued_max,
                inflight_bytes_max: global.inflight_bytes_max,
                queue_qos0: global.queue_qos0,
                upgrade_qos: global.upgrade_qos,
                duplicates: global.duplicate_messages,
                retain_expiry_s: global.retain_expiry_s.map(seconds),
                presence: global.presence || config.core.presence,
                ..config.core
            },
            sys_interval_s: global.sys_interval_s,
            home_assistant: global.home_assistant || config.home_assistant,
            logs: said_logs,
            logging: Some(global.logging.clone()),
            user: Some(match &global.user {
                Some(user) => User::Named(user.clone()),
                None => User::Mosquitto,
            }),
            check_retain_source: global.check_retain_source,
            pid_file: global.pid_file.clone(),
            notes,
            bridges: file.bridges.clone(),
            http,
            ..config
        })
    }

    fn listeners(&self, file: &Mosquitto, notes: &mut Vec<Note>) -> Result<Vec<Listener>, Refused> {
        let local_only = file.is_local_only();
        if !self.bind.is_empty() && !local_only {
            let reason = "--bind and a `listener`: leave out one of the two".to_owned();
            let place = file.listeners[0].place.clone();
            return Err(refused(place.unwrap_or_else(|| main_file(file)), reason));
        }
        if let (false, Some(first)) = (self.listen.is_empty(), file.listeners.first()) {
            let reason = "--listen and --config: write a `listener` into the file".to_owned();
            let place = first.place.clone();
            return Err(refused(place.unwrap_or_else(|| main_file(file)), reason));
        }
        if self.port.is_some() && !local_only {
            let place = file.listeners[0].place.clone();
            notes.push(Note {
                kind: Kind::Warning,
                place: place.unwrap_or_else(|| main_file(file)),
                text: "--port is ignored, since the file has listeners".to_owned(),
                write_instead: None,
            });
        }
        let packet_bytes_max = self.packet_bytes_max.unwrap_or_else(|| {
            let Some(bytes) = file.global.packet_bytes_max else {
                return limits::PACKET_BYTES_MAX_DEFAULT;
            };
            let least = limits::PACKET_BYTES_MAX_LEAST.into();
            let bytes = at_least(bytes.into(), least, "max_packet_size", file, notes);
            u32::try_from(bytes).map_or(limits::PACKET_BYTES_MAX_MOST, |bytes| {
                bytes.min(limits::PACKET_BYTES_MAX_MOST)
            })
        });
        let listeners = file.listeners.iter().filter(|said| !is_http(said));
        Ok(listeners
            .map(|listener| self.listener(file, listener, packet_bytes_max))
            .collect())
    }

    /// Those of `protocol http_api`, behind the one of the command line. `listeners`: those of MQTT.
    ///
    /// Errors: there is none of MQTT, there are too many, or one is a unix socket.
    fn http_listeners(
        &self,
        file: &Mosquitto,
        listeners: &[Listener],
    ) -> Result<Vec<HttpListener>, Refused> {
        let mut http: Vec<HttpListener> = Vec::new();
        let Some(first) = listeners.first() else {
            let reason = "there is no listener for MQTT: add `listener 1883`".to_owned();
            return Err(refused(main_file(file), reason));
        };
        http.extend(self.http_listener(first));
        for said in file.listeners.iter().filter(|said| is_http(said)) {
            let place = said.place.clone().unwrap_or_else(|| main_file(file));
            if http.len() == limits::HTTP_LISTENERS_MAX {
                let most = limits::HTTP_LISTENERS_MAX;
                let reason = format!("at most {most} listeners with `protocol http_api`");
                return Err(refused(place, reason));
            }
            let listener = self.listener(file, said, first.settings.packet_bytes_max);
            let Address::Tcp {
                hosts,
                port,
                family,
            } = listener.address
            else {
                let reason = "`protocol http_api` on a unix socket: give a port".to_owned();
                return Err(refused(place, reason));
            };
            let anonymous = match listener.passwd {
                // Nobody need log in, so that all are as Clients without a name are by MQTT.
                None => first.settings.anonymous,
                Some(_) => false,
            };
            http.push(HttpListener {
                hosts,
                port,
                family,
                tls: listener.transport.tls,
                acl: listener.acl.or_else(|| match listener.passwd {
                    None => first.acl.clone(),
                    Some(_) => None,
                }),
                passwd: listener.passwd,
                anonymous,
                place: listener.place,
            });
        }
        Ok(http)
    }

    fn listener(
        &self,
        file: &Mosquitto,
        said: &mosquitto::Listener,
        packet_bytes_max: u32,
    ) -> Listener {
        let security = &said.security;
        // Without a listener Mosquitto lets in everybody unless the file says otherwise; `--passwd` is such a word.
        let request_bytes_max = file.global.http_request_bytes_max;
        let of_anonymous = ["allow_anonymous", "listener_allow_anonymous"];
        let is_said = file
            .said
            .iter()
            .any(|(row, _)| of_anonymous.contains(&row.option));
        let by_file = security.anonymous && (is_said || self.passwd.is_none());
        let anonymous = by_file || self.allow_anonymous;
        let file = security.password_file.as_ref();
        let passwd = self.passwd.clone().or(file.map(|file| file.value.clone()));
        let acl = security.acl_file.as_ref();
        let by_flags = self.allow_anonymous || self.passwd.is_some();
        let transport = self.transport_of(said, request_bytes_max);
        let certificate_names =
            said.proxy_names || said.tls.as_ref().is_some_and(|tls| tls.user_name.is_some());
        let loopback = matches!(said.address, mosquitto::Address::Loopback { .. });
        Listener {
            address: self.address(said),
            transport,
            settings: ListenerSettings {
                anonymous,
                // Without a file there are no users, and whoever names one is refused.
                passwords: passwd.is_some() || !anonymous || certificate_names,
                certificate_names,
                own_clients: false,
                of_bridges: false,
                client_id_takeover: self.client_id_takeover,
                packet_bytes_max,
                qos_max: said.qos_max,
                topic_alias_max: said.topic_alias_max.min(limits::TOPIC_ALIAS_MAXIMUM_MOST),
                versions: said.versions,
                user_name_is_client_id: said.user_name_is_client_id,
                empty_client_id: security.empty_client_id,
                assigned_prefix: prefix(&security.auto_id_prefix),
            },
            passwd,
            acl: self.acl.clone().or(acl.map(|file| file.value.clone())),
            may_be_reached: !loopback || by_flags || security.password_file.is_some(),
            connections_max: said.connections_max.map(|most| most as usize),
            place: said.place.as_ref().map(Place::to_string),
        }
    }

    /// What the connections of a listener carry MQTT in.
    fn transport_of(&self, said: &mosquitto::Listener, request_bytes_max: u32) -> Transport {
        let path = |at: &Option<At<PathBuf>>| at.as_ref().map(|at| at.value.clone());
        let websocket = || WebSocketTerms {
            origins: said.origins.clone(),
            request_bytes_max,
            proxies: self.trusted_proxies.clone(),
        };
        Transport {
            proxy: said.proxy_protocol.as_ref().map(|version| ProxyTerms {
                version: match version.value {
                    1 => ProxyVersion::V1,
                    _ => ProxyVersion::V2,
                },
                tls_required: said.proxy_requires_tls,
                certificate_required: said.proxy_requires_certificate,
                names: said.proxy_names,
            }),
            tls: said.tls.as_ref().map(|tls| Tls {
                certificates: vec![CertificateFiles {
                    certificate: tls.certificate.value.clone(),
                    key: tls.key.value.clone(),
                }],
                ca_file: path(&tls.ca_file),
                ca_folder: path(&tls.ca_folder),
                revoked: path(&tls.revoked),
                client_certificate_required: tls.client_certificate_required,
                user_name: tls.user_name,
                client_dates_ignored: tls.client_dates_ignored,
                version_min: tls.version_min,
                fragment_bytes_max: tls.fragment_bytes_max,
            }),
            websocket: (said.protocol == Protocol::WebSockets).then(websocket),
            #[cfg(test)]
            framed: 0,
        }
    }

    fn address(&self, said: &mosquitto::Listener) -> Address {
        let family = said.family.map(|family| match family {
            mosquitto::Family::Ipv4 => Family::Ipv4,
            mosquitto::Family::Ipv6 => Family::Ipv6,
        });
        let (port, host) = match &said.address {
            mosquitto::Address::Unix(path) => return Address::Unix(path.clone()),
            mosquitto::Address::Loopback { port } => {
                let hosts = match self.bind.as_slice() {
                    [] => Hosts::Loopback,
                    bind => Hosts::Named(bind.to_vec()),
                };
                let port = self.port.unwrap_or(*port);
                return Address::Tcp {
                    hosts,
                    port,
                    family,
                };
            }
            mosquitto::Address::Tcp { port, host } => (*port, host.as_deref()),
        };
        let ip: Option<IpAddr> = host.and_then(|host| host.parse().ok());
        let hosts = match (&said.interface, ip, host) {
            (Some(interface), ip, _) => Hosts::Interface {
                name: interface.value.clone(),
                address: ip.filter(|ip| !ip.is_unspecified()),
            },
            (None, Some(ip), _) => Hosts::Named(vec![ip]),
            (None, None, Some(name)) => Hosts::Name(name.to_owned()),
            (None, None, None) => Hosts::All,
        };
        Address::Tcp {
            hosts,
            port,
            family,
        }
    }
}

fn is_http(said: &mosquitto::Listener) -> bool {
    said.protocol == Protocol::HttpApi
}

/// What a client id of ours begins with, and not more than there is room for.
fn prefix(text: &str) -> Box<str> {
    let most = limits::ASSIGNED_PREFIX_BYTES_MAX.min(text.len());
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

/// What the log shows of the types of line that Mosquitto knows.
fn logs(types: LogTypes) -> Logs {
    if types.debug || types.subscribe || types.unsubscribe {
        Logs::Packets
    } else if types.notice || types.information {
        Logs::Events
    } else {
        Logs::Warnings
    }
}

/// A value, or the least that there can be here, with a warning.
fn at_least(
    value: u64,
    least: u64,
    option: &'static str,
    file: &Mosquitto,
    notes: &mut Vec<Note>,
) -> u64 {
    if value < least {
        notes.push(Note {
            kind: Kind::Warning,
            place: place_of(file, option),
            text: format!("{least} is taken, the least that `{option}` can be here"),
            write_instead: Some(format!("{option} {least}")),
        });
    }
    value.max(least)
}

/// Where an option was said.
fn place_of(file: &Mosquitto, option: &str) -> Place {
    let said = file.said.iter().find(|(row, _)| row.option == option);
    said.map_or_else(|| main_file(file), |(_, place)| place.clone())
}

/// The file as a whole.
fn main_file(file: &Mosquitto) -> Place {
    let main = file.files.first();
    Place {
        file: main
            .map_or_else(String::new, |file| file.display().to_string())
            .into(),
        line: 0,
    }
}

fn refused(place: Place, reason: String) -> Refused {
    Refused {
        exit: Exit::Invalid,
        faults: vec![Note {
            kind: Kind::Warning,
            place,
            text: reason,
            write_instead: None,
        }],
        notes: Vec::new(),
    }
}
