//! Orders of an operator: a Client is sent away, a Session ends; and what an operator learns by surveys of one thing.

use crate::support::*;
use mqttfast::acl::explain::{self, Asker};
use mqttfast::acl::{Acl, Rules};
use mqttfast::broker::{Dropped, Found, OwnMessage, RetainedReport, Survey};
use mqttfast::config::Settings;
use mqttfast::wire::QoS;
use std::sync::Arc;

const BOTH: &[Version] = &[Version::V311, Version::V5];

/// Whether a shard had something to do.
fn order(world: &mut World, order: &mqttfast::broker::Order) -> bool {
    let shards = 0..world.shards();
    let done: Vec<bool> = shards.map(|shard| world.order(shard, order)).collect();
    assert!(done.iter().filter(|done| **done).count() <= 1, "{done:?}");
    world.settle();
    done.contains(&true)
}

fn disconnect(client_id: &str) -> mqttfast::broker::Order {
    mqttfast::broker::Order::Disconnect {
        client_id: client_id.into(),
    }
}

fn end_session(client_id: &str, only_absent: bool) -> mqttfast::broker::Order {
    mqttfast::broker::Order::EndSession {
        client_id: client_id.into(),
        only_absent,
    }
}

/// The shard that has the Session, if one has.
fn has_session(world: &mut World, client_id: &str) -> Option<bool> {
    let mut found = None;
    for shard in 0..world.shards() {
        let report = world.ask(shard, Survey::session(client_id));
        let Found::Sessions(sessions) = report.found else {
            panic!("{report:?}");
        };
        for session in sessions {
            assert_eq!(&*session.client_id, client_id);
            assert!(found.is_none(), "two shards have it");
            found = Some(session.connection.is_some());
        }
    }
    found
}

#[test]
fn a_client_that_is_sent_away_keeps_its_session_and_its_will_goes_out() {
    each(BOTH, |world, version| {
        let reader = world.connect(&connect(version, "reader"));
        world.subscribe(reader, "will", 0);
        let dying = connect(version, "dying")
            .will("will", "gone", 0, false)
            .persistent();
        let client = world.connect(&dying);
        world.subscribe(client, "a", 1);
        assert!(!order(world, &disconnect("nobody")));
        assert_eq!(has_session(world, "dying"), Some(true));
        assert!(order(world, &disconnect("dying")));
        assert!(world.is_over(client));
        assert_eq!(world.texts(reader), ["gone"]);
        assert_eq!(has_session(world, "dying"), Some(false));
        assert!(!order(world, &disconnect("dying")), "it is not connected");
        // What waits for it is there when it comes back.
        let publish = OwnMessage::new("a", b"kept", QoS::AtLeastOnce, false);
        world.publish_own(0, publish.expect("a Topic Name"));
        world.settle();
        let back = world.connect(&dying);
        assert_eq!(world.texts(back), ["kept"]);
    });
}

#[test]
fn a_session_that_is_ended_is_forgotten() {
    each(BOTH, |world, version| {
        let client = world.connect(&connect(version, "c").persistent());
        world.subscribe(client, "a/#", 1);
        assert!(!order(world, &end_session("c", true)), "it is connected");
        assert!(!world.is_over(client));
        assert!(order(world, &end_session("c", false)));
        assert!(world.is_over(client));
        assert_eq!(has_session(world, "c"), None);
        let client = world.connect(&connect(version, "c").persistent());
        world.disconnect(client);
        assert_eq!(has_session(world, "c"), Some(false));
        assert!(order(world, &end_session("c", true)));
        assert_eq!(has_session(world, "c"), None);
        assert!(!order(world, &end_session("c", true)));
    });
}

fn retained(world: &mut World, shard: usize, filter: &str, values: bool) -> Vec<RetainedReport> {
    let survey = Survey::retained_of(filter, values).expect("a Topic Filter");
    let report = world.ask(shard, survey);
    assert!(report.next.is_none());
    match report.found {
        Found::Retained(page) => page,
        other => panic!("{other:?}"),
    }
}

/// 2026-01-01 00:00:00.
const NEW_YEAR_S: u64 = 1_767_225_600;

