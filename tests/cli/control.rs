//! The control socket and the commands that ask it, against running brokers.

use mqttfast_rig::process::packet::Will;
use mqttfast_rig::process::{Broker, Client, Connect, Folder, Options, free_port};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

struct House {
    broker: Broker,
    socket: PathBuf,
    _folder: Folder,
}

const RULES: &str = "\
topic readwrite open/#
user ann
topic readwrite #
";

impl House {
    fn new(shards: usize) -> House {
        let folder = Folder::new();
        let (socket, acl) = (folder.path("control"), folder.path("acl"));
        std::fs::write(&acl, RULES).expect("an ACL file");
        let broker = Broker::start_with(Options {
            shards,
            acl: Some(acl),
            arguments: vec!["--control".to_owned(), socket.display().to_string()],
            ..Options::default()
        });
        broker.logged(&["control socket "]);
        House {
            broker,
            socket,
            _folder: folder,
        }
    }

    /// Its log has warnings and errors alone.
    fn quiet() -> House {
        let folder = Folder::new();
        let (socket, acl) = (folder.path("control"), folder.path("acl"));
        std::fs::write(&acl, RULES).expect("an ACL file");
        let acl = acl.display();
        let text = format!("listener {{port}} 127.0.0.1\nallow_anonymous true\nacl_file {acl}\n");
        let socket_path = socket.display().to_string();
        let arguments = ["--quiet", "--persistence", "off", "--control", &socket_path];
        let broker = Broker::start_with(Options {
            configuration: Some(text),
            arguments: arguments.map(str::to_owned).to_vec(),
            ..Options::default()
        });
        House {
            broker,
            socket,
            _folder: folder,
        }
    }

    fn client(&self, client_id: &[u8], user: Option<&str>) -> Client {
        let connect = Connect {
            client_id,
            user,
            clean_session: false,
            ..Connect::default()
        };
        Client::connect_with(&self.broker, &connect).0
    }

    /// Exit code, standard output and standard error of a command.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_in("C", arguments)
    }

    fn run_in(&self, language: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .args(arguments)
            .arg("--control")
            .arg(&self.socket)
            .env("LC_ALL", language)
            .output()
            .expect("mqttfast was not started");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("a code");
        (code, text(output.stdout), text(output.stderr))
    }

    /// Standard output of a command that does what it is to.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let text = self.done(&arguments);
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn open(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(&self.socket).expect("the control socket");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a deadline");
        BufReader::new(stream)
    }
}

impl House {
    /// A connection that is answered. The broker has as many as it takes until it has seen that the others are closed.
    fn served(&self) -> BufReader<UnixStream> {
        let begun = Instant::now();
        loop {
            let mut stream = self.open();
            let sent = stream.get_mut().write_all(b"{\"ask\":\"version\"}\n");
            let (mut first, mut last) = (String::new(), String::new());
            let read = sent.and_then(|()| stream.read_line(&mut first));
            if read.is_ok_and(|count| count > 0) {
                let end = stream.read_line(&mut last).expect("the end of the answer");
                assert!(end > 0 && last.contains("\"end\""), "{first}{last}");
                return stream;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "never served");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All lines of an answer.
pub fn ask(stream: &mut BufReader<UnixStream>, request: &str) -> Vec<Value> {
    let line = format!("{request}\n");
    stream.get_mut().write_all(line.as_bytes()).expect("sent");
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).expect("a line"), 0, "closed");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let last = value["end"] == true || value["error"].is_string();
        lines.push(value);
        if last {
            return lines;
        }
    }
}

/// No byte that a terminal acts on, but line ends.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(acts), "{text:?}");
}

