//! What `perf/instructions` counts: one case a run, under callgrind, which collects within `measured` alone.
//!
//! ```text
//! instructions --list      name, runs of `measured`, messages a run: a line a case
//! instructions NAME        sets the case up, runs it warm, then runs `measured`
//! instructions             (and under `cargo bench`) every case once, without counting: its answers are checked
//! ```
//!
//! A case is what one message costs: decoded or encoded, matched, or taken through a whole turn of a shard and sent.

mod house;
use mqttfast_rig::one as rig;
mod sensor;

use house::{scattered, trie};
use mqttfast::acl::{Acl, Act, Recall, Rules};
use mqttfast::config::Settings;
use mqttfast::topic::Matches;
use mqttfast::wire::topic::TopicName;
use mqttfast::wire::{self, Packet, Publish, QoS, Version};
use rig::{Rig, publish};
use std::hint::black_box;
use std::sync::Arc;

const PACKET_BYTES_MAX: u32 = 64 * 1024;
const PAYLOAD: [u8; 100] = [b'x'; 100];
const TOPIC: &str = "house/kitchen/sensor-1/temperature";
/// Names matched in turn.
const NAMES: usize = 512;
/// The protocol versions as cases are called, as the codec knows them, and as CONNECT has them.
const VERSIONS: [(&str, Version, u8); 2] = [
    ("v3", Version::V311, rig::V311),
    ("v5", Version::V5, rig::V5),
];

/// Turns until the cache of routes has the size that its topics need.
const TURNS_TO_WARM: usize = 2_000;

type Run = Box<dyn FnMut()>;

struct Case {
    name: String,
    /// How often it runs within `measured`.
    runs: u32,
    /// How many messages (deliveries, in a fan-out) one run is.
    messages: u32,
    set_up: Box<dyn Fn() -> Run>,
}

fn case(name: String, runs: u32, messages: u32, set_up: impl Fn() -> Run + 'static) -> Case {
    let set_up = Box::new(set_up);
    Case {
        name,
        runs,
        messages,
        set_up,
    }
}

fn codec(cases: &mut Vec<Case>) {
    for (name, version, _) in VERSIONS {
        for (qos_name, qos) in [("qos0", QoS::AtMostOnce), ("qos1", QoS::AtLeastOnce)] {
            let id = |what: &str| format!("wire/{what}-publish-{qos_name}-{name}");
            cases.push(case(id("decode"), 1000, 1, move || {
                let bytes =
                    sensor::encoded(&Packet::Publish(sensor::publish(qos, &PAYLOAD)), version);
                Box::new(move || {
                    let frame = wire::next_frame(black_box(&bytes), PACKET_BYTES_MAX);
                    let frame = frame.expect("well-formed").expect("complete");
                    let publish = Publish::decode(version, &frame).expect("well-formed");
                    assert_eq!(publish.payload.len(), PAYLOAD.len());
                    black_box(publish.topic);
                })
            }));
            cases.push(case(id("encode"), 1000, 1, move || {
                let expected =
                    sensor::encoded(&Packet::Publish(sensor::publish(qos, &PAYLOAD)), version);
                let delivery = sensor::delivery(qos, PAYLOAD.len());
                let mut out = Vec::with_capacity(2 * expected.len());
                Box::new(move || {
                    out.clear();
                    black_box(&delivery).append_head(version, &mut out);
                    out.extend_from_slice(black_box(&PAYLOAD));
                    assert_eq!(out.len(), expected.len());
                })
            }));
        }
        cases.push(case(
            format!("wire/decode-connect-{name}"),
            1000,
            1,
            move || {
                let bytes = sensor::encoded(
                    &Packet::Connect(sensor::connect(version, &PAYLOAD)),
                    version,
                );
                Box::new(move || {
                    let frame = wire::next_frame(black_box(&bytes), PACKET_BYTES_MAX);
                    let frame = frame.expect("well-formed").expect("complete");
                    let decoded = wire::decode(None, &frame).expect("well-formed");
                    assert!(matches!(decoded, Packet::Connect(found) if found.version == version));
                })
            },
        ));
        cases.push(case(
            format!("wire/encode-connect-{name}"),
            1000,
            1,
            move || {
                let packet = Packet::Connect(sensor::connect(version, &PAYLOAD));
                let expected = sensor::encoded(&packet, version);
                let mut out = Vec::with_capacity(2 * expected.len());
                Box::new(move || {
                    out.clear();
                    wire::encode(black_box(&packet), version, &mut out);
                    assert_eq!(out.len(), expected.len());
                })
            },
        ));
    }
}

fn matcher(cases: &mut Vec<Case>) {
    for (label, filters) in [("10", 10), ("10k", 10_000), ("100k", 100_000)] {
        for kind in &house::KINDS {
            let hit = ("hit", kind.hit, 1);
            let misses = kind.misses.iter().map(|&(what, name)| (what, name, 0));
            for (what, name, found) in [hit].into_iter().chain(misses) {
                let id = format!("topic/match-{label}-{}-{what}", kind.id);
                let set_up = move || matching(filters, kind.filter, name, found);
                cases.push(case(id, NAMES as u32, 1, set_up));
            }
        }
    }
}

