//! Makes listeners, and from them and the other sections the result, out of what was said.
//!
//! The rule of `allow_anonymous`, as a table: who may come in, and from where.
//!
//! | the file has | `true` | `false` | not said |
//! | --- | --- | --- | --- |
//! | a `listener`, `port` or `bind_address` | anybody | users | users |
//! | none of them | anybody, on this machine | users, on this machine (*) | anybody, on this machine |
//! | other options of listeners (**), a login | anybody | users (*) | users (*) |
//! | other options of listeners (**), no login | anybody | users (*) | anybody, on this machine (*) |
//!
//! (*) where Mosquitto 2.0.11 lets in anybody; (**) [`MAKES_DEFAULT`].

use super::bridge;
use super::check;
use super::drafts::Drafts;
use super::files::Files;
use super::global::{self, from_minus_one, path_at, to_u32};
use super::listener::{
    Address, CertificateName, Family, Listener, Protocol, Security, Tls, TlsVersion,
};
use super::note::{At, Exit, Place, Refused};
use super::statements::{Notes, Statements};
use super::{Global, Mosquitto};

const PORT: u16 = 1883;

/// Options that make Mosquitto open the default listener, other than `port` and `bind_address`, in the order told.
/// Flags only where true, and values only where they are not the default.
const MAKES_DEFAULT: [&str; 19] = [
    "certfile",
    "keyfile",
    "cafile",
    "capath",
    "ciphers",
    "ciphers_tls1.3",
    "dhparamfile",
    "crlfile",
    "require_certificate",
    "use_identity_as_username",
    "use_subject_as_username",
    "protocol",
    "max_connections",
    "max_qos",
    "use_username_as_clientid",
    "bind_interface",
    "socket_domain",
    // Under `per_listener_settings true` alone; else these are global.
    "password_file",
    "allow_zero_length_clientid",
];

pub(super) fn build(
    drafts: Drafts,
    mut notes: Notes,
    files: &dyn Files,
) -> Result<Mosquitto, Refused> {
    let global = global::global(&drafts.global, &mut notes, files);
    let mut listeners = Vec::new();
    let mut any_said = false;
    for section in &drafts.listeners {
        let at = Source {
            said: &section.said,
            place: Some(&section.place),
            global: &drafts.global,
            per_listener: global.per_listener_settings,
        };
        any_said = true;
        if let Some(address) = address(&section.head, &section.place, &mut notes) {
            listeners.push(listener(&at, address, Default::default(), &mut notes));
        }
    }
    if let Some((address, place, anonymous)) =
        default_listener(&drafts, &global, any_said, &mut notes)
    {
        let at = Source {
            said: &drafts.default,
            place: place.as_ref(),
            global: &drafts.global,
            per_listener: global.per_listener_settings,
        };
        listeners.push(listener(&at, address, anonymous, &mut notes));
    } else {
        check::lost_default_options(&drafts.default, &mut notes);
    }
    let mut bridges: Vec<bridge::Bridge> = Vec::new();
    for section in &drafts.bridges {
        let Some(bridge) = bridge::bridge(section, &mut notes, files) else {
            continue;
        };
        if let Some(other) = bridges.iter().find(|other| other.name == bridge.name) {
            let reason = format!(
                "there is a bridge `{}` already, in {}",
                bridge.name, other.place
            );
            let instead = Some(format!("connection {}-2", bridge.name));
            notes.fault(Exit::Invalid, &bridge.place, reason, instead);
        }
        bridges.push(bridge);
    }
    check::listeners(&listeners, &mut notes, files);
    check::who_may_come_in(&listeners, &drafts, &mut notes);
    Ok(Mosquitto {
        files: drafts.files,
        listeners,
        global,
        bridges,
        notes: notes.end()?,
        said: drafts.said,
    })
}

/// Where the values of one listener come from.
struct Source<'a> {
    said: &'a Statements,
    place: Option<&'a Place>,
    global: &'a Statements,
    per_listener: bool,
}

impl<'a> Source<'a> {
    fn security(&self) -> &'a Statements {
        if self.per_listener {
            self.said
        } else {
            self.global
        }
    }
}

/// What is said of `allow_anonymous` beyond the file's own words.
#[derive(Clone, Copy, Default)]
struct Missing {
    /// What holds where it is not said.
    anonymous: bool,
}

