//! `$SYS`: by the names and in the formats of Mosquitto.

use crate::{OPEN, anonymous};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::packet::Connect;
use mqttfast_rig::process::{Answer, Broker, Client, DEADLINE, Options, reference};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

on_1_and_2_shards!(
    values_are_published_by_mosquittos_names,
    values_are_true,
    nobody_publishes_there,
    home_assistant_finds_a_device_and_its_state,
    presence_is_told_where_it_is_asked_for,
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

fn home_assistant_finds_a_device_and_its_state(shards: usize) {
    if reference() {
        return;
    }
    let lines = format!("{INTERVAL}home_assistant true\n");
    let broker = configured(shards, &lines);
    let mut watcher = subscribed(&broker, "homeassistant/#");
    let described = watcher.receive();
    assert_eq!(described.topic, "homeassistant/device/mqttfast/config");
    assert!(described.retain);
    let said: serde_json::Value = serde_json::from_slice(&described.payload).expect("JSON");
    let topic = said["state_topic"].as_str().expect("a topic").to_owned();
    assert_eq!(topic, "$SYS/broker/mqttfast/health");
    let components = said["cmps"].as_object().expect("entities");
    let mut others = Client::connect(&broker, "other");
    watcher.subscribe(&topic, 0);
    others.publish("a", b"1", 1, true);
    // Nothing but the state is asked for, and it comes again and again, as Home Assistant would hear it.
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < DEADLINE);
        let heard = watcher.receive();
        assert_eq!(heard.topic, topic);
        let state: serde_json::Value = serde_json::from_slice(&heard.payload).expect("JSON");
        let state = state.as_object().expect("an object");
        assert_eq!(state.len(), components.len());
        let clients = state["clients"].as_u64();
        if clients == Some(2) && state["received_per_s"].as_f64() > Some(0.0) {
            assert!(state["memory_bytes"].as_u64() > Some(100_000), "{state:?}");
            assert_eq!(state["store"], "none");
            break;
        }
    }
    // Switched off by a reload, it is gone.
    broker.rewrite(&format!("{OPEN}{INTERVAL}"));
    broker.signal(nix::sys::signal::Signal::SIGHUP);
    let gone = loop {
        let heard = watcher.receive();
        if heard.topic != topic {
            break heard;
        }
    };
    assert_eq!(
        (&*gone.topic, &*gone.payload),
        (&*described.topic, &b""[..])
    );
    let mut later = Client::connect(&broker, "later");
    later.subscribe("homeassistant/#", 0);
    later.expect_silence(Duration::from_millis(300));
}

/// By the file and by the command line.
fn presence_is_told_where_it_is_asked_for(shards: usize) {
    if reference() {
        return;
    }
    let by_flag = Broker::start_with(Options {
        shards,
        arguments: vec!["--presence".to_owned()],
        ..Options::default()
    });
    for broker in [configured(shards, "presence true\n"), by_flag] {
        let mut watcher = subscribed(&broker, "$SYS/broker/clients/lamp/state");
        let lamp = Client::connect(&broker, "lamp");
        for wanted in [&b"online"[..], b"offline", b""] {
            let heard = watcher.receive();
            assert_eq!(heard.topic, "$SYS/broker/clients/lamp/state");
            assert_eq!(heard.payload, wanted);
            if wanted == b"online" {
                lamp.half_close();
            }
        }
    }
}