fn matching(
    filters: usize,
    filter: fn(usize) -> String,
    name: fn(usize) -> String,
    found: usize,
) -> Run {
    let trie = trie(filters, filter);
    let name = |i| TopicName::new(name(scattered(i, filters)).leak()).expect("valid");
    let names: Vec<TopicName<'static>> = (0..NAMES).map(name).collect();
    let mut matches = Matches::new();
    let mut turn = 0;
    Box::new(move || {
        let name = names[turn % NAMES];
        turn += 1;
        trie.matches(black_box(name), &mut matches);
        assert_eq!(matches.local.len(), found);
    })
}

/// One question to an ACL file of 100 rules, which are all the user's own, or all patterns with `%u`.
fn rights(cases: &mut Vec<Case>) {
    let own = |room| format!("topic readwrite house/room-{room}/+/temperature");
    let pattern = |room| format!("pattern readwrite house/%u/room-{room}/+/temperature");
    for (kind, top) in [("own", "house"), ("pattern", "house/ann")] {
        let rule: fn(usize) -> String = if kind == "own" { own } else { pattern };
        for (what, level) in [("allowed", "temperature"), ("refused", "pressure")] {
            cases.push(case(
                format!("acl/100-{kind}-{what}"),
                NAMES as u32,
                1,
                move || {
                    let rules: Vec<String> = (0..100).map(rule).collect();
                    let acl = Acl::parse(format!("user ann\n{}\n", rules.join("\n")).as_bytes());
                    let acl = acl.expect("well-formed");
                    let standing = acl.standing(Some("ann"), "sensor-1");
                    let name = |i| format!("{top}/room-{}/sensor-1/{level}", scattered(i, 100));
                    let names: Vec<String> = (0..NAMES).map(name).collect();
                    let mut turn = 0;
                    Box::new(move || {
                        let name = black_box(&names[turn % NAMES]);
                        turn += 1;
                        let verdict = acl.may(standing, Some("ann"), "sensor-1", Act::Write, name);
                        assert_eq!(verdict.is_allowed(), level == "temperature");
                    })
                },
            ));
        }
    }
}

/// The same question again, of a connection that wrote to this name before.
fn recalled(cases: &mut Vec<Case>) {
    cases.push(case("acl/100-own-recalled".into(), NAMES as u32, 1, || {
        let rules: Vec<String> = (0..100)
            .map(|room| format!("topic house/room-{room}/#"))
            .collect();
        let acl = Acl::parse(rules.join("\n").as_bytes()).expect("well-formed");
        let standing = acl.standing(None, "sensor-1");
        let mut recall = Recall::default();
        Box::new(move || {
            let name = black_box("house/room-7/sensor-1/temperature");
            let verdict = recall.may(1, &acl, standing, None, "sensor-1", Act::Write, name);
            assert!(verdict.is_allowed());
        })
    }));
}

fn turns(cases: &mut Vec<Case>) {
    for (name, _, level) in VERSIONS {
        for messages in [1, 16] {
            let id = format!("shard/qos0-{messages}-a-read-{name}");
            cases.push(case(id, 320 / messages, messages, move || {
                one_to_one(Rig::new(level), level, messages as usize)
            }));
        }
        let id = format!("shard/qos0-16-topics-a-read-{name}");
        cases.push(case(id, 20, 16, move || {
            topics_in_turn(Rig::new(level), level, 16)
        }));
        for (messages, what) in [(1, "1-to-100"), (16, "1-to-100-16-a-read")] {
            let id = format!("shard/qos0-{what}-{name}");
            cases.push(case(id, 32 / messages, 100 * messages, move || {
                fan_out(Rig::new(level), level, 100, messages as usize)
            }));
        }
        cases.push(case(format!("shard/qos1-{name}"), 320, 1, move || {
            qos_1(Rig::new(level), level)
        }));
        cases.push(case(format!("shard/qos2-{name}"), 320, 1, move || {
            qos_2(level)
        }));
    }
}

/// Turns of a shard with 100 rules, all for Clients without a user name, that allow what is done.
fn ruled_turns(cases: &mut Vec<Case>) {
    let level = rig::V311;
    for messages in [1, 16] {
        let id = format!("shard/rules-qos0-{messages}-a-read");
        cases.push(case(id, 320 / messages, messages, move || {
            one_to_one(ruled(level), level, messages as usize)
        }));
    }
    cases.push(case(
        "shard/rules-qos0-16-topics-a-read".into(),
        20,
        16,
        move || topics_in_turn(ruled(level), level, 16),
    ));
    for (messages, what) in [(1, "1-to-100"), (16, "1-to-100-16-a-read")] {
        let id = format!("shard/rules-qos0-{what}");
        cases.push(case(id, 32 / messages, 100 * messages, move || {
            fan_out(ruled(level), level, 100, messages as usize)
        }));
    }
    cases.push(case("shard/rules-qos1".into(), 320, 1, move || {
        qos_1(ruled(level), level)
    }));
}

