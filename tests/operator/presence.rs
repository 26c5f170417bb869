//! Presence: a topic below `$SYS` says of each Session whether its Client is connected.

use crate::support::*;
use mqttfast::broker::{Found, Survey};
use mqttfast::config::Settings;

const BOTH: &[Version] = &[Version::V311, Version::V5];

fn settings(presence: bool) -> Settings {
    Settings {
        presence,
        ..Settings::default()
    }
}

/// Topic, payload and RETAIN of what the watcher has heard since it was asked last; without the watcher's own.
fn heard(world: &mut World, watcher: Client) -> Vec<(String, String, bool)> {
    world.settle();
    let messages = world.messages(watcher).into_iter();
    let short = |topic: &str| topic.trim_start_matches("$SYS/broker/clients/").to_owned();
    messages
        .map(|m| {
            (
                short(&m.topic),
                String::from_utf8(m.payload).expect("text"),
                m.retain,
            )
        })
        .filter(|(topic, _, _)| topic != "watcher/state")
        .collect()
}

fn entry(client: &str, state: &str, retain: bool) -> (String, String, bool) {
    (format!("{client}/state"), state.to_owned(), retain)
}

/// Retained messages of a shard, which all have, and bytes in the account books of all shards.
fn held(world: &mut World) -> (usize, u64) {
    let (mut retained, mut bytes) = (0, 0);
    for shard in 0..world.shards() {
        let Found::Sums(sums) = world.ask(shard, Survey::sums()).found else {
            panic!("no sums");
        };
        retained = sums.retained;
        bytes += sums.held_bytes;
    }
    (retained, bytes)
}

#[test]
fn it_follows_the_connection_and_ends_with_the_session() {
    each_with(BOTH, &settings(true), |world, version| {
        let early = world.connect(&connect(version, "a/b+%#").persistent());
        let watcher = world.connect(&connect(version, "watcher"));
        world.subscribe(watcher, "$SYS/broker/clients/+/state", 1);
        assert_eq!(
            heard(world, watcher),
            [entry("a%2Fb%2B%25%23", "online", true)]
        );
        world.drop_connection(early);
        assert_eq!(
            heard(world, watcher),
            [entry("a%2Fb%2B%25%23", "offline", false)]
        );
        // A takeover is no end.
        let first = world.connect(&connect(version, "a/b+%#").persistent());
        let second = world.connect(&connect(version, "a/b+%#").persistent());
        assert!(world.is_over(first));
        assert_eq!(
            heard(world, watcher),
            [
                entry("a%2Fb%2B%25%23", "online", false),
                entry("a%2Fb%2B%25%23", "online", false)
            ]
        );
        world.disconnect(second);
        heard(world, watcher);
        // Who comes later finds how it is.
        let late = world.connect(&connect(version, "late"));
        world.subscribe(late, "$SYS/broker/clients/a%2Fb%2B%25%23/state", 1);
        assert_eq!(
            heard(world, late),
            [entry("a%2Fb%2B%25%23", "offline", true)]
        );
        world.disconnect(late);
        heard(world, watcher);
        // The Session ends with its connection: `offline` is told, and nothing stays.
        let brief = world.connect(&connect(version, "brief"));
        assert_eq!(heard(world, watcher), [entry("brief", "online", false)]);
        world.disconnect(brief);
        assert_eq!(
            heard(world, watcher),
            [entry("brief", "offline", false), entry("brief", "", false)]
        );
        let clean = world.connect(&connect(version, "a/b+%#"));
        world.disconnect(clean);
        world.disconnect(watcher);
        assert_eq!(held(world).0, 0);
    });
}

/// A topic is booked like all else that a Session makes the broker hold, and a name that no topic can hold has none.
#[test]
fn it_is_bounded_by_the_account_book() {
    each_with(BOTH, &settings(true), |world, version| {
        let name = "n".repeat(1_000);
        let client = world.connect(&connect(version, &name).persistent());
        let (retained, with) = held(world);
        assert_eq!(retained, 1);
        world.drop_connection(client);
        let clean = world.connect(&connect(version, &name));
        world.disconnect(clean);
        // With several shards a mark stays for a while.
        world.advance(60_000);
        let (retained, without) = held(world);
        assert_eq!(retained, 0);
        let topic = 2 * 1_000 + mqttfast::limits::RETAINED_BYTES as u64;
        assert!(with > without + topic, "{with} with it, {without} without");
        let long = "/".repeat(30_000);
        let client = world.connect(&connect(version, &long));
        assert_eq!(held(world).0, 0);
        world.disconnect(client);
    });
}

#[test]
fn without_the_setting_there_is_none() {
    each_with(BOTH, &settings(false), |world, version| {
        let watcher = world.connect(&connect(version, "watcher"));
        world.subscribe(watcher, "$SYS/#", 1);
        let client = world.connect(&connect(version, "a").persistent());
        world.drop_connection(client);
        assert_eq!(heard(world, watcher), []);
        assert_eq!(held(world).0, 0);
    });
}
