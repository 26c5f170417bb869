//! 4.7 Topic Names and Topic Filters.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_7_1_1_misplaced_wildcards_are_refused,
    mqtt_4_7_2_1_matching,
    mqtt_4_7_2_1_retained_dollar_topics,
}

/// Does the message of this topic reach a new subscription of this filter?
fn reaches(world: &mut World, clients: (Client, Client), filter: &str, topic: &str) -> bool {
    let (publisher, subscriber) = clients;
    world.subscribe(subscriber, filter, 0);
    world.publish(publisher, &publish(topic, "x"));
    let reached = world.texts(subscriber) == ["x"];
    world.unsubscribe(subscriber, filter);
    reached
}

fn pair(world: &mut World) -> (Client, Client) {
    (client(world, "publisher"), client(world, "subscriber"))
}

/// MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-1, MQTT-4.7.0-1.
fn mqtt_4_7_1_1_misplaced_wildcards_are_refused() {
    each5(|world| {
        let mut client = client(world, "client");
        let filters = [
            "a#", "#a", "a/#/b", "#/a", "##", "a/b#", "a+", "+a", "a/+b/c", "++", "a/++", "+a/#",
            "",
        ];
        for filter in filters {
            // 0x8F is for a filter that is correctly formed but not allowed. [v5 3.9.3, 3.11.3]
            closes_with(world, subscribe(V5, 1, &[(filter, 0)]), MALFORMED);
            closes_with(world, unsubscribe(V5, 1, &[filter]), MALFORMED);
            // Nothing of the packet is in force.
            let filters = [("b", 0), (filter, 0)];
            world.send(client, subscribe(V5, 1, &filters));
            assert!(world.is_closed(client), "{filter:?}");
            world.received(client);
            client = self::client(world, "client");
        }
        let publisher = self::client(world, "publisher");
        for topic in ["a", "b", "a/b", "a/x/b"] {
            world.publish(publisher, &publish(topic, "x"));
        }
        world.expect(client, &[]);
    });
}

/// MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.2-1, MQTT-4.7.3-4, MQTT-3.3.2-3.
fn mqtt_4_7_2_1_matching() {
    each5(|world| {
        let clients = pair(world);
        let cases = [
            ("sport/#", "sport", true),
            ("sport/#", "sport/", true),
            ("sport/#", "sport/tennis/player1", true),
            ("sport/#", "sports", false),
            ("#", "any/thing", true),
            ("sport/+", "sport/tennis", true),
            ("sport/+", "sport/", true),
            ("sport/+", "sport", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/b", "a//b", false),
            ("#", "$internal/a", false),
            ("+/a", "$internal/a", false),
            ("+/#", "$internal/a", false),
            ("$internal/#", "$internal/a", true),
            ("$internal/+", "$internal/a", true),
            ("a/+", "a/$b", true),
            // No case, space or normal form is folded.
            ("Accounts", "ACCOUNTS", false),
            ("a b", "a b", true),
            ("a b", "ab", false),
            (" a", "a", false),
            ("\u{e9}", "e\u{301}", false),
            ("\u{e9}", "\u{e9}", true),
            ("a/b", "a/b/", false),
            ("ſ", "s", false),
        ];
        for (filter, topic, expected) in cases {
            let found = reaches(world, clients, filter, topic);
            assert_eq!(found, expected, "{filter} {topic}");
        }
    });
}

/// MQTT-4.7.2-1. Retained messages keep to it as well.
fn mqtt_4_7_2_1_retained_dollar_topics() {
    each5(|world| {
        let (publisher, subscriber) = pair(world);
        world.publish(publisher, &publish("$internal/a", "x").retain());
        for filter in ["#", "+/a", "+/#"] {
            world.subscribe(subscriber, filter, 0);
            assert_eq!(world.messages(subscriber), []);
        }
        world.subscribe(subscriber, "$internal/#", 0);
        assert_eq!(world.messages(subscriber).len(), 1);
    });
}
