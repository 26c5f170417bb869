//! What one packet costs to decode and to encode. The throughput is in packets a second.

mod sensor;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqttfast::wire::{self, Packet, Publish, QoS, Version};
use sensor::{connect, delivery, encoded, publish};
use std::hint::black_box;

const PAYLOAD_BYTES: [usize; 3] = [16, 100, 4096];
const PACKET_BYTES_MAX: u32 = 64 * 1024;

fn decode_publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/decode");
    for version in [Version::V311, Version::V5] {
        for size in PAYLOAD_BYTES {
            let payload = vec![b'x'; size];
            let bytes = encoded(
                &Packet::Publish(publish(QoS::AtLeastOnce, &payload)),
                version,
            );
            group.throughput(Throughput::Elements(1));
            let id = id("publish", version, size);
            group.bench_function(id, |b| {
                b.iter(|| {
                    let frame = wire::next_frame(black_box(&bytes), PACKET_BYTES_MAX);
                    let frame = frame.expect("well-formed").expect("complete");
                    let publish = Publish::decode(version, &frame).expect("well-formed");
                    assert_eq!(publish.payload.len(), size);
                    black_box(publish.topic)
                });
            });
        }
    }
    group.finish();
}

fn decode_connect(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/decode");
    for version in [Version::V311, Version::V5] {
        for size in PAYLOAD_BYTES {
            let payload = vec![b'x'; size];
            let packet = Packet::Connect(connect(version, &payload));
            let bytes = encoded(&packet, version);
            group.throughput(Throughput::Elements(1));
            group.bench_function(id("connect", version, size), |b| {
                b.iter(|| {
                    let frame = wire::next_frame(black_box(&bytes), PACKET_BYTES_MAX);
                    let frame = frame.expect("well-formed").expect("complete");
                    let decoded = wire::decode(None, &frame).expect("well-formed");
                    assert!(matches!(decoded, Packet::Connect(found) if found.version == version));
                    decoded
                });
            });
        }
    }
    group.finish();
}

/// The head as the broker writes it, and the payload copied behind it.
fn encode_publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/encode");
    for version in [Version::V311, Version::V5] {
        for size in PAYLOAD_BYTES {
            let payload = vec![b'x'; size];
            let delivery = delivery(QoS::AtLeastOnce, size);
            let expected = encoded(
                &Packet::Publish(publish(QoS::AtLeastOnce, &payload)),
                version,
            );
            let mut out = Vec::with_capacity(2 * expected.len());
            group.throughput(Throughput::Elements(1));
            group.bench_function(id("publish", version, size), |b| {
                b.iter(|| {
                    out.clear();
                    black_box(&delivery).append_head(version, &mut out);
                    out.extend_from_slice(black_box(&payload));
                    assert_eq!(out.len(), expected.len());
                });
            });
            assert_eq!(out, expected);
        }
    }
    group.finish();
}

fn encode_connect(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/encode");
    for version in [Version::V311, Version::V5] {
        for size in PAYLOAD_BYTES {
            let payload = vec![b'x'; size];
            let packet = Packet::Connect(connect(version, &payload));
            let expected = encoded(&packet, version);
            let mut out = Vec::with_capacity(2 * expected.len());
            group.throughput(Throughput::Elements(1));
            group.bench_function(id("connect", version, size), |b| {
                b.iter(|| {
                    out.clear();
                    wire::encode(black_box(&packet), version, &mut out);
                    assert_eq!(out.len(), expected.len());
                });
            });
            let frame = wire::next_frame(&out, PACKET_BYTES_MAX).expect("well-formed");
            let frame = frame.expect("complete");
            assert_eq!(wire::decode(None, &frame), Ok(packet));
        }
    }
    group.finish();
}

/// `publish-100` is of version 3.1.1, `publish-5-100` of version 5.
fn id(packet: &str, version: Version, size: usize) -> BenchmarkId {
    match version {
        Version::V5 => BenchmarkId::from_parameter(format!("{packet}-5-{size}")),
        _ => BenchmarkId::from_parameter(format!("{packet}-{size}")),
    }
}

criterion_group!(
    benches,
    decode_publish,
    decode_connect,
    encode_publish,
    encode_connect
);
criterion_main!(benches);
