//! 3.2 CONNACK.

use crate::claims::*;
use crate::support::*;
use mqttfast::broker::Verdict;
use mqttfast::config::{ListenerSettings, Settings};

crate::table! {
    mqtt_3_2_0_1_connack_is_the_first_packet,
    mqtt_3_2_2_1_clean_session_1_has_session_present_0,
    mqtt_3_2_2_2_stored_session_has_session_present_1,
    mqtt_3_2_2_3_no_stored_session_has_session_present_0,
    mqtt_3_2_2_4_refusals_have_session_present_0,
    mqtt_3_2_2_5_refused_connection_is_closed,
    mqtt_3_2_2_6_no_fitting_code_closes_without_connack,
}

/// Only known users with their passwords.
fn closed_settings() -> Settings {
    Settings::with_listener(ListenerSettings {
        anonymous: false,
        passwords: true,
        ..ListenerSettings::default()
    })
}

fn mqtt_3_2_0_1_connack_is_the_first_packet() {
    // The harness checks this of every connection; here much is waiting to be sent.
    each(ALL, |world, version| {
        let id = connect(version, "id").persistent();
        let client = world.connect(&id);
        world.subscribe(client, "#", 2);
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "in flight").qos(1, 0));
        world.drop_connection(client);
        world.publish(publisher, &publish("t", "queued").qos(2, 0));
        let client = world.open(version);
        let mut bytes = id.bytes();
        bytes.extend(pingreq());
        bytes.extend(publish("t", "own").bytes(version));
        world.send(client, bytes);
        let received = world.received(client);
        assert!(
            matches!(received[0], Packet::ConnAck { code: 0, .. }),
            "{received:?}"
        );
        assert_eq!(
            received.len(),
            5,
            "CONNACK, PINGRESP and three messages: {received:?}"
        );
    });
}

fn mqtt_3_2_2_1_clean_session_1_has_session_present_0() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "id").persistent());
        world.disconnect(client);
        for _ in 0..2 {
            let (client, session_present) = world.connect_present(&connect(version, "id"));
            assert!(!session_present);
            world.disconnect(client);
        }
    });
}

fn mqtt_3_2_2_2_stored_session_has_session_present_1() {
    each(FROM_V311, |world, version| {
        let id = connect(version, "id").persistent();
        world.connect(&id);
        for _ in 0..3 {
            let (client, session_present) = world.connect_present(&id);
            assert!(session_present);
            world.disconnect(client);
        }
    });
}

fn mqtt_3_2_2_3_no_stored_session_has_session_present_0() {
    each(ALL, |world, version| {
        let id = connect(version, "id").persistent();
        assert!(!world.connect_present(&id).1);
        let client = world.connect(&connect(version, "id"));
        world.disconnect(client);
        assert!(
            !world.connect_present(&id).1,
            "a clean session left something"
        );
    });
}

fn mqtt_3_2_2_4_refusals_have_session_present_0() {
    each_with(V3, &closed_settings(), |world, version| {
        world.allow_user("ann", b"right");
        let id = connect(version, "id").persistent();
        let client = world.connect(&id.clone().user(b"ann").password(b"right"));
        world.disconnect(client);
        // A Session exists, the refusals do not say so.
        refuses(world, version, id.bytes(), 5);
        refuses(
            world,
            version,
            id.clone().user(b"ann").password(b"wrong").bytes(),
            5,
        );
        refuses(
            world,
            version,
            id.clone().user(b"bob").password(b"right").bytes(),
            5,
        );
        refuses(world, version, id.clone().user(b"ann").bytes(), 5);
        refuses(world, version, id.protocol(b"MQTT", 2).bytes(), 1);
    });
}

fn mqtt_3_2_2_5_refused_connection_is_closed() {
    each_with(V3, &closed_settings(), |world, version| {
        world.allow_user("ann", b"right");
        // `refuses` checks the close after codes 1, 2, 3 and 5.
        refuses(
            world,
            version,
            connect(version, "id").protocol(b"MQTT", 2).bytes(),
            1,
        );
        let nameless = connect(version, "")
            .persistent()
            .user(b"ann")
            .password(b"right");
        refuses(world, version, nameless.bytes(), 2);
        refuses(world, version, connect(version, "id").bytes(), 5);
        // A queue of a thousand passwords to check is not for sockets.
        let Some(world) = world.as_shards() else {
            return;
        };
        world.verdicts_held = true;
        let client = world.try_connect(&connect(version, "id").user(b"ann").password(b"right"));
        world.answer_credentials_by(Verdict::Busy);
        let busy = Packet::ConnAck {
            session_present: false,
            code: 3,
        };
        world.expect(client, &[busy]);
        assert!(world.is_closed(client));
    });
}

fn mqtt_3_2_2_6_no_fitting_code_closes_without_connack() {
    each(V3, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").protocol(b"NOTMQTT", 4).bytes(),
        );
        closes_unanswered(
            world,
            version,
            connect(version, "id").will("w", "x", 3, false).bytes(),
        );
        closes_unanswered(
            world,
            version,
            connect(version, "id").will("w/#", "x", 0, false).bytes(),
        );
        closes_unanswered(world, version, connect(version, "id").surplus(b"x").bytes());
    });
}
