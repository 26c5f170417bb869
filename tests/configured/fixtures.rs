//! Twenty files of the kinds people have, through the real program: it starts or refuses as their table says, and each
//! listener lets in whom the table says. Paths and ports are rewritten.

use crate::{anonymous, code_at, login};
use mqttfast_rig::process::certificates;
use mqttfast_rig::process::{DEADLINE, Folder, free_port, program, reference};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mosquitto/fixtures");

/// Where the fixtures have their files.
const ROOTS: [&str; 5] = [
    "/etc/mosquitto",
    "/mosquitto/",
    "/var/lib/mosquitto",
    "/var/log/mosquitto",
    "/run/mosquitto",
];

/// A fixture installed below a folder, with ports of this test.
pub struct Installed {
    pub folder: Folder,
    ports: BTreeMap<u16, u16>,
}

impl Installed {
    pub fn new(file: &str) -> Installed {
        let folder = Folder::new();
        // Its point is that two listeners want port 1883; it is refused before a port is asked for.
        let is_about_1883 = file.starts_with("35");
        let free = |port| if is_about_1883 { port } else { free_port() };
        let ports = [1883, 1884, 8883, 9001].map(|port| (port, free(port)));
        let installed = Installed {
            folder,
            ports: ports.into(),
        };
        for path in [
            "etc/mosquitto/conf.d",
            "etc/mosquitto/certs",
            "mosquitto/config",
            "mosquitto/data",
            "mosquitto/log",
            "var/lib/mosquitto",
            "var/log/mosquitto",
            "run/mosquitto",
        ] {
            fs::create_dir_all(installed.path(path)).expect("a folder");
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(installed.path(path), open).expect("a folder for everybody");
        }
        let stem = file.strip_suffix(".conf").expect("a configuration");
        installed.put(
            &format!("{FIXTURES}/{file}"),
            "etc/mosquitto/mosquitto.conf",
        );
        for (ending, name) in [("acl", "acl"), ("passwd", "passwd")] {
            for to in ["etc/mosquitto", "mosquitto/config"] {
                installed.put(
                    &format!("{FIXTURES}/{stem}.{ending}"),
                    &format!("{to}/{name}"),
                );
            }
        }
        for entry in fs::read_dir(format!("{FIXTURES}/{stem}.d"))
            .into_iter()
            .flatten()
        {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            installed.put(
                &path.display().to_string(),
                &format!("etc/mosquitto/conf.d/{name}"),
            );
        }
        for (name, made) in [
            ("ca.crt", "ca.crt"),
            ("ca.crl", "ca.crl"),
            ("server.crt", "ec.crt"),
            ("server.key", "ec.key"),
        ] {
            let path = installed.path(&format!("etc/mosquitto/certs/{name}"));
            fs::copy(certificates().join(made), path).expect("a file that is there");
        }
        installed
    }

    pub fn path(&self, below: &str) -> std::path::PathBuf {
        self.folder.path(below)
    }

    /// Copies a file of lines, where it is, with paths and ports of this test.
    fn put(&self, from: &str, to: &str) {
        let Ok(bytes) = fs::read(from) else { return };
        let mut text = String::from_utf8(bytes).expect("a fixture is UTF-8");
        // Not twice: /etc/mosquitto/ has another root in it.
        for (index, root) in ROOTS.iter().enumerate() {
            text = text.replace(&format!(" {root}"), &format!(" \u{1}{index}\u{1}"));
        }
        for (index, root) in ROOTS.iter().enumerate() {
            let below = format!(" {}{root}", self.folder.0.display());
            text = text.replace(&format!(" \u{1}{index}\u{1}"), &below);
        }
        for (port, ours) in &self.ports {
            for option in ["listener", "port"] {
                text = text.replace(&format!("{option} {port}"), &format!("{option} {ours}"));
            }
        }
        if to.ends_with("mosquitto.conf") && !text.contains("\nuser ") {
            text.push_str(if text.ends_with('\n') { "" } else { "\n" });
            // So that folders of this test may be entered.
            text.push_str("user root\n");
        }
        fs::write(self.path(to), text).expect("write");
    }

    fn start(&self, log: &Path) -> Child {
        Command::new(program())
            .args(["-c"])
            .arg(self.path("etc/mosquitto/mosquitto.conf"))
            // For the one file that has no listener.
            .args(["--port", &self.ports[&1883].to_string()])
            .current_dir(self.path("etc/mosquitto"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(log).expect("a log"))
            .spawn()
            .expect("start mqttfast")
    }
}

/// Killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `127.0.0.1:1883 0 5` of `0.0.0.0:1883(anon=rc0,ann=rc5)`, for doors without TLS and WebSocket.
fn doors(text: &str) -> Vec<(u16, Option<u8>, Option<u8>)> {
    let mut doors = Vec::new();
    for door in text.split(' ').filter(|door| door.contains('(')) {
        let (address, rest) = door.split_once('(').expect("ADDRESS(CODES)");
        let code = |name: &str| {
            let (_, after) = rest.split_once(&format!("{name}=rc")).unwrap_or(("", "x"));
            after[..1].parse::<u8>().ok()
        };
        // IPv4 alone: a machine may have no IPv6.
        let plain = rest.starts_with("anon=rc")
            && !address.starts_with('[')
            && !address.starts_with("unix:");
        if plain {
            let port = address
                .rsplit(':')
                .next()
                .expect("a port")
                .parse()
                .expect("a port");
            doors.push((port, code("anon"), code("ann")));
        }
    }
    doors
}

#[test]
fn the_fixtures_start_or_are_refused_as_their_table_says() {
    if reference() {
        return;
    }
    let table = fs::read_to_string(format!("{FIXTURES}/expected.tsv")).expect("the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 20);
    for row in rows {
        let (file, exit, wanted) = (row[0], row[1], row[6]);
        let installed = Installed::new(file);
        let log = installed.path("stderr");
        let text = fs::read_to_string(installed.path("etc/mosquitto/mosquitto.conf"))
            .expect("it is there");
        let mut running = Running(installed.start(&log));
        if wanted == "refuse" {
            let start = Instant::now();
            let ended = loop {
                if let Some(status) = running.0.try_wait().expect("asked") {
                    break status.code();
                }
                assert!(start.elapsed() < DEADLINE, "{file} is not refused");
                std::thread::sleep(std::time::Duration::from_millis(10));
            };
            let said = fs::read_to_string(&log).expect("it says why");
            assert_eq!(ended, exit.parse().ok(), "{file}: {said}");
            assert!(said.contains("etc/mosquitto/"), "{file}: {said}");
            continue;
        }
        let expected = match doors(row[5]) {
            // What is said there without TLS is not answered.
            none if none.is_empty() && text.contains("certfile") => vec![(8883, None, None)],
            none if none.is_empty() => vec![(1883, Some(5), Some(5))],
            some => some,
        };
        for (port, anon, ann) in expected {
            let port = installed.ports[&port];
            let start = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let ended = running.0.try_wait().expect("asked");
                let said = || fs::read_to_string(&log).unwrap_or_default();
                assert!(
                    ended.is_none() && start.elapsed() < DEADLINE,
                    "{file}: {ended:?} {}",
                    said()
                );
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert_eq!(
                code_at(port, &anonymous("a").bytes()),
                anon,
                "{file}: {port} without a login"
            );
            assert_eq!(
                code_at(port, &login("b", "ann", "secret").bytes()),
                ann,
                "{file}: {port} by ann"
            );
        }
        if file.starts_with("39") {
            UnixStream::connect(installed.path("run/mosquitto/mqtt.sock")).expect("a unix socket");
        }
    }
}
