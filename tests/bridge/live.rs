//! The program as a bridge: to Debian's Mosquitto, from it, and to itself.

use mqttfast_rig::process::certificates::certificates;
use mqttfast_rig::process::packet::{Connect, Published};
use mqttfast_rig::process::{Client, Folder, free_port, program};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Whose program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Mqttfast,
    Mosquitto,
}

/// A broker that can be killed and started again on its port, with its store.
pub struct Broker {
    kind: Kind,
    pub port: u16,
    folder: Folder,
    child: Option<Child>,
}

impl Broker {
    /// Not started.
    pub fn new(kind: Kind) -> Broker {
        Broker {
            kind,
            port: free_port(),
            folder: Folder::new(),
            child: None,
        }
    }

    /// On these lines, behind a listener that everybody may use.
    pub fn start(&mut self, lines: &str) {
        let folder = self.folder.0.display();
        let port = self.port;
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {folder}/\nautosave_interval 1\nsys_interval 1\nmax_queued_messages 0\n{lines}"
        );
        let file = self.folder.path("broker.conf");
        fs::write(&file, text).unwrap();
        // Not by connecting: a connection to a port that nobody listens at may connect to itself.
        let word = match self.kind {
            Kind::Mqttfast => "listening on",
            Kind::Mosquitto => " running",
        };
        let started = self.log().matches(word).count();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path("log"))
            .unwrap();
        let mut command = match self.kind {
            Kind::Mqttfast => {
                let mut command = Command::new(program());
                command.args(["--shards", "2", "--control"]);
                command.arg(self.folder.path("control"));
                command
            }
            Kind::Mosquitto => {
                let mut command = Command::new("mosquitto");
                command.env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin");
                command
            }
        };
        let child = command
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start a broker; tests/setup installs the reference");
        self.child = Some(child);
        wait("the broker listens", || {
            self.log().matches(word).count() > started
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// SIGTERM: what it holds is kept.
    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.child.take().unwrap().wait().unwrap();
    }

    /// The answer of the control socket to one request.
    fn asked(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path("control")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
        let mut answer = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if line.starts_with("{\"count\":") || line.contains("\"end\":true") {
                return answer;
            }
            answer += &line;
            answer.push('\n');
        }
        panic!("no end in {answer}");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    pub fn waits_for(&self, text: &str) {
        let seen = Instant::now();
        while !self.log().contains(text) {
            let log = self.log();
            assert!(seen.elapsed() < DEADLINE, "no {text:?} in {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn client(&self, client_id: &str) -> Client {
        let connect = Connect {
            client_id: client_id.as_bytes(),
            ..Connect::default()
        };
        Client::connect_at(self.port, &connect)
    }

    /// Waits until the state topic of the bridge says this here.
    fn waits_for_state(&self, topic: &str, state: &[u8]) {
        let mut watcher = self.client("watcher");
        watcher.subscribe(topic, 1);
        let begun = Instant::now();
        while watcher.receive().payload != state {
            assert!(begun.elapsed() < DEADLINE);
        }
        // It may come twice, as a new message and as the retained one: no orderly farewell.
        drop(watcher);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn bridge(core: &Broker, lines: &str) -> String {
    let port = core.port;
    format!(
        "connection edge\naddress 127.0.0.1:{port}\nremote_clientid edge\nrestart_timeout 1\n{lines}"
    )
}

const STATE: &str = "$SYS/broker/connection/edge/state";

/// Edge and core.
const PAIRS: [(Kind, Kind); 3] = [
    (Kind::Mqttfast, Kind::Mosquitto),
    (Kind::Mosquitto, Kind::Mqttfast),
    (Kind::Mqttfast, Kind::Mqttfast),
];

/// Each row of the mapping table, both ways, by one bridge.
#[test]
fn topics_are_renamed_as_the_lines_say() {
    let lines = "topic a/# \ntopic b/# in 1\ntopic c/# both 2\ntopic d/# both 1 loc/ rem/\n\
                 topic e/# out 1 \"\" rem/\ntopic f/# out 1 loc/ \"\"\ntopic # out 1 whole/ there/\n\
                 topic \"\" out 0 x/one y/one\ntopic \"\" both 1 x/two y/two\ntopic g/+ both 1 loc rem\n";
    // Local, remote, whether it goes out, whether it comes in, QoS.
    let rows = [
        ("a/1", "a/1", true, false, 0),
        ("b/1", "b/1", false, true, 1),
        ("c/1", "c/1", true, true, 2),
        ("loc/d/1", "rem/d/1", true, true, 1),
        ("e/1", "rem/e/1", true, false, 1),
        ("loc/f/1", "f/1", true, false, 1),
        ("whole/h/1", "there/h/1", true, false, 1),
        ("x/one", "y/one", true, false, 0),
        ("x/two", "y/two", true, true, 1),
        ("locg/1", "remg/1", true, true, 1),
    ];
    for (edge_kind, core_kind) in PAIRS {
        let (mut edge, mut core) = (Broker::new(edge_kind), Broker::new(core_kind));
        core.start("");
        edge.start(&bridge(&core, lines));
        edge.waits_for_state(STATE, b"1");
        core.waits_for_state(STATE, b"1");
        let (mut here, mut there) = (edge.client("here"), core.client("there"));
        for client in [&mut here, &mut there] {
            // At QoS 2 packets of several deliveries would mix.
            client.subscribe("#", 1);
        }
        let sorted = |client: &mut Client, count: usize| {
            let mut got: Vec<Published> = (0..count).map(|_| client.receive()).collect();
            got.sort_by(|one, other| one.topic.cmp(&other.topic));
            got
        };
        let mut publisher = edge.client("publisher");
        for (local, _, _, _, _) in rows {
            publisher.publish(local, local.as_bytes(), 2, false);
        }
        let got = sorted(&mut there, rows.iter().filter(|row| row.2).count());
        let mut wanted: Vec<_> = rows.iter().filter(|row| row.2).collect();
        wanted.sort_by_key(|row| row.1);
        for (got, row) in got.iter().zip(wanted) {
            assert_eq!(
                (&*got.topic, &*got.payload),
                (row.1, row.0.as_bytes()),
                "{edge_kind:?}"
            );
            assert_eq!(got.qos, row.4.min(1), "{edge_kind:?} {row:?}");
        }
        // Mosquitto's own client has its copies; ours too.
        sorted(&mut here, rows.len());
        let mut publisher = core.client("publisher");
        for (_, remote, _, _, _) in rows {
            publisher.publish(remote, remote.as_bytes(), 2, false);
        }
        let got = sorted(&mut here, rows.iter().filter(|row| row.3).count());
        let mut wanted: Vec<_> = rows.iter().filter(|row| row.3).collect();
        wanted.sort_by_key(|row| row.0);
        for (got, row) in got.iter().zip(wanted) {
            assert_eq!(
                (&*got.topic, &*got.payload),
                (row.0, row.1.as_bytes()),
                "{edge_kind:?}"
            );
            assert_eq!(got.qos, row.4.min(1), "{edge_kind:?} {row:?}");
        }
        here.expect_silence(Duration::from_millis(200));
        sorted(&mut there, rows.len());
        there.expect_silence(Duration::from_millis(200));
    }
}

/// What was published while the other broker was away, over a SIGKILL of this one.
#[test]
fn what_waits_is_kept_as_the_sessions_are() {
    for (lines, kept) in [
        ("", true),
        ("cleansession true\n", false),
        ("cleansession true\nlocal_cleansession false\n", true),
    ] {
        let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mosquitto));
        let lines = bridge(&core, &format!("topic q/# out 2\n{lines}"));
        edge.start(&lines);
        edge.waits_for("is not connected: no connection to 127.0.0.1");
        let mut publisher = edge.client("publisher");
        for (payload, qos) in [(b"zero", 0), (b"one1", 1), (b"two2", 2)] {
            publisher.publish("q/a", payload, qos, false);
        }
        edge.kill();
        edge.start(&lines);
        let mut publisher = edge.client("publisher");
        publisher.publish("q/a", b"last", 1, false);
        // Whoever is to hear it must be there before the bridge is.
        edge.kill();
        core.start("");
        let mut there = core.client("there");
        there.subscribe("q/#", 1);
        edge.start(&lines);
        core.waits_for_state(STATE, b"1");
        edge.waits_for_state(STATE, b"1");
        // The other broker hears of the connection before the subscription here is in force.
        std::thread::sleep(Duration::from_millis(300));
        let mut publisher = edge.client("publisher");
        publisher.publish("q/a", b"live", 1, false);
        let wanted: &[&[u8]] = match kept {
            true => &[b"one1", b"two2", b"last", b"live"],
            false => &[b"live"],
        };
        // Mosquitto passes a QoS 2 message on with its PUBREL: others overtake it there.
        let mut got: Vec<_> = wanted.iter().map(|_| there.receive().payload).collect();
        got.sort_by_key(|payload| wanted.iter().position(|wanted| wanted == payload));
        assert_eq!(got, wanted, "{lines}");
        there.expect_silence(Duration::from_millis(200));
    }
}

#[test]
fn states_are_told_on_both_sides_and_by_will_and_topic_of_choice() {
    for (edge_kind, core_kind) in PAIRS {
        if edge_kind == Kind::Mosquitto {
            continue;
        }
        let (mut edge, mut core) = (Broker::new(edge_kind), Broker::new(core_kind));
        core.start("");
        edge.start(&bridge(&core, "topic a out\n"));
        for broker in [&edge, &core] {
            broker.waits_for_state(STATE, b"1");
        }
        core.kill();
        edge.waits_for_state(STATE, b"0");
        core.start("");
        for broker in [&edge, &core] {
            broker.waits_for_state(STATE, b"1");
        }
        edge.kill();
        core.waits_for_state(STATE, b"0");
        edge.start(&bridge(
            &core,
            "topic a out\nnotification_topic house/link\n",
        ));
        for broker in [&edge, &core] {
            broker.waits_for_state("house/link", b"1");
        }
        edge.kill();
        let local = "topic a out\nnotification_topic house/local\nnotifications_local_only true\n";
        edge.start(&bridge(&core, local));
        edge.waits_for_state("house/local", b"1");
        let mut there = core.client("there");
        there.subscribe("house/local", 1);
        there.expect_silence(Duration::from_millis(200));
    }
}

/// Two brokers that bridge everything to each other.
#[test]
fn a_loop_is_found_and_the_bridge_rests() {
    for lines in [
        "topic # both 0\n",
        "topic # both 1\nbridge_protocol_version mqttv50\n",
        // A circle of bridges that each go one way: in 5.0 messages count their hops.
        "topic # out 0\nbridge_protocol_version mqttv50\n",
    ] {
        let (mut one, mut other) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mqttfast));
        let of = |to: &Broker, name: &str| {
            format!(
                "connection {name}\naddress 127.0.0.1:{}\nrestart_timeout 1\n{lines}",
                to.port
            )
        };
        let (first, second) = (of(&other, "first"), of(&one, "second"));
        one.start(&first);
        other.start(&second);
        for broker in [&one, &other] {
            broker.waits_for("is connected to");
        }
        let begun = Instant::now();
        one.client("publisher")
            .publish("home/lamp", b"on", 0, false);
        wait("one bridge rests", || {
            [&one, &other].iter().any(|broker| {
                let log = broker.log();
                let mut lines = log.lines();
                lines.any(|l| l.contains("found a loop: home/lamp") && l.contains("`topic # "))
            })
        });
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// A bridge whose broker is away sleeps until its next attempt.
#[test]
fn a_bridge_that_is_down_wakes_nobody() {
    let mut edge = Broker::new(Kind::Mqttfast);
    edge.start(&format!(
        "connection edge\naddress 127.0.0.1:{}\nrestart_timeout 60\ntopic a/# out 1\n",
        free_port()
    ));
    edge.waits_for("bridge edge: is not connected: no connection to");
    let tasks = format!("/proc/{}/task", edge.child.as_ref().unwrap().id());
    let woken = || {
        let of_bridges = fs::read_dir(&tasks)
            .unwrap()
            .map(|task| task.unwrap().path())
            .find(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "bridges")
            .expect("a thread of the bridges");
        let status = fs::read_to_string(of_bridges.join("status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt"));
        let count = line.unwrap().split_whitespace().nth(1).unwrap();
        count.parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(500));
    let before = woken();
    let mut here = edge.client("here");
    for number in 0..100 {
        here.publish("a/b", &[number], 1, false);
    }
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(woken(), before);
}

/// What a v5 message has beside its payload crosses, and says how many bridges it crossed.
#[test]
fn properties_of_v5_cross() {
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mosquitto));
    core.start("");
    edge.start(&bridge(
        &core,
        "topic p/# out 1\nbridge_protocol_version mqttv50\n",
    ));
    core.waits_for_state(STATE, b"1");
    let subscriber = Command::new("mosquitto_sub")
        .args([
            "-p",
            &core.port.to_string(),
            "-V",
            "5",
            "-t",
            "p/#",
            "-C",
            "1",
            "-W",
            "10",
        ])
        .args(["-F", "%p %C %R %D %P %r"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub");
    std::thread::sleep(Duration::from_millis(500));
    let status = Command::new("mosquitto_pub")
        .args([
            "-p",
            &edge.port.to_string(),
            "-V",
            "5",
            "-t",
            "p/a",
            "-m",
            "hello",
            "-q",
            "1",
        ])
        .args(["-D", "publish", "content-type", "text"])
        .args(["-D", "publish", "response-topic", "answer/here"])
        .args(["-D", "publish", "correlation-data", "7"])
        .args(["-D", "publish", "user-property", "key", "value"])
        .status()
        .expect("mosquitto_pub");
    assert!(status.success());
    let out = subscriber.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        text.trim(),
        "hello text answer/here 7 key:value mqttfast-hops:1 0"
    );
}

/// SIGHUP with other lines: one bridge goes on, one goes, one comes, one turns at once and one at its next connection.
#[test]
fn a_reload_changes_the_bridges_that_changed() {
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mqttfast));
    core.start("");
    let of = |name: &str, topic: &str, reload: &str| {
        let port = core.port;
        format!(
            "connection {name}\naddress 127.0.0.1:{port}\ntopic {topic} out 1\nnotification_topic state/{name}\nrestart_timeout 1\n{reload}"
        )
    };
    let at_once = "bridge_reload_type immediate\n";
    edge.start(
        &(of("stays", "a", "")
            + &of("goes", "b", "")
            + &of("turns", "c", at_once)
            + &of("waits", "f", "")),
    );
    for name in ["stays", "goes", "turns", "waits"] {
        edge.waits_for(&format!("bridge {name}: is connected"));
    }
    let file = edge.folder.path("broker.conf");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace(&of("goes", "b", ""), "")
        .replace(&of("turns", "c", at_once), &of("turns", "d", at_once))
        .replace(&of("waits", "f", ""), &of("waits", "g", ""));
    fs::write(&file, text + &of("comes", "e", "")).unwrap();
    edge.signal(Signal::SIGHUP);
    edge.waits_for("bridge comes: is connected");
    edge.waits_for("bridge waits: its changes are in force from its next connection on");
    core.waits_for_state("state/goes", b"0");
    let topics = ["a", "b", "c", "d", "e", "f", "g"];
    wait("the changed bridge is connected", || {
        edge.log().matches("bridge turns: is connected").count() == 2
    });
    let cross = |core: &Broker, wanted: &[&str]| {
        let mut there = core.client("there");
        let mut here = edge.client("here");
        for topic in topics {
            there.subscribe(topic, 1);
        }
        for topic in topics {
            here.publish(topic, topic.as_bytes(), 1, false);
        }
        let mut got: Vec<_> = wanted.iter().map(|_| there.receive().topic).collect();
        got.sort_unstable();
        assert_eq!(got, wanted);
        there.expect_silence(Duration::from_millis(200));
        // Nothing of this is left over for the next time.
        there.disconnect();
    };
    cross(&core, &["a", "d", "e", "f"]);
    assert_eq!(edge.log().matches("bridge stays: is connected").count(), 1);
    core.kill();
    core.start("");
    wait("the bridges are connected again", || {
        let log = edge.log();
        let count = |name| log.matches(&format!("bridge {name}: is connected")).count();
        (
            count("stays"),
            count("turns"),
            count("waits"),
            count("comes"),
        ) == (2, 3, 2, 2)
    });
    cross(&core, &["a", "d", "e", "g"]);
}

