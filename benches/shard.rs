//! A whole turn of a shard: bytes in, outboxes out. Throughput counts deliveries.

use mqttfast_rig::one as rig;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rig::{Rig, V311, publish};
use std::hint::black_box;

const TOPIC: &str = "house/kitchen/sensor-1/temperature";

fn one_to_one(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    for messages in [1usize, 16, 128] {
        let mut rig = Rig::new(V311);
        let subscriber = rig.client(0);
        rig.subscribe(subscriber, TOPIC, 0);
        let publisher = rig.client(1);
        let bytes = publish(V311, TOPIC, &[b'x'; 100], 0, 0).repeat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(format!("turn-1to1-{messages}-messages"), |b| {
            b.iter(|| {
                let sent = rig.turn(publisher, black_box(&bytes));
                assert_eq!(sent, bytes.len());
            });
        });
    }
    group.finish();
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let mut rig = Rig::new(V311);
    for index in 0..100 {
        let subscriber = rig.client(index);
        rig.subscribe(subscriber, "house/+/sensor-1/#", 0);
    }
    let publisher = rig.client(100);
    let bytes = publish(V311, TOPIC, &[b'x'; 100], 0, 0);
    group.throughput(Throughput::Elements(100));
    group.bench_function("turn-1to100", |b| {
        b.iter(|| {
            let sent = rig.turn(publisher, black_box(&bytes));
            assert_eq!(sent, 100 * bytes.len());
        });
    });
    group.finish();
}

fn qos_1(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let mut rig = Rig::new(V311);
    let subscriber = rig.client(0);
    rig.subscribe(subscriber, TOPIC, 1);
    let publisher = rig.client(1);
    let bytes = publish(V311, TOPIC, &[b'x'; 100], 1, 7);
    let mut id = 0u16;
    group.throughput(Throughput::Elements(1));
    group.bench_function("round-trip-qos1", |b| {
        b.iter(|| {
            let sent = rig.turn(publisher, black_box(&bytes));
            assert_eq!(sent, bytes.len() + 4);
            id = id.checked_add(1).unwrap_or(1);
            let [high, low] = id.to_be_bytes();
            assert_eq!(rig.turn(subscriber, &[0x40, 2, high, low]), 0);
        });
    });
    group.finish();
}

criterion_group!(benches, one_to_one, fan_out, qos_1);
criterion_main!(benches);
