//! `mosquitto.conf` and ACL files as Mosquitto reads them: twenty kinds of files people have, with what Mosquitto did
//! with each, and a table of single lines that Debian's Mosquitto is run with too. Of a
//! running broker of ours only rights are asked.

mod mosquitto {
    pub mod reference;
    pub mod rights;
    pub mod world;
}

use mosquitto::world::{FIXTURES, Fixtures, MAIN, read_file};
use mosquitto::{reference, rights};
use mqttfast::acl::{Acl, Act};
use mqttfast::config::mosquitto::{
    Address, CertificateName, Direction, Family, Kind, Listener, Mosquitto, Protocol, Refused,
    Support, Table, describe, read,
};
use mqttfast::io::disk::Disk;
use mqttfast::language::Language;
use mqttfast::random::SplitMix64;
use mqttfast_rig::process::{Broker, Options};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Random ACL files that Mosquitto is started with; `MQTTFAST_ACL_FILES` in the environment asks for more.
const ACL_FILES: usize = 90;

/// What became of a configuration: `start`, `warn` or an exit code; and all that was said.
fn verdict(result: &Result<Mosquitto, Refused>) -> (String, String) {
    match result {
        Ok(taken) => {
            let warned = taken.notes.iter().any(|note| note.kind == Kind::Warning);
            let notes: Vec<String> = taken.notes.iter().map(|note| note.to_string()).collect();
            let word = if warned { "warn" } else { "start" };
            (word.to_owned(), notes.join("\n"))
        }
        Err(refused) => (refused.exit.code().to_string(), refused.to_string()),
    }
}

/// The columns of a row of `expected.tsv`.
struct Expected {
    file: String,
    exit_2_0_11: String,
    listeners_2_1_2: String,
    mqttfast: String,
    acl_checks: String,
}