#[test]
fn retained_messages_know_when_they_were_written() {
    let settings = Settings {
        calendar_zero_s: NEW_YEAR_S,
        ..Settings::default()
    };
    each_with(BOTH, &settings, |world, version| {
        let client = world.connect(&connect(version, "c"));
        let start = world.now().0 / 1000;
        world.publish(client, &publish("a/old", "1").retain());
        world.advance(100_000);
        world.publish(client, &publish("a/new", "22").retain());
        world.publish(client, &publish("b", "3").retain());
        world.settle();
        for shard in 0..world.shards() {
            let found = retained(world, shard, "a/+", true);
            assert_eq!(found.len(), 2);
            let of = |topic: &str| {
                let entry = found.iter().find(|entry| &*entry.topic == topic);
                let entry = entry.expect(topic);
                let value = entry.value.as_ref().expect("it was asked for");
                (entry.written_s, value.payload().to_vec())
            };
            let (old, value) = of("a/old");
            assert_eq!(
                (old, value.as_slice()),
                (Some(NEW_YEAR_S + start), &b"1"[..])
            );
            let (new, value) = of("a/new");
            assert_eq!(value, b"22");
            assert!(
                (100..=101).contains(&(new.unwrap() - old.unwrap())),
                "{new:?}"
            );
            assert!(retained(world, shard, "a/+", false)[0].value.is_none());
        }
        // A clock that was wrong at the start is set; one that was never set says nothing.
        let set = mqttfast::broker::Order::SetCalendar {
            zero_s: 2 * NEW_YEAR_S,
        };
        (0..world.shards()).for_each(|shard| assert!(world.order(shard, &set)));
        world.publish(client, &publish("b", "4").retain());
        world.settle();
        assert!(retained(world, 0, "b", false)[0].written_s > Some(2 * NEW_YEAR_S));
    });
    each(BOTH, |world, version| {
        let client = world.connect(&connect(version, "c"));
        world.publish(client, &publish("a", "1").retain());
        world.settle();
        assert_eq!(retained(world, 0, "#", false)[0].written_s, None);
        assert!(Survey::retained_of("a/#/b", false).is_err());
    });
}

/// A word of few, so that rules meet topics.
fn word(random: &mut Random, words: &[&'static str]) -> &'static str {
    words[random.below(words.len())]
}

fn topic_of(random: &mut Random, words: &[&'static str]) -> String {
    let levels = 1 + random.below(3);
    let levels: Vec<&str> = (0..levels).map(|_| word(random, words)).collect();
    levels.join("/")
}

fn random_rules(random: &mut Random) -> String {
    let mut text = String::new();
    for user in ["", "ann", "bert"] {
        if !user.is_empty() && random.below(3) > 0 {
            text += &format!("user {user}\n");
        }
        for _ in 0..random.below(4) {
            let filter = topic_of(random, &["a", "b", "+", "a", "$x"]);
            let end = word(random, &["", "/#", ""]);
            let right = word(random, &["", "read ", "write ", "readwrite ", "deny "]);
            text += &format!("topic {right}{filter}{end}\n");
        }
    }
    for _ in 0..random.below(3) {
        let right = word(random, &["", "read ", "write "]);
        text += &format!(
            "pattern {right}{}\n",
            topic_of(random, &["a", "%c", "%u", "+"])
        );
    }
    text
}

/// What `explain` says is what a shard does, with the rules that the shard itself hands out.
#[test]
fn explain_agrees_with_the_broker() {
    let mut random = Random::new(17);
    let (mut cases, mut allowed) = (0, 0);
    while cases < 5_000 {
        let text = random_rules(&mut random);
        let Ok(acl) = Acl::parse(text.as_bytes()) else {
            continue;
        };
        let settings = Settings {
            rules: Arc::new(Rules::new(vec![Some(Arc::new(acl.named("acl")))])),
            ..Settings::default()
        };
        let mut world = World::with(1, Order::Fair, settings);
        let world = &mut world;
        let Found::Rules(rules) = world.ask(0, Survey::rules()).found else {
            panic!("no rules");
        };
        let rules = rules.of(mqttfast::ids::ListenerId(0)).expect("a table");
        for user in [None, Some("ann"), Some("bert"), Some("eve")] {
            let client_id = word(&mut random, &["a", "c", "b"]);
            let mut connect = connect(Version::V5, client_id);
            if let Some(user) = user {
                connect = connect.user(user.as_bytes());
            }
            let client = world.connect(&connect);
            let asker = Asker {
                user,
                client: client_id,
            };
            for _ in 0..10 {
                let topic = topic_of(&mut random, &["a", "b", "c", "ann"]);
                let said = explain::publish(Some(rules), asker, &topic);
                let version = world.version(client);
                let denied = |world: &World| world.shard(0).counters().dropped(Dropped::Denied);
                let before = denied(world);
                world.send(client, publish(&topic, "x").bytes(version));
                world.settle();
                let may = denied(world) == before;
                assert_eq!(said.allowed, may, "{text}{user:?} {client_id} {topic}");
                assert_eq!(
                    said.text.starts_with("allowed"),
                    said.allowed,
                    "{}",
                    said.text
                );
                let refused = ["refused", "denied", "no rule"];
                let says = refused.iter().any(|word| said.text.contains(word));
                assert!(said.allowed || says, "{}", said.text);
                // What is heard: of a Topic Name as filter.
                let said = explain::subscribe(Some(rules), asker, &topic);
                world.subscribe(client, &topic, 0);
                let own = OwnMessage::new(&topic, b"y", QoS::AtMostOnce, false);
                world.publish_own(0, own.expect("a Topic Name"));
                world.settle();
                let heard = !world.texts(client).is_empty();
                assert_eq!(said.allowed, heard, "{text}{user:?} {client_id} {topic}");
                cases += 2;
                allowed += usize::from(may) + usize::from(heard);
            }
            world.disconnect(client);
        }
    }
    assert!(
        allowed > 300 && allowed < cases - 300,
        "{allowed} of {cases}"
    );
}
