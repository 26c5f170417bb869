//! 4.7 Topic Names and Topic Filters.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_7_1_1_wildcards_stand_only_in_filters,
    mqtt_4_7_1_2_misplaced_multi_level_wildcard_is_refused,
    mqtt_4_7_1_2_multi_level_wildcard_matches_the_parent_and_all_below,
    mqtt_4_7_1_3_misplaced_single_level_wildcard_is_refused,
    mqtt_4_7_1_3_single_level_wildcard_matches_one_level,
    mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics,
    mqtt_4_7_3_1_empty_topics_are_refused,
    mqtt_4_7_3_2_u0000_in_topics_is_refused,
    mqtt_4_7_3_4_matching_normalizes_nothing,
    mqtt_4_7_3_4_long_and_deep_topics,
}

/// A filter that is not well formed: the connection closes, in SUBSCRIBE and in UNSUBSCRIBE.
#[track_caller]
fn filter_is_refused(world: &mut World, version: Version, filter: &str) {
    closes(world, version, subscribe(version, 1, &[(filter, 1)]));
    closes(world, version, unsubscribe(version, 1, &[filter]));
}

/// Does a message to `topic` reach a subscriber of `filter`?
fn reaches(
    world: &mut World,
    publisher: Client,
    subscriber: Client,
    filter: &str,
    topic: &str,
) -> bool {
    world.subscribe(subscriber, filter, 0);
    world.publish(publisher, &publish(topic, "x"));
    let count = world.messages(subscriber).len();
    world.unsubscribe(subscriber, filter);
    assert!(count <= 1);
    count == 1
}

fn mqtt_4_7_1_1_wildcards_stand_only_in_filters() {
    each(ALL, |world, version| {
        for topic in ["#", "+", "a/+", "a/#", "a/b+", "#b"] {
            closes(world, version, publish(topic, "x").bytes(version));
            closes(world, version, publish(topic, "x").qos(1, 1).bytes(version));
            closes_unanswered(
                world,
                version,
                connect(version, "id").will(topic, "x", 0, false).bytes(),
            );
        }
    });
}

fn mqtt_4_7_1_2_misplaced_multi_level_wildcard_is_refused() {
    each(ALL, |world, version| {
        for filter in [
            "a#", "#a", "a/#/b", "#/a", "a/b#", "##", "#/#", "a/##", "+#", "#+", "/#/",
        ] {
            filter_is_refused(world, version, filter);
        }
    });
}

fn mqtt_4_7_1_2_multi_level_wildcard_matches_the_parent_and_all_below() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        let cases = [
            ("sport/#", "sport", true),
            ("sport/#", "sport/", true),
            ("sport/#", "sport/tennis", true),
            ("sport/#", "sport/tennis/player1/ranking", true),
            ("sport/#", "sports", false),
            ("sport/#", "/sport", false),
            ("sport/#", "Sport/tennis", false),
            ("#", "a", true),
            ("#", "/", true),
            ("#", "/a/b", true),
            ("/#", "/a", true),
            ("/#", "a", false),
            ("+/#", "a", true),
            ("+/b/#", "a/b", true),
            ("+/b/#", "a/c/b", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(
                reaches(world, publisher, subscriber, filter, topic),
                expected,
                "{filter} {topic}"
            );
        }
    });
}

fn mqtt_4_7_1_3_misplaced_single_level_wildcard_is_refused() {
    each(ALL, |world, version| {
        for filter in ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++", "+a/#"] {
            filter_is_refused(world, version, filter);
        }
    });
}

fn mqtt_4_7_1_3_single_level_wildcard_matches_one_level() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        let cases = [
            ("sport/+", "sport/tennis", true),
            ("sport/+", "sport/", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/tennis/player1", false),
            ("+", "finance", true),
            ("+", "/finance", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+/+", "/", true),
            ("+/", "a/", true),
            ("+/tennis/+", "sport/tennis/x", true),
            ("+/tennis/+", "sport/golf/x", false),
            ("a/+/c", "a//c", true),
            ("a/+/c", "a/c", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(
                reaches(world, publisher, subscriber, filter, topic),
                expected,
                "{filter} {topic}"
            );
        }
    });
}

