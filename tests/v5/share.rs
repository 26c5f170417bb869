//! Shared Subscriptions [v5 4.8.2], for Clients of every version.

use super::peer::*;
use super::support_shard::{
    ALL, Acts, Client, Connect, FROM_V311, Packet, Stage, Version, World, connect, each, explore,
    field, packet, puback, publish, pubrec, subscribe_bytes,
};
use mqttfast::broker::Dropped;
use mqttfast::wire;
use std::collections::BTreeSet;

const V5: &[Version] = &[Version::V5];

fn clients(world: &mut World, version: Version, count: usize, qos: u8) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let client = world.connect(&connect(version, &format!("member-{number}")));
            world.subscribe(client, "$share/g/t/+", qos);
            client
        })
        .collect()
}

fn kept(version: Version, client_id: &str) -> Connect {
    connect(version, client_id).persistent()
}

/// Each message goes to one member of each group, and to every ordinary subscriber.
#[test]
fn each_message_reaches_one_member_of_each_group() {
    each(ALL, |world, version| {
        let members = clients(world, version, 4, 1);
        for member in &members {
            world.acknowledge_at_once(*member);
        }
        let other_group = world.connect(&connect(version, "other"));
        world.subscribe(other_group, "$share/h/t/+", 1);
        let both = world.connect(&connect(version, "both"));
        world.subscribe(both, "t/#", 0);
        world.subscribe(both, "$share/g/t/+", 0);
        let publisher = world.connect(&connect(version, "p"));
        for number in 0..60 {
            let qos = number % 3;
            world.publish(publisher, &publish("t/x", number.to_string()).qos(qos, 0));
        }
        let all: BTreeSet<String> = (0..60).map(|number| number.to_string()).collect();
        assert_eq!(world.texts(other_group).len(), 60);
        let mut ordinary = world.texts(both);
        let mut shared = Vec::new();
        for member in &members {
            let texts = world.texts(*member);
            assert!((5..=20).contains(&texts.len()), "{} of 60", texts.len());
            shared.extend(texts);
        }
        // `both` has every message once, and once more what fell to it in the group.
        ordinary.sort();
        let twice: Vec<String> = ordinary
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0].clone())
            .collect();
        ordinary.dedup();
        assert_eq!(ordinary.len(), 60);
        shared.extend(twice);
        assert_eq!(shared.len(), 60);
        assert_eq!(shared.into_iter().collect::<BTreeSet<_>>(), all);
    });
}

/// Whoever has its SUBACK gets the next message, wherever the group's owner is.
#[test]
fn a_member_counts_from_its_suback() {
    each(FROM_V311, |world, version| {
        let publisher = world.connect(&connect(version, "p"));
        for number in 0..8 {
            let filter = format!("$share/{number}/t");
            let member = world.connect(&connect(version, &format!("m{number}")));
            world.subscribe(member, &filter, 1);
            world.publish(publisher, &publish("t", "x").qos(1, 0));
            assert_eq!(world.texts(member), ["x"]);
            world.unsubscribe(member, &filter);
            world.publish(publisher, &publish("t", "y").qos(1, 0));
            assert!(world.texts(member).is_empty());
        }
        for shard in 0..world.shards() {
            assert_eq!(world.shard(shard).sizes().2, 0, "no subscription is left");
        }
    });
}

/// Every order of what can happen between SUBSCRIBE, UNSUBSCRIBE and PUBLISH on two shards.
#[test]
fn no_order_loses_a_message_after_suback() {
    for group in ["a", "b", "c", "d"] {
        let filter = format!("$share/{group}/t");
        let start = |version| {
            let mut world = World::new(2);
            let member = world.connect(&connect(version, "member"));
            let second = world.connect(&connect(version, "second-1"));
            let publisher = world.connect(&connect(version, "publisher-2"));
            for client in [member, second] {
                world.acknowledge_at_once(client);
            }
            world.subscribe(second, &filter, 1);
            let bytes = subscribe_bytes(version, 1, &[(filter.as_bytes(), 1)]);
            let leave = super::support_shard::unsubscribe(version, 2, &[&filter]);
            let message = publish("t", "x").qos(1, 7).bytes(version);
            let scripts = vec![
                vec![
                    explore::send(member, bytes),
                    explore::send(second, leave).after(member, 1, explore::is_suback),
                ],
                vec![explore::send(publisher, message).after(member, 1, explore::is_suback)],
            ];
            (world, scripts, (member, second))
        };
        let orders = explore::explore(Version::V311, 20_000, start, |world, (member, second)| {
            world.settle();
            let got = world.texts(member).len() + world.texts(second).len();
            assert_eq!(got, 1);
        });
        println!("{orders} orders");
    }
}

