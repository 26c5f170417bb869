//! 4.8.2 Shared Subscriptions.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_4_8_2_1_a_group_gets_each_message_once,
    mqtt_4_8_2_2_wrong_shared_filters_are_refused,
    mqtt_3_8_3_4_no_local_on_a_shared_subscription_closes,
    mqtt_4_8_2_3_the_chosen_members_qos_holds,
    mqtt_4_8_2_4_qos_2_begun_ends_with_the_same_member,
    mqtt_4_8_2_5_qos_2_of_a_session_that_ended_goes_to_nobody,
    mqtt_4_8_2_6_what_a_member_refuses_goes_to_nobody,
    mqtt_3_3_1_9_no_retained_messages_for_a_group,
    mqtt_3_10_4_1_leaving_a_group,
    mqtt_4_5_0_1_a_member_that_leaves_hands_qos_1_back,
    mqtt_3_3_4_3_shared_deliveries_carry_their_identifier,
}

/// A member of a group.
fn member(world: &mut World, id: &str, filter: &str, qos: u8) -> Client {
    let member = world.connect(&connect(V5, id).persistent());
    subscribes(world, member, filter, qos);
    member
}

/// MQTT-4.8.2-1, MQTT-4.8.2-2. What CONNACK offers holds, and the group gets one copy of each message.
fn mqtt_4_8_2_1_a_group_gets_each_message_once() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let available = world.connack(publisher);
        assert_ne!(available.number(SHARED_SUBSCRIPTION_AVAILABLE), Some(0));
        let a = member(world, "a", "$share/group/t/+", 2);
        let b = member(world, "b", "$share/group/t/+", 2);
        // Another name, or another filter, is another group; an ordinary subscription is none.
        let other_name = member(world, "c", "$share/other/t/+", 2);
        let other_filter = member(world, "d", "$share/group/t/#", 2);
        let plain = member(world, "e", "t/+", 2);
        for number in 0..12u8 {
            world.publish(publisher, &publish("t/u", [number]).qos(number % 3, 0));
        }
        let numbers = |world: &mut World, client| {
            let messages = world.messages(client);
            Vec::from_iter(messages.iter().map(|message| message.payload[0]))
        };
        let mut of_group = numbers(world, a);
        of_group.extend(numbers(world, b));
        of_group.sort_unstable();
        let all = Vec::from_iter(0..12);
        assert_eq!(of_group, all);
        for client in [other_name, other_filter, plain] {
            assert_eq!(numbers(world, client), all);
        }
    });
}

/// MQTT-4.8.2-1, MQTT-4.8.2-2.
fn mqtt_4_8_2_2_wrong_shared_filters_are_refused() {
    each5(|world| {
        for filter in [
            "$share//t",
            "$share/g",
            "$share/g/",
            "$share/",
            "$share/+/t",
            "$share/#/t",
            "$share/g+/t",
            "$share/a#/t",
            "$share/g/a#",
            "$share/g/#/a",
        ] {
            closes_with(world, subscribe(V5, 1, &[(filter, 1)]), MALFORMED);
            closes_with(world, unsubscribe(V5, 1, &[filter]), MALFORMED);
        }
        let client = client(world, "client");
        // An empty level behind the name is the filter "/t".
        subscribes(world, client, "$share/g//t", 1);
        world.publish(client, &publish("/t", "x"));
        world.publish(client, &publish("t", "x"));
        assert_eq!(world.messages(client).len(), 1);
    });
}

/// MQTT-3.8.3-4.
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_closes() {
    each5(|world| {
        let packet = subscribe(V5, 1, &[("$share/g/t", 1 | NO_LOCAL)]);
        closes_with(world, packet, PROTOCOL_ERROR);
        let packet = subscribe(V5, 1, &[("t", 1), ("$share/g/t", NO_LOCAL)]);
        closes_with(world, packet, PROTOCOL_ERROR);
    });
}

/// MQTT-4.8.2-3.
fn mqtt_4_8_2_3_the_chosen_members_qos_holds() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let members = [0, 1, 2].map(|qos| member(world, &format!("qos {qos}"), "$share/g/t", qos));
        for _ in 0..12 {
            world.publish(publisher, &publish("t", "x").qos(2, 0));
        }
        let mut count = 0;
        for (granted, member) in members.into_iter().enumerate() {
            for message in world.messages(member) {
                assert_eq!(usize::from(message.qos), granted);
                count += 1;
            }
        }
        assert_eq!(count, 12);
    });
}

