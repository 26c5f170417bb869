//! 3.1.2.5 to 3.1.2.7 and 3.1.3.2: wills.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_1_2_8_a_will_is_published_once_unless_disconnected,
    mqtt_3_1_3_9_a_will_delay_is_waited_for_and_cancelled_by_a_return,
    mqtt_3_1_3_9_the_will_of_a_connection_taken_over,
    mqtt_3_1_2_14_will_retain_decides_whether_it_is_kept,
    mqtt_3_1_3_10_a_will_is_published_with_its_properties,
    mqtt_3_8_3_3_no_local_and_the_own_will,
}

/// Ways a connection can end without DISCONNECT 0x00.
fn end(world: &mut World, way: usize, client: Client) {
    match way {
        0 => world.drop_connection(client),
        1 => world.send(client, [0x00, 0x00]),
        2 => world.send(client, disconnect_with(0x04, &[])),
        3 => world.send(client, disconnect_with(0x80, &[])),
        4 => world.closes_after(client, 1_500, 2_500),
        _ => {
            let again = connect(V5, "dying").keep_alive(10);
            world.connect(&again);
        }
    }
}

/// MQTT-3.1.2-7, MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3.
fn mqtt_3_1_2_8_a_will_is_published_once_unless_disconnected() {
    each5(|world| {
        let watcher = watcher(world);
        for way in 0..6 {
            let connect = connect(V5, "dying")
                .keep_alive(if way == 4 { 1 } else { 10 })
                .will("will", "gone", 2, false);
            let client = world.connect(&connect);
            assert_eq!(world.texts(watcher), [""; 0]);
            end(world, way, client);
            assert!(!world.is_open(client));
            assert_eq!(world.texts(watcher), ["gone"], "way {way}");
            world.pass_long(100_000);
            assert_eq!(world.texts(watcher), [""; 0], "way {way}");
        }
        for bytes in [disconnect(), packet(0xe0, &[0]), disconnect_with(0, &[])] {
            let connect = connect(V5, &format!("{bytes:02x?}")).expiry(1);
            let client = world.connect(&connect.will("will", "", 0, false));
            world.send(client, bytes);
            assert!(world.is_closed(client));
            world.expect(client, &[]);
        }
        world.pass(world.either(10_000, 2_100));
        assert_eq!(world.texts(watcher), [""; 0]);
    });
}

/// MQTT-3.1.2-8, MQTT-3.1.3-9, MQTT-3.1.2-10.
fn mqtt_3_1_3_9_a_will_delay_is_waited_for_and_cancelled_by_a_return() {
    each5(|world| {
        let watcher = watcher(world);
        let dying = |expiry_s, delay_s| {
            let mut connect = connect(V5, "dying")
                .expiry(expiry_s)
                .will("will", "gone", 1, false)
                .will_with(will_delay(delay_s));
            connect.clean = false;
            connect
        };
        // The delay, or the end of the session, whichever is first.
        let short_s = world.either(10, 1);
        for (expiry_s, delay_s, due_s) in [
            (100, short_s, short_s),
            (short_s, 100, short_s),
            (0, 100, 0),
        ] {
            let client = world.connect(&dying(expiry_s, delay_s));
            let since_ms = world.now_ms();
            world.drop_connection(client);
            if due_s > 0 {
                let least_ms = u64::from(due_s) * 1000;
                world.hears_after(watcher, since_ms, least_ms, least_ms + 2_000);
            }
            assert_eq!(world.texts(watcher), ["gone"], "{expiry_s} s, {delay_s} s");
            world.pass_long(1_000_000);
            assert_eq!(world.texts(watcher), [""; 0]);
        }
        // A return to the session within the delay.
        let (delay_s, away_ms, after_ms) = world.either((10, 5_000, 50_000), (3, 0, 4_200));
        let client = world.connect(&dying(100, delay_s));
        world.drop_connection(client);
        world.pass(away_ms);
        let mut without_will = dying(100, delay_s);
        without_will.will = None;
        let client = world.connect(&without_will);
        world.pass(after_ms);
        world.disconnect(client);
        world.pass_long(1_000_000);
        assert_eq!(world.texts(watcher), [""; 0]);
        // A return with a clean start ends the session, so the will is due.
        let client = world.connect(&dying(100, 10));
        world.drop_connection(client);
        world.connect(&connect(V5, "dying"));
        assert_eq!(world.texts(watcher), ["gone"]);
    });
}