/// The connected one before the absent, then the one with the least under way.
#[test]
fn the_member_with_the_least_under_way_is_next() {
    each(FROM_V311, |world, version| {
        let members = clients(world, version, 3, 1);
        let publisher = world.connect(&connect(version, "p"));
        let mut count = 0;
        let mut send = |world: &mut World| {
            count += 1;
            world.publish(publisher, &publish("t/x", "x").qos(1, count));
        };
        for _ in 0..9 {
            send(world);
        }
        let mut packet_ids = Vec::new();
        for member in &members {
            let received = world.received(*member);
            assert_eq!(received.len(), 3);
            packet_ids.push(received[0].message().map(|m| m.packet_id));
        }
        // Whoever acknowledges gets the next.
        for _ in 0..2 {
            let packet_id = packet_ids[1].expect("it got some");
            world.send(members[1], puback(packet_id));
            send(world);
            let received = world.received(members[1]);
            assert_eq!(received.len(), 1);
            packet_ids[1] = received[0].message().map(|m| m.packet_id);
            assert!(world.received(members[0]).is_empty());
            assert!(world.received(members[2]).is_empty());
        }
    });
}

#[test]
fn an_absent_member_is_served_only_if_all_are_absent() {
    each(FROM_V311, |world, version| {
        let away = world.connect(&kept(version, "away"));
        world.subscribe(away, "$share/g/t", 1);
        let here = world.connect(&connect(version, "here"));
        world.subscribe(here, "$share/g/t", 1);
        let publisher = world.connect(&connect(version, "p"));
        world.drop_connection(away);
        for number in 1..=4 {
            world.publish(publisher, &publish("t", number.to_string()).qos(1, number));
        }
        assert_eq!(world.texts(here), ["1", "2", "3", "4"]);
        world.disconnect(here);
        world.publish(publisher, &publish("t", "5").qos(1, 5));
        // QoS 0 for nobody there is lost, as without a group.
        world.publish(publisher, &publish("t", "6"));
        let (away, present) = world.connect_present(&kept(version, "away"));
        assert_eq!(present, version != Version::V31);
        assert_eq!(world.texts(away), ["5"]);
    });
}

/// At the end of a Session its unacknowledged QoS 1 messages go to another member, QoS 2 messages already sent do not.
/// [v5 MQTT-4.8.2-4, MQTT-4.8.2-5]
#[test]
fn the_end_of_a_session_hands_back() {
    each(FROM_V311, |world, version| {
        let leaving = world.connect(&connect(version, "leaving"));
        world.subscribe(leaving, "$share/g/t", 2);
        let publisher = world.connect(&connect(version, "p"));
        for (number, qos) in [(1, 1), (2, 2), (3, 2), (4, 1), (5, 1)] {
            world.publish(
                publisher,
                &publish("t", number.to_string()).qos(qos, number),
            );
        }
        let received = world.received(leaving);
        let ids: Vec<u16> = received
            .iter()
            .filter_map(|packet| packet.message().map(|m| m.packet_id))
            .collect();
        assert_eq!(ids.len(), 5);
        world.send(leaving, puback(ids[0]));
        world.send(leaving, pubrec(ids[1]));
        world.received(leaving);
        let staying = world.connect(&connect(version, "staying"));
        world.subscribe(staying, "$share/g/t", 2);
        world.drop_connection(leaving);
        let messages = world.messages(staying);
        let texts: Vec<String> = messages.iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["4", "5"]);
        assert!(messages.iter().all(|m| !m.dup), "a first sending to it");
        // It has nothing under way and serves on.
        world.publish(publisher, &publish("t", "6").qos(1, 6));
        assert_eq!(world.texts(staying), ["6"]);
    });
}