/// `start_type once`: one attempt, or one connection.
#[test]
fn a_bridge_that_starts_once_does_not_try_again() {
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mqttfast));
    let lines = bridge(&core, "topic a out 1\nstart_type once\n");
    edge.start(&lines);
    edge.waits_for("it does not try again (start_type once)");
    core.start("");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!edge.log().contains("is connected to"));
    edge.kill();
    edge.start(&lines);
    edge.waits_for("is connected to");
    core.kill();
    wait("it gives up", || {
        edge.log().matches("it does not try again").count() == 2
    });
    core.start("");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(edge.log().matches("is connected to").count(), 1);
    edge.waits_for_state("$SYS/broker/mqttfast/bridges/edge/state", b"ended");
}

/// 3.1, whose brokers do not say whether they have the Session, over a SIGKILL of each.
#[test]
fn bridges_speak_3_1() {
    for kind in [Kind::Mosquitto, Kind::Mqttfast] {
        let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(kind));
        let lines = bridge(
            &core,
            "topic t/# both 2 loc/ rem/\nbridge_protocol_version mqttv31\n",
        );
        core.start("");
        edge.start(&lines);
        edge.waits_for("by MQTT 3.1,");
        for round in 0..3 {
            core.waits_for_state(STATE, b"1");
            edge.waits_for_state(STATE, b"1");
            let (mut here, mut there) = (edge.client("here"), core.client("there"));
            here.subscribe("loc/t/in", 1);
            there.subscribe("rem/t/out", 1);
            for number in 0..10 {
                edge.client("one")
                    .publish("loc/t/out", &[round, number], 2, false);
                core.client("two")
                    .publish("rem/t/in", &[round, number], 2, false);
            }
            for number in 0..10 {
                assert_eq!(here.receive().payload, [round, number], "{kind:?}");
                assert_eq!(there.receive().payload, [round, number], "{kind:?}");
            }
            here.disconnect();
            there.disconnect();
            match round {
                0 => {
                    core.kill();
                    edge.waits_for_state(STATE, b"0");
                    core.start("");
                }
                _ => {
                    edge.kill();
                    edge.start(&lines);
                }
            }
        }
    }
}

