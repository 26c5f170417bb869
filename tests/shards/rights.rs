//! Rights: asked at every place where a message comes in or goes out, on every shard. Each test fails when the one
//! question it is about is not asked.

use crate::*;
use mqttfast::acl::{Acl, Act, Rules};
use mqttfast::broker::{Dropped, LogLevel, OwnMessage};
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::ids::ListenerId;
use mqttfast::wire::QoS;
use mqttfast::wire::topic::matches;
use std::sync::Arc;

const RULES: &str = "\
user ann
topic readwrite #
topic readwrite $SYS/broker/connection/#
user bert
topic read open/#
topic write open/#
topic write in/#
topic read out/#
pattern read of/%c/#
";

fn table(text: &str) -> Arc<Acl> {
    let acl = Acl::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}"));
    Arc::new(acl.named("rules"))
}

fn rules(text: &str) -> Rules {
    Rules::new(vec![Some(table(text))])
}

/// In every version and over 1 to 3 shards, with a client id at home on each: `RULES` are in force.
fn each(test: impl Fn(&mut World, Version, &[String])) {
    for shards in [1, 2, 3] {
        let names = ids(shards, "c");
        for version in [Version::V31, Version::V311, Version::V5] {
            for order in [Order::Fair, Order::Seeded(3)] {
                println!("{version:?}, {shards} shards, {order:?}");
                let settings = Settings {
                    rules: Arc::new(rules(RULES)),
                    ..Settings::default()
                };
                let mut world = World::with(shards, order, settings);
                test(&mut world, version, &names);
                world.settle();
            }
        }
    }
}

fn of(user: &str, version: Version, id: &str) -> Connect {
    connect(version, id).user(user.as_bytes())
}

/// A PUBLISH whose answers are the test's to read.
fn put(world: &mut World, client: Client, publish: &Publish) {
    let version = world.version(client);
    world.send(client, publish.bytes(version));
}

fn dropped(world: &World, why: Dropped) -> u64 {
    let shards = 0..world.shards();
    shards
        .map(|shard| world.shard(shard).counters().dropped(why))
        .sum()
}

/// Lines about refusals.
fn denials(world: &World) -> Vec<String> {
    let lines = world.log.iter();
    let denied = lines.filter(|(_, text)| text.starts_with("Denied"));
    denied
        .map(|(level, text)| {
            assert_eq!(*level, LogLevel::Info);
            text.clone()
        })
        .collect()
}

#[test]
fn what_may_not_be_written_goes_nowhere() {
    each(|world, version, names| {
        for (number, name) in names.iter().enumerate() {
            let ann = world.connect(&of("ann", version, &format!("ann-{number}")));
            world.acknowledge_at_once(ann);
            world.subscribe(ann, "#", 2);
            world.texts(ann);
            let bert = world.connect(&of("bert", version, name));
            for qos in 0..=2 {
                for (topic, allowed) in [("in/x", true), ("out/x", false), ("in/x", true)] {
                    let large = "L".repeat(20_000);
                    for text in ["x", large.as_str()] {
                        put(world, bert, &publish(topic, text).qos(qos, 7).retain());
                        let code = match (allowed, version) {
                            (false, Version::V5) => 0x87,
                            _ => 0,
                        };
                        let expected = match (qos, code) {
                            (0, _) => vec![],
                            (1, code) => vec![Packet::PubAck { packet_id: 7, code }],
                            (_, 0) => vec![Packet::pubrec(7), Packet::pubcomp(7)],
                            (_, code) => vec![Packet::PubRec { packet_id: 7, code }],
                        };
                        if qos == 2 && code == 0 {
                            world.send(bert, pubrel(7));
                        }
                        world.expect(bert, &expected);
                        let heard = world.texts(ann);
                        assert_eq!(heard.len(), usize::from(allowed), "{topic} {qos}");
                    }
                }
            }
            // One that comes in pieces.
            let large = publish("out/x", "L".repeat(20_000)).qos(1, 8).retain();
            let bytes = large.bytes(version);
            world.send(bert, &bytes[..9_000]);
            world.send(bert, &bytes[9_000..]);
            let code = if version == Version::V5 { 0x87 } else { 0 };
            world.expect(bert, &[Packet::PubAck { packet_id: 8, code }]);
            // A run of packets, of which none goes on.
            world.send(bert, publish("out/y", "run").bytes(version).repeat(9));
            world.send(bert, publish("in/y", "run").bytes(version).repeat(9));
            assert_eq!(world.texts(ann), ["run"; 9]);
            world.subscribe(ann, "out/x", 1);
            assert_eq!(world.texts(ann), [""; 0], "it is not retained");
            for client in [ann, bert] {
                world.disconnect(client);
            }
        }
        let refused = names.len() as u64 * (3 * 2 + 1 + 9);
        assert_eq!(dropped(world, Dropped::Denied), refused);
    });
}

