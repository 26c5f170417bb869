//! 1.5 Data representations.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_1_5_3_1_ill_formed_utf8_closes,
    mqtt_1_5_3_1_ill_formed_utf8_reaches_nobody,
    mqtt_1_5_3_2_u0000_closes,
    mqtt_1_5_3_3_u_feff_is_kept,
}

fn mqtt_1_5_3_1_ill_formed_utf8_closes() {
    each(ALL, |world, version| {
        for text in ILL_FORMED {
            closes(
                world,
                version,
                publish("", "x").topic_bytes(text).bytes(version),
            );
            closes(world, version, subscribe_bytes(version, 1, &[(text, 0)]));
            closes(world, version, unsubscribe_bytes(version, 1, &[text]));
            closes_unanswered(world, version, connect(version, "").id_bytes(text).bytes());
        }
    });
}

fn mqtt_1_5_3_1_ill_formed_utf8_reaches_nobody() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        for text in ILL_FORMED {
            closes(
                world,
                version,
                publish("", "x").topic_bytes(text).bytes(version),
            );
            closes(
                world,
                version,
                publish("", "x")
                    .topic_bytes(text)
                    .qos(1, 1)
                    .retain()
                    .bytes(version),
            );
        }
        assert_eq!(world.messages(watcher), []);
        alive(world, watcher);
    });
}

fn mqtt_1_5_3_2_u0000_closes() {
    each(ALL, |world, version| {
        for text in ["\0", "a\0b", "a/b\0"] {
            closes(world, version, publish(text, "x").bytes(version));
            closes(world, version, subscribe(version, 1, &[(text, 0)]));
            closes(world, version, unsubscribe(version, 1, &[text]));
            closes_unanswered(world, version, connect(version, text).bytes());
            closes_unanswered(
                world,
                version,
                connect(version, "id").will(text, "", 0, false).bytes(),
            );
            closes_unanswered(
                world,
                version,
                connect(version, "id").user(text.as_bytes()).bytes(),
            );
        }
    });
}

fn mqtt_1_5_3_3_u_feff_is_kept() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let plain = world.connect(&connect(version, "plain"));
        world.subscribe(plain, "a/b", 0);
        let marked = world.connect(&connect(version, "marked"));
        world.subscribe(marked, "\u{feff}a/b", 0);
        let publisher = publisher(world, version);
        for topic in ["\u{feff}a/b", "a/\u{feff}b", "a/b\u{feff}", "a/b"] {
            world.publish(publisher, &publish(topic, topic));
        }
        let topics: Vec<String> = world
            .messages(watcher)
            .into_iter()
            .map(|message| message.topic)
            .collect();
        assert_eq!(topics, ["\u{feff}a/b", "a/\u{feff}b", "a/b\u{feff}", "a/b"]);
        assert_eq!(world.texts(plain), ["a/b"]);
        assert_eq!(world.texts(marked), ["\u{feff}a/b"]);
    });
}