/// An ACL file holds for no bridge without a user name, as with Mosquitto; and for one with a user name it does.
/// Another user name than before gets a new session, not a refusal.
#[test]
fn rights_of_a_bridge_are_those_of_its_user_name() {
    for kind in [Kind::Mosquitto, Kind::Mqttfast] {
        let (mut edge, mut core) = (Broker::new(kind), Broker::new(Kind::Mqttfast));
        let rules = Folder::new();
        let file = rules.path("acl");
        fs::write(
            &file,
            "topic read $SYS/#\ntopic write out/#\ntopic read in/#\nuser bridge\ntopic read out/#\n",
        )
        .unwrap();
        let lines = |more: &str| {
            let lines = format!("topic out/# out 1\ntopic in/# in 1\n{more}");
            format!("acl_file {}\n{}", file.display(), bridge(&core, &lines))
        };
        let (nameless, named) = (lines(""), lines("local_username bridge\n"));
        core.start("");
        edge.start(&nameless);
        core.waits_for_state(STATE, b"1");
        edge.waits_for_state(STATE, b"1");
        std::thread::sleep(Duration::from_millis(300));
        let (mut here, mut there) = (edge.client("here"), core.client("there"));
        here.subscribe("in/#", 1);
        there.subscribe("out/#", 1);
        edge.client("one").publish("out/1", b"out1", 1, false);
        core.client("two").publish("in/1", b"in1 ", 1, false);
        assert_eq!(there.receive().payload, b"out1", "{kind:?}");
        assert_eq!(here.receive().payload, b"in1 ", "{kind:?}");
        if kind == Kind::Mosquitto {
            continue;
        }
        edge.kill();
        core.waits_for_state(STATE, b"0");
        edge.start(&named);
        core.waits_for_state(STATE, b"1");
        edge.waits_for_state(STATE, b"1");
        edge.waits_for("the bridge of that name comes by another user name");
        std::thread::sleep(Duration::from_millis(300));
        let mut here = edge.client("here");
        here.subscribe("in/#", 1);
        edge.client("one").publish("out/2", b"out2", 1, false);
        core.client("two").publish("in/2", b"in2 ", 1, false);
        assert_eq!(there.receive().payload, b"out2", "it may read these");
        here.expect_silence(Duration::from_millis(200));
    }
}