fn ruled(level: u8) -> Rig {
    let mut rules: Vec<String> = (0..98)
        .map(|room| format!("topic readwrite house/room-{room}/#"))
        .collect();
    rules.push("topic write house/kitchen/+/temperature".into());
    rules.push("topic read house/kitchen/#".into());
    let acl = Acl::parse(rules.join("\n").as_bytes()).expect("well-formed");
    let rules = Rules::new(vec![Some(Arc::new(acl))]);
    let settings = Settings {
        rules: Arc::new(rules),
        ..Settings::default()
    };
    Rig::with(level, settings)
}

fn one_to_one(mut rig: Rig, level: u8, messages: usize) -> Run {
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 0);
    let publisher = rig.client(1);
    let bytes = publish(level, TOPIC, &PAYLOAD, 0, 0).repeat(messages);
    Box::new(move || assert_eq!(rig.turn(publisher, black_box(&bytes)), bytes.len()))
}

/// A read of messages to as many topics, for one subscriber of them all: no two are routed as one.
///
/// The cache of routes is warm. Hashes are seeded, so three of the topics may share a set of two, until the table has
/// grown for that: of 30 turns a third would go without answers, or none, by the seed.
fn topics_in_turn(mut rig: Rig, level: u8, messages: usize) -> Run {
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, "house/#", 0);
    let publisher = rig.client(1);
    let bytes: Vec<u8> = (0..messages)
        .flat_map(|number| {
            let topic = format!("house/kitchen/sensor-{number}/temperature");
            publish(level, &topic, &PAYLOAD, 0, 0)
        })
        .collect();
    for _ in 0..TURNS_TO_WARM {
        rig.turn(publisher, &bytes);
    }
    Box::new(move || assert_eq!(rig.turn(publisher, black_box(&bytes)), bytes.len()))
}

fn fan_out(mut rig: Rig, level: u8, subscribers: u32, messages: usize) -> Run {
    for index in 0..subscribers {
        let subscriber = rig.client(index);
        rig.subscribe(subscriber, "house/+/sensor-1/#", 0);
    }
    let publisher = rig.client(subscribers);
    let bytes = publish(level, TOPIC, &PAYLOAD, 0, 0).repeat(messages);
    let expected = subscribers as usize * bytes.len();
    Box::new(move || assert_eq!(rig.turn(publisher, black_box(&bytes)), expected))
}

/// The broker's Packet Identifiers go round; so does this.
fn next(packet_id: &mut u16) -> [u8; 2] {
    *packet_id = packet_id.checked_add(1).unwrap_or(1);
    packet_id.to_be_bytes()
}

/// PUBLISH in, PUBACK and PUBLISH out; PUBACK in.
fn qos_1(mut rig: Rig, level: u8) -> Run {
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 1);
    let publisher = rig.client(1);
    let bytes = publish(level, TOPIC, &PAYLOAD, 1, 7);
    let mut packet_id = 0;
    Box::new(move || {
        assert_eq!(rig.turn(publisher, black_box(&bytes)), bytes.len() + 4);
        let [high, low] = next(&mut packet_id);
        assert_eq!(rig.turn(subscriber, &[0x40, 2, high, low]), 0);
    })
}

/// PUBLISH in, PUBREC and PUBLISH out; PUBREC in, PUBREL out; PUBCOMP in; PUBREL in, PUBCOMP out.
fn qos_2(level: u8) -> Run {
    let mut rig = Rig::new(level);
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 2);
    let publisher = rig.client(1);
    let bytes = publish(level, TOPIC, &PAYLOAD, 2, 7);
    let mut packet_id = 0;
    Box::new(move || {
        assert_eq!(rig.turn(publisher, black_box(&bytes)), bytes.len() + 4);
        let [high, low] = next(&mut packet_id);
        assert_eq!(rig.turn(subscriber, &[0x50, 2, high, low]), 4);
        assert_eq!(rig.turn(subscriber, &[0x70, 2, high, low]), 0);
        assert_eq!(rig.turn(publisher, &[0x62, 2, 0, 7]), 4);
    })
}

/// callgrind collects from the call of this to its return.
#[inline(never)]
fn measured(runs: u32, run: &mut dyn FnMut()) {
    for _ in 0..runs {
        run();
    }
}

fn main() {
    let mut cases = Vec::new();
    codec(&mut cases);
    matcher(&mut cases);
    rights(&mut cases);
    recalled(&mut cases);
    turns(&mut cases);
    ruled_turns(&mut cases);
    let word = std::env::args().nth(1).unwrap_or_default();
    if word == "--list" {
        for case in &cases {
            println!("{} {} {}", case.name, case.runs, case.messages);
        }
    } else if word.is_empty() || word == "--bench" {
        for case in &cases {
            (case.set_up)()();
        }
        println!(
            "instructions: {} cases answer as they should; perf/instructions counts them",
            cases.len()
        );
    } else {
        let case = cases.iter().find(|case| case.name == word);
        let case = case.expect("a name of --list");
        let mut run = (case.set_up)();
        // Tables have their size, buffers their capacity.
        for _ in 0..64 {
            run();
        }
        measured(black_box(case.runs), &mut run);
    }
}
