//! A connection to another broker, and how it is read out of the lines below `connection NAME`.

use super::drafts::Section;
use super::files::{Files, Look};
use super::global::{path_at, to_u32};
use super::listener::TlsVersion;
use super::note::{At, Exit, Place};
use super::statements::{Notes, Statements};
use std::path::PathBuf;

/// One bridge. Which client ids `None` stands for depends on the machine's name; Mosquitto's defaults are `HOST.NAME`
/// and `local.` before it.
#[derive(Clone, PartialEq, Debug)]
pub struct Bridge {
    /// Its `connection` line.
    pub place: Place,
    /// The word behind `connection`; no other bridge of the file has it.
    pub name: String,
    /// Host and port, in the order they are tried; never empty.
    pub addresses: Vec<(String, u16)>,
    /// Tried in turn instead of always beginning with the first.
    pub round_robin: bool,
    /// Empty only where no line of the file was a Topic Filter.
    pub topics: Vec<BridgeTopic>,
    /// Client id at the other broker, `remote_clientid`.
    pub remote_client_id: Option<String>,
    /// Client id of its Session at this broker, `local_clientid`.
    pub local_client_id: Option<String>,
    /// User name at the other broker; `None`: anonymous.
    pub remote_user: Option<String>,
    /// Password at the other broker.
    pub remote_password: Option<String>,
    /// User name at this broker; `None`: anonymous.
    pub local_user: Option<String>,
    /// Password at this broker.
    pub local_password: Option<String>,
    /// Clean Session at the other broker.
    pub clean_session: bool,
    /// Clean Session at this broker; as `clean_session` where it is not said.
    pub local_clean_session: bool,
    /// Keep Alive in seconds, at least 5.
    pub keep_alive_s: u16,
    /// When it connects.
    pub start: StartType,
    /// Pause before the next try: a random one from the base on, never above the cap.
    pub restart_base_s: u32,
    /// Seconds; never below the base.
    pub restart_cap_s: u32,
    /// Of `StartType::Lazy`: silence after which it disconnects, and messages that make it connect.
    pub idle_timeout_s: u32,
    /// Messages waiting that make a lazy bridge connect.
    pub threshold: u32,
    /// It publishes 1 or 0, retained, as it connects and disconnects.
    pub notifications: bool,
    /// These go to this broker alone.
    pub notifications_local_only: bool,
    /// Their Topic Name; `None`: `$SYS/broker/connection/CLIENT/state`.
    pub notification_topic: Option<String>,
    /// Tells the other broker that this is a bridge, so that it sends nothing back.
    pub try_private: bool,
    /// 3, 4 or 5, as in CONNECT.
    pub protocol_version: u8,
    /// At each connect it unsubscribes from topics that only go out.
    pub unsubscribe: bool,
    /// Its messages keep RETAIN towards the other broker.
    pub outgoing_retain: bool,
    /// Retained messages that were deleted at the other broker while it was away are deleted here, where they are the
    /// bridge's.
    pub retain_deletions: bool,
    /// The address of this machine that it connects from.
    pub bind_address: Option<String>,
    /// The largest packet that it takes from the other broker; `None`: any.
    pub packet_bytes_max: Option<u32>,
    /// Topic Aliases that the other broker may use towards it.
    pub topic_alias_max: u16,
    /// QoS 1 and 2 messages that it takes unacknowledged; never 0.
    pub receive_maximum: u16,
    /// Session Expiry Interval at the other broker, in seconds.
    pub session_expiry_s: u32,
    /// Idle seconds, interval, count.
    pub tcp_keepalive: Option<[u32; 3]>,
    /// How long sent bytes may stay unacknowledged by TCP; `None`: as the system has it.
    pub tcp_user_timeout_ms: Option<u32>,
    /// `None`: plain TCP.
    pub tls: Option<BridgeTls>,
    /// A changed configuration ends the connection at once, instead of waiting for its end.
    pub reload_at_once: bool,
}

/// What crosses: local `local_prefix + filter` is remote `remote_prefix + filter`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeTopic {
    /// Its `topic` line.
    pub place: Place,
    /// Empty: the prefixes are whole Topic Names.
    pub filter: String,
    /// Which way messages cross.
    pub direction: Direction,
    /// The highest QoS in either direction: 0, 1 or 2.
    pub qos: u8,
    /// Empty: none.
    pub local_prefix: String,
    /// Empty: none.
    pub remote_prefix: String,
}

/// Which way the messages of a topic cross.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From here to the other broker.
    Out,
    /// From the other broker to here.
    In,
    /// Both ways; the bridge bit of CONNECT, or No Local, keeps them from coming back.
    Both,
}

/// When a bridge connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartType {
    /// At the start, and again after each loss.
    Automatic,
    /// When `threshold` messages wait; it disconnects when it is idle.
    Lazy,
    /// At the start, and never again.
    Once,
}