/// What an operator sees who asks: that a bridge came, was refused and went.
#[test]
fn comings_and_goings_are_kept_for_who_asks() {
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mqttfast));
    edge.start(&bridge(&core, "topic a out 1\n"));
    let happened = |text: &str| {
        wait(text, || {
            let answer = edge.asked(r#"{"ask":"happenings","kinds":["bridge"]}"#);
            answer.lines().any(|line| line.contains(text))
        });
    };
    happened("bridge edge: is not connected: no connection to");
    happened("mqttfast bridge test edge");
    core.start("");
    happened("bridge edge: is connected to");
    core.kill();
    core.start("clientid_prefixes other\n");
    happened("bridge edge: is not connected: the other broker refused it");
}

/// Retained messages that are deleted at the other broker while the bridge is away: of what is retained here those that
/// the bridge wrote go, where that is wanted, and what somebody else wrote stays. At QoS 1 and 2 deletions wait in the
/// Session.
#[test]
fn deletions_made_while_apart_are_made_good() {
    for (kind, wanted) in [
        (Kind::Mqttfast, true),
        (Kind::Mosquitto, true),
        (Kind::Mqttfast, false),
    ] {
        let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(kind));
        core.start("");
        edge.start(&bridge(
            &core,
            &format!("topic r/# in 0 here/ there/\nbridge_retain_deletions {wanted}\n"),
        ));
        edge.waits_for("is connected to");
        let mut writer = core.client("writer");
        for number in 0..60 {
            writer.publish(&format!("there/r/{number}"), b"core", 1, true);
        }
        edge.waits_for_state("here/r/59", b"core");
        let mut here = edge.client("here");
        here.publish("here/r/1", b"edge", 1, true);
        here.publish("here/r/own", b"edge", 1, true);
        // Where the bridge does not find it.
        let port = core.port;
        core.stop();
        core.port = free_port();
        core.start("");
        let mut writer = core.client("writer");
        for number in [0, 1, 2, 40] {
            writer.publish(&format!("there/r/{number}"), b"", 1, true);
        }
        core.stop();
        core.port = port;
        core.start("");
        wait("the bridge is connected again", || {
            edge.log().matches("is connected to").count() == 2
        });
        match wanted {
            true => edge.waits_for("deletes 3 retained messages here"),
            false => std::thread::sleep(Duration::from_millis(2_500)),
        }
        let mut watcher = edge.client("watcher");
        watcher.subscribe("here/#", 1);
        let left = if wanted { 58 } else { 61 };
        let mut got: Vec<_> = (0..left).map(|_| watcher.receive()).collect();
        watcher.expect_silence(Duration::from_millis(200));
        got.retain(|got| got.payload == b"edge");
        got.sort_by(|one, other| one.topic.cmp(&other.topic));
        let topics: Vec<_> = got.iter().map(|got| &*got.topic).collect();
        assert_eq!(topics, ["here/r/1", "here/r/own"], "{kind:?}");
    }
}