#[test]
fn a_will_is_asked_about_when_it_is_sent() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        world.subscribe(ann, "#", 0);
        for name in names {
            for (topic, allowed) in [("in/will", true), ("out/will", false)] {
                let will = of("bert", version, name).will(topic, "gone", 1, false);
                let bert = world.connect(&will);
                world.drop_connection(bert);
                assert_eq!(world.texts(ann).len(), usize::from(allowed), "{topic}");
            }
        }
        let told = denials(world);
        assert_eq!(told.len(), names.len());
        assert!(
            told[0].starts_with(&format!("Denied will of {} (user bert)", names[0])),
            "{}",
            told[0]
        );
        // An own rule that refuses is named.
        world.put_rules(rules(
            "user bert\ntopic in/#\ntopic deny in/will\nuser ann\ntopic #",
        ));
        world.advance(2000);
        let bert = world.connect(&of("bert", version, "late").will("in/will", "gone", 1, false));
        world.drop_connection(bert);
        assert_eq!(world.texts(ann), [""; 0]);
        assert_eq!(
            denials(world).last().unwrap(),
            "Denied will of late (user bert) (q1, r0, 'in/will'): rules:3 says `topic deny in/will`"
        );
    });
}

/// The topics that `bert` hears of, and those he does not.
const HEARD: [(&str, bool); 3] = [("open/x", true), ("in/x", false), ("out/x", true)];

#[test]
fn a_live_message_reaches_those_who_may_read_it() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        let mut readers = Vec::new();
        for name in names {
            let bert = world.connect(&of("bert", version, name));
            world.acknowledge_at_once(bert);
            world.subscribe(bert, "#", 1);
            world.subscribe(bert, "+/x", 2);
            readers.push(bert);
        }
        // Often enough that the answers are kept.
        for round in 0..12 {
            for (topic, allowed) in HEARD {
                for qos in [0, 1] {
                    world.publish(ann, &publish(topic, "x").qos(qos, 9));
                    for reader in &readers {
                        assert_eq!(
                            world.texts(*reader).len(),
                            usize::from(allowed),
                            "{round} {topic}"
                        );
                    }
                }
                // A run, and one that is no plain delivery.
                world.send(ann, publish(topic, "x").bytes(version).repeat(5));
                for reader in &readers {
                    assert_eq!(world.texts(*reader).len(), 5 * usize::from(allowed));
                }
            }
        }
        // More subscribers than are kept with an answer.
        let others: Vec<Client> = (0..40)
            .map(|number| {
                let bert = world.connect(&of("bert", version, &format!("of-{number}")));
                world.subscribe(bert, "#", 0);
                bert
            })
            .collect();
        for _ in 0..3 {
            world.publish(ann, &publish("of/of-7/x", "mine").qos(1, 9));
            for (number, other) in others.iter().enumerate() {
                let expected = vec!["mine"; usize::from(number == 7)];
                assert_eq!(world.texts(*other), expected, "{number}");
            }
        }
    });
}

#[test]
fn nothing_is_queued_that_may_not_be_read() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        for name in names {
            let session = of("bert", version, name).persistent();
            let bert = world.connect(&session);
            world.subscribe(bert, "#", 1);
            world.drop_connection(bert);
            for (topic, _) in HEARD {
                world.publish(ann, &publish(topic, topic).qos(1, 9));
            }
            let bert = world.connect(&session);
            assert_eq!(world.texts(bert), ["open/x", "out/x"]);
            world.disconnect(bert);
        }
    });
}

