//! Where MQTT 3.1 differs from 3.1.1. It has no numbered statements; the names tell the rule.

use crate::claims::*;
use crate::support::*;
use mqttfast::config::Settings;
use mqttfast::limits::SHARED_FILTERS_PER_SESSION_MAX;

crate::table! {
    v31_mqisdp_connects,
    v31_has_no_session_present,
    v31_empty_client_id_is_refused,
    v31_client_id_longer_than_23_is_accepted,
    v31_user_name_flag_without_user_name_is_accepted,
    v31_reserved_connect_flag_and_stray_will_flags_are_ignored,
    v31_dup_on_pubrel_subscribe_and_unsubscribe_is_accepted,
    v31_repeats_on_a_live_connection_are_answered,
    v31_and_later_clients_share_a_session,
    v31_has_no_code_for_a_refused_filter_and_closes,
}

const V31: Version = Version::V31;
const ONLY_V31: &[Version] = &[V31];

fn v31_mqisdp_connects() {
    each(ONLY_V31, |world, version| {
        let client = world.connect(&connect(version, "old"));
        alive(world, client);
        // The other name's levels are not served under this one.
        refuses(
            world,
            version,
            connect(version, "old").protocol(b"MQIsdp", 4).bytes(),
            1,
        );
        refuses(
            world,
            version,
            connect(version, "old").protocol(b"MQTT", 3).bytes(),
            1,
        );
    });
}

fn v31_has_no_session_present() {
    // The oracle refuses it in 3.1.
    each(ONLY_V31, |world, version| {
        let id = connect(version, "old").persistent();
        for _ in 0..3 {
            assert!(!world.connect_present(&id).1);
        }
    });
}

fn v31_empty_client_id_is_refused() {
    each(ONLY_V31, |world, version| {
        refuses(world, version, connect(version, "").bytes(), 2);
        refuses(world, version, connect(version, "").persistent().bytes(), 2);
    });
}

fn v31_client_id_longer_than_23_is_accepted() {
    each(ONLY_V31, |world, version| {
        let client = world.connect(&connect(version, &"i".repeat(24)));
        alive(world, client);
    });
}

fn v31_user_name_flag_without_user_name_is_accepted() {
    each(ONLY_V31, |world, version| {
        let client = world.connect(&connect(version, "old").xor_flags(0x80));
        alive(world, client);
        let client = world.connect(&connect(version, "old").xor_flags(0xc0));
        alive(world, client);
        let client = world.connect(&connect(version, "old").user(b"user").xor_flags(0x40));
        alive(world, client);
    });
}

fn v31_reserved_connect_flag_and_stray_will_flags_are_ignored() {
    each(ONLY_V31, |world, version| {
        for bits in [0x01, 0x08, 0x10, 0x20] {
            let client = world.connect(&connect(version, "old").xor_flags(bits));
            alive(world, client);
        }
    });
}

fn v31_dup_on_pubrel_subscribe_and_unsubscribe_is_accepted() {
    each(ONLY_V31, |world, version| {
        let client = world.connect(&connect(version, "old"));
        world.send(client, with_flags(subscribe(version, 1, &[("t", 2)]), 0x0a));
        world.expect(
            client,
            &[Packet::SubAck {
                packet_id: 1,
                codes: vec![2],
            }],
        );
        world.send(client, publish("u", "x").qos(2, 2).bytes(version));
        world.expect(client, &[Packet::pubrec(2)]);
        world.send(client, with_flags(pubrel(2), 0x0a));
        world.expect(client, &[Packet::pubcomp(2)]);
        world.send(client, with_flags(unsubscribe(version, 3, &["t"]), 0x0a));
        assert!(matches!(
            world.received(client)[..],
            [Packet::UnsubAck { packet_id: 3, .. }]
        ));
    });
}

fn v31_repeats_on_a_live_connection_are_answered() {
    each(ONLY_V31, |world, version| {
        let watcher = watcher(world, version);
        let client = world.connect(&connect(version, "old"));
        let message = publish("t", "x").qos(2, 9);
        world.send(client, message.bytes(version));
        world.send(client, message.dup().bytes(version));
        world.expect(client, &[Packet::pubrec(9), Packet::pubrec(9)]);
        for _ in 0..3 {
            world.send(client, with_flags(pubrel(9), 0x0a));
            world.expect(client, &[Packet::pubcomp(9)]);
        }
        assert_eq!(world.texts(watcher), ["x"]);
    });
}

fn v31_and_later_clients_share_a_session() {
    for version in [Version::V311, Version::V5] {
        each(ONLY_V31, |world, old| {
            let publisher = publisher(world, old);
            let client = world.connect(&connect(old, "id").persistent());
            world.subscribe(client, "t", 1);
            world.disconnect(client);
            world.publish(publisher, &publish("t", "x").qos(1, 0));
            let (client, session_present) =
                world.connect_present(&connect(version, "id").persistent());
            assert!(session_present);
            assert_eq!(world.texts(client), ["x"]);
        });
    }
}

/// SUBACK of 3.1 carries the granted QoS and nothing else, and to grant what is not there would lose messages in
/// silence. Later versions are told in SUBACK, and go on.
fn v31_has_no_code_for_a_refused_filter_and_closes() {
    for version in ALL {
        once_with(*version, &Settings::default(), |world, version| {
            let watcher = watcher(world, version);
            let id = connect(version, "greedy").will("will", "gone", 0, false);
            let greedy = world.connect(&id);
            let filters = Vec::from_iter(
                (0..=SHARED_FILTERS_PER_SESSION_MAX).map(|number| format!("$share/g/{number}")),
            );
            let (last, within) = filters.split_last().expect("filters");
            let all = Vec::from_iter(within.iter().map(|filter| (filter.as_str(), 1)));
            world.send(greedy, subscribe(version, 1, &all));
            let suback = Packet::SubAck {
                packet_id: 1,
                codes: vec![1; all.len()],
            };
            assert_eq!(world.take(greedy, |_| true), Some(suback));
            // One that is there is replaced, full or not. [3.1.1 MQTT-3.8.4-3]
            world.subscribe(greedy, &within[0], 2);
            world.send(greedy, subscribe(version, 2, &[(last, 1)]));
            let code = match version {
                Version::V31 => {
                    assert!(world.is_closed(greedy));
                    world.expect(greedy, &[]);
                    assert_eq!(world.texts(watcher), ["gone"]);
                    return;
                }
                Version::V311 => 0x80,
                Version::V5 => 0x97,
            };
            let suback = Packet::SubAck {
                packet_id: 2,
                codes: vec![code],
            };
            world.expect(greedy, &[suback]);
            alive(world, greedy);
        });
    }
}