/// What finds no room in the queue of a bridge is counted for it, and told.
#[test]
fn losses_are_counted_by_bridge() {
    let mut edge = Broker::new(Kind::Mqttfast);
    let nobody = free_port();
    edge.start(&format!(
        "max_queued_messages 5\nconnection edge\naddress 127.0.0.1:{nobody}\nrestart_timeout 1\ntopic q/# out 1\n\
         connection other\naddress 127.0.0.1:{nobody}\nrestart_timeout 1\ntopic other/# out 1\n"
    ));
    edge.waits_for("bridge edge: is not connected: no connection to");
    let mut publisher = edge.client("publisher");
    for number in 0..20 {
        publisher.publish("q/a", &[number], 1, false);
    }
    edge.waits_for("bridge edge: drops messages: 15 so far found its queue full");
    assert!(!edge.log().contains("bridge other: drops"));
    for (bridge, name, value) in [
        ("edge", "dropped", "15"),
        ("edge", "queued", "5"),
        ("edge", "in_flight", "0"),
        ("other", "dropped", "0"),
        ("other", "queued", "0"),
    ] {
        let topic = format!("$SYS/broker/mqttfast/bridges/{bridge}/{name}");
        edge.waits_for_state(&topic, value.as_bytes());
    }
}

/// A lazy bridge connects when enough messages wait, and leaves when nothing crosses.
#[test]
fn a_lazy_bridge_sleeps_until_messages_wait() {
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mosquitto));
    core.start("");
    let lines = "topic l out 1\nstart_type lazy\nthreshold 3\nidle_timeout 1\n";
    edge.start(&bridge(&core, lines));
    let mut there = core.client("there");
    there.subscribe("l", 1);
    std::thread::sleep(Duration::from_millis(1_500));
    let mut here = edge.client("here");
    here.publish("l", b"1", 1, false);
    here.publish("l", b"2", 1, false);
    there.expect_silence(Duration::from_millis(2_500));
    here.publish("l", b"3", 1, false);
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(there.receive().payload, payload);
    }
    edge.waits_for("nothing crossed for `idle_timeout`");
    core.waits_for_state(STATE, b"0");
}