/// TLS towards the other broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeTls {
    /// Trusted issuers, in one file.
    pub ca_file: Option<At<PathBuf>>,
    /// Trusted issuers, a folder of files.
    pub ca_folder: Option<At<PathBuf>>,
    /// The issuers that the system trusts count too.
    pub system_cas: bool,
    /// What the bridge shows to the other broker; never without `key`.
    pub certificate: Option<At<PathBuf>>,
    /// Of `certificate`.
    pub key: Option<At<PathBuf>>,
    /// Protocol name offered in the handshake; `None`: none is offered.
    pub alpn: Option<String>,
    /// The least version that is agreed to.
    pub version_min: TlsVersion,
    /// The other broker's name is not compared with its certificate.
    pub insecure: bool,
}

pub(super) fn bridge(section: &Section, notes: &mut Notes, files: &dyn Files) -> Option<Bridge> {
    let said = &section.said;
    let flag = |option, default| said.flag(option).unwrap_or(default);
    let number = |option, default| said.number(option).unwrap_or(default);
    let text = |option| said.text(option).map(|text| text.value);
    let name = section.head.first()?.clone();
    let addresses = addresses(said, &section.place, notes);
    let mut topics = Vec::new();
    for (words, place) in said.words("topic") {
        topics.extend(topic(words, place, notes));
    }
    if said.all("topic").is_empty() {
        let reason = format!("the bridge `{name}` has no `topic`");
        let instead = Some(format!("connection {name}\ntopic FILTER both 0"));
        notes.fault(Exit::Invalid, &section.place, reason, instead);
    }
    if let Some(place) = said
        .place("keepalive_interval")
        .filter(|_| number("keepalive_interval", 60) == 5)
    {
        notes.remark(place, "5 s is the least Keep Alive of a bridge");
    }
    let (restart_base_s, restart_cap_s) = restart(said, notes);
    let clean_session = flag("cleansession", false);
    Some(Bridge {
        place: section.place.clone(),
        addresses,
        topics,
        round_robin: flag("round_robin", false),
        remote_client_id: text("remote_clientid"),
        local_client_id: text("local_clientid"),
        remote_user: text("remote_username"),
        remote_password: text("remote_password"),
        local_user: text("local_username"),
        local_password: text("local_password"),
        clean_session,
        local_clean_session: flag("local_cleansession", clean_session),
        keep_alive_s: to_u32(number("keepalive_interval", 60)) as u16,
        start: start(said, &name, notes),
        restart_base_s,
        restart_cap_s,
        idle_timeout_s: to_u32(number("idle_timeout", 60)),
        threshold: to_u32(number("threshold", 10)),
        notifications: flag("notifications", true),
        notifications_local_only: flag("notifications_local_only", false),
        notification_topic: text("notification_topic"),
        try_private: flag("try_private", true),
        protocol_version: version(said, notes),
        unsubscribe: flag("bridge_attempt_unsubscribe", true),
        outgoing_retain: flag("bridge_outgoing_retain", true),
        retain_deletions: flag("bridge_retain_deletions", false),
        bind_address: text("bridge_bind_address"),
        packet_bytes_max: said
            .number("bridge_max_packet_size")
            .filter(|bytes| *bytes > 0)
            .map(to_u32),
        topic_alias_max: to_u32(number("bridge_max_topic_alias", 10)) as u16,
        receive_maximum: to_u32(number("bridge_receive_maximum", 20)) as u16,
        session_expiry_s: to_u32(number("bridge_session_expiry_interval", 0)),
        tcp_keepalive: tcp_keepalive(said, notes),
        tcp_user_timeout_ms: said.number("bridge_tcp_user_timeout").map(to_u32),
        tls: tls(said, notes, files),
        reload_at_once: reload_at_once(said, notes),
        name,
    })
}

