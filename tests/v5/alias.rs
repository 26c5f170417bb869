//! Topic Aliases towards Clients [v5 3.3.2.3.4].

use super::peer::*;
use super::support_shard::{Acts, Client, Packet, Stage, Version, World, each, puback, publish};
use mqttfast::{limits, wire};
use std::collections::HashMap;

const V5: &[Version] = &[Version::V5];

fn topic_alias_maximum(count: u16) -> Vec<u8> {
    [&[0x22][..], &count.to_be_bytes()].concat()
}

/// What a Client with a table of aliases sees: topic, payload bytes and whether the name was sent.
struct Reader {
    maximum: u16,
    names: HashMap<u16, String>,
}

impl Reader {
    fn new(maximum: u16) -> Reader {
        Reader {
            maximum,
            names: HashMap::new(),
        }
    }

    fn read(&mut self, world: &mut World, client: Client) -> Vec<(String, usize, bool)> {
        let mut seen = Vec::new();
        see(world, client, |packet| {
            let wire::Packet::Publish(publish) = packet else {
                return;
            };
            let alias = publish.properties.topic_alias;
            assert!(alias.is_none_or(|alias| (1..=self.maximum).contains(&alias)));
            let name = match (publish.topic, alias) {
                (Some(topic), None) => topic.as_str().to_owned(),
                (Some(topic), Some(alias)) => {
                    self.names.insert(alias, topic.as_str().to_owned());
                    topic.as_str().to_owned()
                }
                (None, alias) => self.names[&alias.expect("one of both")].clone(),
            };
            seen.push((name, publish.payload.len(), publish.topic.is_some()));
        });
        seen
    }
}

/// [v5 MQTT-3.1.2-26, MQTT-3.1.2-27]
#[test]
fn a_name_is_sent_once_and_no_alias_is_above_the_maximum() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        for maximum in [0, 1, 3, 65_535] {
            let client = join(world, "c", true, &topic_alias_maximum(maximum));
            world.subscribe(client, "house/#", 1);
            world.acknowledge_at_once(client);
            world.raw(client);
            let mut reader = Reader::new(maximum);
            let mut named = 0;
            for number in 0..60usize {
                let topic = format!("house/room-{}/temperature", number % 3);
                // Payloads that are copied and one that is referenced.
                let payload = "x".repeat(if number == 30 { 20_000 } else { number });
                let qos = (number % 2) as u8;
                world.publish(publisher, &publish(&topic, &payload).qos(qos, 0));
                let seen = reader.read(world, client);
                assert_eq!(seen.len(), 1);
                assert_eq!((&seen[0].0, seen[0].1), (&topic, payload.len()));
                named += usize::from(seen[0].2);
            }
            let wanted = if maximum < 3 { 60 } else { 3 };
            assert_eq!(named, wanted, "maximum {maximum}");
            world.disconnect(client);
        }
    });
}

/// Many topics share the few aliases there are, and nothing is mixed up.
#[test]
fn more_topics_than_aliases() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        let client = join(world, "c", true, &topic_alias_maximum(40));
        world.subscribe(client, "#", 0);
        world.raw(client);
        let mut reader = Reader::new(limits::OUTWARD_ALIASES_MAX as u16);
        let mut state = 1u32;
        for _ in 0..400 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let topic = format!("sensor/{}", (state >> 16) % 40 % (1 + (state >> 24) % 40));
            world.publish(publisher, &publish(&topic, "x"));
            let seen = reader.read(world, client);
            assert_eq!(seen[0].0, topic);
        }
    });
}

/// A packet that defines an alias and is dropped has defined nothing; with a known alias a message fits that would not
/// with its name.
#[test]
fn a_dropped_packet_defines_no_alias() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        let properties = [topic_alias_maximum(5), maximum_packet_size(80)].concat();
        let client = join(world, "c", true, &properties);
        world.subscribe(client, "#", 0);
        world.raw(client);
        let mut reader = Reader::new(5);
        let topic = "a-topic-of-forty-bytes-or-about-so-many";
        for (payload_bytes, wanted) in [
            (60, None),
            (60, None),
            (10, Some(true)),
            (60, Some(false)),
            (100, None),
            (10, Some(false)),
        ] {
            world.publish(publisher, &publish(topic, "x".repeat(payload_bytes)));
            let seen = reader.read(world, client);
            let named = seen.first().map(|(_, _, named)| *named);
            assert_eq!(named, wanted, "{payload_bytes} bytes");
        }
    });
}

/// Aliases end with the connection, and what is sent again carries its name.
#[test]
fn another_connection_knows_no_alias() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        let properties = [session_expiry(100), topic_alias_maximum(5)].concat();
        let client = join(world, "c", false, &properties);
        world.subscribe(client, "#", 1);
        world.raw(client);
        let mut reader = Reader::new(5);
        for packet_id in 1..=3 {
            world.publish(publisher, &publish("some/topic", "x").qos(1, packet_id));
        }
        let named: Vec<bool> = reader.read(world, client).iter().map(|s| s.2).collect();
        assert_eq!(named, [true, false, false]);
        world.drop_connection(client);

        let again = world.try_connect(&connect_with("c", false, &properties));
        assert!(world.accepted(again));
        let ids: Vec<u16> = world
            .history(again)
            .iter()
            .filter_map(|packet| packet.message().map(|m| m.packet_id))
            .collect();
        let mut reader = Reader::new(5);
        let named: Vec<bool> = reader.read(world, again).iter().map(|s| s.2).collect();
        assert_eq!(named, [true, true, true]);
        for packet_id in ids {
            world.send(again, puback(packet_id));
        }
        for wanted in [true, false] {
            world.publish(publisher, &publish("some/topic", "x").qos(1, 9));
            let seen = reader.read(world, again);
            assert_eq!(seen[0].2, wanted);
        }
        assert!(
            world
                .received(again)
                .iter()
                .all(|p| !matches!(p, Packet::Disconnect { .. }))
        );
    });
}

/// A retained message and one from a queue use the aliases too.
#[test]
fn stored_messages_use_aliases() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        world.publish(publisher, &publish("some/topic", "kept").retain());
        let client = join(world, "c", true, &topic_alias_maximum(5));
        world.subscribe(client, "some/+", 1);
        let mut reader = Reader::new(5);
        let seen = reader.read(world, client);
        assert_eq!(seen, [("some/topic".to_owned(), 4, true)]);
        for packet_id in 1..=25 {
            world.publish(publisher, &publish("some/topic", "x").qos(1, packet_id));
        }
        let mut count = 0;
        loop {
            let ids: Vec<u16> = world
                .received(client)
                .iter()
                .filter_map(|packet| packet.message().map(|m| m.packet_id))
                .collect();
            let seen = reader.read(world, client);
            if seen.is_empty() {
                break;
            }
            assert!(
                seen.iter()
                    .all(|(topic, _, named)| topic == "some/topic" && !named)
            );
            count += seen.len();
            for packet_id in ids {
                world.send(client, puback(packet_id));
            }
        }
        assert_eq!(count, 25);
    });
}
