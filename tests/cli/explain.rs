//! `explain` says what the running broker does: 5,000 random rights, asked on one connection of the control socket and
//! tried by Clients of one broker.

use super::control::ask;
use mqttfast::random::SplitMix64;
use mqttfast_rig::process::{Broker, Client, Folder, Options, packet5};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const QUESTIONS: usize = 5_000;
const USERS: [Option<&str>; 4] = [None, Some("ann"), Some("bert"), Some("eve")];
const CLIENTS: [&str; 3] = ["a", "b", "c"];
/// May write everything.
const WRITER: &str = "writer";

fn topic_of(random: &mut SplitMix64, words: &[&str]) -> String {
    let levels = 1 + random.below(4);
    let levels: Vec<&str> = (0..levels).map(|_| random.pick(words)).collect();
    levels.join("/")
}

fn random_rules(random: &mut SplitMix64) -> String {
    let mut text = format!("user {WRITER}\ntopic readwrite #\n");
    let rights = ["", "read ", "write ", "readwrite ", "deny "];
    let rule = |random: &mut SplitMix64, kind: &str, words: &[&str]| {
        let right = random.pick(&rights);
        let tail = random.pick(&["", "", "/#"]);
        format!("{kind} {right}{}{tail}\n", topic_of(random, words))
    };
    for user in ["ann", "bert", "eve"] {
        text += &format!("user {user}\n");
        for _ in 0..12 {
            text += &rule(random, "topic", &["a", "b", "c", "ann", "+"]);
        }
    }
    for _ in 0..6 {
        text += &rule(random, "pattern", &["a", "%c", "%u", "+"]);
    }
    // Rules before the first `user` are for those without a name.
    let nobody: String = (0..12)
        .map(|_| rule(random, "topic", &["a", "b", "c", "ann", "+"]))
        .collect();
    nobody + &text
}

/// A Client of 5.0, whose answers say what was refused.
fn client(broker: &Broker, client_id: &str, user: Option<&str>) -> Client {
    let mut rest = Vec::new();
    let mut flags = packet5::CLEAN_START;
    if let Some(user) = user {
        rest.extend((user.len() as u16).to_be_bytes());
        rest.extend(user.as_bytes());
        flags |= 0x80;
    }
    let mut client = Client::open(broker);
    client.send(&packet5::connect(
        flags,
        60,
        &[],
        client_id.as_bytes(),
        &rest,
    ));
    let answer = client.packet();
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:?}");
    client
}

/// Which of these topics the Client may publish to, by PUBACK.
fn written(client: &mut Client, topics: &[String]) -> Vec<bool> {
    let mut all = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        all.extend(packet5::publish(
            topic.as_bytes(),
            b"x",
            1,
            index as u16 + 1,
            &[],
        ));
    }
    client.send(&all);
    let mut may = vec![None; topics.len()];
    while may.contains(&None) {
        let packet = client.packet();
        assert_eq!(packet[0], 0x40, "{packet:?}");
        let index = usize::from(u16::from_be_bytes([packet[2], packet[3]])) - 1;
        may[index] = Some(packet.get(4) != Some(&0x87));
    }
    may.into_iter().flatten().collect()
}

/// Which of these topics, each another one, the Client hears when all are written.
fn heard(client: &mut Client, writer: &mut Client, topics: &[String]) -> Vec<bool> {
    for topic in topics {
        client.send(&packet5::subscribe(1, &[], topic.as_bytes(), 0));
        assert_eq!(client.packet()[0], 0x90);
    }
    assert!(written(writer, topics).into_iter().all(|may| may));
    // What the writer has an answer for is on its way before the answer to this.
    client.send(&[0xC0, 0]);
    let mut got = BTreeSet::new();
    loop {
        let packet = client.packet();
        if packet[0] == 0xD0 {
            break;
        }
        assert_eq!(packet[0], 0x30, "{packet:?}");
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        got.insert(String::from_utf8(packet[4..4 + length].to_vec()).expect("UTF-8"));
    }
    topics.iter().map(|topic| got.contains(topic)).collect()
}

#[test]
fn explain_agrees_with_the_broker() {
    let folder = Folder::new();
    let (socket, acl) = (folder.path("control"), folder.path("acl"));
    let mut random = SplitMix64::new(17);
    let rules = random_rules(&mut random);
    std::fs::write(&acl, &rules).expect("an ACL file");
    let broker = Broker::start_with(Options {
        shards: 1,
        acl: Some(acl),
        allow_anonymous: true,
        arguments: vec!["--control".to_owned(), socket.display().to_string()],
        ..Options::default()
    });
    broker.logged(&["control socket "]);
    let stream = UnixStream::connect(&socket).expect("the control socket");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a deadline");
    let mut control = BufReader::new(stream);
    let mut writer = client(&broker, WRITER, Some(WRITER));
    let each = QUESTIONS.div_ceil(USERS.len() * CLIENTS.len() * 2);
    let (mut asked, mut allowed) = (0, 0);
    for user in USERS {
        for client_id in CLIENTS {
            let mut topics = BTreeSet::new();
            while topics.len() < each {
                topics.insert(topic_of(&mut random, &["a", "b", "c", "ann", "bert", "d"]));
            }
            let topics: Vec<String> = topics.into_iter().collect();
            // All of them at a time; the answers come in their order.
            let mut said = Vec::new();
            for what in ["publish", "subscribe"] {
                let mut requests = Vec::new();
                for topic in &topics {
                    let request = json!({
                        "ask": "explain", "what": what, "user": user, "client": client_id, "topic": topic,
                    });
                    requests.extend(format!("{request}\n").bytes());
                }
                let stream = control.get_mut();
                stream.write_all(&requests).expect("sent");
                said.push(
                    topics
                        .iter()
                        .map(|_| answer(&mut control))
                        .collect::<Vec<_>>(),
                );
            }
            let mut client = client(&broker, client_id, user);
            let may = [
                written(&mut client, &topics),
                heard(&mut client, &mut writer, &topics),
            ];
            for ((said, may), what) in said.iter().zip(&may).zip(["publish", "subscribe"]) {
                for ((said, may), topic) in said.iter().zip(may).zip(&topics) {
                    assert_eq!(said, may, "{what} {user:?} {client_id} {topic}\n{rules}");
                    asked += 1;
                    allowed += usize::from(*may);
                }
            }
            client.disconnect();
        }
    }
    assert!(asked >= QUESTIONS, "{asked}");
    assert!(
        allowed > asked / 10 && allowed < asked * 9 / 10,
        "{allowed} of {asked}"
    );
    // The connection has served them all, and serves on.
    assert_eq!(
        ask(&mut control, r#"{"ask":"version"}"#)[0]["name"],
        "mqttfast"
    );
}

/// One answer: allowed, or not.
fn answer(control: &mut BufReader<UnixStream>) -> bool {
    let mut allowed = None;
    loop {
        let mut line = String::new();
        assert_ne!(control.read_line(&mut line).expect("a line"), 0, "closed");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        if value["end"] == true {
            return allowed.expect("an answer");
        }
        allowed = Some(
            value["allowed"]
                .as_bool()
                .unwrap_or_else(|| panic!("{value}")),
        );
    }
}
