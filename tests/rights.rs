//! Rights over real sockets: `--acl` from the start to the reload, and what the log says.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::broker::mqttfast;
use mqttfast_rig::process::{Broker, Client, Connect, Folder, Options, packet5};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::{Command, Stdio};

on_1_and_2_shards!(
    rules_are_in_force_from_the_start,
    sighup_reads_all_again_or_nothing,
);

const RULES: &str = "\
user ann
topic readwrite house/#
user bert
topic read house/#
topic deny house/safe
pattern write device/%c
";

struct House {
    broker: Broker,
    file: PathBuf,
    _folder: Folder,
}

impl House {
    fn new(shards: usize) -> House {
        let folder = Folder::new();
        let file = folder.path("acl");
        std::fs::write(&file, RULES).expect("write an ACL file");
        let broker = Broker::start_with(Options {
            shards,
            acl: Some(file.clone()),
            ..Options::default()
        });
        House {
            broker,
            file,
            _folder: folder,
        }
    }

    fn client(&self, user: &str, client_id: &str) -> Client {
        let connect = Connect {
            client_id: client_id.as_bytes(),
            user: Some(user),
            ..Connect::default()
        };
        Client::connect_with(&self.broker, &connect).0
    }

    /// Writes the file, reloads, and waits for this line.
    fn reload(&self, text: &str, parts: &[&str]) -> String {
        std::fs::write(&self.file, text).expect("write an ACL file");
        let mark = self.broker.log_len();
        self.broker.signal(Signal::SIGHUP);
        self.broker.logged_since(mark, parts)
    }
}

fn rules_are_in_force_from_the_start(shards: usize) {
    let house = House::new(shards);
    let broker = &house.broker;
    broker.logged(&["info ", "ACL file ", "acl: 4 rules"]);
    broker.logged(&["warning ", "nobody checks user names"]);
    let mut ann = house.client("ann", "a");
    let mut reader = house.client("ann", "reader");
    let mut bert = house.client("bert", "b");
    reader.subscribe("#", 1);
    bert.subscribe("#", 1);
    ann.publish("house/safe", b"secret", 1, true);
    reader.expect_message("house/safe", b"secret", 1);
    ann.publish("house/lamp", b"on", 1, false);
    reader.expect_message("house/lamp", b"on", 1);
    bert.expect_message("house/lamp", b"on", 1);
    bert.publish("house/lamp", b"off", 1, false);
    bert.publish("device/b", b"mine", 1, false);
    bert.publish("device/a", b"not mine", 1, false);
    bert.expect_alive();
    reader.expect_alive();
    let file = house.file.display();
    let no_rule = format!("no rule of {file} allows it");
    broker.logged(&[
        "info ",
        "Denied PUBLISH from b (user bert) (q1, r0, 'house/lamp', ... (3 bytes)): ",
        &no_rule,
    ]);
    // v5 says so.
    let (mut five, _) = packet5::connected(broker, b"five", &[]);
    five.send(&packet5::publish(b"house/x", b"x", 1, 7, &[]));
    let puback = five.packet();
    assert_eq!((puback[0], &puback[2..5]), (0x40, &[0, 7, 0x87][..]));
    assert!(
        puback.ends_with(b"you may not publish to this topic"),
        "{puback:?}"
    );
    five.expect_alive();
    // Who asks anew finds the retained message, if he may read it.
    let mut late = house.client("bert", "late");
    late.subscribe("house/safe", 1);
    late.expect_alive();
    let who = "Denied SUBSCRIBE from late (user bert) (q1, 'house/safe'), granted but silent: ";
    let line = broker.logged(&[who]);
    assert!(line.ends_with(&no_rule), "{line}");
}