#[test]
fn commands_show_and_change_a_running_broker() {
    for shards in [1, 2] {
        let house = House::new(shards);
        let mut lamp = house.client(b"lamp", Some("ann"));
        let mut other = house.client("evil\u{1b}[2J\u{9b}5m\u{202e}".as_bytes(), None);
        lamp.publish("home/a", b"1", 1, true);
        lamp.publish("home/b", b"two", 1, true);
        lamp.publish("home/b/c", b"\xff\x00", 1, true);
        other.subscribe("open/x", 1);
        other.publish("shut/x", b"no", 1, false);

        let status = house.done(&["status"]);
        let all = "2 connections, 2 sessions, 1 subscriptions, 3 retained messages";
        assert!(status.contains(all), "{status}");
        assert!(status.contains("dropped       1 denied"), "{status}");
        let status = house.json(&["status"]).remove(0);
        assert_eq!(status["messages"]["received"], 4);
        assert_eq!(status["shards"], shards);
        assert_eq!(status["pid"], house.broker.pid());

        let clients = house.done(&["clients"]);
        assert_harmless(&clients);
        assert!(
            clients.contains("evil\\u{1b}[2J\\u{9b}5m\\u{202e}"),
            "{clients}"
        );
        let raw = house.done(&["clients", "--json"]);
        assert_harmless(&raw);
        let found = house.json(&["clients"]);
        let found = found.iter().find(|line| line["client"] == "lamp");
        let found = found.expect("the lamp is connected");
        assert_eq!(
            (&found["user"], &found["mqtt"]),
            (&Value::Null, &"3.1.1".into())
        );
        assert!(found["received_bytes"].as_u64() > Some(40), "{found}");

        // Retained messages
        let table = house.done(&["retained", "ls", "home/#"]);
        let mut rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        // Size, QoS, age in seconds, topic.
        let is_b = |row: Vec<&str>| row[..3] == ["3", "B", "1"] && row[4..] == ["s", "home/b"];
        assert!(rows.any(is_b), "{table}");
        assert_eq!(house.done(&["retained", "get", "home/b"]), "two");
        assert_eq!(
            house.json(&["retained", "get", "home/b/c"])[0]["value_base64"],
            "/wA="
        );
        let old = house.done(&["retained", "rm", "#", "--older-than", "1h"]);
        assert_eq!(old, "0 retained messages deleted\n");
        // Older than the calendar: nothing is.
        let ages = format!("{}s", u64::MAX);
        let old = house.done(&["retained", "rm", "#", "--older-than", &ages]);
        assert_eq!(old, "0 retained messages deleted\n");
        let trial = house.done(&["retained", "rm", "home/#", "--dry-run"]);
        assert!(
            trial.ends_with("3 retained messages would be deleted\n"),
            "{trial}"
        );
        let mut reader = house.client(b"reader", Some("ann"));
        reader.subscribe("home/+", 1);
        let mut retained = [reader.receive(), reader.receive()].map(|found| found.topic);
        retained.sort();
        assert_eq!(retained, ["home/a", "home/b"]);
        let gone = house.done(&["retained", "rm", "home/b/#"]);
        assert!(gone.ends_with("2 retained messages deleted\n"), "{gone}");
        reader.expect_message("home/b", b"", 0);
        let left = house.json(&["retained", "ls"]);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0]["topic"], "home/a");
        let (code, _, err) = house.run(&["retained", "get", "home/b"]);
        assert_eq!(code, 1);
        assert!(err.contains("no retained message of home/b"), "{err}");
        assert_eq!(house.run(&["retained", "ls", "a/#/b"]).0, 2);

        // Orders
        let will = Connect {
            client_id: b"dying",
            will: Some(Will {
                topic: "home/will",
                payload: b"gone",
                qos: 1,
                retain: false,
            }),
            user: Some("ann"),
            clean_session: false,
            ..Connect::default()
        };
        let (mut dying, _) = Client::connect_with(&house.broker, &will);
        dying.subscribe("home/+", 1);
        assert_eq!(house.done(&["kick", "dying"]), "dying is disconnected\n");
        dying.expect_end();
        reader.expect_message("home/will", b"gone", 1);
        let (code, _, err) = house.run(&["kick", "dying"]);
        assert_eq!(code, 1);
        assert!(err.contains("no client dying is connected"), "{err}");
        let sessions = house.done(&["sessions", "ls"]);
        assert!(sessions.contains("absent, kept for ever"), "{sessions}");
        assert_eq!(
            house.run(&["sessions", "rm", "lamp"]).0,
            1,
            "it is connected"
        );
        assert_eq!(
            house.done(&["sessions", "rm", "dying"]),
            "the session of dying has ended\n"
        );
        assert_eq!(house.run(&["sessions", "rm", "dying"]).0, 1);
        house.done(&["sessions", "rm", "lamp", "--connected"]);
        lamp.expect_end();
        let names = house.json(&["sessions", "ls"]);
        assert_eq!(names.len(), 2, "{names:?}");

        // What went wrong
        let denials = house.done(&["denials"]);
        assert_harmless(&denials);
        assert!(denials.contains("Denied PUBLISH from evil"), "{denials}");
        // It is found by its address, too.
        let by_address = house.done(&["denials", "--client", "127.0.0.1"]);
        assert_eq!(by_address, denials);
        assert!(
            house
                .done(&["denials", "--client", "lamp"])
                .starts_with("nothing of lamp")
        );
        let ends = house.json(&["denials", "--all", "--client", "dying"]);
        assert!(
            ends[0]["text"]
                .as_str()
                .unwrap()
                .contains("an operator has sent it away"),
            "{ends:?}"
        );
        let log = house.done(&["log", "tail", "-n", "200"]);
        assert!(
            log.contains("listening on") && log.contains("connected lamp"),
            "{log}"
        );
        assert_harmless(&log);

        // By the rules in force
        let ask = ["explain", "publish", "--client", "new", "--topic"];
        let open = [&ask[..], &["open/x"]].concat();
        assert!(house.done(&open).contains("acl:1: topic readwrite open/#"));
        let (code, said, _) = house.run(&[&ask[..], &["shut/x"]].concat());
        assert_eq!(code, 1);
        assert!(said.starts_with("refused: "), "{said}");
        assert_eq!(house.run(&["explain", "publish", "--topic", "a/#"]).0, 2);
    }
}