fn expected() -> Vec<Expected> {
    let text = read_file(&format!("{FIXTURES}/expected.tsv"));
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 9, "{line}");
        Expected {
            file: columns[0].to_owned(),
            exit_2_0_11: columns[1].to_owned(),
            listeners_2_1_2: columns[5].to_owned(),
            mqttfast: columns[6].to_owned(),
            acl_checks: columns[8].to_owned(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn fixture(name: &str) -> Result<Mosquitto, Refused> {
    read(Path::new(MAIN), &Fixtures::new(name))
}

fn taken(name: &str) -> Mosquitto {
    fixture(name).unwrap_or_else(|refused| panic!("{name}: {refused}"))
}

#[test]
fn the_fixtures_start_or_are_refused_as_their_table_says() {
    let rows = expected();
    assert_eq!(rows.len(), 20);
    for row in rows {
        let result = fixture(&row.file);
        let (word, said) = verdict(&result);
        // Its ACL file is at fault.
        if row.file.starts_with("37") {
            let acl = read_file(&format!("{FIXTURES}/37-acl-trailing-comment.acl"));
            let refused = Acl::parse(acl.as_bytes()).expect_err("refused");
            let lines: Vec<u32> = refused.faults.iter().map(|fault| fault.line).collect();
            assert_eq!((word.as_str(), lines), ("start", vec![2, 4]));
            let instead = refused.faults[0].write_instead.as_deref();
            assert_eq!(instead, Some("topic readwrite green/#"));
            continue;
        }
        match row.mqttfast.as_str() {
            "start" => assert_eq!(word, "start", "{}: {said}", row.file),
            "start+warn" => assert_eq!(word, "warn", "{}: {said}", row.file),
            "refuse" => assert_eq!(word, row.exit_2_0_11, "{}: {said}", row.file),
            other => panic!("{other}"),
        }
        if let Ok(taken) = result
            && row.listeners_2_1_2 != "-"
        {
            let wanted: BTreeSet<String> =
                row.listeners_2_1_2.split(' ').map(door_of_table).collect();
            let doors: BTreeSet<String> = taken.listeners.iter().flat_map(doors).collect();
            assert_eq!(doors, wanted, "{}", row.file);
        }
        if row.acl_checks.starts_with("bert: ") {
            check_acl(&row.acl_checks);
        }
    }
}

/// `ADDRESS anonymous user`: each yes, no, or certificate.
fn door_of_table(text: &str) -> String {
    let (address, rest) = text.split_once('(').unwrap();
    let address = address.replace("*:", "0.0.0.0:");
    let answer = |name: &str| {
        let (_, after) = rest.split_once(&format!("{name}=")).unwrap();
        let code = after.split([',', ')']).next().unwrap();
        match code {
            _ if code.contains("SSL") => "certificate",
            _ if code.ends_with("rc0") => "yes",
            _ if code.ends_with("rc5") => "no",
            // The table's client did not speak to unix sockets; both fixtures that have one let in anybody.
            "-" => "yes",
            other => panic!("{other}"),
        }
    };
    format!("{address} {} {}", answer("anon"), answer("ann"))
}

/// The same of a listener of ours.
fn doors(listener: &Listener) -> Vec<String> {
    let addresses = match &listener.address {
        Address::Tcp { port, host: None } => {
            vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")]
        }
        Address::Tcp {
            port,
            host: Some(host),
        } => vec![format!("{}:{port}", host.replace("localhost", "127.0.0.1"))],
        Address::Loopback { port } => vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
        Address::Unix(path) => vec![format!("unix:{}", path.display())],
    };
    let security = &listener.security;
    let yes = |yes| if yes { "yes" } else { "no" };
    let answers = match &listener.tls {
        Some(tls) if tls.client_certificate_required => "certificate certificate".to_owned(),
        _ => {
            let user = security.password_file.is_some() || security.anonymous;
            format!("{} {}", yes(security.anonymous), yes(user))
        }
    };
    addresses
        .iter()
        .map(|address| format!("{address} {answers}"))
        .collect()
}

/// `bert: read NAME yes, NAME no; write NAME yes`.
fn check_acl(checks: &str) {
    let acl =
        Acl::parse(read_file(&format!("{FIXTURES}/07-docker-users-acl.acl")).as_bytes()).unwrap();
    let (user, checks) = checks.split_once(": ").unwrap();
    let standing = acl.standing(Some(user), "c");
    let mut count = 0;
    for part in checks.split("; ") {
        let (act, names) = part.split_once(' ').unwrap();
        let act = if act == "read" { Act::Read } else { Act::Write };
        for check in names.split(", ") {
            let (name, wanted) = check.split_once(' ').unwrap();
            let verdict = acl.may(standing, Some(user), "c", act, name);
            assert_eq!(verdict.is_allowed(), wanted == "yes", "{part}: {name}");
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

#[test]
fn what_is_said_of_the_fixtures_names_line_and_remedy() {
    for (name, words) in [
        ("05-tutorial-login-no-listener.conf", "they must log in"),
        (
            "19-keepalive-outside-bridge.conf",
            "mosquitto.conf:6: `keepalive_interval` belongs to a bridge",
        ),
        (
            "19-keepalive-outside-bridge.conf",
            "write instead: max_keepalive 60",
        ),
        (
            "21-memory-limit-units.conf",
            "mosquitto.conf:3: `64MB` is taken as 67108864 bytes",
        ),
        (
            "23-password-per-listener.conf",
            "mosquitto.conf:11: `password_file` is said a second time, first in",
        ),
        (
            "25-per-listener-last.conf",
            "mosquitto.conf:9: `per_listener_settings true` must come before `allow_anonymous`",
        ),
        (
            "25-per-listener-last.conf",
            "move the line to the top of the file",
        ),
        ("29-equals-sign.conf", "mosquitto.conf:7: `=` is left out"),
        (
            "31-v14-timers.conf",
            "mosquitto.conf:1: `retry_interval` has no effect here",
        ),
        (
            "31-v14-timers.conf",
            "mosquitto.conf:3: `store_clean_interval` has no effect here",
        ),
        (
            "31-v14-timers.conf",
            "nobody can connect here: anonymous Clients may not, since Mosquitto 2.0",
        ),
        (
            "33-wrong-password-path.conf",
            "write instead: password_file /etc/mosquitto/passwd",
        ),
        (
            "35-max-connections-first.conf",
            "mosquitto.conf:1: the line makes a listener on port 1883",
        ),
        (
            "35-max-connections-first.conf",
            "mosquitto.conf:3: move it below that",
        ),
    ] {
        let (_, said) = verdict(&fixture(name));
        assert!(said.contains(words), "{name}: {said}");
    }
}

#[test]
fn the_fixtures_mean_what_their_table_says() {
    let confd = taken("03-debian-confd-auth.conf");
    let files: Vec<String> = confd
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let included =
        ["10-net.conf", "20-login.conf"].map(|name| format!("/etc/mosquitto/conf.d/{name}"));
    assert_eq!(files[0], MAIN);
    assert_eq!(files[1..], included);
    assert!(confd.global.persistence && confd.global.pid_file.is_some());

    let local = taken("05-tutorial-login-no-listener.conf");
    assert!(local.is_local_only());

    let docker = taken("07-docker-users-acl.conf");
    assert_eq!(docker.global.autosave_s, Some(300));
    assert!(docker.global.logging.types.debug);
    assert_eq!(
        docker.acl_files()[0].value,
        Path::new("/mosquitto/config/acl")
    );

    let mtls = taken("11-mtls-identity-acl.conf");
    let tls = mtls.listeners[1].tls.as_ref().unwrap();
    assert_eq!(tls.user_name, Some(CertificateName::CommonName));
    assert_eq!(
        tls.revoked.as_ref().unwrap().value,
        Path::new("/etc/mosquitto/certs/ca.crl")
    );
    assert!(
        mtls.listeners[0].security.acl_file.is_none()
            && mtls.listeners[1].security.acl_file.is_some()
    );
    let acl =
        Acl::parse(read_file(&format!("{FIXTURES}/11-mtls-identity-acl.acl")).as_bytes()).unwrap();
    let standing = acl.standing(Some("cellar-1"), "c");
    let may = |act, name| {
        acl.may(standing, Some("cellar-1"), "c", act, name)
            .is_allowed()
    };
    assert!(may(Act::Write, "cellar/1") && !may(Act::Write, "other/1"));

    let port = taken("13-port-plus-ws-listener.conf");
    assert_eq!(port.listeners[0].protocol, Protocol::WebSockets);
    assert_eq!(port.listeners[1].protocol, Protocol::Mqtt);

    let bridge = &taken("15-bridge-cloud-remap.conf").bridges[0];
    assert_eq!(bridge.addresses, [("broker.example".to_owned(), 8883)]);
    assert_eq!(bridge.topics[0].direction, Direction::Out);
    assert_eq!(
        (
            bridge.topics[0].local_prefix.as_str(),
            bridge.topics[0].remote_prefix.as_str()
        ),
        ("", "garden7/")
    );
    assert_eq!(bridge.topics[1].direction, Direction::In);
    assert!(bridge.clean_session && bridge.local_clean_session && !bridge.notifications);
    assert_eq!((bridge.restart_base_s, bridge.restart_cap_s), (5, 60));
    assert!(bridge.tls.as_ref().is_some_and(|tls| !tls.insecure));

    let comments = taken("17-comment-after-numbers.conf");
    assert_eq!(comments.global.queued_max, Some(500));
    assert!(comments.global.logging.types.error && !comments.global.logging.types.warning);

    assert_eq!(
        taken("21-memory-limit-units.conf").global.memory_bytes_max,
        Some(64 << 20)
    );

    let equals = taken("29-equals-sign.conf");
    assert!(
        !equals.listeners[0].security.anonymous
            && equals.listeners[0].security.password_file.is_some()
    );

    let old = taken("31-v14-timers.conf");
    assert_eq!(old.global.session_expiry_s, Some(90 * 24 * 60 * 60));
    assert_eq!(old.listeners.len(), 2);
    assert!(
        old.listeners
            .iter()
            .all(|listener| !listener.security.anonymous)
    );

    let unix = taken("39-unix-socket.conf");
    assert_eq!(
        unix.listeners[1].address,
        Address::Unix("/run/mosquitto/mqtt.sock".into())
    );
    assert_eq!(unix.listeners[1].topic_alias_max, 20);
}

/// Listens on all interfaces, and lets in who has no user name.
fn is_open(taken: &Mosquitto) -> bool {
    let everywhere = |listener: &Listener| match &listener.address {
        Address::Tcp { host, .. } => host.as_deref().is_none_or(|host| host == "0.0.0.0"),
        _ => false,
    };
    taken
        .listeners
        .iter()
        .any(|listener| listener.security.anonymous && everywhere(listener))
}

/// Any one letter of any one line wrong, missing, doubled or twisted: nobody comes in who did not before.
#[test]
fn a_damaged_line_opens_nothing() {
    let mut damaged = 0;
    let mut taken_anyway = 0;
    for row in expected() {
        let whole = fixture(&row.file);
        // What is open may stay so, and damage may mend what is refused.
        if !whole.as_ref().is_ok_and(|taken| !is_open(taken)) {
            continue;
        }
        let mut world = Fixtures::new(&row.file);
        let lines = world.lines();
        for (number, line) in lines.iter().enumerate() {
            for at in 0..line.len() {
                for damage in [at % 8, (at + number + 4) % 8] {
                    let mut bad = line.clone();
                    match damage {
                        0 => bad[at] = b'x',
                        1 => bad[at] = b'\t',
                        2 => bad[at] = b'=',
                        3 => bad[at] = 0xE9,
                        4 => bad[at] ^= 1,
                        5 => {
                            bad.remove(at);
                        }
                        6 => bad.insert(at, line[at]),
                        _ => bad.swap(at, (at + 1) % line.len()),
                    }
                    let mut changed = lines.clone();
                    changed[number] = bad;
                    world.set_lines(&changed);
                    let result = read(Path::new(MAIN), &world);
                    let opens = result.as_ref().is_ok_and(is_open);
                    let text = String::from_utf8_lossy(&changed[number]).into_owned();
                    assert!(!opens, "{}: {text:?}", row.file);
                    damaged += 1;
                    taken_anyway += usize::from(result.is_ok());
                }
            }
        }
    }
    assert!(
        damaged > 2000 && taken_anyway > 300,
        "{damaged} {taken_anyway}"
    );
}

/// The program itself, asked by `--check`: the same exit codes, and the same words.
#[test]
fn the_program_says_of_each_line_what_the_reader_says() {
    let folder = reference::Folder::new();
    let rows = rows();
    assert!(rows.len() > 150);
    for row in rows {
        let path = folder.configuration(&row.text);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .arg("--check")
            .arg("-c")
            .arg(&path)
            .current_dir(path.parent().unwrap())
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let code = output.status.code().unwrap();
        let missing = code == 3 && said.contains("not implemented yet");
        match row.support.parse::<i32>() {
            Ok(refused) => assert_eq!(code, refused, "{}: {said}", row.what),
            Err(_) => assert!(code == 0 || missing, "{}: {code} {said}", row.what),
        }
        let words = row.words.replace('@', &folder.path(""));
        assert!(missing || said.contains(&words), "{}: {said}", row.what);
    }
}

/// A row of `lines.txt`.
struct Row {
    what: String,
    text: Vec<u8>,
    mosquitto: String,
    support: String,
    words: String,
}

fn rows() -> Vec<Row> {
    let text = read_file(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/mosquitto/lines.txt"
    ));
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &str| {
        let columns: Vec<&str> = line.split(" |").map(str::trim).collect();
        let [what, text, mosquitto, we, words] = columns[..] else {
            panic!("five columns: {line}");
        };
        Row {
            what: what.to_owned(),
            text: bytes(text),
            mosquitto: mosquitto.to_owned(),
            support: we.to_owned(),
            words: words.to_owned(),
        }
    };
    lines.map(row).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let skip = match after.as_bytes()[0] {
            b'n' => {
                bytes.push(b'\n');
                1
            }
            b't' => {
                bytes.push(b'\t');
                1
            }
            b'r' => {
                bytes.push(b'\r');
                1
            }
            b'0' => {
                bytes.push(0);
                1
            }
            b'x' => {
                bytes.push(u8::from_str_radix(&after[1..3], 16).unwrap());
                3
            }
            _ => panic!("{text}"),
        };
        rest = &after[skip..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[test]
fn each_line_is_taken_or_refused_as_the_table_says() {
    let folder = reference::Folder::new();
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let path = folder.configuration(&row.text);
        let result = read(&path, &Disk);
        let (word, said) = verdict(&result);
        let said = said.replace(&folder.path(""), "@");
        if word != row.support || !said.contains(&row.words) {
            wrong.push(format!(
                "{}: {word} instead of {}: {said}",
                row.what, row.support
            ));
        }
        if let Err(refused) = &result {
            let placed = refused.faults.iter().all(|fault| fault.place.line > 0);
            assert!(placed, "{}: {said}", row.what);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = rows
        .iter()
        .filter(|row| !matches!(row.support.as_str(), "start" | "warn"))
        .count();
    let fine = rows.iter().filter(|row| row.support == "start").count();
    assert!(refused > fine, "{refused} bad ones, {fine} good ones");
}

/// The third column of the table, by Debian's Mosquitto itself, each in a network of its own.
#[test]
fn mosquitto_does_what_the_table_says_of_it() {
    let folder = reference::Folder::new();
    let mut wrong = Vec::new();
    for row in rows() {
        let path = folder.configuration(&row.text);
        let Some(outcome) = reference::run(&path) else {
            eprintln!("no network of its own can be had here, so Mosquitto was not run");
            return;
        };
        if outcome.exit != row.mosquitto {
            wrong.push(format!(
                "{}: {} instead of {}\n{}",
                row.what, outcome.exit, row.mosquitto, outcome.said
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_are_told_at_once_and_no_more_than_can_be_read() {
    let folder = reference::Folder::new();
    let path = folder.configuration(b"listner 1883\nallow_anonymous maybe\n\nmax_qos 9\n");
    let refused = read(&path, &Disk).unwrap_err();
    let lines: Vec<u32> = refused
        .faults
        .iter()
        .map(|fault| fault.place.line)
        .collect();
    assert_eq!(lines, [1, 2, 4]);
    let path = folder.configuration("x\n".repeat(10_000).as_bytes());
    let refused = read(&path, &Disk).unwrap_err();
    assert_eq!(
        refused.faults.len(),
        mqttfast::limits::CONFIGURATION_NOTES_MAX
    );
    let large = vec![b'\n'; mqttfast::limits::CONFIGURATION_BYTES_MAX + 1];
    let refused = read(&folder.configuration(&large), &Disk).unwrap_err();
    assert!(refused.to_string().contains("is too large"), "{refused}");
    let refused = read(Path::new("/nothing/mosquitto.conf"), &Disk).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/nothing/mosquitto.conf: /nothing/mosquitto.conf does not exist"
    );
    assert_eq!(refused.exit.code(), 3);
}

/// `docs/mosquitto.md` has every option with what becomes of it, and no others.
#[test]
fn the_document_is_the_table() {
    let document = read_file(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mosquitto.md"));
    let table = mosquitto::world::document_table();
    assert!(
        document.contains(&table),
        "docs/mosquitto.md should have this table:\n{table}"
    );
    let count = |we| {
        Table::get()
            .rows()
            .iter()
            .filter(|row| row.support == we)
            .count()
    };
    assert!(
        count(Support::Implement) > 100
            && count(Support::Accept) >= 10
            && count(Support::Refuse) >= 15
    );
}

#[test]
fn a_description_for_the_eyes() {
    let text = describe(&taken("11-mtls-identity-acl.conf"), Language::English);
    assert_eq!(
        text,
        "\
Reads
  /etc/mosquitto/mosquitto.conf

Listens on
  127.0.0.1:1883   MQTT: anybody, with any user name or none; every topic is open to them
  0.0.0.0:8883     MQTT over TLS 1.2 and 1.3: the name in a client certificate is the user; rights by /etc/mosquitto/acl

Keeps
  retained messages and sessions until the broker stops (no `persistence true`)
"
    );
    let text = describe(&taken("31-v14-timers.conf"), Language::English);
    assert!(
        text.contains("port 1883 of all interfaces   MQTT: NOBODY: no `password_file`"),
        "{text}"
    );
    assert!(
        text.contains("Without effect here\n  /etc/mosquitto/mosquitto.conf:1: "),
        "{text}"
    );
    let text = describe(&taken("15-bridge-cloud-remap.conf"), Language::English);
    assert!(
        text.contains(
            "to-cloud   broker.example:8883 over TLS; house/# -> garden7/house/#; cmd/# <- garden7/cmd/#"
        ),
        "{text}"
    );
    assert!(!text.contains("not-a-secret"), "{text}");
    let text = describe(
        &taken("05-tutorial-login-no-listener.conf"),
        Language::English,
    );
    assert!(
        text.contains("Only programs on this machine can connect"),
        "{text}"
    );
}

#[test]
fn what_is_not_implemented_is_refused_where_it_matters_and_told_elsewhere() {
    let some = [
        "listener",
        "port",
        "allow_anonymous",
        "password_file",
        "include_dir",
        "persistence",
        "log_dest",
    ];
    let plain = taken("01-open-docker.conf");
    let notes = plain.not_yet(&some).unwrap();
    assert_eq!(notes.len(), 1, "persistence_location is told: {notes:?}");
    let refusals = |name: &str, done: &[&str]| match taken(name).not_yet(done) {
        Ok(_) => Vec::new(),
        Err(refused) => refused
            .faults
            .into_iter()
            .map(|fault| fault.place.line)
            .collect(),
    };
    assert_eq!(
        refusals("07-docker-users-acl.conf", &some),
        [4],
        "acl_file protects"
    );
    assert_eq!(
        refusals(
            "13-port-plus-ws-listener.conf",
            &[&some[..], &["protocol"]].concat()
        ),
        [4]
    );
    assert_eq!(refusals("39-unix-socket.conf", &some), [2]);
    let bridge = taken("15-bridge-cloud-remap.conf").not_yet(&some).unwrap();
    let told = bridge
        .iter()
        .filter(|note| note.text.contains("`to-cloud` is not connected"));
    assert_eq!(told.count(), 1);
}

#[test]
fn families_and_interfaces() {
    let folder = reference::Folder::new();
    let path = folder.configuration(b"listener 1883\nsocket_domain ipv6\nbind_interface eth0\n");
    let taken = read(&path, &Disk).unwrap();
    assert_eq!(taken.listeners[0].family, Some(Family::Ipv6));
    assert_eq!(taken.listeners[0].interface.as_ref().unwrap().value, "eth0");
}

/// A path of few levels.
fn path(chance: &mut SplitMix64, of: &[&str]) -> String {
    let levels: Vec<&str> = (0..=chance.below(3)).map(|_| chance.pick(of)).collect();
    levels.join("/")
}

/// Random files of few words. Each question is answered by Mosquitto with what it routes, by the table, and by
/// mqttfast, which reads each file at SIGHUP, with what it routes.
#[test]
fn acl_files_give_the_rights_that_mosquitto_gives() {
    let folder = reference::Folder::new();
    let file = PathBuf::from(folder.path("/our-acl"));
    fs::write(&file, "").unwrap();
    let ours = Broker::start_with(Options {
        acl: Some(file.clone()),
        allow_anonymous: true,
        ..Options::default()
    });
    let mut chance = SplitMix64::new(5);
    let (mut allowed, mut refused) = (0, 0);
    let more = std::env::var("MQTTFAST_ACL_FILES");
    let files = more.map_or(ACL_FILES, |text| text.parse().expect("a number"));
    for _ in 0..files {
        let filters = [
            "a", "b", "+", "+", "#", "#", "ann", "c", "$a", "%u", "%c", "p%c",
        ];
        let mut rules = String::new();
        for _ in 0..1 + chance.below(8) {
            let mut filter = path(&mut chance, &filters);
            if let Some(at) = filter.find("#/") {
                filter.truncate(at + 1);
            }
            let access = chance.pick(&["", "read ", "write ", "readwrite ", "deny "]);
            let line = match chance.below(6) {
                0 => format!("user {}\n", chance.pick(&["ann", "ann", "b", "a/b"])),
                1..4 => format!("topic {access}{filter}\n"),
                _ => format!("pattern {access}{filter}\n"),
            };
            rules.push_str(&line);
        }
        let acl =
            Acl::parse(rules.as_bytes()).unwrap_or_else(|refused| panic!("{refused}\n{rules}"));
        let mosquitto = rights::Mosquitto::start(&folder, &rules).expect("takes what we take");
        let mut admin = mosquitto.admin();
        fs::write(&file, format!("{rules}\n{}", rights::ADMIN_RULES)).unwrap();
        let mark = ours.log_len();
        ours.signal(Signal::SIGHUP);
        ours.logged_since(mark, &["info ", "ACL file", "rule"]);
        let mut our_admin = rights::admin_tcp(ours.address());
        for _ in 0..6 {
            let users = [
                None,
                Some("ann"),
                Some("b"),
                Some("a/b"),
                Some("c"),
                Some("+"),
            ];
            let user = users[chance.below(users.len())];
            let client = chance.pick(&["c", "ann", "a", "x/y", "#", "$a"]);
            let name = path(
                &mut chance,
                &["a", "b", "ann", "c", "a", "b", "x", "pc", "$a"],
            );
            let standing = acl.standing(user, client);
            let may = |act| acl.may(standing, user, client, act, &name).is_allowed();
            let mut asked = mosquitto.connect(user, client);
            let found = asked.may(&name, &mut admin);
            let (reads, writes) = found;
            let why = format!("{user:?} {client} {name}\n{rules}");
            assert_eq!((may(Act::Read), may(Act::Write)), found, "{why}");
            let mut asked = rights::connect_tcp(ours.address(), user, client);
            assert_eq!(asked.may(&name, &mut our_admin), found, "{why}");
            allowed += usize::from(reads) + usize::from(writes);
            refused += usize::from(!reads) + usize::from(!writes);
        }
    }
    println!("{files} ACL files: {allowed} rights given, {refused} not, all as by Mosquitto");
    assert!(
        allowed + refused >= 1000,
        "two rights for each of 500 questions"
    );
    assert!(
        allowed > ACL_FILES / 2 && refused > ACL_FILES / 2,
        "{allowed} {refused}"
    );
}

/// Lines of ACL files: does Mosquitto start with each, and do we take it?
#[test]
fn lines_of_acl_files_are_taken_as_mosquitto_takes_them() {
    let folder = reference::Folder::new();
    for (line, mosquitto, ours) in [
        ("", true, true),
        ("# x", true, true),
        ("  topic   read   a/b  \r", true, true),
        ("user sp ace\ntopic write a b", true, true),
        ("topic read", true, true),
        ("topic deny", true, true),
        ("topic a#b/../c", false, false),
        ("topic read \u{e9}/#", true, true),
        ("topic $share/g/x", true, true),
        ("pattern read a", true, true),
        ("pattern read %u%c", true, true),
        ("topic\tread a", false, false),
        ("\ttopic read a", false, false),
        // Here as well a TAB would be a part of the topic, and a `deny` with one would take nothing.
        ("topic read\ta", true, false),
        ("User ann", false, false),
        ("topic rw x", false, false),
        ("topic publish x", false, false),
        ("topic a b", false, false),
        ("topic", false, false),
        ("pattern", false, false),
        ("user", false, false),
        ("topic read a # x", false, false),
        ("topic read a/# # x", false, false),
        ("topic read a+", false, false),
        ("topic read a/#/b", false, false),
        ("pattern read %c+", false, false),
        ("\u{feff}topic a", false, false),
        ("listener 1883", false, false),
        // Grants nothing, so it is let pass.
        ("  # x", false, true),
    ] {
        let taken = Acl::parse(line.as_bytes()).is_ok();
        let starts = rights::Mosquitto::start(&folder, line).is_some();
        assert_eq!((starts, taken), (mosquitto, ours), "{line:?}");
    }
}