fn sighup_reads_all_again_or_nothing(shards: usize) {
    let house = House::new(shards);
    let file = house.file.display();
    let mut ann = house.client("ann", "a");
    let mut bert = house.client("bert", "b");
    bert.subscribe("#", 1);
    let heard = |ann: &mut Client, bert: &mut Client, topic: &str, reads: bool| {
        // Often enough that the answer is kept.
        for _ in 0..12 {
            ann.publish(topic, b"x", 1, false);
            if reads {
                bert.expect_message(topic, b"x", 1);
            }
        }
        bert.expect_alive();
    };
    heard(&mut ann, &mut bert, "house/safe", false);
    heard(&mut ann, &mut bert, "house/lamp", true);

    let told = house.reload(
        "user ann\ntopic #\nuser bert\ntopic read house/safe",
        &["ACL file"],
    );
    assert!(
        told.ends_with(&format!("ACL file {file}: 2 rules")),
        "{told}"
    );
    heard(&mut ann, &mut bert, "house/safe", true);
    heard(&mut ann, &mut bert, "house/lamp", false);

    // One bad line, and nothing of the file is in force.
    let bad = "user bert\ntopic read #\ntopic rw x\n";
    let line = house.reload(
        bad,
        &["error ", "acl:3: ", "write instead: topic readwrite x"],
    );
    assert!(line.contains("`rw` is no right"), "{line}");
    house.broker.logged(&["error ", "nothing reloaded"]);
    heard(&mut ann, &mut bert, "house/safe", true);
    heard(&mut ann, &mut bert, "house/lamp", false);

    // So it is with a file that is gone.
    std::fs::remove_file(&house.file).expect("remove the ACL file");
    let mark = house.broker.log_len();
    house.broker.signal(Signal::SIGHUP);
    house
        .broker
        .logged_since(mark, &["error ", "is not there; create it"]);
    house
        .broker
        .logged_since(mark, &["error ", "nothing reloaded"]);
    heard(&mut ann, &mut bert, "house/lamp", false);

    house.reload("user ann\ntopic #\nuser bert\ntopic #", &["2 rules"]);
    heard(&mut ann, &mut bert, "house/lamp", true);
}

#[test]
fn a_bad_acl_file_stops_the_start() {
    let folder = Folder::new();
    let acl = folder.path("acl");
    let start = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&acl, text).expect("write an ACL file"),
            None => std::fs::remove_file(&acl).expect("remove it"),
        }
        let options = Options {
            acl: Some(acl.clone()),
            ..Options::default()
        };
        let output = mqttfast(&options)
            .stdin(Stdio::null())
            .output()
            .expect("run mqttfast");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("it is UTF-8")
    };
    let said = start(Some("topic\tread a\nuser ann\ntopic read a # all\n"));
    let at = |line: u32| format!("ACL file {}:{line}: ", acl.display());
    for (line, rest) in [
        (
            1,
            "a TAB stands where a blank must; write instead: topic read a",
        ),
        (
            3,
            "`#` must be the last level of the filter; a comment must stand on a line of its own; write instead: topic read a",
        ),
    ] {
        assert!(said.contains(&(at(line) + rest)), "{said}");
    }
    assert!(!said.contains("listening on"));
    let said = start(None);
    assert!(
        said.contains("is not there; create it, or correct the path"),
        "{said}"
    );
}

/// What `mqttfast explain` says, and whether it says that the Client may.
fn explain(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(mqttfast_rig::process::program())
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("run mqttfast");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("it is UTF-8");
    (output.status.code(), said)
}

