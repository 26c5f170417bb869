//! Clients that people use, against the broker: Debian's `mosquitto_pub` and `mosquitto_sub` with the command lines of
//! the tutorials, paho-mqtt, MQTT.js and MicroPython's `umqtt.simple` and `umqtt.robust`. `tests/setup` installs them.

#[path = "clients/bridge.rs"]
mod bridge;
#[path = "clients/restart.rs"]
mod restart;
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;
#[path = "clients/v5.rs"]
mod v5;

use bridge::bridge_of_mosquitto;
use nix::sys::signal::Signal;
use restart::{
    mosquitto_sub_over_restarts, mqtt_js_over_restarts, paho_over_restarts,
    umqtt_robust_over_restarts,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::tool::{installed, path, script};
use support::{Broker, Folder, Options, Tool, certificates, reference};

on_1_and_2_shards!(
    publish_and_subscribe,
    names_of_any_language,
    user_and_password,
    wildcards,
    every_quality_of_service,
    retained_messages,
    will_of_a_killed_client,
    queued_while_away,
    many_lines_and_whole_files,
    passwd_tool_of_our_own,
    paho,
    paho_over_websocket,
    mqtt_js,
    mqtt_js_over_websocket,
    umqtt_simple,
    bridge_of_mosquitto,
    mosquitto_sub_over_restarts,
    mqtt_js_over_restarts,
    paho_over_restarts,
    umqtt_robust_over_restarts,
);

/// The versions that Debian's clients speak and we serve today.
const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// A broker and the arguments every command line against it begins with.
struct Commands {
    broker: Broker,
    version: &'static str,
}

impl Commands {
    fn arguments<'a>(&'a self, port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["-V", self.version, "-h", "127.0.0.1", "-p", port];
        arguments.extend(more);
        arguments
    }

    /// `mosquitto_pub` to its end. Panics unless it succeeds. Where a test relies on the order of two of these it asks
    /// for QoS 1: with QoS 0 the first may end before the broker has read its message.
    #[track_caller]
    fn publish(&self, more: &[&str]) {
        let port = self.broker.port().to_string();
        Tool::start("mosquitto_pub", &self.arguments(&port, more)).succeed();
    }

    /// `mosquitto_sub`, subscribed. `-d` is added so that it says when it is.
    #[track_caller]
    fn subscribe(&self, more: &[&str]) -> Tool {
        let mut tool = self.subscribe_unasked(more);
        tool.skip_to("Subscribed (mid: 1)");
        tool
    }

    /// The exit code and the words of Debian's clients when they are told "not authorized".
    fn not_authorized(&self) -> (i32, &'static str) {
        match self.version {
            "mqttv5" => (135, "Connection error: Not authorized"),
            _ => (5, "Connection Refused: not authorised."),
        }
    }

    /// `mosquitto_sub -d`, just started.
    fn subscribe_unasked(&self, more: &[&str]) -> Tool {
        let port = self.broker.port().to_string();
        let mut arguments = self.arguments(&port, more);
        arguments.push("-d");
        Tool::start("mosquitto_sub", &arguments)
    }
}

/// The next line that is a message and no remark of `-d`.
#[track_caller]
fn message(tool: &mut Tool) -> String {
    loop {
        let line = tool.line();
        if !line.starts_with("Client ") && !line.starts_with("Subscribed (mid") {
            return line;
        }
    }
}

/// Runs `test` with an anonymous broker for each version.
fn each_version(shards: usize, test: impl Fn(&Commands)) {
    each_version_with(
        Options {
            shards,
            ..Options::default()
        },
        test,
    );
}

fn each_version_with(options: Options, test: impl Fn(&Commands)) {
    for version in VERSIONS {
        test(&Commands {
            broker: Broker::start_with(options.clone()),
            version,
        });
    }
}

/// A password file with two users, made by Debian's tool: alice with "secret" and snir with "passsnir".
fn two_users(folder: &Folder) -> PathBuf {
    let file = folder.path("passwd");
    let passwd = |arguments: &[&str], user: &str, password: &str| {
        let mut command = Command::new("mosquitto_passwd");
        command
            .env("PATH", path())
            .args(arguments)
            .arg(&file)
            .args([user, password]);
        assert!(
            command
                .status()
                .expect("mosquitto_passwd; tests/setup installs it")
                .success()
        );
    };
    passwd(&["-c", "-b"], "alice", "secret");
    passwd(&["-b"], "snir", "passsnir");
    file
}