/// `listener PORT [HOST]` or `listener 0 PATH`.
fn address(head: &[String], place: &Place, notes: &mut Notes) -> Option<Address> {
    let word = head[0].as_str();
    let host = head.get(1).filter(|word| !word.starts_with('#'));
    if let Some(next) = head
        .get(2)
        .filter(|next| !next.starts_with('#') && host.is_some())
    {
        notes.warn(
            place,
            format!("what follows the address is ignored, from `{next}` on"),
        );
    }
    let Some(port) = port_of(word, place, notes) else {
        let (before, after) = word.rsplit_once(':').unwrap_or(("", ""));
        let (reason, instead) = if word.contains(['$', '{']) {
            let reason = format!("`{word}` is no port: variables are not put in");
            (reason, "listener 1883".to_owned())
        } else if after.parse::<u16>().is_ok() {
            let host = before.trim_matches(['[', ']']);
            (
                format!("`{word}` is no port: it stands before the address"),
                format!("listener {after} {host}"),
            )
        } else {
            (format!("`{word}` is no port"), "listener 1883".to_owned())
        };
        notes.fault(Exit::Invalid, place, reason, Some(instead));
        return None;
    };
    if port == 0 {
        let Some(path) = host else {
            let reason = "port 0 is a unix socket, and its path is missing";
            notes.fault(Exit::Invalid, place, reason, Some("listener 0 PATH".into()));
            return None;
        };
        return Some(Address::Unix(path.into()));
    }
    let Ok(port) = u16::try_from(port) else {
        let reason = format!("{port} is no port: it is 1 to 65535, or 0 for a unix socket");
        notes.fault(Exit::Invalid, place, reason, Some("listener 1883".into()));
        return None;
    };
    if let Some(host) = host.filter(|host| host.starts_with('[')) {
        let reason = format!("`{host}` is no address: IPv6 stands without brackets here");
        let plain = host.trim_matches(['[', ']']);
        notes.fault(
            Exit::Start,
            place,
            reason,
            Some(format!("listener {port} {plain}")),
        );
        return None;
    }
    Some(Address::Tcp {
        port,
        host: host.cloned(),
    })
}

/// A port as C's atoi() reads it, where nothing but signs and figures follows it: `1883,` or, by a habit of Docker's,
/// `1883:1883`. A letter or a dot behind it may belong to an address, and without it all interfaces would be open.
fn port_of(word: &str, place: &Place, notes: &mut Notes) -> Option<u32> {
    let end = word.bytes().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = word.split_at(end.unwrap_or(word.len()));
    let port = digits.parse().ok()?;
    let is_harmless = |byte: u8| matches!(byte, b',' | b';' | b':') || byte.is_ascii_digit();
    if !rest.bytes().all(is_harmless) || rest.matches(':').count() > 1 {
        return None;
    }
    if !rest.is_empty() {
        notes.warn(
            place,
            format!("`{word}` is read as {port}, as Mosquitto does"),
        );
    }
    Some(port)
}

/// The listener of options that stand above all `listener` lines, or of a file without any.
fn default_listener(
    drafts: &Drafts,
    global: &Global,
    any_said: bool,
    notes: &mut Notes,
) -> Option<(Address, Option<Place>, Missing)> {
    let said = &drafts.default;
    let port = match said.number("port") {
        Some(port) => to_u32(port) as u16,
        None => PORT,
    };
    let host = said.text("bind_address");
    let tcp = |host: Option<String>| Address::Tcp { port, host };
    if let Some(place) = said.place("port").or(said.place("bind_address")) {
        let address = tcp(host.map(|host| host.value));
        return Some((address, Some(place.clone()), Missing::default()));
    }
    let maker = MAKES_DEFAULT
        .iter()
        .find_map(|option| makes_default(option, said));
    let security = if global.per_listener_settings {
        said
    } else {
        &drafts.global
    };
    let anonymous = security.flag("allow_anonymous");
    let passwords = security.place("password_file").is_some();
    match maker {
        None if any_said => None,
        None => {
            if anonymous == Some(false)
                && let Some(place) = security.place("allow_anonymous")
            {
                let text = "there is no `listener`, so only programs on this machine can connect; they must log in \
                    (Mosquitto before 2.0.21 lets them in without)";
                notes.warn_instead(place, text, format!("listener {port}"));
            }
            let address = Address::Loopback { port };
            Some((address, None, Missing { anonymous: true }))
        }
        Some((option, place)) if any_said => {
            let text = format!(
                "`{option}` above the first `listener` makes one more on port {port}, on all interfaces, for itself"
            );
            notes.warn(place, text);
            Some((tcp(None), Some(place.clone()), Missing::default()))
        }
        Some((option, place)) if anonymous.is_none() && !passwords => {
            let text = format!(
                "`{option}` without a `listener` opens port {port} on all interfaces and to everybody in Mosquitto; here \
                    only programs on this machine can connect until a `listener` line says otherwise"
            );
            notes.warn_instead(place, text, format!("listener {port}"));
            let address = Address::Loopback { port };
            Some((address, Some(place.clone()), Missing { anonymous: true }))
        }
        Some((option, place)) => {
            let who = match anonymous {
                Some(true) => "",
                _ => "; Mosquitto lets in everybody there, here a login is needed",
            };
            let text =
                format!("`{option}` without a `listener` opens port {port} on all interfaces{who}");
            notes.warn_instead(place, text, format!("listener {port}"));
            Some((tcp(None), Some(place.clone()), Missing::default()))
        }
    }
}