#[test]
fn explain_names_the_rule_and_what_to_write() {
    let folder = Folder::new();
    let acl = folder.path("acl");
    let text = format!("topic read open/#\n{RULES}pattern read of/%u/#\n");
    std::fs::write(&acl, text).expect("write an ACL file");
    let file = acl.to_str().expect("it is UTF-8");
    let ask = |act: &str, user: Option<&str>, topic: &str| {
        let mut arguments = vec![act, "--acl", file, "--client", "lamp", "--topic", topic];
        if let Some(user) = user {
            arguments.extend(["--user", user]);
        }
        let (code, said) = explain(&arguments);
        (code, said.replace(file, "ACL"))
    };
    let ann = "user ann, client id lamp,";
    let bert = "user bert, client id lamp,";
    for (act, user, topic, code, wanted) in [
        (
            "publish",
            Some("ann"),
            "house/x",
            0,
            format!("allowed: {ann} may publish to house/x\n  ACL:3: topic readwrite house/#\n"),
        ),
        (
            "publish",
            Some("bert"),
            "house/x",
            1,
            format!(
                "refused: {bert} may not publish to house/x\n  no rule of ACL allows it\n  line 5 reaches it, but gives the \
                 right to read, not to write: topic read house/#\n  to allow it, write below `user bert`: topic write house/x\n"
            ),
        ),
        (
            "publish",
            Some("carl"),
            "x",
            1,
            "refused: user carl, client id lamp, may not publish to x\n  no rule of ACL allows it\n  to allow it, write at \
             the end of the file: user carl, and below it: topic write x\n"
                .into(),
        ),
        (
            "publish",
            None,
            "x",
            1,
            "refused: client id lamp, without a user name, may not publish to x\n  no rule of ACL allows it\n  to allow it, \
             write above the first `user` line: topic write x\n"
                .into(),
        ),
        (
            "publish",
            Some("carl"),
            "device/lamp",
            0,
            "allowed: user carl, client id lamp, may publish to device/lamp\n  ACL:7: pattern write device/%c\n".into(),
        ),
        (
            "publish",
            Some("ann"),
            "$SYS/x",
            1,
            format!(
                "refused: {ann} may not publish to $SYS/x\n  only the broker writes below $SYS\n  no rule can allow it: \
                 choose another topic\n"
            ),
        ),
        (
            "subscribe",
            Some("ann"),
            "house/+/state",
            0,
            format!("allowed: {ann} hears all of house/+/state\n  ACL:3: topic readwrite house/#\n"),
        ),
        (
            "subscribe",
            Some("bert"),
            "$share/g/#",
            0,
            format!(
                "partly allowed: {bert} hears some topics of #, and others not\n  ACL:5: topic read house/#\n  ACL:6: topic \
                 deny house/safe\n  ACL:8: pattern read of/%u/#\n"
            ),
        ),
        (
            "subscribe",
            Some("bert"),
            "house/safe",
            1,
            format!(
                "refused: {bert} hears nothing of house/safe; the subscription is granted and stays silent\n  ACL:6: topic \
                 deny house/safe\n  to allow it: remove line 6, or make its filter smaller; `deny` is stronger than every \
                 other rule of its user\n"
            ),
        ),
        (
            "subscribe",
            Some("bert"),
            "open/#",
            1,
            format!(
                "refused: {bert} hears nothing of open/#; the subscription is granted and stays silent\n  no rule of ACL \
                 allows any of it\n  line 1 stands above the first `user` line, so it is for clients without a user name \
                 alone: topic read open/#\n  to allow it, write below `user bert`: topic read open/#\n"
            ),
        ),
    ] {
        assert_eq!(ask(act, user, topic), (Some(code), wanted));
    }
    // With questions that are none.
    for arguments in [
        &["publish", "--topic", "a/#", "--acl", "ACL"][..],
        &["subscribe", "--topic", "a#", "--acl", "ACL"],
        &["read", "--topic", "a"],
        &["publish"],
        &["publish", "--topic", "a", "--acl", "/no/such/file"],
    ] {
        let (code, said) = explain(arguments);
        assert_eq!(code, Some(2), "{said}");
    }
}

/// The ACL files that a `mosquitto.conf` names, one for each listener.
#[test]
fn explain_reads_a_configuration() {
    let folder = Folder::new();
    let path = |name| folder.path(name).display().to_string();
    std::fs::write(folder.path("one"), "topic a\n").expect("write an ACL file");
    std::fs::write(folder.path("two"), "topic b\n").expect("write an ACL file");
    let config = format!(
        "per_listener_settings true\nlistener 1883\nacl_file {}\nlistener 1884\nacl_file {}\nlistener 1885\n",
        path("one"),
        path("two")
    );
    std::fs::write(folder.path("conf"), config).expect("write a configuration");
    let conf = path("conf");
    let (code, said) = explain(&["publish", "-c", &conf, "--client", "c", "--topic", "a"]);
    let said = said
        .replace(&conf, "CONF")
        .replace(&path("one"), "ONE")
        .replace(&path("two"), "TWO");
    let who = "client id c, without a user name,";
    let wanted = format!(
        "the listener at CONF:2:\nallowed: {who} may publish to a\n  ONE:1: topic readwrite a\n\
         the listener at CONF:4:\nrefused: {who} may not publish to a\n  no rule of TWO allows it\n  \
         to allow it, write above the first `user` line: topic write a\n\
         the listener at CONF:6:\nallowed: {who} may publish to a\n  there is no ACL file, so everything is allowed\n"
    );
    assert_eq!((code, said), (Some(1), wanted));
}