/// QoS 2 messages that were sent are completed with the same member when it returns, and go to nobody else. [v5
/// MQTT-4.8.2-4]
#[test]
fn a_member_that_returns_completes_what_it_began() {
    each(FROM_V311, |world, version| {
        let away = world.connect(&kept(version, "away"));
        world.subscribe(away, "$share/g/t", 2);
        let publisher = world.connect(&connect(version, "p"));
        world.publish(publisher, &publish("t", "begun").qos(2, 1));
        assert_eq!(world.received(away).len(), 1);
        let other = world.connect(&connect(version, "other"));
        world.subscribe(other, "$share/g/t", 2);
        world.drop_connection(away);
        assert!(world.messages(other).is_empty());
        let back = world.connect(&kept(version, "away"));
        assert_eq!(world.texts(back), ["begun"]);
        assert!(world.messages(other).is_empty());
    });
}

/// A member that answers with 0x80 or above has had the message: nobody else gets it. [v5 MQTT-4.8.2-6]
#[test]
fn a_refusal_of_a_member_ends_the_message() {
    each(V5, |world, _| {
        for (qos, packet_type) in [(1, 0x40), (2, 0x50)] {
            let refusing = join(world, "refusing", true, &[]);
            world.subscribe(refusing, "$share/g/t", qos);
            let publisher = join(world, "p", true, &[]);
            world.publish(publisher, &publish("t", "x").qos(qos, 1));
            let other = join(world, "other", true, &[]);
            world.subscribe(other, "$share/g/t", qos);
            let received = world.received(refusing);
            let packet_id = received[0].message().map(|m| m.packet_id);
            let [high, low] = packet_id.expect("a message").to_be_bytes();
            world.send(refusing, packet(packet_type, &[high, low, 0x83]));
            world.drop_connection(refusing);
            assert!(world.messages(other).is_empty());
            assert!(world.received(refusing).is_empty(), "no PUBREL");
            world.disconnect(other);
        }
    });
}

/// What waits in a queue goes to others when its Client goes offline or unsubscribes; what was sent, stays.
#[test]
fn a_queue_is_handed_back() {
    each(FROM_V311, |world, version| {
        for leave in [false, true] {
            let busy = world.connect(&kept(version, "busy"));
            world.subscribe(busy, "$share/g/t", 1);
            let publisher = world.connect(&connect(version, "p"));
            for number in 1..=30 {
                world.publish(publisher, &publish("t", number.to_string()).qos(1, number));
            }
            let sent = world.received(busy);
            assert_eq!(sent.len(), 20, "the window");
            let other = world.connect(&connect(version, "other"));
            world.subscribe(other, "$share/g/t", 1);
            if leave {
                world.unsubscribe(busy, "$share/g/t");
            } else {
                world.drop_connection(busy);
            }
            let wanted: Vec<String> = (21..=30).map(|number| number.to_string()).collect();
            assert_eq!(world.texts(other), wanted);
            if leave {
                for packet in &sent {
                    if let Packet::Publish(message) = packet {
                        world.send(busy, puback(message.packet_id));
                    }
                }
                assert!(
                    world.received(busy).is_empty(),
                    "nothing new after UNSUBACK"
                );
            } else {
                let back = world.connect(&kept(version, "busy"));
                assert_eq!(world.texts(back).len(), 20, "sent before, sent again");
                world.disconnect(back);
            }
            let gone = world.connect(&connect(version, "busy"));
            world.disconnect(gone);
            world.disconnect(other);
            world.disconnect(publisher);
            for shard in 0..world.shards() {
                assert_eq!(world.shard(shard).sizes().2, 0);
            }
        }
    });
}

/// [v5 3.8.4, 4.8.2]
#[test]
fn retained_messages_are_not_sent_to_groups() {
    each(ALL, |world, version| {
        let publisher = world.connect(&connect(version, "p"));
        world.publish(publisher, &publish("t", "kept").retain());
        let member = world.connect(&connect(version, "m"));
        world.subscribe(member, "$share/g/t", 1);
        world.subscribe(member, "$share/g/t", 1);
        assert!(world.messages(member).is_empty());
        world.publish(publisher, &publish("t", "live").retain());
        let messages = world.messages(member);
        assert_eq!(messages.len(), 1);
        assert!(!messages[0].retain);
    });
}