#[test]
fn what_is_queued_or_in_flight_is_asked_about_again() {
    each(|world, version, names| {
        for qos in [1, 2] {
            world.put_rules(rules(RULES));
            for name in names {
                let session = of("bert", version, name).persistent();
                let bert = world.connect(&session);
                world.subscribe(bert, "#", qos);
                let ann = world.connect(&of("ann", version, "ann"));
                // These are sent and not acknowledged, so they are in flight.
                world.publish(ann, &publish("open/sent", "1").qos(qos, 1));
                world.publish(ann, &publish("out/sent", "2").qos(qos, 2));
                assert_eq!(world.received(bert).len(), 2);
                world.drop_connection(bert);
                world.publish(ann, &publish("open/queued", "3").qos(qos, 3));
                world.publish(ann, &publish("out/queued", "4").qos(qos, 4));
                world.disconnect(ann);
                let before = dropped(world, Dropped::Denied);
                world.put_rules(rules("user ann\ntopic #\nuser bert\ntopic out/#"));
                let (bert, present) = world.connect_present(&session);
                assert_eq!(present, version != Version::V31, "3.1 cannot say");
                let heard = world.texts(bert);
                assert_eq!(heard, ["2", "4"]);
                assert_eq!(dropped(world, Dropped::Denied), before + 2);
                // Nothing is left of them.
                world.drop_connection(bert);
                let bert = world.connect(&session);
                assert_eq!(world.texts(bert), [""; 0]);
                world.disconnect(bert);
                let bert = world.connect(&of("bert", version, name));
                world.disconnect(bert);
                world.put_rules(rules(RULES));
            }
        }
    });
}

#[test]
fn a_retained_message_reaches_those_who_may_read_it() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        for (topic, _) in HEARD {
            world.publish(ann, &publish(topic, topic).qos(1, 9).retain());
        }
        for name in names {
            let bert = world.connect(&of("bert", version, name));
            world.acknowledge_at_once(bert);
            world.subscribe(bert, "#", 1);
            let mut heard = world.texts(bert);
            heard.sort();
            assert_eq!(heard, ["open/x", "out/x"]);
            world.subscribe(bert, "in/x", 1);
            assert_eq!(world.texts(bert), [""; 0]);
        }
    });
}

#[test]
fn a_member_of_a_group_is_asked_at_its_home() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        // Groups at home anywhere, each with one member.
        for group in 0..6 {
            for name in names {
                let bert = world.connect(&of("bert", version, name));
                world.acknowledge_at_once(bert);
                world.subscribe(bert, &format!("$share/g{group}/#"), 1);
                for qos in [0, 1] {
                    for (topic, allowed) in HEARD {
                        let before = dropped(world, Dropped::Denied);
                        world.publish(ann, &publish(topic, "x").qos(qos, 9));
                        let heard = world.texts(bert).len();
                        assert_eq!(heard, usize::from(allowed), "{group} {topic} {qos}");
                        let denied = dropped(world, Dropped::Denied) - before;
                        assert_eq!(denied, u64::from(!allowed), "{group} {topic} {qos}");
                    }
                }
                world.disconnect(bert);
            }
        }
    });
}

#[test]
fn a_silent_subscription_is_granted_and_told() {
    each(|world, version, names| {
        let name = &names[0];
        let bert = world.connect(&of("bert", version, name));
        let all = [("in/#", 1), ("$share/g/in/#", 0), ("open/#", 2), ("#", 0)];
        world.send(bert, subscribe(version, 5, &all));
        let codes = vec![1, 0, 2, 0];
        world.expect(
            bert,
            &[Packet::SubAck {
                packet_id: 5,
                codes,
            }],
        );
        let line = format!(
            "Denied SUBSCRIBE from {name} (user bert) (q1, 'in/#'), granted but silent: no rule of rules allows it"
        );
        assert_eq!(denials(world), [line]);

        let mut strict = rules(RULES);
        strict.refuse_subscriptions = true;
        world.put_rules(strict);
        world.advance(1000);
        world.send(bert, subscribe(version, 6, &all));
        let codes = match version {
            Version::V31 => vec![1, 0, 2, 0],
            Version::V311 => vec![0x80, 0x80, 2, 0],
            Version::V5 => vec![0x87, 0x87, 2, 0],
        };
        world.expect(
            bert,
            &[Packet::SubAck {
                packet_id: 6,
                codes,
            }],
        );
        let how = match version {
            Version::V31 => "granted but silent",
            Version::V311 | Version::V5 => "answered with a failure",
        };
        let line = format!(
            "Denied SUBSCRIBE from {name} (user bert) (q1, 'in/#'), {how}: no rule of rules allows it; 1 more of this \
             client since its last line"
        );
        assert_eq!(denials(world)[1..], [line]);
    });
}