fn mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        let cases = [
            ("#", "$internal/a", false),
            ("+/a", "$internal/a", false),
            ("+/#", "$internal/a", false),
            ("+", "$internal", false),
            ("$internal/#", "$internal/a", true),
            ("$internal/#", "$internal", true),
            ("$internal/+", "$internal/a", true),
            ("$internal/a", "$internal/a", true),
            ("#", "a/$b", true),
            ("+/+", "a/$b", true),
            ("a/#", "a/$b", true),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(
                reaches(world, publisher, subscriber, filter, topic),
                expected,
                "{filter} {topic}"
            );
        }
        // Retained messages follow the same rule.
        world.publish(publisher, &publish("$internal/a", "x").retain());
        for filter in ["#", "+/a", "+/#"] {
            world.subscribe(subscriber, filter, 0);
            assert_eq!(world.messages(subscriber), [], "retained for {filter}");
        }
        retained_is(world, version, "$internal/a", Some(("x", 0)));
    });
}

fn mqtt_4_7_3_1_empty_topics_are_refused() {
    each(ALL, |world, version| {
        closes(world, version, publish("", "x").bytes(version));
        closes(world, version, publish("", "x").qos(1, 1).bytes(version));
        closes_unanswered(
            world,
            version,
            connect(version, "id").will("", "x", 0, false).bytes(),
        );
        if version == Version::V5 {
            return;
        }
        closes(world, version, subscribe(version, 1, &[("", 0)]));
        closes(world, version, unsubscribe(version, 1, &[""]));
    });
}

fn mqtt_4_7_3_2_u0000_in_topics_is_refused() {
    each(ALL, |world, version| {
        for topic in ["\0", "a/\0/b", "a\0"] {
            closes(world, version, publish(topic, "x").bytes(version));
            closes(world, version, subscribe(version, 1, &[(topic, 0)]));
            closes(world, version, unsubscribe(version, 1, &[topic]));
        }
    });
}

fn mqtt_4_7_3_4_matching_normalizes_nothing() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let watcher = watcher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        // Each differs from all others by case, space, form or an empty level.
        let topics = [
            "accounts",
            "ACCOUNTS",
            "Accounts payable",
            "Accounts  payable",
            " accounts",
            "accounts ",
            "/accounts",
            "accounts/",
            "accounts//",
            "//accounts",
            "é",
            "e\u{301}",
            "ﬁ",
            "fi",
            "K",
            "\u{212a}",
            "ｆｕｌｌ",
            "数/温度",
            "ß",
            "ss",
            "a\u{200b}b",
            "ab",
            ".",
            "..",
            "a/../b",
            "b",
            "%41",
            "A",
        ];
        for filter in topics {
            world.subscribe(subscriber, filter, 0);
            for topic in topics {
                world.publish(publisher, &publish(topic, topic));
            }
            assert_eq!(world.texts(subscriber), [filter]);
            world.unsubscribe(subscriber, filter);
            assert_eq!(world.texts(watcher), topics);
        }
    });
}

fn mqtt_4_7_3_4_long_and_deep_topics() {
    each(ALL, |world, version| {
        world.read_whole();
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        let long = "x".repeat(65_000);
        let deep = vec!["level"; 150].join("/");
        for topic in [&long, &deep] {
            assert!(reaches(world, publisher, subscriber, topic, topic));
            assert!(reaches(world, publisher, subscriber, "#", topic));
            world.publish(publisher, &publish(topic, "kept").retain());
            retained_is(world, version, topic, Some(("kept", 0)));
            world.publish(publisher, &publish(topic, "").retain());
        }
    });
}