/// MQTT-4.8.2-4.
fn mqtt_4_8_2_4_qos_2_begun_ends_with_the_same_member() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let a = member(world, "a", "$share/g/t", 2);
        world.publish(publisher, &publish("t", "one").qos(2, 0));
        world.publish(publisher, &publish("t", "two").qos(2, 0));
        let begun = unanswered(world, a);
        assert_eq!(begun.len(), 2);
        world.send(a, pubrec(begun[0].packet_id));
        let b = member(world, "b", "$share/g/t", 2);
        world.drop_connection(a);
        world.pass_long(10_000);
        world.expect(b, &[]);
        let a = world.connect(&connect(V5, "a").persistent());
        let again = world.received(a);
        assert_eq!(again.len(), 2);
        assert_eq!(again[0], Packet::pubrel(begun[0].packet_id));
        let message = again[1].message().expect("PUBLISH");
        assert_eq!(message.packet_id, begun[1].packet_id);
        assert!(message.dup);
    });
}

/// MQTT-4.8.2-5.
fn mqtt_4_8_2_5_qos_2_of_a_session_that_ended_goes_to_nobody() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let a = world.connect(&connect(V5, "a").expiry(1));
        subscribes(world, a, "$share/g/t", 2);
        world.publish(publisher, &publish("t", "begun").qos(2, 0));
        assert_eq!(unanswered(world, a).len(), 1);
        let b = member(world, "b", "$share/g/t", 2);
        world.drop_connection(a);
        world.pass(world.either(20_000, 2_600));
        world.expect(b, &[]);
        let (_, session_present) = world.connect_present(&connect(V5, "a").persistent());
        assert!(!session_present);
        world.expect(b, &[]);
        world.publish(publisher, &publish("t", "next").qos(2, 0));
        assert_eq!(world.texts(b), ["next"]);
    });
}

/// MQTT-4.8.2-6.
fn mqtt_4_8_2_6_what_a_member_refuses_goes_to_nobody() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let members = ["a", "b"].map(|id| member(world, id, "$share/g/t", 2));
        let mut refused = 0;
        for number in 0..8 {
            let qos = 1 + number % 2;
            world.publish(publisher, &publish("t", "x").qos(qos, 0));
            for member in members {
                for message in unanswered(world, member) {
                    let first = if message.qos == 1 { 0x40 } else { 0x50 };
                    world.send(member, acknowledge_code(first, message.packet_id, 0x83));
                    refused += 1;
                }
            }
        }
        for member in members {
            world.expect(member, &[]);
        }
        assert_eq!(refused, 8);
    });
}

/// MQTT-3.3.1-9, MQTT-3.8.4-1. Retained messages are not sent for a shared subscription.
fn mqtt_3_3_1_9_no_retained_messages_for_a_group() {
    each5(|world| {
        let publisher = client(world, "publisher");
        world.publish(publisher, &publish("t", "kept").retain());
        let a = member(world, "a", "$share/g/t", 1);
        subscribes(world, a, "$share/g/t", 1);
        world.expect(a, &[]);
    });
}

/// MQTT-3.10.4-1, MQTT-3.10.4-2. The whole text names the subscription; whoever leaves gets nothing more.
fn mqtt_3_10_4_1_leaving_a_group() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let a = member(world, "a", "$share/g/t", 1);
        let b = member(world, "b", "$share/g/t", 1);
        world.send(
            a,
            unsubscribe(V5, 9, &["t", "$share/h/t", "$share/g/t", "$share/g/t"]),
        );
        let unsuback = Packet::UnsubAck {
            packet_id: 9,
            codes: vec![0x11, 0x11, 0, 0x11],
        };
        world.expect(a, &[unsuback]);
        for _ in 0..6 {
            world.publish(publisher, &publish("t", "x").qos(1, 0));
        }
        assert_eq!(world.messages(b).len(), 6);
        world.expect(a, &[]);
    });
}

/// MQTT-4.5.0-1. A member that is gone with its session leaves its part to the others; QoS 1 unanswered goes to them.
fn mqtt_4_5_0_1_a_member_that_leaves_hands_qos_1_back() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let a = client(world, "a");
        subscribes(world, a, "$share/g/t", 1);
        world.publish(publisher, &publish("t", "begun").qos(1, 0));
        assert_eq!(unanswered(world, a).len(), 1);
        let b = member(world, "b", "$share/g/t", 1);
        world.drop_connection(a);
        assert_eq!(world.texts(b), ["begun"]);
        world.publish(publisher, &publish("t", "next").qos(1, 0));
        assert_eq!(world.texts(b), ["next"]);
    });
}

/// MQTT-3.3.4-3, MQTT-3.3.4-4. A delivery to a member carries the identifier of its shared subscription.
fn mqtt_3_3_4_3_shared_deliveries_carry_their_identifier() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let a = client(world, "a");
        subscribes_with(world, a, &subscription_identifier(5), "$share/g/t", 1);
        let message = publish("t", "x").qos(1, 0).with(passed_on());
        world.publish(publisher, &message);
        let messages = world.messages_full(a);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].identifiers(), [5]);
        carries_passed_on(&messages[0]);
    });
}