/// Every line of ours is French where the operator is; what Clients have named stays.
#[test]
fn commands_speak_french() {
    let house = House::new(1);
    let mut lamp = house.client(b"memory", Some("ann"));
    lamp.publish("up", b"paused", 1, true);
    let said = |arguments: &[&str]| house.run_in("fr_FR.UTF-8", arguments);
    let (code, status, _) = said(&["status"]);
    assert_eq!(code, 0);
    let all = "1 connexions, 1 sessions, 0 abonnements, 1 messages retenus";
    assert!(status.contains(all), "{status}");
    let titles = [
        "écoute sur",
        "tient",
        "en attente",
        "perdus",
        "mémoire",
        "stockage",
    ];
    for title in titles {
        let found = status.lines().any(|line| line.starts_with(title));
        assert!(found, "no {title} in {status}");
    }
    // Lines of a table stand below each other, whatever letters they have.
    let column = |line: &str| line.chars().take(14).collect::<String>();
    let is_aligned = |line: &str| column(line).ends_with("  ") || line.starts_with("  ");
    assert!(status.lines().all(is_aligned), "{status}");
    let english = [
        "dropped",
        "waiting",
        "holds",
        "process ",
        "let in",
        "on their way",
    ];
    for word in english {
        assert!(!status.contains(word), "{word} in {status}");
    }
    let (_, clients, _) = said(&["clients"]);
    assert!(
        clients.contains("UTILISATEUR") && clients.contains("\nmemory "),
        "{clients}"
    );
    let (_, top, _) = said(&["top"]);
    assert!(
        top.contains("messages  reçus ") && top.contains("REÇU/s"),
        "{top}"
    );
    let (_, listed, _) = said(&["retained", "ls", "#"]);
    assert!(
        listed.contains("TAILLE") && listed.contains("  up\n"),
        "{listed}"
    );
    assert_eq!(said(&["retained", "get", "up"]).1, "paused");
    let (_, gone, _) = said(&["retained", "rm", "up"]);
    assert!(gone.ends_with("supprimé : 1 message retenu\n"), "{gone}");
    let (_, sessions, _) = said(&["sessions", "ls"]);
    assert!(
        sessions.contains("ÉTAT") && sessions.contains("connecté"),
        "{sessions}"
    );
    let (_, denials, _) = said(&["denials"]);
    assert_eq!(
        denials,
        "rien n'a été refusé depuis le démarrage du broker\n"
    );
    let (code, _, err) = said(&["kick", "nobody"]);
    assert_eq!(code, 1);
    assert!(err.contains("aucun client nobody n'est connecté"), "{err}");
}

