//! 3.12 PINGREQ to 3.14 DISCONNECT.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_12_4_1_pingreq_is_answered_by_pingresp,
    mqtt_3_12_4_1_pingreq_with_a_body_closes,
    mqtt_3_14_1_1_disconnect_flags,
    mqtt_3_14_4_3_disconnect_removes_the_will,
    mqtt_3_14_4_3_packets_before_disconnect_count_and_those_after_do_not,
}

fn mqtt_3_12_4_1_pingreq_is_answered_by_pingresp() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        world.send(client, pingreq());
        world.expect(client, &[Packet::PingResp]);
        world.send(client, pingreq().repeat(100));
        world.expect(client, &vec![Packet::PingResp; 100]);
    });
}

fn mqtt_3_12_4_1_pingreq_with_a_body_closes() {
    each(ALL, |world, version| {
        closes(world, version, [0xc0, 1, 0]);
    });
}

fn mqtt_3_14_1_1_disconnect_flags() {
    each(FROM_V311, |world, version| {
        let watcher = watcher(world, version);
        for flags in 1..16 {
            let id = connect(version, "offender").will("will", "gone", 1, false);
            let client = world.connect(&id);
            world.send(client, with_flags(disconnect(), flags));
            assert!(world.is_closed(client));
            assert_eq!(
                world.texts(watcher),
                ["gone"],
                "it was no DISCONNECT: the will stays"
            );
        }
    });
}

fn mqtt_3_14_4_3_disconnect_removes_the_will() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        for qos in 0..=2 {
            let id = connect(version, "leaving")
                .keep_alive(2)
                .will("will", "gone", qos, true);
            let client = world.connect(&id);
            world.disconnect(client);
            let persistent = world.connect(&id.persistent());
            world.disconnect(persistent);
        }
        world.pass(world.either(10_000, 4_200));
        assert_eq!(world.messages(watcher), []);
        retained_is(world, version, "will", None);
    });
}

fn mqtt_3_14_4_3_packets_before_disconnect_count_and_those_after_do_not() {
    each(V3, |world, version| {
        let watcher = watcher(world, version);
        let client = world.open(version);
        let mut bytes = connect(version, "leaving")
            .will("will", "gone", 1, false)
            .bytes();
        bytes.extend(publish("t", "before").qos(1, 1).bytes(version));
        bytes.extend(disconnect());
        bytes.extend(publish("t", "after").qos(1, 2).bytes(version));
        world.send(client, bytes);
        assert!(world.is_closed(client));
        world.accepted(client);
        world.expect(client, &[Packet::puback(1)]);
        assert_eq!(world.texts(watcher), ["before"]);
    });
}
