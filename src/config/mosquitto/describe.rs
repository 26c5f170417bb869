//! A configuration in words, for `--check`: where the broker listens, who may come in, what differs from Mosquitto.

use super::listener::{Address, CertificateName, Listener, Protocol, Tls, TlsVersion};
use super::note::{Kind, Note};
use super::{Bridge, Direction, Mosquitto};
use crate::config::network::host_and_port;
use crate::language::Language;
use std::fmt::Write;

/// The widest first column.
const COLUMN_MAX: usize = 40;

/// Lines for eyes, the last one with its line end. Nothing of what a password or key is.
pub fn describe(mosquitto: &Mosquitto, language: Language) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", language.say("Reads"));
    for file in &mosquitto.files {
        let _ = writeln!(out, "  {}", file.display());
    }
    let _ = writeln!(out, "\n{}", language.say("Listens on"));
    let rows = mosquitto
        .listeners
        .iter()
        .map(|listener| [address(listener, language), who(listener, language)]);
    table(&mut out, rows.collect());
    if mosquitto.is_local_only() {
        let text = "Only programs on this machine can connect, as there is no `listener` line.";
        let _ = writeln!(out, "  {}", language.say(text));
    }
    let _ = writeln!(out, "\n{}", language.say("Keeps"));
    let _ = writeln!(out, "  {}", language.say(&kept(mosquitto)));
    if !mosquitto.bridges.is_empty() {
        let _ = writeln!(out, "\n{}", language.say("Bridges"));
        let rows = mosquitto
            .bridges
            .iter()
            .map(|bridge| [bridge.name.clone(), remote(bridge, language)]);
        table(&mut out, rows.collect());
    }
    for (title, kind) in [
        ("Without effect here", Kind::NoEffect),
        ("Warnings", Kind::Warning),
        ("Worth knowing", Kind::Remark),
    ] {
        let notes: Vec<&Note> = mosquitto
            .notes
            .iter()
            .filter(|note| note.kind == kind)
            .collect();
        if !notes.is_empty() {
            let _ = writeln!(out, "\n{}", language.say(title));
        }
        for note in notes {
            for line in note.said(language).lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

/// Two columns, the second ones below each other.
fn table(out: &mut String, rows: Vec<[String; 2]>) {
    let width = |text: &String| text.chars().count();
    let widest = rows
        .iter()
        .map(|[first, _]| width(first))
        .max()
        .unwrap_or(0)
        .min(COLUMN_MAX);
    for [first, second] in rows {
        let gap = widest.saturating_sub(width(&first)) + 3;
        let _ = writeln!(out, "  {first}{}{second}", " ".repeat(gap));
    }
}

fn address(listener: &Listener, language: Language) -> String {
    let text = match &listener.address {
        Address::Tcp { port, host: None } => format!("port {port} of all interfaces"),
        Address::Tcp {
            port,
            host: Some(host),
        } => host_and_port(host, *port),
        Address::Unix(path) => format!("unix socket {}", path.display()),
        Address::Loopback { port } => format!("127.0.0.1:{port} and [::1]:{port}"),
    };
    language.say(&text).into_owned()
}

/// Protocol, then who may come in.
fn who(listener: &Listener, language: Language) -> String {
    let speaks = match (listener.protocol, &listener.tls) {
        (Protocol::Mqtt, None) => "MQTT".to_owned(),
        (Protocol::WebSockets, None) => "MQTT over WebSocket".to_owned(),
        (Protocol::Mqtt, Some(tls)) => format!("MQTT over {}", version(tls)),
        (Protocol::WebSockets, Some(tls)) => format!("MQTT over WebSocket and {}", version(tls)),
        (Protocol::HttpApi, None) => "the page and its API, over HTTP".to_owned(),
        (Protocol::HttpApi, Some(tls)) => format!("the page and its API, over {}", version(tls)),
    };
    let mut words = language.say(&speaks).into_owned();
    let mut add = |text: &str| words.push_str(&language.say(text));
    let security = &listener.security;
    let tls = listener.tls.as_ref();
    let named = tls.and_then(|tls| tls.user_name);
    let passwords = security
        .password_file
        .as_ref()
        .map(|file| file.value.display().to_string());
    let is_page = listener.protocol == Protocol::HttpApi;
    let who = match (named, security.anonymous, passwords) {
        (_, _, None) if is_page => "every program of this machine".to_owned(),
        (_, _, Some(file)) if is_page => format!("the users of {file}"),
        (Some(CertificateName::CommonName), _, _) => {
            "the name in a client certificate is the user".to_owned()
        }
        (Some(CertificateName::Subject), _, _) => {
            "the subject of a client certificate is the user".to_owned()
        }
        (None, true, None) => "anybody, with any user name or none".to_owned(),
        (None, true, Some(file)) => format!("anybody without a user name, and the users of {file}"),
        (None, false, Some(file)) => format!("the users of {file}"),
        (None, false, None) => {
            "NOBODY: no `password_file`, and no `allow_anonymous true`".to_owned()
        }
    };
    add(": ");
    add(&who);
    if tls.is_some_and(|tls| tls.client_certificate_required) && named.is_none() {
        add(", with a client certificate");
    }
    match &security.acl_file {
        Some(file) => add(&format!("; rights by {}", file.value.display())),
        None => add("; every topic is open to them"),
    }
    if let Some(most) = listener.connections_max {
        add(&format!("; at most {most} connections"));
    }
    words
}

fn version(tls: &Tls) -> &'static str {
    match tls.version_min {
        TlsVersion::V1_2 => "TLS 1.2 and 1.3",
        TlsVersion::V1_3 => "TLS 1.3",
    }
}

fn kept(mosquitto: &Mosquitto) -> String {
    let global = &mosquitto.global;
    if !global.persistence {
        return "retained messages and sessions until the broker stops (no `persistence true`)"
            .to_owned();
    }
    match &global.persistence_folder {
        Some(folder) => format!(
            "retained messages and sessions in {}",
            folder.value.display()
        ),
        None => "retained messages and sessions in a folder for the port".to_owned(),
    }
}

fn remote(bridge: &Bridge, language: Language) -> String {
    let addresses: Vec<String> = bridge
        .addresses
        .iter()
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    let mut words = addresses.join(" or ");
    if let Some(tls) = &bridge.tls {
        words.push_str(if tls.insecure {
            " over TLS, UNVERIFIED"
        } else {
            " over TLS"
        });
    }
    words = language.say(&words).into_owned();
    for topic in &bridge.topics {
        let arrow = match topic.direction {
            Direction::Out => "->",
            Direction::In => "<-",
            Direction::Both => "<->",
        };
        let _ = write!(
            words,
            "; {}{} {arrow} {}{}",
            topic.local_prefix, topic.filter, topic.remote_prefix, topic.filter
        );
    }
    words
}
