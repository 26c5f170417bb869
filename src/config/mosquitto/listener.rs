//! What a listener is, after everything that can be said of it.

use super::note::{At, Exit, Place};
use super::statements::{Notes, Statements};
use std::path::PathBuf;

/// A socket that listens, and what holds for those who come in by it.
#[derive(Clone, PartialEq, Debug)]
pub struct Listener {
    /// The line that made it; `None` for that of a file without any.
    pub place: Option<Place>,
    /// What it is bound to.
    pub address: Address,
    /// What its connections speak first.
    pub protocol: Protocol,
    /// IPv4 or IPv6 alone.
    pub family: Option<Family>,
    /// The network interface it is bound to.
    pub interface: Option<At<String>>,
    /// Network Connections at a time; `None`: no limit.
    pub connections_max: Option<u32>,
    /// Highest QoS accepted from its Clients: 0, 1 or 2; told to v5 Clients in CONNACK.
    pub qos_max: u8,
    /// Topic Aliases a v5 Client may use.
    pub topic_alias_max: u16,
    /// Put before every Topic Name and Topic Filter of its Clients.
    pub mount_point: Option<At<String>>,
    /// Each Client's id is its user name, whatever CONNECT says.
    pub user_name_is_client_id: bool,
    /// Which of 3.1, 3.1.1 and 5.0 are served.
    pub versions: [bool; 3],
    /// Version of the PROXY protocol that every connection begins with.
    pub proxy_protocol: Option<At<u8>>,
    /// A connection whose PROXY header says that it came without TLS is closed.
    pub proxy_requires_tls: bool,
    /// A connection whose PROXY header says that the proxy was shown no good certificate is closed.
    pub proxy_requires_certificate: bool,
    /// The common name of that certificate is the user name.
    pub proxy_names: bool,
    /// The Origins a WebSocket may come from; empty: any.
    pub origins: Vec<String>,
    /// `None`: no TLS, which is so without `certfile` and `keyfile`.
    pub tls: Option<Tls>,
    /// The broker's own, or the listener's under `per_listener_settings true`.
    pub security: Security,
}

/// Where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// TCP, with IPv4, IPv6 or both.
    Tcp {
        /// Never 0.
        port: u16,
        /// An address or a name; `None`: all interfaces.
        host: Option<String>,
    },
    /// A unix socket at this path; the broker makes it.
    Unix(PathBuf),
    /// The file has no listener: `127.0.0.1` and `::1`, of which one is enough.
    Loopback {
        /// 1883, or what the file says.
        port: u16,
    },
}

/// What the connections of a listener speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// MQTT on the bytes of the connection.
    Mqtt,
    /// MQTT in binary frames of a WebSocket [v3.1.1 §6, v5 §6].
    WebSockets,
    /// HTTP: no MQTT comes in by it.
    HttpApi,
}

/// The addresses a listener takes of a name or of all interfaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// Who may come in and what they may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Security {
    /// Clients without a user name may connect; and, if there is no password file, those with any.
    pub anonymous: bool,
    /// `None`: user names are not checked.
    pub password_file: Option<At<PathBuf>>,
    /// `None`: everything is allowed to everybody who is let in.
    pub acl_file: Option<At<PathBuf>>,
    /// A v3.1.1 Client may leave its client id to the broker.
    pub empty_client_id: bool,
    /// What a client id given by the broker begins with.
    pub auto_id_prefix: String,
}

/// TLS of a listener. That the files exist has been looked at, nothing of what is in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// What the broker shows, with its chain.
    pub certificate: At<PathBuf>,
    /// Of `certificate`.
    pub key: At<PathBuf>,
    /// Trusted for certificates of Clients; may hold the issuers of `certificate` too.
    pub ca_file: Option<At<PathBuf>>,
    /// The same as a folder of files.
    pub ca_folder: Option<At<PathBuf>>,
    /// A Client without a certificate that is trusted is not let in.
    pub client_certificate_required: bool,
    /// The name in a Client's certificate that is its user name.
    pub user_name: Option<CertificateName>,
    /// Certificates that count no more, by their issuer's list.
    pub revoked: Option<At<PathBuf>>,
    /// Certificates of Clients count after and before their time too.
    pub client_dates_ignored: bool,
    /// The least version that is agreed to.
    pub version_min: TlsVersion,
    /// Bytes of a record that the broker sends, at most.
    pub fragment_bytes_max: Option<u16>,
}

/// Which name of a certificate becomes the user name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateName {
    /// Its CN, by `use_identity_as_username`.
    CommonName,
    /// The whole subject, by `use_subject_as_username`.
    Subject,
}

/// A version of TLS; older ones are not served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// The least version that the words of `option` allow: 1.2 where they are not said, or say an older one, which
    /// is not served.
    pub(super) fn least(said: &Statements, option: &str, notes: &mut Notes) -> Self {
        let Some((words, place)) = said.last_words(option) else {
            return Self::V1_2;
        };
        match words[0].as_str() {
            "tlsv1.3" => Self::V1_3,
            "tlsv1.2" => Self::V1_2,
            word @ ("tlsv1.1" | "tlsv1") => {
                let text = format!("{word} is not served any more, the least is tlsv1.2");
                notes.warn_instead(place, text, format!("{option} tlsv1.2"));
                Self::V1_2
            }
            word => {
                let reason = format!("`{word}` is no version: tlsv1.2 or tlsv1.3");
                notes.fault(
                    Exit::Start,
                    place,
                    reason,
                    Some(format!("{option} tlsv1.2")),
                );
                Self::V1_2
            }
        }
    }
}