#[test]
fn a_refusal_is_told_once_a_second_for_each_client() {
    each(|world, version, names| {
        let told = |world: &World| denials(world).len();
        let bert = world.connect(&of("bert", version, &names[0]));
        for _ in 0..50 {
            put(world, bert, &publish("out/x", "12345").qos(1, 3).retain());
        }
        assert_eq!(told(world), 1);
        let other = world.connect(&connect(version, "other"));
        put(world, other, &publish("out/x", "x"));
        assert_eq!(told(world), 2);
        world.advance(1000);
        put(world, bert, &publish("out/y", "12345").qos(1, 3));
        let who = format!("Denied PUBLISH from {} (user bert)", names[0]);
        let lines = [
            format!("{who} (q1, r1, 'out/x', ... (5 bytes)): no rule of rules allows it"),
            "Denied PUBLISH from other (no user) (q0, r0, 'out/x', ... (1 bytes)): no rule of rules allows it".into(),
            format!(
                "{who} (q1, r0, 'out/y', ... (5 bytes)): no rule of rules allows it; 49 more of this client since its \
                 last line"
            ),
        ];
        assert_eq!(denials(world), lines);
    });
}

#[test]
fn new_rules_hold_at_once() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        let bert = world.connect(&of("bert", version, &names[0]));
        world.subscribe(bert, "#", 0);
        let shut = "user ann\ntopic write x/#\nuser bert\ntopic read y/#\n";
        let open = "user ann\ntopic write y/#\nuser bert\ntopic read x/#\ntopic read y/#\n";
        for text in [shut, open, shut, open] {
            world.put_rules(rules(text));
            let opened = text == open;
            for _ in 0..12 {
                put(world, ann, &publish("y/1", "y").qos(1, 4));
                put(world, ann, &publish("x/1", "x").qos(1, 4));
                let expected = vec!["y"; usize::from(opened)];
                assert_eq!(world.texts(bert), expected, "{text}");
                world.received(ann);
            }
        }
        world.put_rules(Rules::default());
        world.publish(ann, &publish("x/1", "free").qos(1, 4));
        assert_eq!(world.texts(bert), ["free"]);
    });
}

/// Where nobody checks them, user names come as they like; so does another listener.
#[test]
fn a_session_that_gets_another_client_gets_its_rights() {
    for shards in [1, 2] {
        let two = [ListenerSettings::default(), ListenerSettings::default()];
        let tables = vec![Some(table(RULES)), Some(table("topic read open/#"))];
        let settings = Settings {
            listeners: two.into(),
            rules: Arc::new(Rules::new(tables)),
            ..Settings::default()
        };
        let mut world = World::with(shards, Order::Fair, settings);
        let world = &mut world;
        let sender = world.connect(&of("ann", V, "sender"));
        let persistent = |user: Option<&str>| {
            let session = connect(V, "c").persistent();
            match user {
                Some(user) => session.user(user.as_bytes()),
                None => session,
            }
        };
        let say = |world: &mut World| {
            // Twelve times, so that the answer is kept.
            for _ in 0..12 {
                world.publish(sender, &publish("in/x", "in").qos(0, 0));
                world.publish(sender, &publish("open/x", "open").qos(0, 0));
            }
        };
        for (listener, user, heard) in [
            (0, Some("ann"), [true, true]),
            (0, Some("bert"), [false, true]),
            (0, None, [false, false]),
            (1, None, [false, true]),
            (1, Some("ann"), [false, false]),
            (0, Some("ann"), [true, true]),
        ] {
            let client = world.open_by(ListenerId(listener), 0, V);
            world.send(client, persistent(user).bytes());
            world.accepted(client);
            world.subscribe(client, "#", 0);
            say(world);
            let texts = world.texts(client);
            for (text, heard) in ["in", "open"].into_iter().zip(heard) {
                let count = texts.iter().filter(|other| *other == text).count();
                assert_eq!(count, 12 * usize::from(heard), "{listener} {user:?} {text}");
            }
            // The Session's messages while it is away go by the rights of the Client that left it.
            world.drop_connection(client);
        }
    }
}

/// Two writers of one name: the one that may must not open the way for the one that may not.
#[test]
fn what_one_may_write_another_may_not() {
    each(|world, version, names| {
        let ann = world.connect(&of("ann", version, "ann"));
        let bert = world.connect(&of("bert", version, &names[0]));
        let reader = world.connect(&of("ann", version, "reader"));
        world.subscribe(reader, "#", 0);
        for _ in 0..20 {
            world.publish(ann, &publish("out/x", "ann").qos(1, 4));
            put(world, bert, &publish("out/x", "bert").qos(1, 4));
            assert_eq!(world.texts(reader), ["ann"]);
            world.received(ann);
            world.received(bert);
        }
    });
}