/// Where an option makes a default listener by what it says.
fn makes_default<'a>(
    option: &'static str,
    said: &'a Statements,
) -> Option<(&'static str, &'a Place)> {
    let place = said.place(option)?;
    let makes = match option {
        "require_certificate"
        | "use_identity_as_username"
        | "use_subject_as_username"
        | "use_username_as_clientid" => said.is_true(option),
        "allow_zero_length_clientid" => said.flag(option) == Some(false),
        "max_connections" => said.number(option) != Some(-1),
        "max_qos" => said.number(option) != Some(2),
        "protocol" => said
            .last_words(option)
            .is_some_and(|(words, _)| words[0] != "mqtt"),
        _ => true,
    };
    makes.then_some((option, place))
}

fn listener(at: &Source<'_>, address: Address, missing: Missing, notes: &mut Notes) -> Listener {
    let said = at.said;
    let mut protocol = Protocol::Mqtt;
    if let Some((words, place)) = said.last_words("protocol") {
        match words[0].as_str() {
            "mqtt" => {}
            "websockets" => protocol = Protocol::WebSockets,
            "http_api" => protocol = Protocol::HttpApi,
            word => {
                let reason = format!("`{word}` is no protocol: mqtt, websockets or http_api");
                let instead = Some("protocol mqtt".into());
                notes.fault(Exit::Invalid, place, reason, instead);
            }
        }
    }
    let mut family = None;
    if let Some((words, place)) = said.last_words("socket_domain") {
        match words[0].as_str() {
            "ipv4" => family = Some(Family::Ipv4),
            "ipv6" => family = Some(Family::Ipv6),
            word => {
                let reason = format!("`{word}` is neither ipv4 nor ipv6");
                notes.fault(
                    Exit::Invalid,
                    place,
                    reason,
                    Some("socket_domain ipv4".into()),
                );
            }
        }
    }
    if let Some(prefix) = said
        .text("mount_point")
        .filter(|prefix| prefix.value.contains(['+', '#']))
    {
        let reason = "a mount point has no wildcards";
        notes.fault(
            Exit::Invalid,
            &prefix.place,
            reason,
            Some("mount_point PREFIX/".into()),
        );
    }
    let behind_tls = is_behind_tls(said);
    let origins = said
        .words("websockets_origin")
        .map(|(words, _)| words[0].clone());
    Listener {
        place: at.place.cloned(),
        address,
        protocol,
        family,
        interface: said.text("bind_interface"),
        connections_max: said.number("max_connections").and_then(from_minus_one),
        qos_max: to_u32(said.number("max_qos").unwrap_or(2)) as u8,
        topic_alias_max: to_u32(said.number("max_topic_alias").unwrap_or(10)) as u16,
        mount_point: said.text("mount_point"),
        user_name_is_client_id: said.is_true("use_username_as_clientid"),
        versions: versions(said, notes),
        proxy_protocol: said
            .number("enable_proxy_protocol")
            .zip(said.place("enable_proxy_protocol"))
            .map(|(version, place)| At {
                value: to_u32(version) as u8,
                place: place.clone(),
            }),
        proxy_requires_tls: said.is_true("proxy_protocol_v2_require_tls"),
        proxy_requires_certificate: behind_tls && said.is_true("require_certificate"),
        proxy_names: behind_tls && said.is_true("use_identity_as_username"),
        origins: origins.collect(),
        tls: tls(said, notes),
        security: security(at, missing),
    }
}