fn addresses(said: &Statements, connection: &Place, notes: &mut Notes) -> Vec<(String, u16)> {
    let mut addresses = Vec::new();
    let mut lines = said.words("address");
    let Some((words, place)) = lines.next() else {
        let reason = "the bridge has no `address`";
        let instead = Some("address HOST:1883".to_owned());
        notes.fault(Exit::Invalid, connection, reason, instead);
        return addresses;
    };
    if let Some((_, second)) = lines.next() {
        let reason =
            format!("a bridge has one line of addresses, and this one has another in {place}");
        let all: Vec<&str> = said
            .words("address")
            .flat_map(|(words, _)| words)
            .map(String::as_str)
            .collect();
        notes.fault(
            Exit::Invalid,
            second,
            reason,
            Some(format!("address {}", all.join(" "))),
        );
    }
    for word in words.iter().take_while(|word| !word.starts_with('#')) {
        match address(word) {
            Some(address) => addresses.push(address),
            None => {
                let reason = format!("`{word}` is no HOST or HOST:PORT");
                notes.fault(
                    Exit::Invalid,
                    place,
                    reason,
                    Some("address HOST:1883".into()),
                );
            }
        }
    }
    if addresses.is_empty() && !notes.has_faults() {
        notes.fault(
            Exit::Invalid,
            place,
            "`address` has no value",
            Some("address HOST:1883".into()),
        );
    }
    addresses
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
fn address(word: &str) -> Option<(String, u16)> {
    let (host, port) = match word.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':')
                    .or(port.is_empty().then_some("1883"))?,
            )
        }
        None => match word.split_once(':') {
            // More than one colon: an IPv6 address without brackets.
            Some((_, port)) if port.contains(':') => (word, "1883"),
            Some(parts) => parts,
            None => (word, "1883"),
        },
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn topic(words: &[String], place: &Place, notes: &mut Notes) -> Option<BridgeTopic> {
    let word = |index: usize| words.get(index).map(String::as_str);
    // `""` is nothing, and so is a comment in the place of a prefix.
    let prefix = |index| {
        word(index)
            .filter(|word| *word != "\"\"" && !word.starts_with('#'))
            .unwrap_or("")
    };
    let filter = word(0).filter(|word| *word != "\"\"").unwrap_or("");
    let fault = |notes: &mut Notes, reason: String, instead: String| {
        notes.fault(Exit::Invalid, place, reason, Some(instead));
        None
    };
    let direction = match word(1) {
        None | Some("out") => Direction::Out,
        Some("in") => Direction::In,
        Some("both") => Direction::Both,
        Some(word) => {
            let reason = format!("`{word}` is no direction: it is out, in or both");
            return fault(notes, reason, format!("topic {filter} both 0"));
        }
    };
    let qos = match word(2) {
        None | Some("0") => 0,
        Some("1") => 1,
        Some("2") => 2,
        Some(word) => {
            let reason = format!("`{word}` is no QoS: it is 0, 1 or 2");
            return fault(notes, reason, format!("topic {filter} {} 1", words[1]));
        }
    };
    let (local, remote) = (prefix(3), prefix(4));
    if local.contains(['+', '#']) || remote.contains(['+', '#']) {
        let reason = "a prefix of a bridge's topic has no wildcards".to_owned();
        return fault(notes, reason, format!("topic {filter} {} {qos}", words[1]));
    }
    if filter.is_empty() && (local.is_empty() || remote.is_empty()) {
        let reason = "a topic that is \"\" needs a local and a remote name".to_owned();
        return fault(notes, reason, format!("topic \"\" out {qos} LOCAL REMOTE"));
    }
    for prefix in [local, remote] {
        let whole = format!("{prefix}{filter}");
        if !is_filter(&whole) {
            notes.warn(
                place,
                format!("`{whole}` is no Topic Filter: nothing crosses by it"),
            );
            return None;
        }
    }
    Some(BridgeTopic {
        place: place.clone(),
        filter: filter.to_owned(),
        direction,
        qos,
        local_prefix: local.to_owned(),
        remote_prefix: remote.to_owned(),
    })
}

/// Every wildcard fills its level, `#` the last [v5 MQTT-4.7.1-1, MQTT-4.7.1-2].
fn is_filter(text: &str) -> bool {
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let plain = !level.contains(['+', '#']);
        if !(plain || level == "+" || level == "#" && levels.peek().is_none()) {
            return false;
        }
    }
    (1..=usize::from(u16::MAX)).contains(&text.len())
}

fn start(said: &Statements, name: &str, notes: &mut Notes) -> StartType {
    let Some((words, place)) = said.last_words("start_type") else {
        return StartType::Automatic;
    };
    match words[0].as_str() {
        "automatic" => StartType::Automatic,
        "lazy" => StartType::Lazy,
        "once" => StartType::Once,
        word => {
            let reason = format!(
                "`{word}` is no way for the bridge `{name}` to start: automatic, lazy or once"
            );
            let instead = Some("start_type automatic".to_owned());
            notes.fault(Exit::Invalid, place, reason, instead);
            StartType::Automatic
        }
    }
}

fn restart(said: &Statements, notes: &mut Notes) -> (u32, u32) {
    const DEFAULT: (u32, u32) = (5, 30);
    let Some((words, place)) = said.last_words("restart_timeout") else {
        return DEFAULT;
    };
    let seconds = |word: &String| word.parse::<u32>().ok();
    let base = seconds(&words[0]);
    let cap = words
        .get(1)
        .filter(|word| !word.starts_with('#'))
        .map(seconds);
    match (base, cap) {
        // Mosquitto takes 0 for a second.
        (Some(base), None) => (base.max(1), base.max(1)),
        (Some(base), Some(Some(cap))) if cap >= base => (base.max(1), cap.max(1)),
        _ => {
            let reason =
                "`restart_timeout` is a base and a cap in seconds, the cap not below the base";
            let instead = Some("restart_timeout 5 30".to_owned());
            notes.fault(Exit::Invalid, place, reason, instead);
            DEFAULT
        }
    }
}