#[test]
fn the_brokers_own_messages_are_read_by_those_who_may() {
    each(|world, version, names| {
        world.put_rules(rules(
            "user ann\ntopic read $SYS/#\nuser bert\ntopic readwrite #\n",
        ));
        let [ann, bert] = ["ann", "bert"].map(|user| {
            let client = world.connect(&of(user, version, user));
            world.subscribe(client, "$SYS/#", 0);
            client
        });
        for shard in 0..names.len() {
            let message = OwnMessage::new("$SYS/broker/uptime", b"1", QoS::AtMostOnce, true);
            world.publish_own(shard, message.unwrap());
            world.settle();
            assert_eq!(world.texts(ann), ["1"]);
            assert_eq!(world.texts(bert), [""; 0]);
        }
        world.subscribe(bert, "$SYS/broker/uptime", 0);
        assert_eq!(world.texts(bert), [""; 0]);
    });
}

/// Below `$SYS` a bridge alone may speak without rules, and with rules those whom a rule allows it.
#[test]
fn a_bridge_state_is_written_by_rule_or_bridge() {
    each(|world, version, names| {
        const STATE: &str = "$SYS/broker/connection/hub/state";
        let watcher = world.connect(&of("ann", version, "watcher"));
        world.subscribe(watcher, "$SYS/#", 0);
        let says = |world: &mut World, user: &str, level: u8| {
            let mut hub = of(user, version, &names[0]).persistent();
            hub.protocol_level |= level;
            let hub = world.connect(&hub);
            for _ in 0..10 {
                put(world, hub, &publish(STATE, "1").qos(1, 4));
            }
            world.drop_connection(hub);
            world.texts(watcher).len()
        };
        assert_eq!(says(world, "ann", 0), 10);
        assert_eq!(says(world, "bert", 0), 0);
        world.put_rules(Rules::default());
        assert_eq!(says(world, "ann", 0), 0);
        if version != Version::V5 {
            assert_eq!(says(world, "ann", 0x80), 10);
            assert_eq!(says(world, "ann", 0), 0, "it is no bridge any more");
        }
    });
}

/// `check_retain_source`: a retained message is replayed while its publisher may still write it, whatever way it came.
#[test]
fn a_retained_message_needs_a_publisher_who_may_still_write_it() {
    each(|world, version, names| {
        let both = "user ann\ntopic #\nuser bert\ntopic #\n";
        let ann_alone = "user ann\ntopic #\nuser bert\ntopic read #\n";
        for check in [true, false] {
            let put_rules = |world: &mut World, text: &str| {
                let mut rules = rules(text);
                rules.check_retain_source = check;
                world.put_rules(rules);
            };
            put_rules(world, both);
            let large = "L".repeat(20_000);
            for (number, name) in names.iter().enumerate() {
                for user in ["ann", "bert"] {
                    let will = format!("{user}/will/{number}");
                    let client = world.connect(&of(user, version, name).will(&will, "w", 1, true));
                    for (kind, text) in [("small", "s"), ("large", large.as_str())] {
                        let topic = format!("{user}/{kind}/{number}");
                        world.publish(client, &publish(&topic, text).qos(1, 5).retain());
                    }
                    world.drop_connection(client);
                }
            }
            let retained = 3 * names.len();
            let found = |world: &mut World, filter: &str| {
                let mut found = 0;
                for number in 0..names.len() {
                    let reader = world.connect(&of("ann", version, &format!("reader-{number}")));
                    world.acknowledge_at_once(reader);
                    world.subscribe(reader, filter, 0);
                    found += world.texts(reader).len();
                    world.disconnect(reader);
                }
                found / names.len()
            };
            assert_eq!(found(world, "bert/#"), retained);
            put_rules(world, ann_alone);
            let expected = if check { 0 } else { retained };
            assert_eq!(found(world, "bert/#"), expected);
            assert_eq!(found(world, "ann/#"), retained);
            put_rules(world, both);
            assert_eq!(found(world, "bert/#"), retained);
        }
    });
}

/// One Session of [`a_random_house_hears_what_its_rules_say`].
struct Guest {
    user: Option<&'static str>,
    id: String,
    client: Option<Client>,
    filters: Vec<&'static str>,
}