// Mosquitto's clients

fn publish_and_subscribe(shards: usize) {
    each_version(shards, |commands| {
        let mut verbose = commands.subscribe(&["-v", "-t", "test_channel"]);
        commands.publish(&["-t", "test_channel", "-m", "Hello world"]);
        assert_eq!(message(&mut verbose), "test_channel Hello world");

        let mut plain = commands.subscribe(&["-t", "topic/test"]);
        commands.publish(&["-t", "topic/test", "-m", "120"]);
        assert_eq!(message(&mut plain), "120");

        let mut two = commands.subscribe(&["-t", "domeu/salon", "-t", "domeu/cuisine", "-v"]);
        commands.publish(&["-q", "1", "-t", "domeu/cuisine", "-m", "19"]);
        commands.publish(&["-q", "1", "-t", "domeu/garage", "-m", "8"]);
        commands.publish(&[
            "-q",
            "1",
            "-t",
            "domeu/salon",
            "-m",
            r#"{"temperature": 21.5}"#,
        ]);
        assert_eq!(message(&mut two), "domeu/cuisine 19");
        assert_eq!(message(&mut two), r#"domeu/salon {"temperature": 21.5}"#);

        // A name of the host, the client's own choice of id, and a subscriber that ends after one message.
        let one = commands.subscribe(&[
            "-h",
            "localhost",
            "-i",
            "chosen/id",
            "-C",
            "1",
            "-t",
            "once",
            "-k",
            "5",
        ]);
        commands.publish(&[
            "-h",
            "localhost",
            "-t",
            "once",
            "-m",
            "done",
            "--repeat",
            "2",
            "-k",
            "5",
        ]);
        assert!(one.succeed().contains(&"done".to_string()));

        // An empty message, and the address as one word.
        let mut empty = commands.subscribe(&["-v", "-t", "empty"]);
        commands.publish(&["-t", "empty", "-n"]);
        assert_eq!(message(&mut empty), "empty (null)");
        let url = format!("mqtt://127.0.0.1:{}/empty", commands.broker.port());
        Tool::start(
            "mosquitto_pub",
            &["-V", commands.version, "-L", &url, "-m", "full"],
        )
        .succeed();
        assert_eq!(message(&mut empty), "empty full");

        // -E ends at SUBACK; -U leaves a filter again.
        commands.subscribe(&["-E", "-t", "any"]).succeed();
        commands
            .subscribe(&["-E", "-t", "any", "-U", "any"])
            .succeed();
    });
}

fn names_of_any_language(shards: usize) {
    each_version(shards, |commands| {
        let mut kitchen = commands.subscribe(&["-v", "-t", "Cuisine/Réfrigérateur/"]);
        let mut all = commands.subscribe(&["-v", "-t", "Cuisine/#"]);
        commands.publish(&[
            "-t",
            "Cuisine/Réfrigérateur",
            "-m",
            "without the last level",
        ]);
        commands.publish(&[
            "-q",
            "1",
            "-t",
            "Cuisine/Réfrigérateur/",
            "-m",
            "jai gagné…",
        ]);
        assert_eq!(message(&mut kitchen), "Cuisine/Réfrigérateur/ jai gagné…");
        assert_eq!(
            message(&mut all),
            "Cuisine/Réfrigérateur without the last level"
        );
        assert_eq!(message(&mut all), "Cuisine/Réfrigérateur/ jai gagné…");

        let mut world = commands.subscribe(&["-v", "-t", "/温度/+", "-t", "дом/#", "-t", "🏠"]);
        for topic in ["/温度/客厅", "дом/кухня", "🏠", "дом"] {
            commands.publish(&["-t", topic, "-m", "é"]);
            assert_eq!(message(&mut world), format!("{topic} é"));
        }
        // A space is a character like others.
        let mut space = commands.subscribe(&["-v", "-t", "salle de bain/eau chaude"]);
        commands.publish(&["-t", "salle de bain/eau chaude", "-m", "55 °C"]);
        assert_eq!(message(&mut space), "salle de bain/eau chaude 55 °C");
    });
}

fn user_and_password(shards: usize) {
    let folder = Folder::new();
    let passwd = Some(two_users(&folder));
    each_version_with(
        Options {
            shards,
            passwd,
            ..Options::default()
        },
        |commands| {
            let mut reader =
                commands.subscribe(&["-u", "snir", "-P", "passsnir", "-t", "ha/_temperature2"]);
            commands.publish(&[
                "-u",
                "alice",
                "-P",
                "secret",
                "-t",
                "ha/_temperature2",
                "-m",
                "22.4",
            ]);
            assert_eq!(message(&mut reader), "22.4");

            let port = commands.broker.port().to_string();
            let url = format!("mqtt://alice:secret@127.0.0.1:{port}/ha/_temperature2");
            Tool::start(
                "mosquitto_pub",
                &["-V", commands.version, "-L", &url, "-m", "by address"],
            )
            .succeed();
            assert_eq!(message(&mut reader), "by address");

            // A wrong password, another user's, an empty one, none, an unknown user, and nobody at all.
            let wrong: [&[&str]; 6] = [
                &["-u", "alice", "-P", "Secret"],
                &["-u", "alice", "-P", "passsnir"],
                &["-u", "alice", "-P", ""],
                &["-u", "alice"],
                &["-u", "bob", "-P", "secret"],
                &[],
            ];
            for credentials in wrong {
                for (program, rest) in [
                    ("mosquitto_pub", &["-t", "ha/x", "-m", "1"][..]),
                    ("mosquitto_sub", &["-t", "ha/x"][..]),
                ] {
                    let mut arguments = commands.arguments(&port, credentials);
                    arguments.extend(rest);
                    let ended = Tool::start(program, &arguments).end();
                    assert_eq!(
                        ended.status.code(),
                        Some(commands.not_authorized().0),
                        "{program} {credentials:?}: {}",
                        ended.errors
                    );
                    assert!(
                        ended.errors.contains(commands.not_authorized().1),
                        "{program} {credentials:?} said: {}",
                        ended.errors
                    );
                }
            }
        },
    );
}

fn wildcards(shards: usize) {
    each_version(shards, |commands| {
        let mut rooms = commands.subscribe(&["-v", "-t", "maison/+/température"]);
        let mut all = commands.subscribe(&["-v", "-t", "maison/#"]);
        let mut everything = commands.subscribe(&["-v", "-t", "#"]);
        let mut empty_level = commands.subscribe(&["-v", "-t", "maison//+"]);
        for topic in [
            "maison",
            "maison/salon/température",
            "maison/salon/lampe",
            "maison//température",
            "jardin",
        ] {
            commands.publish(&["-q", "1", "-t", topic, "-m", "x"]);
        }
        for topic in ["maison/salon/température", "maison//température"] {
            assert_eq!(message(&mut rooms), format!("{topic} x"));
        }
        for topic in [
            "maison",
            "maison/salon/température",
            "maison/salon/lampe",
            "maison//température",
        ] {
            assert_eq!(message(&mut all), format!("{topic} x"));
        }
        for topic in [
            "maison",
            "maison/salon/température",
            "maison/salon/lampe",
            "maison//température",
            "jardin",
        ] {
            assert_eq!(message(&mut everything), format!("{topic} x"));
        }
        assert_eq!(message(&mut empty_level), "maison//température x");

        // Filters that overlap deliver a message once.
        let mut overlapping = commands.subscribe(&[
            "-v",
            "-t",
            "lumière/#",
            "-t",
            "lumière/+",
            "-t",
            "lumière/1",
        ]);
        commands.publish(&["-q", "1", "-t", "lumière/1", "-m", "on"]);
        commands.publish(&["-q", "1", "-t", "lumière/2", "-m", "off"]);
        assert_eq!(message(&mut overlapping), "lumière/1 on");
        assert_eq!(message(&mut overlapping), "lumière/2 off");

        // The tutorial's slips are found by the client itself.
        let port = commands.broker.port().to_string();
        let ended = Tool::start(
            "mosquitto_sub",
            &commands.arguments(&port, &["-t", "maison+/lumière"]),
        )
        .end();
        assert!(
            ended.errors.contains("Invalid subscription topic"),
            "{}",
            ended.errors
        );
        let ended = Tool::start("mosquitto_sub", &["-v", "-t", "test", "/", "message"]).end();
        assert!(
            ended.errors.contains("Unknown option '/'"),
            "{}",
            ended.errors
        );
    });
}

fn every_quality_of_service(shards: usize) {
    each_version(shards, |commands| {
        for subscribed in ["0", "1", "2"] {
            let mut reader =
                commands.subscribe_unasked(&["-q", subscribed, "-v", "-t", "quality/+"]);
            reader.skip_to(&format!("Subscribed (mid: 1): {subscribed}"));
            for published in ["0", "1", "2"] {
                commands.publish(&["-q", published, "-t", "quality/one", "-m", published]);
                let seen = reader.skip_to("received PUBLISH");
                let lower = subscribed.min(published);
                assert!(
                    seen.contains(&format!("(d0, q{lower}, r0, ")),
                    "{published} to {subscribed}: {seen}"
                );
                if lower == "2" {
                    reader.skip_to("received PUBREL");
                }
                assert_eq!(message(&mut reader), format!("quality/one {published}"));
            }
        }
    });
}

fn retained_messages(shards: usize) {
    each_version(shards, |commands| {
        commands.publish(&["-r", "-q", "1", "-t", "capteur/etat", "-m", "Online"]);
        commands.publish(&["-r", "-q", "1", "-t", "capteur/température", "-m", "20"]);
        commands.publish(&["-r", "-q", "1", "-t", "capteur/température", "-m", "21"]);
        commands.publish(&["-q", "1", "-t", "capteur/humidité", "-m", "not retained"]);

        let mut late = commands.subscribe(&["-q", "1", "-v", "-t", "capteur/#"]);
        let mut seen = [message(&mut late), message(&mut late)];
        seen.sort();
        assert_eq!(seen, ["capteur/etat Online", "capteur/température 21"]);

        // A new value reaches the present one as live, so that -R prints it.
        let mut fresh_only = commands.subscribe(&["-R", "-v", "-t", "capteur/#"]);
        commands.publish(&["-r", "-q", "1", "-t", "capteur/température", "-m", "22"]);
        assert_eq!(message(&mut fresh_only), "capteur/température 22");
        assert_eq!(message(&mut late), "capteur/température 22");

        // An empty one clears, and is itself not kept.
        commands.publish(&["-n", "-r", "-q", "1", "-t", "capteur/etat"]);
        assert_eq!(message(&mut late), "capteur/etat (null)");
        let mut later = commands.subscribe(&["-v", "-t", "capteur/#"]);
        assert_eq!(message(&mut later), "capteur/température 22");
        commands.publish(&["-q", "1", "-t", "capteur/sync", "-m", "next"]);
        assert_eq!(message(&mut later), "capteur/sync next");

        // --remove-retained clears what it sees.
        let _remover = commands.subscribe(&["-t", "capteur/#", "--remove-retained", "-q", "1"]);
        assert_eq!(message(&mut late), "capteur/sync next");
        assert_eq!(message(&mut late), "capteur/température (null)");
        let mut none = commands.subscribe(&["-v", "-t", "capteur/#"]);
        commands.publish(&["-t", "capteur/sync", "-m", "only"]);
        assert_eq!(message(&mut none), "capteur/sync only");
    });
}

/// Debian's clients send DISCONNECT on SIGINT and SIGTERM, so that Ctrl+C does not bring the will, but in v5, where
/// they ask for it; a closed window (SIGHUP) and kill -9 do.
fn will_of_a_killed_client(shards: usize) {
    each_version(shards, |commands| {
        let mut watcher = commands.subscribe(&["-q", "2", "-v", "-t", "capteur/+/etat"]);
        let will = |name: &str, more: &[&str]| {
            let topic = format!("capteur/{name}/etat");
            let mut arguments = vec![
                "-t",
                "unused",
                "-i",
                name,
                "--will-topic",
                &topic,
                "--will-payload",
                "Offline",
            ];
            arguments.extend(more);
            commands.subscribe(&arguments)
        };
        for qos in ["0", "1", "2"] {
            let killed = will("killed", &["--will-qos", qos]);
            killed.signal(Signal::SIGKILL);
            let seen = watcher.skip_to("received PUBLISH");
            assert!(seen.contains(&format!("(d0, q{qos}, r0, ")), "{seen}");
            assert_eq!(message(&mut watcher), "capteur/killed/etat Offline");
        }
        let interrupted = will("interrupted", &["--will-qos", "1"]);
        interrupted.interrupt();
        if commands.version == "mqttv5" {
            assert_eq!(message(&mut watcher), "capteur/interrupted/etat Offline");
        }
        let window = will("window", &["--will-qos", "1", "--will-retain"]);
        window.signal(Signal::SIGHUP);
        assert_eq!(message(&mut watcher), "capteur/window/etat Offline");
        let mut late = commands.subscribe(&["-v", "-t", "capteur/+/etat"]);
        assert_eq!(message(&mut late), "capteur/window/etat Offline");

        // The same id comes back: the older connection ends, and its will is published.
        // (Each then returns by itself and ends the other again; both are killed at the end of the block.)
        let _old = will("twin", &["--will-qos", "1"]);
        let _new = will("twin", &["--will-qos", "1"]);
        assert_eq!(message(&mut watcher), "capteur/twin/etat Offline");
    });
}

fn queued_while_away(shards: usize) {
    each_version(shards, |commands| {
        let away = ["-c", "-i", "eleve1", "-q", "2", "-v", "-t", "cours/#"];
        let first = commands.subscribe(&away);
        first.interrupt();
        for n in 0..10 {
            let qos = if n < 5 { "1" } else { "2" };
            commands.publish(&["-q", qos, "-t", "cours/mqtt", "-m", &n.to_string()]);
        }
        let mut back = commands.subscribe_unasked(&away);
        // QoS 1 messages are printed as they come, QoS 2 at PUBREL.
        for n in 0..10 {
            assert_eq!(message(&mut back), format!("cours/mqtt {n}"));
        }
        // Killed, not ended, it is away as well.
        back.signal(Signal::SIGKILL);
        back.end();
        commands.publish(&["-q", "1", "-t", "cours/mqtt", "-m", "after the kill"]);
        let mut once = away.to_vec();
        once.extend(["-C", "1"]);
        let mut back = commands.subscribe_unasked(&once);
        assert_eq!(message(&mut back), "cours/mqtt after the kill");
        assert!(back.end().status.success());

        // Once without -c, and the session is forgotten.
        commands
            .subscribe(&["-i", "eleve1", "-E", "-t", "other"])
            .succeed();
        commands.publish(&["-q", "1", "-t", "cours/mqtt", "-m", "for nobody"]);
        let mut back = commands.subscribe(&away);
        commands.publish(&["-q", "1", "-t", "cours/mqtt", "-m", "for the new session"]);
        assert_eq!(message(&mut back), "cours/mqtt for the new session");
    });
}

fn many_lines_and_whole_files(shards: usize) {
    let folder = Folder::new();
    let file = folder.path("message");
    std::fs::write(&file, vec![b'm'; 300_000]).expect("write a file");
    each_version(shards, |commands| {
        let port = commands.broker.port().to_string();
        for qos in ["0", "1", "2"] {
            let mut reader = commands.subscribe(&["-q", qos, "-t", "lines"]);
            let mut writer = Tool::start(
                "mosquitto_pub",
                &commands.arguments(&port, &["-l", "-q", qos, "-t", "lines"]),
            );
            let lines: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
            writer.input(&(lines.join("\n") + "\n"));
            writer.succeed();
            for line in &lines {
                assert_eq!(&message(&mut reader), line, "QoS {qos}");
            }
        }
        let mut reader = commands.subscribe(&["-q", "1", "-t", "file"]);
        commands.publish(&[
            "-q",
            "1",
            "-t",
            "file",
            "-f",
            file.to_str().expect("a path in UTF-8"),
        ]);
        assert_eq!(message(&mut reader).len(), 300_000);
        let mut writer = Tool::start(
            "mosquitto_pub",
            &commands.arguments(&port, &["-s", "-q", "1", "-t", "file"]),
        );
        writer.input("all of the input");
        writer.succeed();
        assert_eq!(message(&mut reader), "all of the input");
    });
}

/// `mqttfast passwd` writes what the broker reads, and what Mosquitto would read.
fn passwd_tool_of_our_own(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    let file = folder.path("passwd");
    let passwd = |arguments: &[&str], rest: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqttfast"));
        command.arg("passwd").args(arguments).arg(&file).args(rest);
        let output = command.output().expect("mqttfast passwd");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    passwd(&["-c", "-b"], &["alice", "secret"]);
    passwd(&["-b"], &["snir", "first"]);
    passwd(&["-b"], &["snir", "passsnir"]);
    passwd(&["-b"], &["gone", "gone"]);
    passwd(&["-D"], &["gone"]);
    let options = Options {
        shards,
        passwd: Some(file),
        ..Options::default()
    };
    each_version_with(options, |commands| {
        let mut reader = commands.subscribe(&["-u", "snir", "-P", "passsnir", "-t", "a"]);
        commands.publish(&["-u", "alice", "-P", "secret", "-t", "a", "-m", "1"]);
        assert_eq!(message(&mut reader), "1");
        let port = commands.broker.port().to_string();
        for (user, password) in [("snir", "first"), ("gone", "gone")] {
            let arguments =
                commands.arguments(&port, &["-u", user, "-P", password, "-t", "a", "-m", "1"]);
            assert_eq!(
                Tool::start("mosquitto_pub", &arguments).end().status.code(),
                Some(commands.not_authorized().0)
            );
        }
    });
}

// Libraries

/// Runs a script of `tests/clients` with the first user; it says what went wrong.
fn run_script(shards: usize, program: &str, name: &str) {
    run_script_by(shards, program, name, None);
}

/// The arguments for a listener of this scheme, and no other.
fn listen(scheme: &str) -> Vec<String> {
    let mut arguments = vec!["--listen".to_owned(), format!("{scheme}://127.0.0.1:0")];
    if scheme == "wss" {
        let file = |name: &str| certificates().join(name).display().to_string();
        arguments.extend(["--cert".to_owned(), file("ec.crt")]);
        arguments.extend(["--key".to_owned(), file("ec.key")]);
    }
    arguments
}

/// The same by a listener of this scheme.
fn run_script_by(shards: usize, program: &str, name: &str, scheme: Option<&str>) {
    let folder = Folder::new();
    let passwd = Some(two_users(&folder));
    let broker = Broker::start_with(Options {
        shards,
        passwd,
        arguments: scheme.map_or_else(Vec::new, listen),
        ..Options::default()
    });
    let mut command = Command::new(program);
    command
        .env("PYTHONPATH", installed("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg::<&Path>(&script(name)).args([
        "127.0.0.1",
        &broker.port().to_string(),
        "alice",
        "secret",
    ]);
    command.args(scheme);
    if scheme == Some("wss") {
        command.arg(certificates().join("ca.crt"));
    }
    let ended = Tool::start_command(command, name).end_within(Duration::from_secs(120));
    assert!(
        ended.status.success(),
        "{name}: {}\n{}\n{}",
        ended.status,
        ended.output.join("\n"),
        ended.errors
    );
}

fn paho(shards: usize) {
    run_script(shards, "python3", "paho_run.py");
}

fn paho_over_websocket(shards: usize) {
    // The arguments below are not the reference's.
    if !reference() {
        run_script_by(shards, "python3", "paho_run.py", Some("ws"));
        run_script_by(shards, "python3", "paho_run.py", Some("wss"));
    }
}

fn mqtt_js(shards: usize) {
    installed("node");
    run_script(shards, "node", "mqttjs.mjs");
}

fn mqtt_js_over_websocket(shards: usize) {
    if !reference() {
        installed("node");
        run_script_by(shards, "node", "mqttjs.mjs", Some("ws"));
        run_script_by(shards, "node", "mqttjs.mjs", Some("wss"));
    }
}

fn umqtt_simple(shards: usize) {
    run_script(shards, "python3", "umqtt_run.py");
}
