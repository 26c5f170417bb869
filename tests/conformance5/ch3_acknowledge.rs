//! 3.4 to 3.7 PUBACK, PUBREC, PUBREL and PUBCOMP, 3.12 PINGREQ.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_4_2_1_reason_codes_of_acknowledgements,
    mqtt_3_4_2_2_acknowledgements_shed_what_is_too_large,
    mqtt_3_6_1_1_pubrel_flags,
    mqtt_3_4_2_2_properties_of_a_clients_acknowledgements_are_read,
    mqtt_3_12_4_1_pingreq_is_answered,
    mqtt_4_13_1_1_an_acknowledgement_of_the_wrong_kind_closes,
    mqtt_4_3_3_4_an_acknowledgement_of_nothing_is_harmless,
}

/// MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1. Each packet's own codes are taken, all others are protocol
/// errors.
fn mqtt_3_4_2_1_reason_codes_of_acknowledgements() {
    each5(|world| {
        let received = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        let released = [0x00, 0x92];
        for (first, allowed) in [
            (0x40, &received[..]),
            (0x50, &received),
            (0x62, &released),
            (0x70, &released),
        ] {
            let client = client(world, "client");
            for code in allowed {
                world.send(client, acknowledge_code(first, 1, *code));
                world.send(client, acknowledge_with(first, 1, *code, &[]));
                alive(world, client);
            }
            for code in (0..=255)
                .step_by(3)
                .chain([0x01, 0x02, 0x04, 0x18, 0x81, 0x8f])
            {
                if !allowed.contains(&code) {
                    closes_with(world, acknowledge_code(first, 1, code), PROTOCOL_ERROR);
                }
            }
        }
    });
}

/// MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3, MQTT-3.6.2-2, MQTT-3.6.2-3, MQTT-3.7.2-2, MQTT-3.7.2-3. The
/// oracle checks the size; every kind of answer, good and bad, comes to a Client that takes no more than its bare form.
fn mqtt_3_4_2_2_acknowledgements_shed_what_is_too_large() {
    each5(|world| {
        for bytes in [20, 24, 40] {
            let connect = connect(V5, "id").with(maximum_packet_size(bytes));
            let client = world.connect(&connect);
            world.subscribe(client, "t", 2);
            world.send(client, publish("nobody", "x").qos(1, 1).bytes(V5));
            world.send(client, publish("nobody", "x").qos(2, 2).bytes(V5));
            world.send(client, publish("$SYS/x", "x").qos(1, 3).bytes(V5));
            world.send(client, publish("$SYS/x", "x").qos(2, 4).bytes(V5));
            world.send(client, pubrel(2));
            world.send(client, pubrel(9));
            world.send(client, pubrec(9));
            let code = 0x92;
            let packets = world.received(client);
            assert_eq!(packets.len(), 7, "{packets:?}");
            let packet_id = 9;
            assert_eq!(packets[5], Packet::PubComp { packet_id, code });
            assert_eq!(packets[6], Packet::PubRel { packet_id, code });
        }
    });
}

/// MQTT-3.6.1-1, MQTT-2.1.3-1.
fn mqtt_3_6_1_1_pubrel_flags() {
    each5(|world| {
        for flags in (0..16).filter(|flags| *flags != 2) {
            closes_with(world, with_flags(pubrel(1), flags), MALFORMED);
        }
    });
}

/// MQTT-3.4.2-2. A Client's own Reason Strings and User Properties, however many, are read and passed on to nobody.
fn mqtt_3_4_2_2_properties_of_a_clients_acknowledgements_are_read() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let client = client(world, "client");
        world.subscribe(client, "t", 2);
        let properties = [
            user_property("a", "b"),
            text(REASON_STRING, "because"),
            user_property("a", "c"),
        ]
        .concat();
        world.publish(publisher, &publish("t", "x").qos(1, 0));
        let id = unanswered(world, client)[0].packet_id;
        world.send(client, acknowledge_with(0x40, id, 0, &properties));
        world.publish(publisher, &publish("t", "x").qos(2, 0));
        let id = unanswered(world, client)[0].packet_id;
        world.send(client, acknowledge_with(0x50, id, 0, &properties));
        world.expect(client, &[Packet::pubrel(id)]);
        world.send(client, acknowledge_with(0x70, id, 0, &properties));
        world.send(client, publish("u", "x").qos(2, 5).bytes(V5));
        world.received(client);
        world.send(client, acknowledge_with(0x62, 5, 0, &properties));
        world.expect(client, &[Packet::pubcomp(5)]);
        world.expect(publisher, &[]);
    });
}

