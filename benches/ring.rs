//! The ring between two shards: one thread at both ends, then two threads that hand over in batches, as shards do
//! once a turn. Throughput is in items.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqttfast::limits::LANE_SLOTS;
use mqttfast::mesh::spsc::{Consumer, queue};
use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::{Duration, Instant};

/// As large as a message between shards, about.
type Item = [u64; 8];

fn item(number: u64) -> Item {
    [number; 8]
}

/// `ring/push-pop/N`: N items in, N items out, on one thread.
fn push_pop(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/push-pop");
    for batch in [1u64, 16, 256] {
        let (mut producer, mut consumer) = queue::<Item>(LANE_SLOTS);
        let mut next = 0;
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                for number in next..next + batch {
                    assert!(producer.push(black_box(item(number))).is_ok());
                }
                for number in next..next + batch {
                    assert_eq!(consumer.pop().map(|item| item[7]), Some(number));
                }
                next += batch;
            });
        });
    }
    group.finish();
}

/// Batches on their way before the sender waits for the first to be acknowledged.
const BATCHES_UNDER_WAY: u64 = 4;

/// Waits for an item; lets other threads run if it takes long.
fn pop_waiting<T: Send>(consumer: &mut Consumer<T>) -> T {
    let mut tries = 0;
    loop {
        if let Some(item) = consumer.pop() {
            return item;
        }
        tries += 1;
        if tries % 1024 == 0 {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

/// Sends `batches` of `batch` items to another thread, which acknowledges each batch by a ring of its own.
fn cross(batches: u64, batch: u64) -> Duration {
    let (mut producer, mut consumer) = queue::<Item>(LANE_SLOTS);
    let (mut acknowledge, mut acknowledged) = queue::<u64>(LANE_SLOTS);
    let start = Instant::now();
    let receiver = thread::spawn(move || {
        for number in 0..batches * batch {
            assert_eq!(pop_waiting(&mut consumer)[7], number);
            if (number + 1) % batch == 0 {
                assert!(acknowledge.push(number).is_ok());
            }
        }
    });
    for sent in 0..batches {
        if sent >= BATCHES_UNDER_WAY {
            pop_waiting(&mut acknowledged);
        }
        for number in sent * batch..(sent + 1) * batch {
            assert!(producer.push(item(number)).is_ok());
        }
    }
    receiver.join().expect("every item came in its order");
    start.elapsed()
}

/// `ring/two-threads/N`: batches of N items from one thread to another, both busy.
fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/two-threads");
    for batch in [1u64, 16, 128] {
        assert!(batch * BATCHES_UNDER_WAY <= LANE_SLOTS as u64);
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter_custom(|batches| cross(batches, batch));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = push_pop, two_threads
}
criterion_main!(benches);
