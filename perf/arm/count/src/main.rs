//! `mqttfast-count STEP TIMES`: does one step of the broker that many times, and checks each answer.
//!
//! What a step costs is the difference between a run of 2n times and one of n, divided by n: start, setting up and
//! ending are in both and cancel out. No thread, clock or socket is used, so every run executes the same instructions.

#[path = "../../../../tests/rig/src/one.rs"]
mod rig;

use mqttfast::topic::{FilterTrie, Matches};
use mqttfast::wire::{self, Publish, TopicFilter, TopicName, Version};
use rig::{Rig, V5, V311, publish};
use std::hint::black_box;
use std::process::ExitCode;

const TOPIC: &str = "house/kitchen/sensor-1/temperature";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const PACKET_BYTES_MAX: u32 = 64 * 1024;
const FILTERS: usize = 10_000;
/// Messages that one read brings, where they batch: about 16 KiB, the size of a receive buffer.
const BATCH: usize = 128;

/// Frame and PUBLISH of one packet, no more.
fn decode(level: u8, version: Version, times: usize) {
    let bytes = publish(level, TOPIC, &PAYLOAD, 0, 0);
    for _ in 0..times {
        let frame = wire::next_frame(black_box(&bytes), PACKET_BYTES_MAX);
        let frame = frame.expect("well-formed").expect("complete");
        let publish = Publish::decode(version, &frame).expect("well-formed");
        assert_eq!(publish.payload.len(), PAYLOAD.len());
        black_box(publish.topic);
    }
}

/// Who of 10,000 filters of four levels wants a topic: one of them. Names go round in scattered order.
fn matched(times: usize) {
    let name = |i: usize| format!("house/{}/room-{}/sensor-{}", i / 100, i / 10 % 10, i % 10);
    let names: Vec<String> = (0..FILTERS).map(name).collect();
    let mut trie: FilterTrie<(u32, u32), (u8, u32)> = FilterTrie::new();
    for (i, name) in names.iter().enumerate() {
        let filter = TopicFilter::new(name).expect("valid");
        trie.subscribe(filter, (i as u32, 0), (0, 0));
    }
    let mut found = Matches::new();
    for i in 0..times {
        // 7,919 is prime to the number of names, so all have their turn.
        let name = TopicName::new(&names[i * 7919 % FILTERS]).expect("valid");
        trie.matches(black_box(name), &mut found);
        assert_eq!(found.local.len(), 1);
    }
}

/// A publisher and a subscriber of one shard; a turn brings `batch` messages. Counted in messages.
fn one_to_one(batch: usize, times: usize) {
    let mut rig = Rig::new(V311);
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 0);
    let publisher = rig.client(1);
    let bytes = publish(V311, TOPIC, &PAYLOAD, 0, 0).repeat(batch);
    for _ in 0..times / batch {
        assert_eq!(rig.turn(publisher, black_box(&bytes)), bytes.len());
    }
}

/// A turn brings `batch` messages for each of `subscribers`. Counted in messages.
fn fan_out(subscribers: u32, batch: usize, times: usize) {
    let mut rig = Rig::new(V311);
    for index in 0..subscribers {
        let subscriber = rig.client(index);
        rig.subscribe(subscriber, TOPIC, 0);
    }
    let publisher = rig.client(subscribers);
    let bytes = publish(V311, TOPIC, &PAYLOAD, 0, 0).repeat(batch);
    for _ in 0..times / batch {
        let sent = rig.turn(publisher, black_box(&bytes));
        assert_eq!(sent, subscribers as usize * bytes.len());
    }
}

/// PUBLISH with QoS 1, its PUBACK, the delivery and the subscriber's PUBACK, two turns; `batch` messages at once.
fn round_trip(batch: u16, times: usize) {
    let mut rig = Rig::new(V311);
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 1);
    let publisher = rig.client(1);
    let mut bytes = Vec::new();
    for id in 1..=batch {
        bytes.extend(publish(V311, TOPIC, &PAYLOAD, 1, id));
    }
    let mut id = 0u16;
    let mut acknowledgements = Vec::new();
    for _ in 0..times / usize::from(batch) {
        let sent = rig.turn(publisher, black_box(&bytes));
        assert_eq!(sent, bytes.len() + 4 * usize::from(batch));
        acknowledgements.clear();
        for _ in 0..batch {
            id = id.checked_add(1).unwrap_or(1);
            let [high, low] = id.to_be_bytes();
            acknowledgements.extend([0x40, 2, high, low]);
        }
        assert_eq!(rig.turn(subscriber, black_box(&acknowledgements)), 0);
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let [_, step, times] = words.as_slice() else {
        eprintln!("usage: mqttfast-count STEP TIMES");
        return ExitCode::FAILURE;
    };
    let Ok(times) = times.parse() else {
        eprintln!("mqttfast-count: {times} is no number");
        return ExitCode::FAILURE;
    };
    match step.as_str() {
        "decode" => decode(V311, Version::V311, times),
        "decode-v5" => decode(V5, Version::V5, times),
        "match" => matched(times),
        "qos0" => one_to_one(1, times),
        "qos0-batched" => one_to_one(BATCH, times),
        "fanout-1" => fan_out(1, 16, times),
        "fanout-101" => fan_out(101, 16, times),
        "fanout-alone-1" => fan_out(1, 1, times),
        "fanout-alone-101" => fan_out(101, 1, times),
        "qos1" => round_trip(1, times),
        "qos1-batched" => round_trip(16, times),
        other => {
            eprintln!("mqttfast-count: no step \"{other}\"");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