/// With TLS, as Mosquitto does it: by CA and name, with a certificate of our own, and what is said where it fails.
#[test]
fn bridges_go_inside_tls() {
    let folder = certificates();
    let at = |name: &str| folder.join(name).display().to_string();
    let own = Folder::new();
    // X.509 version 1: a CN, and no other name.
    let made = Command::new("sh")
        .current_dir(&own.0)
        .args(["-c", "openssl req -nodes -newkey rsa:2048 -subj /O=Fixture/CN=localhost -keyout v1.key -out v1.csr 2>>log && openssl x509 -req -in v1.csr -CA $1/ca.crt -CAkey $1/ca.key -CAserial v1.srl -CAcreateserial -days 2 -out v1.crt 2>>log"])
        .args(["sh", &folder.display().to_string()])
        .status();
    assert!(made.expect("openssl").success());
    let v1 = own.path("v1").display().to_string();
    let ca = format!("bridge_cafile {}\n", at("ca.crt"));
    let client = format!(
        "bridge_certfile {}\nbridge_keyfile {}\n",
        at("client.crt"),
        at("client.key")
    );
    let foreign = format!("bridge_cafile {}\n", at("foreign-ca.crt"));
    let wants = format!("require_certificate true\ncafile {}\n", at("ca.crt"));
    let there = "is connected to";
    for (core_kind, certificate, core_lines, host, edge_lines, said) in [
        (
            Kind::Mosquitto,
            at("ec"),
            "",
            "127.0.0.1",
            ca.clone(),
            there,
        ),
        (
            Kind::Mqttfast,
            at("rsa"),
            "",
            "localhost",
            ca.clone() + "bridge_tls_version tlsv1.2\n",
            there,
        ),
        (
            Kind::Mosquitto,
            at("ec"),
            &*wants,
            "localhost",
            ca.clone() + &client,
            there,
        ),
        (
            Kind::Mqttfast,
            at("ec"),
            &*wants,
            "localhost",
            ca.clone() + &client,
            there,
        ),
        (
            Kind::Mosquitto,
            v1.clone(),
            "",
            "localhost",
            ca.clone(),
            there,
        ),
        (
            Kind::Mosquitto,
            v1.clone(),
            "",
            "127.0.0.1",
            ca.clone(),
            "another name than `address` has",
        ),
        (
            Kind::Mosquitto,
            v1,
            "",
            "127.0.0.1",
            ca.clone() + "bridge_insecure true\n",
            there,
        ),
        (
            Kind::Mosquitto,
            at("ec"),
            "",
            "localhost",
            foreign,
            "bridge_cafile",
        ),
        (
            Kind::Mosquitto,
            at("old"),
            "",
            "localhost",
            ca.clone(),
            "clock of this machine",
        ),
        (
            Kind::Mqttfast,
            at("ec"),
            &*wants,
            "localhost",
            ca.clone(),
            "bridge_certfile",
        ),
    ] {
        let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(core_kind));
        let port = free_port();
        core.start(&format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {certificate}.crt\nkeyfile {certificate}.key\n{core_lines}"
        ));
        edge.start(&format!(
            "connection edge\naddress {host}:{port}\nrestart_timeout 1\nremote_clientid edge\ntopic t/# both 1\n{edge_lines}"
        ));
        edge.waits_for(said);
        if said != there {
            continue;
        }
        let mut listener = core.client("there");
        listener.subscribe("t/#", 1);
        // Over many records, and many reads.
        let large = vec![b'x'; 300_000];
        let mut here = edge.client("here");
        here.publish("t/a", &large, 1, false);
        assert!(listener.receive().payload == large);
        here.subscribe("t/#", 1);
        core.client("sender").publish("t/b", &large, 1, false);
        assert!(here.receive().payload == large);
        edge.kill();
        core.waits_for_state(STATE, b"0");
    }
}