/// Random rules, Clients on every shard, filters and topics; every message is heard by those who subscribed and may
/// read it, if its publisher may write it. Rules come and go meanwhile. `Acl::may` itself is held to a plain model in
/// `src/acl/props.rs`.
#[test]
fn a_random_house_hears_what_its_rules_say() {
    const USERS: [Option<&str>; 4] = [None, Some("ann"), Some("bert"), Some("a/b")];
    const FILTERS: [&str; 8] = ["#", "a/#", "+/b", "a/b", "b/+", "ann/#", "$x/#", "+/c-1/#"];
    const NAMES: [&str; 8] = ["a", "a/b", "b/b", "b/a", "ann/b", "$x/a", "a/c-1/b", "bert"];
    let random_rules = |random: &mut Random| {
        let wide = ["", "pattern #\n", "pattern write #\n", "pattern read +/b\n"];
        let mut text = wide[random.below(4)].to_owned();
        for _ in 0..random.below(10) {
            let right = ["", "read ", "write ", "readwrite ", "deny "][random.below(5)];
            let filter =
                ["#", "a/#", "+/b", "a/b", "b/#", "%u/#", "+/%c/#", "$x/#"][random.below(8)];
            text += &match random.below(5) {
                0 => format!("user {}\n", ["ann", "bert", "a/b"][random.below(3)]),
                1 | 2 => format!("topic {right}{filter}\n"),
                _ => format!("pattern {right}{filter}\n"),
            };
        }
        text
    };
    let (mut heard, mut held_back, mut refused) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3);
        let mut world = World::with(shards, Order::Seeded(seed), Settings::default());
        let world = &mut world;
        let mut text = random_rules(&mut random);
        let mut acl = table(&text);
        world.put_rules(Rules::new(vec![Some(Arc::clone(&acl))]));
        let mut guests: Vec<Guest> = (0..6)
            .map(|number| Guest {
                user: USERS[random.below(USERS.len())],
                id: format!("c-{number}"),
                client: None,
                filters: Vec::new(),
            })
            .collect();
        let session = |guest: &Guest| {
            let session = connect(V, &guest.id).persistent();
            match guest.user {
                Some(user) => session.user(user.as_bytes()),
                None => session,
            }
        };
        for step in 0..80 {
            let at = random.below(guests.len());
            // At first they come and subscribe.
            let act = if step < 20 {
                step % 2
            } else {
                random.below(10)
            };
            match act {
                0 => match guests[at].client.take() {
                    Some(client) => world.drop_connection(client),
                    None => {
                        // Another Client may come for the Session.
                        if random.below(3) == 0 {
                            guests[at].user = USERS[random.below(USERS.len())];
                        }
                        let client = world.connect(&session(&guests[at]));
                        world.acknowledge_at_once(client);
                        guests[at].client = Some(client);
                    }
                },
                1 => {
                    if let Some(client) = guests[at].client {
                        let filter = FILTERS[random.below(FILTERS.len())];
                        world.subscribe(client, filter, 1);
                        if !guests[at].filters.contains(&filter) {
                            guests[at].filters.push(filter);
                        }
                    }
                }
                2 if step % 3 == 0 => {
                    text = random_rules(&mut random);
                    acl = table(&text);
                    world.put_rules(Rules::new(vec![Some(Arc::clone(&acl))]));
                }
                _ => {
                    let Some(client) = guests[at].client else {
                        continue;
                    };
                    let may = |guest: &Guest, act, name: &str| {
                        let standing = acl.standing(guest.user, &guest.id);
                        let verdict = acl.may(standing, guest.user, &guest.id, act, name);
                        verdict.is_allowed()
                    };
                    for guest in &guests {
                        if let Some(client) = guest.client {
                            world.received(client);
                        }
                    }
                    let name = NAMES[random.below(NAMES.len())];
                    let body = format!("{seed}-{step}");
                    let qos = random.below(2) as u8;
                    put(world, client, &publish(name, &body).qos(qos, 900));
                    let writes = may(&guests[at], Act::Write, name);
                    refused += u64::from(!writes);
                    for guest in &guests {
                        let Some(client) = guest.client else { continue };
                        let mut filters = guest.filters.iter();
                        let wants = filters.any(|filter| matches(filter, name));
                        let reads = may(guest, Act::Read, name);
                        let texts = world.texts(client);
                        let expected = vec![body.clone(); usize::from(wants && writes && reads)];
                        assert_eq!(texts, expected, "seed {seed}, {}, {name}\n{text}", guest.id);
                        heard += texts.len();
                        held_back += usize::from(wants && writes && !reads);
                    }
                }
            }
        }
    }
    assert!(
        heard > 500 && held_back > 200 && refused > 200,
        "{heard} {held_back} {refused}"
    );
}