/// Bridges stand in `status`, and topics are counted from the first question on.
#[test]
fn bridges_and_busy_topics_are_told() {
    let core = House::new(1);
    let folder = Folder::new();
    let socket = folder.path("control");
    let text = format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\n\
         connection office\naddress 127.0.0.1:{}\ntopic open/# out 1\nremote_clientid office\n\
         connection away\naddress 127.0.0.1:{}\ntopic w/# out 1\nremote_clientid away\n",
        core.broker.port(),
        free_port(),
    );
    let broker = Broker::start_with(Options {
        configuration: Some(text),
        arguments: vec![
            "--persistence".to_owned(),
            "off".to_owned(),
            "--control".to_owned(),
            socket.display().to_string(),
        ],
        ..Options::default()
    });
    broker.logged(&["bridge office: is connected"]);
    broker.logged(&["bridge away: is not connected"]);
    let house = House {
        broker,
        socket,
        _folder: folder,
    };
    let mut writer = house.client(b"writer", None);
    writer.publish("w/x", b"waits", 1, false);
    let mut stream = house.served();
    let bridges = ask(&mut stream, r#"{"ask":"bridges"}"#);
    assert_eq!(bridges[2]["count"], 2, "{bridges:?}");
    let [office, away] = [&bridges[0], &bridges[1]];
    assert_eq!(
        (&office["name"], &office["state"]),
        (&"office".into(), &"up".into())
    );
    assert_eq!(
        (&office["queued"], &office["last_error"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(
        (&away["name"], &away["queued"]),
        (&"away".into(), &1.into()),
        "{away}"
    );
    let why = away["last_error"].as_str().expect("it cannot connect");
    assert!(why.contains("no connection to 127.0.0.1"), "{why}");
    let status = house.done(&["status"]);
    assert!(
        status.contains("\nbridges       office up for "),
        "{status}"
    );
    assert!(
        status.contains("1 waiting; no connection to 127.0.0.1"),
        "{status}"
    );
    assert_eq!(
        house.json(&["status"])[0]["bridges"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    let first = ask(&mut stream, r#"{"ask":"topics"}"#);
    assert_eq!(
        (&first[0]["topic"], &first[0]["over_ms"]),
        (&Value::Null, &0.into())
    );
    for _ in 0..3 {
        writer.publish("home/\u{1b}[2J", b"12345", 1, false);
    }
    writer.publish("w/y", b"1", 1, false);
    let second = ask(&mut stream, r#"{"ask":"topics"}"#);
    assert_eq!(second[0]["topic"], "home/\u{1b}[2J", "{second:?}");
    assert_eq!(
        (&second[0]["messages"], &second[0]["payload_bytes"]),
        (&3.into(), &15.into())
    );
    assert_eq!(
        (&second[1]["topic"], &second[1]["messages"]),
        (&"w/y".into(), &1.into())
    );
    assert_eq!(
        (&second[2]["topic"], &second[2]["messages"]),
        (&Value::Null, &0.into())
    );
    assert!(second[0]["over_ms"].as_u64() > Some(0), "{second:?}");
    let picture = house.done(&["top"]);
    assert_harmless(&picture);
    assert!(
        picture.contains("bridge    office up") && picture.contains("MESSAGES/s"),
        "{picture}"
    );
}

#[test]
fn the_log_is_followed_as_it_comes() {
    let house = House::quiet();
    let mut follower = house.open();
    let request = b"{\"ask\":\"log\",\"lines\":50,\"follow\":true}\n";
    follower.get_mut().write_all(request).expect("sent");
    // A warning is in the log even with --quiet; what devices have trouble with is kept all the same.
    house.client(b"a", None).publish("shut", b"", 1, false);
    std::fs::write(house._folder.path("acl"), "topci x\n").expect("an ACL file");
    house.broker.signal(nix::sys::signal::Signal::SIGHUP);
    let line = loop {
        let mut line = String::new();
        follower.read_line(&mut line).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["type"] == "error" {
            break line;
        }
    };
    assert!(line["line"].as_str().unwrap().contains("acl"), "{line}");
    let denials = house.json(&["denials"]);
    assert_eq!(denials[0]["client"], "a", "{denials:?}");
    // Who follows has nothing more to say; one that says more than a request can be is closed.
    let (chunk, mut rest) = (vec![b'x'; 520 * 1024], Vec::new());
    let _ = follower.get_mut().write_all(&chunk);
    let closed = follower.read_to_end(&mut rest);
    let is_deadline = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(
        !closed.is_err_and(|error| is_deadline(&error)),
        "it goes on"
    );
}

#[test]
fn slow_and_hostile_readers_hold_nothing() {
    let house = House::new(2);
    let mut writer = house.client(b"writer", Some("ann"));
    for index in 0..1_500 {
        let topic = format!("t/{index}/{}", "x".repeat(400));
        writer.publish(&topic, &[b'v'; 900], 0, true);
    }
    writer.publish("t/last", b"", 1, false);
    let memory = house.broker.rss_bytes();
    // They ask for much and read nothing, say half of a request, or nothing.
    let mut stuck = Vec::new();
    for index in 0..40 {
        let Ok(mut stream) = UnixStream::connect(&house.socket) else {
            continue;
        };
        let request: &[u8] = match index % 3 {
            0 => b"{\"ask\":\"retained\",\"values\":true}\n",
            1 => b"{\"ask\":\"ret",
            _ => b"",
        };
        let _ = stream.write_all(request);
        stuck.push(stream);
        if index % 8 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let grown = house.broker.rss_bytes().saturating_sub(memory);
    assert!(grown < 12 << 20, "{grown} bytes for who reads nothing");
    // The broker serves its Clients meanwhile, and who asks next when those that are stuck are closed.
    let started = Instant::now();
    writer.publish("open/x", b"", 1, false);
    assert!(started.elapsed() < Duration::from_secs(1));
    drop(stuck);
    let mut next = house.served();
    let all = ask(&mut next, r#"{"ask":"retained","values":true}"#);
    assert_eq!(all.len(), 1_501);
    let names: std::collections::BTreeSet<&str> = all
        .iter()
        .filter_map(|line| line["topic"].as_str())
        .collect();
    assert_eq!(names.len(), 1_500);

    for (request, error) in [
        ("{", "not_json"),
        ("[]", "not_json"),
        ("{}", "wrong_request"),
        (r#"{"ask":7}"#, "wrong_request"),
        (r#"{"ask":"no such"}"#, "unknown_request"),
        (r#"{"ask":"retained","filter":"a/#/b"}"#, "wrong_request"),
        (r#"{"ask":"remove_retained"}"#, "wrong_request"),
        (
            r#"{"ask":"explain","what":"x","topic":"a"}"#,
            "wrong_request",
        ),
        (r#"{"ask":"happenings","kinds":["x"]}"#, "wrong_request"),
        (r#"{"ask":"disconnect","client":["a"]}"#, "wrong_request"),
        (&"[".repeat(100_000), "not_json"),
    ] {
        let answer = ask(&mut next, request);
        assert_eq!(answer.last().unwrap()["error"], error, "{answer:?}");
    }
    // Several at a time are answered in their order.
    let both = "{\"ask\":\"version\"}\n{\"ask\":\"status\"}";
    assert_eq!(ask(&mut next, both)[0]["name"], "mqttfast");
    let mut lines = next.by_ref().lines();
    let second = lines.next().expect("a second answer").expect("a line");
    assert!(second.contains("\"uptime_s\""), "{second}");
    // A request without an end.
    let mut endless = house.open();
    let chunk = vec![b'x'; 1 << 20];
    let _ = endless.get_mut().write_all(&chunk);
    let mut answer = String::new();
    let _ = endless.read_line(&mut answer);
    assert!(answer.is_empty() || answer.contains("too_long"), "{answer}");
}

#[test]
fn readers_of_large_values_hold_little_together_and_are_served_one_after_the_other() {
    let house = House::new(1);
    let mut writer = house.client(b"writer", Some("ann"));
    for index in 0..3 {
        // Each byte takes six as JSON.
        writer.publish(&format!("t/{index}"), &vec![1; 1_000_000], 1, true);
    }
    let memory = house.broker.rss_bytes();
    let request = "{\"ask\":\"retained\",\"values\":true}\n";
    let mut readers: Vec<_> = (0..12).map(|_| house.open()).collect();
    for reader in &mut readers {
        reader.get_mut().write_all(request.as_bytes()).expect("ask");
    }
    // They read nothing. Who asks for little is served meanwhile.
    let mut other = house.served();
    assert_eq!(ask(&mut other, r#"{"ask":"retained"}"#).len(), 4);
    let grown = house.broker.rss_bytes().saturating_sub(memory);
    assert!(grown < 40 << 20, "{grown} bytes for who reads nothing");
    drop(readers.drain(..8));
    let read = readers.into_iter().map(|mut reader| {
        std::thread::spawn(move || {
            let mut bytes = 0;
            loop {
                let mut line = String::new();
                assert!(reader.read_line(&mut line).expect("a line") > 0);
                bytes += line.len();
                if line.contains("\"end\"") {
                    return bytes;
                }
            }
        })
    });
    for reader in read.collect::<Vec<_>>() {
        let bytes = reader.join().expect("all of the answer");
        assert!(bytes > 18_000_000, "{bytes}");
    }
}

#[test]
fn a_socket_that_nobody_asks_costs_no_wake_up() {
    let house = House::new(1);
    house.done(&["status"]);
    let tasks = format!("/proc/{}/task", house.broker.pid());
    let switches = || {
        for task in std::fs::read_dir(&tasks).expect("threads").flatten() {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            if read("comm").trim() == "control" {
                let status = read("status");
                let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
                return lines.map(str::to_owned).collect::<Vec<_>>();
            }
        }
        panic!("there is no thread of the control socket");
    };
    std::thread::sleep(Duration::from_millis(100));
    let before = switches();
    assert_eq!(before.len(), 2);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(switches(), before);
}

/// Root has its socket in /run/mqttfast, and may become another user, whose folder that is then: for the journals of
/// its store too.
#[test]
fn the_folder_of_the_socket_is_given_to_the_user_of_the_broker() {
    // With a /run of its own, where this user may mount; and nobody but root becomes another.
    let alone = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(format!("mount -t tmpfs none /run && {script}"));
        command
    };
    let may_mount = alone("true").status().is_ok_and(|status| status.success());
    if !(may_mount && nix::unistd::geteuid().is_root()) {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").expect("users");
    let nobody = nobody.expect("nobody").uid.as_raw();
    let (folder, port) = (Folder::new(), free_port());
    let conf = folder.path("conf");
    let text = format!("user nobody\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
    std::fs::write(&conf, text).expect("a file");
    let mut broker = alone("exec \"$@\"")
        .arg("sh")
        .args([env!("CARGO_BIN_EXE_mqttfast"), "--quiet", "-c"])
        .arg(&conf)
        .env_remove("RUNTIME_DIRECTORY")
        .spawn()
        .expect("unshare");
    let run = PathBuf::from(format!("/proc/{}/root/run/mqttfast", broker.id()));
    let socket = run.join(format!("control-{port}.sock"));
    let owner = |path: &PathBuf| Some(std::fs::metadata(path).ok()?.uid());
    let end = Instant::now() + Duration::from_secs(10);
    let owners = loop {
        let owners = [owner(&run), owner(&socket)];
        if owners == [Some(nobody); 2] || Instant::now() > end {
            break owners;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    broker.kill().expect("it runs");
    broker.wait().expect("it has ended");
    assert_eq!(owners, [Some(nobody); 2]);
}

#[test]
fn where_the_socket_is() {
    let folder = Folder::new();
    let socket = folder.path("control");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &folder.0)
            .env("LC_ALL", "C")
            .output()
            .expect("mqttfast was not started");
        let err = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), err)
    };
    let (code, err) = run(&["status", "--control", &socket.display().to_string()]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("is not there: the broker does not run"),
        "{err}"
    );
    // A path that was named must be made, and another one's is not taken.
    let house = House::new(1);
    let taken = house.socket.display().to_string();
    let start = ["-p", "0", "--persistence", "off", "--control"];
    let (code, err) = run(&[&start[..], &[&taken]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("another broker listens there"), "{err}");
    let (code, err) = run(&[&start[..], &["/nowhere/at/all"]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("--control /nowhere/at/all: "), "{err}");
    // A command that finds no broker where it looks names those that run elsewhere.
    if !std::path::Path::new("/run/mqttfast").exists() {
        let (code, err) = run(&["status"]);
        assert_eq!(code, Some(1));
        assert!(
            err.contains("name the socket of one") && err.contains(&taken),
            "{err}"
        );
    }
    let none = Broker::start_with(Options {
        arguments: vec!["--control".to_owned(), "off".to_owned()],
        ..Options::default()
    });
    assert!(
        !none
            .log()
            .iter()
            .any(|line| line.contains("control socket"))
    );
    // An orderly end takes it away.
    let mut house = house;
    house.broker.end_by(nix::sys::signal::Signal::SIGTERM);
    assert!(!house.socket.exists());
}