/// MQTT-3.12.4-1.
fn mqtt_3_12_4_1_pingreq_is_answered() {
    each5(|world| {
        let client = client(world, "client");
        world.send(client, [pingreq(), pingreq(), pingreq()].concat());
        world.expect(
            client,
            &[Packet::PingResp, Packet::PingResp, Packet::PingResp],
        );
    });
}

/// A persistent Client that subscribes to "t", and the Packet Identifier of a message of this QoS that it has not
/// acknowledged.
fn with_a_delivery(world: &mut World, qos: u8) -> (Client, u16) {
    let publisher = client(world, "publisher");
    let client = world.connect(&connect(V5, "offender").expiry(1000));
    world.subscribe(client, "t", 2);
    world.publish(publisher, &publish("t", "x").qos(qos, 0));
    let id = unanswered(world, client)[0].packet_id;
    (client, id)
}

/// MQTT-4.13.1-1. What each stage of a delivery does not await is a Protocol Error, and the delivery goes on with the
/// next connection. [v5 4.3.2, 4.3.3]
fn mqtt_4_13_1_1_an_acknowledgement_of_the_wrong_kind_closes() {
    each5(|world| {
        for (qos, released, first, code) in [
            (1, false, 0x50, 0x00),
            (1, false, 0x50, 0x80),
            (1, false, 0x70, 0x00),
            (1, false, 0x70, 0x92),
            (2, false, 0x40, 0x00),
            (2, false, 0x40, 0x80),
            (2, false, 0x70, 0x00),
            (2, true, 0x40, 0x00),
        ] {
            let case = format!("{first:#x} with {code:#x} for QoS {qos}, released: {released}");
            let (client, id) = with_a_delivery(world, qos);
            if released {
                world.send(client, pubrec(id));
                world.expect(client, &[Packet::pubrel(id)]);
            }
            world.send(client, acknowledge_code(first, id, code));
            assert!(world.is_closed(client), "{case}");
            let code = PROTOCOL_ERROR;
            world.expect(client, &[Packet::Disconnect { code }]);
            let connect = connect(V5, "offender").expiry(1000);
            let client = world.connect(&Connect {
                clean: false,
                ..connect
            });
            let again = world.received(client);
            if released {
                assert_eq!(again, [Packet::pubrel(id)], "{case}");
            } else {
                let message = again[0].message().expect("the message again");
                assert_eq!((message.packet_id, message.dup), (id, true), "{case}");
            }
            world.disconnect(client);
        }
    });
}

/// MQTT-4.3.3-4. Acknowledgements that are late, repeated, of a delivery that has ended or was given up: no error. [v5
/// 4.3.3, 4.4]
fn mqtt_4_3_3_4_an_acknowledgement_of_nothing_is_harmless() {
    each5(|world| {
        // Repeated.
        let (client, id) = with_a_delivery(world, 2);
        for _ in 0..2 {
            world.send(client, pubrec(id));
            world.expect(client, &[Packet::pubrel(id)]);
        }
        // A failure after success ends it too, and what is still under way of its handshake finds nothing.
        world.send(client, acknowledge_code(0x50, id, 0x80));
        for late in [pubcomp(id), puback(id), pubcomp(id + 7)] {
            world.send(client, late);
            alive(world, client);
        }
        let code = 0x92;
        world.send(client, pubrec(id));
        world.expect(
            client,
            &[Packet::PubRel {
                packet_id: id,
                code,
            }],
        );
        // Of the connection before: sent there, it comes on this one.
        let (client, id) = with_a_delivery(world, 2);
        world.drop_connection(client);
        let connect = connect(V5, "offender").expiry(1000);
        let client = world.connect(&Connect {
            clean: false,
            ..connect
        });
        world.received(client);
        world.send(
            client,
            [pubrec(id), pubrec(id), pubcomp(id), pubcomp(id)].concat(),
        );
        world.expect(client, &[Packet::pubrel(id), Packet::pubrel(id)]);
        alive(world, client);
        // Given up, because the Client takes it no more.
        let (client, id) = with_a_delivery(world, 1);
        world.drop_connection(client);
        let connect = connect_again(24);
        let client = world.connect(&connect);
        for late in [puback(id), pubcomp(id)] {
            world.send(client, late);
            alive(world, client);
        }
        world.disconnect(client);
    });
}

/// The same Client with a Maximum Packet Size.
fn connect_again(bytes: u32) -> Connect {
    let connect = connect(V5, "offender").expiry(1000);
    let connect = connect.with(maximum_packet_size(bytes));
    Connect {
        clean: false,
        ..connect
    }
}
