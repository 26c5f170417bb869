//! `$SYS`: by the names and in the formats of Mosquitto.

use crate::{OPEN, anonymous};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::packet::Connect;
use mqttfast_rig::process::{Answer, Broker, Client, DEADLINE, reference};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

on_1_and_2_shards!(
    values_are_published_by_mosquittos_names,
    values_are_true,
    nobody_publishes_there
);

const INTERVAL: &str = "sys_interval 1\n";

/// Below `$SYS/broker/`: what Mosquitto 2.0.11 publishes.
const COMMON: &str = "version uptime clients/total clients/maximum clients/connected clients/active \
    clients/disconnected clients/inactive clients/expired messages/received messages/sent messages/stored \
    store/messages/count store/messages/bytes publish/messages/received publish/messages/sent \
    publish/messages/dropped publish/bytes/received publish/bytes/sent bytes/received bytes/sent \
    subscriptions/count shared_subscriptions/count heap/current heap/maximum";
/// What 2.1 has beside these.
const NEW: &str = "connections/socket/count packet/out/count packet/out/bytes";
const LOADS: &str = "messages/received messages/sent publish/received publish/sent publish/dropped bytes/received \
    bytes/sent sockets connections";

fn configured(shards: usize, lines: &str) -> Broker {
    Broker::configured(shards, &format!("{OPEN}{lines}"))
}

/// Hears values until `enough` says so.
fn hear(
    client: &mut Client,
    enough: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let start = Instant::now();
    while !enough(&values) {
        assert!(start.elapsed() < DEADLINE, "{values:#?}");
        let heard = client.receive();
        let text = String::from_utf8(heard.payload).expect("text");
        values.insert(heard.topic, text);
    }
    values
}

fn subscribed(broker: &Broker, filter: &str) -> Client {
    let mut client = Client::connect(broker, "watcher");
    client.subscribe(filter, 0);
    client
}

fn values_are_published_by_mosquittos_names(shards: usize) {
    let broker = configured(shards, INTERVAL);
    let mut watcher = subscribed(&broker, "$SYS/#");
    let mut wanted: Vec<String> = COMMON
        .split_whitespace()
        .map(|n| format!("$SYS/broker/{n}"))
        .collect();
    wanted.push("$SYS/broker/retained messages/count".to_owned());
    for load in LOADS.split_whitespace() {
        for minutes in [1, 5, 15] {
            wanted.push(format!("$SYS/broker/load/{load}/{minutes}min"));
        }
    }
    if !reference() {
        let new = NEW.split_whitespace();
        wanted.extend(new.map(|name| format!("$SYS/broker/{name}")));
    }
    if reference() {
        // These come when there is a first value other than 0.
        wanted.retain(|topic| {
            !topic.contains("dropped") && !topic.ends_with("expired") && !topic.ends_with("maximum")
        });
        wanted.retain(|topic| {
            !topic.contains("load/publish/received") && !topic.contains("publish/bytes")
        });
        wanted.retain(|topic| !topic.contains("publish/messages/received"));
        wanted.retain(|topic| !topic.contains("/load/"));
    }
    let values = hear(&mut watcher, |values| {
        wanted.iter().all(|topic| values.contains_key(topic))
    });
    for (topic, text) in &values {
        let name = topic.strip_prefix("$SYS/broker/").expect("below it");
        let fits = match name {
            "version" => text.contains(" version ") && text.chars().any(|c| c.is_ascii_digit()),
            "uptime" => text
                .strip_suffix(" seconds")
                .is_some_and(|n| n.parse::<u64>().is_ok()),
            _ if name.starts_with("load/") => {
                let (whole, part) = text.split_once('.').unwrap_or(("", ""));
                whole.parse::<u64>().is_ok() && part.len() == 2
            }
            _ => text.parse::<u64>().is_ok(),
        };
        assert!(fits, "{topic}: {text}");
    }
    if !reference() {
        assert!(values["$SYS/broker/version"].starts_with("mqttfast version "));
        assert_eq!(values["$SYS/broker/mqttfast/shards"], shards.to_string());
    }
}

fn values_are_true(shards: usize) {
    let broker = configured(shards, INTERVAL);
    let away = Connect {
        clean_session: false,
        ..anonymous("away")
    };
    let (mut sleeper, _) = Client::connect_with(&broker, &away);
    sleeper.subscribe("a/b", 1);
    sleeper.disconnect();
    let mut mouth = Client::connect(&broker, "mouth");
    for _ in 0..7 {
        mouth.publish("x", b"12345", 1, false);
    }
    let mut watcher = subscribed(&broker, "$SYS/broker/+/#");
    let is = |values: &BTreeMap<String, String>, name: &str, value: &str| {
        values
            .get(&format!("$SYS/broker/{name}"))
            .is_some_and(|found| found == value)
    };
    hear(&mut watcher, |values| {
        is(values, "clients/total", "3")
            && is(values, "clients/connected", "2")
            && is(values, "clients/disconnected", "1")
            && is(values, "publish/messages/received", "7")
            && is(values, "publish/bytes/received", "35")
            && is(values, "subscriptions/count", "2")
    });
    // Unchanged values are retained for the next who asks.
    let mut second = Client::connect(&broker, "second");
    second.subscribe("$SYS/broker/version", 0);
    assert!(second.receive().retain);
}

/// Messages of Clients below `$SYS` are dropped; `#` does not hear what is there.
fn nobody_publishes_there(shards: usize) {
    let broker = configured(shards, INTERVAL);
    let mut all = Client::connect(&broker, "all");
    all.subscribe("#", 0);
    let mut watcher = subscribed(&broker, "$SYS/broker/uptime");
    let mut mouth = Client::connect(&broker, "mouth");
    mouth.publish("$SYS/broker/uptime", b"never", 1, true);
    assert_ne!(watcher.receive().payload, b"never");
    all.expect_silence(Duration::from_millis(1200));
}

#[test]
fn without_an_interval_there_are_no_values() {
    let broker = configured(1, "sys_interval 0\n");
    let mut watcher = subscribed(&broker, "$SYS/broker/uptime");
    watcher.expect_silence(Duration::from_millis(1500));
}

/// Nobody wants them any more: they are withdrawn, nothing wakes the broker, and who comes later hears fresh ones.
#[test]
fn values_are_there_only_while_somebody_wants_them() {
    if reference() {
        return;
    }
    let broker = configured(1, INTERVAL);
    let mut watcher = subscribed(&broker, "$SYS/broker/uptime");
    watcher.receive();
    watcher.disconnect();
    let mut ear = Client::connect(&broker, "ear");
    std::thread::sleep(Duration::from_millis(2200));
    let before = broker.cpu();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(broker.cpu() - before <= Duration::from_millis(10));
    ear.subscribe("$SYS/broker/uptime", 1);
    let Answer::Packet(first) = ear.answer(DEADLINE) else {
        panic!("no value");
    };
    // Published after the SUBSCRIBE, not kept from before.
    assert_eq!(first[0] & 1, 0, "{first:?}");
}