fn security(at: &Source<'_>, missing: Missing) -> Security {
    let said = at.security();
    let path = |option| said.text(option).map(path_at);
    let own_flag = at.said.flag("listener_allow_anonymous");
    let prefix = at
        .said
        .text("listener_auto_id_prefix")
        .or(said.text("auto_id_prefix"));
    Security {
        anonymous: own_flag
            .or(said.flag("allow_anonymous"))
            .unwrap_or(missing.anonymous),
        password_file: path("password_file"),
        acl_file: path("acl_file"),
        empty_client_id: said.flag("allow_zero_length_clientid").unwrap_or(true),
        auto_id_prefix: prefix.map_or_else(|| "auto-".to_owned(), |prefix| prefix.value),
    }
}

fn versions(said: &Statements, notes: &mut Notes) -> [bool; 3] {
    let Some((words, place)) = said.last_words("accept_protocol_versions") else {
        return [true; 3];
    };
    let mut versions = [false; 3];
    let words = words.iter().take_while(|word| !word.starts_with('#'));
    for word in words
        .flat_map(|word| word.split(','))
        .filter(|word| !word.is_empty())
    {
        match word {
            "3" => versions[0] = true,
            "4" => versions[1] = true,
            "5" => versions[2] = true,
            _ => {
                let reason =
                    format!("`{word}` is no version: 3 is MQTT 3.1, 4 is 3.1.1 and 5 is 5.0");
                let instead = Some("accept_protocol_versions 3, 4, 5".to_owned());
                notes.fault(Exit::Invalid, place, reason, instead);
            }
        }
    }
    versions
}

/// A proxy has the TLS, and tells of it in its header.
fn is_behind_tls(said: &Statements) -> bool {
    said.number("enable_proxy_protocol") == Some(2) && said.text("certfile").is_none()
}

/// `None` where there is no certificate: then there is no TLS, whatever else is said of it.
fn tls(said: &Statements, notes: &mut Notes) -> Option<Tls> {
    let path = |option| said.text(option).map(path_at);
    let (certificate, key) = (path("certfile"), path("keyfile"));
    let (ca_file, ca_folder) = (path("cafile"), path("capath"));
    let version_min = TlsVersion::least(said, "tls_version", notes);
    let required = said.is_true("require_certificate");
    let ca = ca_file.as_ref().or(ca_folder.as_ref()).map(|ca| &ca.place);
    match (&certificate, &key, ca) {
        (Some(one), None, _) => {
            let instead = Some(format!("certfile {}\nkeyfile FILE", one.value.display()));
            notes.fault(
                Exit::Invalid,
                &one.place,
                "`certfile` needs a `keyfile`",
                instead,
            );
        }
        (None, Some(one), _) => {
            let instead = Some(format!("certfile FILE\nkeyfile {}", one.value.display()));
            notes.fault(
                Exit::Invalid,
                &one.place,
                "`keyfile` needs a `certfile`",
                instead,
            );
        }
        (None, None, Some(place)) => {
            let reason = "a CA makes no TLS: the broker needs a certificate of its own, or the listener stays open to be read";
            let instead = Some("certfile FILE\nkeyfile FILE".to_owned());
            notes.fault(Exit::Invalid, place, reason, instead);
        }
        _ => {}
    }
    let names = ["use_identity_as_username", "use_subject_as_username"];
    let name = names.into_iter().find(|option| said.is_true(option));
    let whose = |option: &str| said.place(option);
    if let Some(place) =
        whose("require_certificate").filter(|_| required && ca.is_none() && !is_behind_tls(said))
    {
        let reason = "no client certificate can be trusted, because there is no CA";
        let instead = Some("require_certificate true\ncafile FILE".to_owned());
        notes.fault(Exit::Invalid, place, reason, instead);
    }
    if let Some((name, place)) = name.and_then(|name| Some((name, whose(name)?)))
        && !required
    {
        let reason = "without `require_certificate true` no Client shows a certificate, and each would be refused";
        let instead = Some(format!("{name} true\nrequire_certificate true"));
        notes.fault(Exit::Invalid, place, reason, instead);
    }
    let (certificate, key) = certificate.zip(key)?;
    Some(Tls {
        certificate,
        key,
        ca_file,
        ca_folder,
        client_certificate_required: required,
        user_name: match name {
            Some("use_identity_as_username") => Some(CertificateName::CommonName),
            Some(_) => Some(CertificateName::Subject),
            None => None,
        },
        revoked: path("crlfile"),
        client_dates_ignored: said.is_true("disable_client_cert_date_checks"),
        version_min,
        fragment_bytes_max: said
            .number("max_fragment_size")
            .map(|bytes| to_u32(bytes) as u16),
    })
}
