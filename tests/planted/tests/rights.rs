//! Each place where rights are asked, left out in turn. The simulator plays without rules.

#[path = "../../rig/src/shard/mod.rs"]
mod support;

use mqttfast::acl::{Acl, Rules};
use mqttfast::config::Settings;
use mqttfast::planted::Fault::*;
use mqttfast::planted::found;
use std::sync::Arc;
use support::*;

const V: Version = Version::V311;
/// `w` may write and read everything but `shut`.
const RULES: &str = "topic open\nuser w\ntopic #\nuser shut\ntopic nothing";

fn rules(text: &str) -> Rules {
    let acl = Acl::parse(text.as_bytes()).expect("it is well formed");
    Rules::new(vec![Some(Arc::new(acl))])
}

fn world(shards: usize) -> World {
    let settings = Settings {
        rules: Arc::new(rules(RULES)),
        ..Settings::default()
    };
    World::with(shards, Order::Fair, settings)
}

fn writer(world: &mut World) -> Client {
    world.connect(&connect(V, "writer").user(b"w"))
}

/// Hears nothing of `shut` and all of `open`.
fn hears_open_alone(world: &mut World, reader: Client) -> bool {
    let writer = writer(world);
    // Often enough that the answers are kept.
    for _ in 0..10 {
        for topic in ["shut", "open"] {
            world.publish(writer, &publish(topic, topic).qos(1, 7));
        }
    }
    let heard = world.texts(reader);
    assert!(heard.contains(&"open".to_owned()));
    !heard.contains(&"shut".to_owned())
}

#[test]
fn every_question_that_is_left_out_is_missed() {
    found(PublishNotAsked, || {
        let mut world = world(1);
        let reader = world.connect(&connect(V, "reader").user(b"w"));
        world.subscribe(reader, "#", 0);
        let anybody = world.connect(&connect(V, "anybody"));
        world.publish(anybody, &publish("shut", "x"));
        world.texts(reader).is_empty()
    });
    found(AnyWriterNoted, || {
        let mut world = world(1);
        let reader = world.connect(&connect(V, "reader").user(b"w"));
        world.subscribe(reader, "#", 0);
        let writer = writer(&mut world);
        for _ in 0..10 {
            world.publish(writer, &publish("shut", "w"));
        }
        let anybody = world.connect(&connect(V, "anybody"));
        world.publish(anybody, &publish("shut", "x"));
        !world.texts(reader).contains(&"x".to_owned())
    });
    found(LiveNotAsked, || {
        let mut world = world(1);
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "#", 1);
        hears_open_alone(&mut world, reader)
    });
    found(RetainedNotAsked, || {
        let mut world = world(1);
        let writer = writer(&mut world);
        world.publish(writer, &publish("shut", "x").retain());
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "#", 1);
        world.texts(reader).is_empty()
    });
    found(SourceNotAsked, || {
        let mut world = world(1);
        let checked = |text: &str| {
            let mut rules = rules(text);
            rules.check_retain_source = true;
            rules
        };
        world.put_rules(checked("topic #\nuser w\ntopic #"));
        let writer = writer(&mut world);
        world.publish(writer, &publish("open", "x").retain());
        world.put_rules(checked("topic #\nuser w\ntopic read #"));
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "#", 1);
        world.texts(reader).is_empty()
    });
    for (fault, connected) in [(QueuedNotAsked, false), (ResentNotAsked, true)] {
        found(fault, || {
            let mut world = world(1);
            world.put_rules(rules("topic #\nuser w\ntopic #"));
            let session = connect(V, "reader").persistent();
            let reader = world.connect(&session);
            world.subscribe(reader, "#", 1);
            let writer = writer(&mut world);
            if !connected {
                world.drop_connection(reader);
            }
            world.publish(writer, &publish("shut", "x").qos(1, 7));
            world.drop_connection(reader);
            world.put_rules(rules(RULES));
            let (reader, present) = world.connect_present(&session);
            assert!(present);
            world.texts(reader).is_empty()
        });
    }
    found(MemberNotAsked, || {
        let mut world = world(1);
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "$share/g/#", 1);
        hears_open_alone(&mut world, reader)
    });
    found(FarMemberNotAsked, || {
        // Some of these groups are owned by the other shard.
        (0..8).all(|group| {
            let mut world = world(2);
            let reader = world.connect(&connect(V, "reader"));
            world.subscribe(reader, &format!("$share/g{group}/#"), 1);
            hears_open_alone(&mut world, reader)
        })
    });
    found(SilentNotTold, || {
        let mut world = world(1);
        let mut strict = rules(RULES);
        strict.refuse_subscriptions = true;
        world.put_rules(strict);
        let reader = world.connect(&connect(V, "reader"));
        world.send(reader, subscribe(V, 1, &[("shut/#", 0)]));
        let refused = Packet::SubAck {
            packet_id: 1,
            codes: vec![0x80],
        };
        world.received(reader) == [refused]
    });
    found(OldAnswersKept, || {
        let mut world = world(1);
        world.put_rules(rules("topic #\nuser w\ntopic #"));
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "#", 1);
        assert!(!hears_open_alone(&mut world, reader));
        world.put_rules(rules(RULES));
        hears_open_alone(&mut world, reader)
    });
    found(OldClientKept, || {
        let mut world = world(1);
        let session = |user: &str| connect(V, "reader").persistent().user(user.as_bytes());
        let reader = world.connect(&session("w"));
        world.subscribe(reader, "#", 1);
        assert!(!hears_open_alone(&mut world, reader));
        world.drop_connection(reader);
        let reader = world.connect(&session("shut"));
        let writer = writer(&mut world);
        world.publish(writer, &publish("shut", "x").qos(1, 7));
        world.texts(reader).is_empty()
    });
}