fn version(said: &Statements, notes: &mut Notes) -> u8 {
    let Some((words, place)) = said.last_words("bridge_protocol_version") else {
        return 4;
    };
    match words[0].as_str() {
        "mqttv31" => 3,
        "mqttv311" => 4,
        "mqttv50" => 5,
        word => {
            let reason = format!("`{word}` is no version: mqttv31, mqttv311 or mqttv50");
            let instead = Some("bridge_protocol_version mqttv311".to_owned());
            notes.fault(Exit::Invalid, place, reason, instead);
            4
        }
    }
}

fn tcp_keepalive(said: &Statements, notes: &mut Notes) -> Option<[u32; 3]> {
    let (words, place) = said.last_words("bridge_tcp_keepalive")?;
    let numbers: Vec<u32> = words.iter().map_while(|word| word.parse().ok()).collect();
    let found = numbers.get(..3).and_then(|numbers| numbers.try_into().ok());
    if found.is_none() {
        let reason = "`bridge_tcp_keepalive` is three numbers: idle seconds, interval, count";
        let instead = Some("bridge_tcp_keepalive 60 10 3".to_owned());
        notes.fault(Exit::Invalid, place, reason, instead);
    }
    found
}

fn reload_at_once(said: &Statements, notes: &mut Notes) -> bool {
    match said.last_words("bridge_reload_type") {
        Some((words, place)) if !matches!(words[0].as_str(), "lazy" | "immediate") => {
            let reason = format!("`{}` is neither lazy nor immediate", words[0]);
            let instead = Some("bridge_reload_type lazy".to_owned());
            notes.fault(Exit::Invalid, place, reason, instead);
            false
        }
        Some((words, _)) => words[0] == "immediate",
        None => false,
    }
}

fn tls(said: &Statements, notes: &mut Notes, files: &dyn Files) -> Option<BridgeTls> {
    let file = |option| said.text(option).map(path_at);
    let tls = BridgeTls {
        ca_file: file("bridge_cafile"),
        ca_folder: file("bridge_capath"),
        system_cas: said.is_true("bridge_tls_use_os_certs"),
        certificate: file("bridge_certfile"),
        key: file("bridge_keyfile"),
        alpn: said.text("bridge_alpn").map(|alpn| alpn.value),
        version_min: TlsVersion::least(said, "bridge_tls_version", notes),
        insecure: said.is_true("bridge_insecure"),
    };
    let any = tls.ca_file.is_some()
        || tls.ca_folder.is_some()
        || tls.system_cas
        || tls.certificate.is_some()
        || tls.key.is_some();
    if let Some(place) = said.place("bridge_insecure").filter(|_| tls.insecure) {
        notes.warn(place, "the bridge takes any broker with a certificate for the right one: `bridge_insecure true`");
    }
    match (&tls.certificate, &tls.key) {
        (Some(one), None) => {
            let instead = Some("bridge_keyfile FILE".to_owned());
            notes.fault(
                Exit::Invalid,
                &one.place,
                "`bridge_certfile` needs a `bridge_keyfile`",
                instead,
            );
        }
        (None, Some(one)) => {
            let instead = Some("bridge_certfile FILE".to_owned());
            notes.fault(
                Exit::Invalid,
                &one.place,
                "`bridge_keyfile` needs a `bridge_certfile`",
                instead,
            );
        }
        _ => {}
    }
    // The rest of the broker serves without its bridge.
    for file in [&tls.ca_file, &tls.ca_folder, &tls.certificate, &tls.key]
        .into_iter()
        .flatten()
    {
        if files.look(&file.value) == Look::Missing {
            let text = format!(
                "{} does not exist: the bridge will not connect",
                file.value.display()
            );
            notes.warn(&file.place, text);
        }
    }
    any.then_some(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_bridges() {
        for (word, wanted) in [
            ("host", Some(("host", 1883))),
            ("host:8883", Some(("host", 8883))),
            ("[::1]", Some(("::1", 1883))),
            ("[::1]:1884", Some(("::1", 1884))),
            ("fe80::1", Some(("fe80::1", 1883))),
            ("host:", None),
            ("host:0", None),
            ("host:x", None),
            ("host:70000", None),
            (":1883", None),
            ("[::1", None),
            ("[::1]x", None),
        ] {
            let wanted = wanted.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(address(word), wanted, "{word}");
        }
    }
}