/// MQTT-3.1.3-9. While the old connection is still open: its will is cancelled only if it waits and its session goes
/// on.
fn mqtt_3_1_3_9_the_will_of_a_connection_taken_over() {
    each5(|world| {
        let watcher = watcher(world);
        let (delay_s, after_ms) = world.either((10, 100_000), (1, 2_100));
        for (delay_s, clean, published, after_ms) in [
            (0, false, true, 0),
            (delay_s, false, false, after_ms),
            (delay_s, true, true, 0),
        ] {
            let old = connect(V5, "dying")
                .persistent()
                .will("will", "gone", 0, false)
                .will_with(will_delay(delay_s));
            world.connect(&old);
            let mut new = connect(V5, "dying").expiry(100);
            new.clean = clean;
            let new = world.connect(&new);
            world.pass(after_ms);
            let texts = world.texts(watcher);
            assert_eq!(texts.len(), usize::from(published), "{delay_s} {clean}");
            world.send(new, disconnect_with(0, &session_expiry(0)));
        }
    });
}

/// MQTT-3.1.2-14, MQTT-3.1.2-15.
fn mqtt_3_1_2_14_will_retain_decides_whether_it_is_kept() {
    each5(|world| {
        let watcher = watcher(world);
        for retain in [false, true] {
            for qos in 0..=2 {
                let connect = connect(V5, "dying").will("will", "gone", qos, retain);
                let client = world.connect(&connect);
                world.drop_connection(client);
                let messages = world.messages(watcher);
                assert_eq!(messages.len(), 1);
                assert_eq!((messages[0].qos, messages[0].retain), (qos, retain));
                retained_is(world, "will", retain.then_some("gone"));
            }
        }
    });
}

/// MQTT-3.1.3-10, MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-20, MQTT-3.3.2-6.
fn mqtt_3_1_3_10_a_will_is_published_with_its_properties() {
    each5(|world| {
        let watcher = watcher(world);
        let mut connect = connect(V5, "dying")
            .expiry(100)
            .will("will", "gone", 1, true)
            .will_with(will_delay(1))
            .will_with(passed_on())
            .will_with(message_expiry(50));
        connect.clean = false;
        let client = world.connect(&connect);
        let since_ms = world.now_ms();
        world.drop_connection(client);
        world.hears_after(watcher, since_ms, 1_000, 3_000);
        let messages = world.messages_full(watcher);
        assert_eq!(messages.len(), 1);
        carries_passed_on(&messages[0]);
        // The expiry counts from its publication.
        let left_s = messages[0].number(MESSAGE_EXPIRY_INTERVAL);
        let left_s = left_s.expect("an interval");
        assert!(
            world.either(50..=50, 20..=50).contains(&left_s),
            "{left_s} s"
        );
        let late = self::client(world, "late");
        subscribes(world, late, "will", 1);
        let retained = world.messages_full(late);
        assert_eq!(retained.len(), 1);
        carries_passed_on(&retained[0]);
    });
}

/// MQTT-3.8.3-3. A will is a message of its Client: No Local holds it back from that client id.
fn mqtt_3_8_3_3_no_local_and_the_own_will() {
    each5(|world| {
        let mut connect = connect(V5, "dying").expiry(100).will("t", "own", 1, false);
        connect.clean = false;
        let client = world.connect(&connect);
        subscribes(world, client, "t", 1 | NO_LOCAL);
        world.drop_connection(client);
        let again = world.connect(&connect);
        assert_eq!(world.texts(again), [""; 0]);
    });
}