/// Subscribing again changes options and identifier only. [v5 MQTT-3.8.4-3, MQTT-3.3.4-3]
#[test]
fn a_member_has_its_own_options() {
    each(V5, |world, _| {
        let member = join(world, "m", true, &[]);
        let publisher = join(world, "p", true, &[]);
        for (identifier, options, qos, retain) in [(7, 0x09, 1, true), (9, 0x00, 0, false)] {
            let mut body = vec![0, 1, 2, 0x0b, identifier];
            body.extend(field(b"$share/g/t"));
            body.push(options);
            world.send(member, packet(0x82, &body));
            world.received(member);
            world.raw(member);
            world.publish(publisher, &publish("t", "x").qos(2, 1).retain());
            let mut seen = Vec::new();
            see(world, member, |packet| {
                if let wire::Packet::Publish(publish) = packet {
                    let identifiers: Vec<_> =
                        publish.properties.subscription_identifiers().collect();
                    seen.push((publish.qos as u8, publish.retain, identifiers));
                }
            });
            assert_eq!(seen, [(qos, retain, vec![u32::from(identifier)])]);
            world.send(member, puback(1));
        }
        for shard in 0..world.shards() {
            assert!(world.shard(shard).sizes().2 <= 1);
        }
    });
}

/// [v5 MQTT-3.8.3-4, MQTT-4.8.2-1, MQTT-4.8.2-2]
#[test]
fn wrong_shared_subscriptions_are_refused() {
    each(V5, |world, _| {
        for filter in [
            "$share/",
            "$share//t",
            "$share/g",
            "$share/g/",
            "$share/+/t",
            "$share/g/$share/h/t",
        ] {
            let client = join(world, "c", true, &[]);
            world.send(
                client,
                subscribe_bytes(Version::V5, 1, &[(filter.as_bytes(), 0)]),
            );
            assert_eq!(ended_with(world, client), (0x81, true), "{filter}");
        }
        let client = join(world, "c", true, &[]);
        world.send(
            client,
            subscribe_bytes(Version::V5, 1, &[(b"$share/g/t", 0x04)]),
        );
        assert_eq!(ended_with(world, client), (0x82, true));
    });
    each(super::support_shard::V3, |world, version| {
        let client = world.connect(&connect(version, "c"));
        world.send(
            client,
            subscribe_bytes(version, 1, &[(b"$share/g/$share/h/t", 0)]),
        );
        assert!(world.is_closed(client));
    });
}

/// Members come, go and return while messages flow: with a member that stays and acknowledges, every QoS 1 message is
/// delivered at least once.
#[test]
fn nothing_is_lost_while_members_come_and_go() {
    each(V5, |world, _| {
        let steady = world.connect(&connect(Version::V5, "steady"));
        world.subscribe(steady, "$share/g/t", 1);
        world.acknowledge_at_once(steady);
        let publisher = world.connect(&connect(Version::V5, "p"));
        let mut got = BTreeSet::new();
        let mut number = 0;
        for round in 0..12 {
            let flapping = world.connect(&kept(Version::V5, &format!("flapping-{}", round % 3)));
            world.subscribe(flapping, "$share/g/t", 1);
            for _ in 0..7 {
                number += 1;
                world.publish(publisher, &publish("t", number.to_string()).qos(1, 0));
            }
            // It acknowledges a part.
            for packet in world.received(flapping).iter().take(round % 4) {
                if let Packet::Publish(message) = packet {
                    got.insert(message.text());
                    world.send(flapping, puback(message.packet_id));
                }
            }
            match round % 3 {
                0 => world.drop_connection(flapping),
                1 => world.unsubscribe(flapping, "$share/g/t"),
                _ => {
                    // Session Expiry Interval 0: the Session ends.
                    let end = packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]);
                    world.send(flapping, end);
                }
            }
        }
        for name in 0..3 {
            let gone = world.connect(&connect(Version::V5, &format!("flapping-{name}")));
            world.disconnect(gone);
        }
        for packet in world.history(steady) {
            got.extend(packet.message().map(|m| m.text()));
        }
        assert_eq!(got.len(), number);
        let lost: u64 = (0..world.shards())
            .map(|shard| world.shard(shard).counters().dropped(Dropped::SessionEnded))
            .sum();
        assert_eq!(lost, 0);
    });
}

/// CONNACK no longer says that there are none.
#[test]
fn shared_subscriptions_are_available() {
    each(V5, |world, _| {
        let client = world.try_connect(&connect_with("c", true, &[]));
        let mut available = None;
        see(world, client, |packet| {
            if let wire::Packet::ConnAck(connack) = packet {
                available = Some(connack.properties.shared_subscription_available);
            }
        });
        assert_eq!(available, Some(None), "absent means available");
    });
}
