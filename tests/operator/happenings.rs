//! What a shard tells: events by the level that is configured, and their sentences in the log.

use crate::support::*;
use mqttfast::broker::LogLevel;
use mqttfast::config::{Logs, Settings};

fn logging(logs: Logs) -> Settings {
    Settings {
        logs,
        ..Settings::default()
    }
}

/// A Client that comes and is lost with a will, one that is refused, one that breaks a rule, a Session that expires.
fn a_day(world: &mut World, version: Version) {
    let lost = world.connect(&connect(version, "lost").will("w", "gone", 0, false));
    world.send(lost, pingreq());
    world.drop_connection(lost);
    let refused = world.open(version);
    world.send(refused, vec![0x20, 2, 0, 0]);
    let kept = world.connect(&connect(version, "kept").expiry(1).persistent());
    world.subscribe(kept, "t", 1);
    world.drop_connection(kept);
    let rude = world.connect(&connect(version, "rude"));
    world.publish(rude, &publish("t", "x").qos(1, 1));
    world.advance(1_500);
    world.send(rude, connect(version, "rude").bytes());
    world.settle();
}

#[test]
fn nothing_is_told_that_the_log_would_not_show() {
    for (logs, levels) in [
        (Logs::Warnings, &[][..]),
        (Logs::Events, &[LogLevel::Info][..]),
        (Logs::Packets, &[LogLevel::Info, LogLevel::Packet][..]),
    ] {
        each5_with(&logging(logs), |world| {
            a_day(world, Version::V5);
            for level in [
                LogLevel::Error,
                LogLevel::Warning,
                LogLevel::Info,
                LogLevel::Packet,
            ] {
                let told = world.log.iter().any(|(of, _)| *of == level);
                assert_eq!(told, levels.contains(&level), "{level:?}: {:?}", world.log);
            }
        });
    }
}

#[test]
fn the_log_tells_of_wills_and_of_sessions_that_expire() {
    each5_with(&logging(Logs::Packets), |world| {
        a_day(world, Version::V5);
        let has = |line: &str| world.log.iter().filter(|(_, text)| text == line).count();
        assert_eq!(has("will of lost (4 bytes, QoS 0) to w"), 1);
        assert_eq!(has("PINGREQ (2 bytes) from lost"), 1);
        let expired = "session of kept ended: its Session Expiry Interval is over, with 1 message that waited";
        assert_eq!(has(expired), 1, "{:?}", world.log);
        let ends = |(_, text): &&(LogLevel, String)| text.starts_with("session of");
        assert_eq!(
            world.log.iter().filter(ends).count(),
            1,
            "the others end with their connections"
        );
    });
}

/// Lost messages are logged at once, and again only if there are more.
#[test]
fn losses_are_logged_once() {
    let small = Settings {
        session_queue_bytes_max: 1_000,
        ..Settings::default()
    };
    each5_with(&small, |world| {
        let away = world.connect(&connect(Version::V5, "away").persistent().expiry(9_999));
        world.subscribe(away, "t", 1);
        world.drop_connection(away);
        let writer = world.connect(&connect(Version::V5, "writer"));
        let mut told = 0;
        for _ in 0..2 {
            for id in 1..=20 {
                let message = publish("t", "x".repeat(200)).qos(1, id);
                world.send(writer, message.bytes(Version::V5));
            }
            let mut counts = Vec::new();
            // Something happens all the time, but nothing is lost.
            for _ in 0..10 {
                world.send(writer, pingreq());
                world.advance(30_000);
                let warnings = world.log.iter();
                counts.push(warnings.filter(|(of, _)| *of == LogLevel::Warning).count());
            }
            // The first losses at once, those of the same minute together.
            let (after_a_minute, at_last) = (counts[2], counts[9]);
            assert!(
                (told + 1..=told + 2).contains(&after_a_minute),
                "{:?}",
                world.log
            );
            assert_eq!(at_last, after_a_minute, "{:?}", world.log);
            told = at_last;
        }
    });
}
