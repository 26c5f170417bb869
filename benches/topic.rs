//! The trie of filters and the retained messages: who wants a Topic Name, and what it costs with 10,
//! 10,000 and 100,000 filters. Every answer is checked; an element is one Topic Name or one message.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mqttfast::topic::{FilterTrie, Matches, RetainTree};
use mqttfast::wire::topic::{TopicFilter, TopicName};
use std::hint::black_box;
use std::sync::Arc;

/// Names matched in turn: more than fit in the nearest caches with what they lead to.
const NAMES: usize = 8192;
const RETAINED: usize = 20_000;
const KINDS: [&str; 10] = [
    "temperature",
    "humidity",
    "pressure",
    "light",
    "motion",
    "door",
    "window",
    "power",
    "co2",
    "battery",
];

/// A name of the house: `house/12/room-5/temperature`.
fn name(i: usize) -> String {
    format!("house/{}/room-{}/{}", i / 100, i / 10 % 10, KINDS[i % 10])
}

/// The `i`th of many in scattered order.
fn scattered(i: usize, below: usize) -> usize {
    (i as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(32) as usize
        % below
}

fn trie(filters: usize, filter: fn(usize) -> String) -> FilterTrie<(u32, u32), (u8, u32)> {
    let mut trie = FilterTrie::new();
    for i in 0..filters {
        let text = filter(i);
        trie.subscribe(
            TopicFilter::new(&text).expect("valid"),
            (i as u32, 0),
            (0, 0),
        );
    }
    assert_eq!(trie.subscriptions(), filters);
    trie
}

/// Matches names in turn; each must have `subscribers`.
fn matching(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    trie: &FilterTrie<(u32, u32), (u8, u32)>,
    names: &[String],
    subscribers: usize,
) {
    let names: Vec<_> = names
        .iter()
        .map(|name| TopicName::new(name).expect("valid"))
        .collect();
    let mut found = Matches::new();
    for &name in &names {
        trie.matches(name, &mut found);
        assert_eq!(
            (found.local.len(), found.shards),
            (subscribers, 0),
            "{}",
            name.as_str()
        );
    }
    let mut turn = names.iter().cycle();
    group.throughput(Throughput::Elements(1));
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let name = *turn.next().expect("endless");
            trie.matches(black_box(name), &mut found);
            assert_eq!(found.local.len(), subscribers);
        });
    });
}

fn matches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/match");
    for (label, filters) in [("10", 10), ("10k", 10_000), ("100k", 100_000)] {
        let names = |make: fn(usize) -> String| -> Vec<String> {
            (0..NAMES).map(|i| make(scattered(i, filters))).collect()
        };
        let hits = names(name);
        let misses = names(|i| format!("house/{}/room-{}/{}", i / 100, i / 10 % 10, "unknown"));
        let strangers = names(|i| format!("garden/{}/room-{}/temperature", i / 100, i % 10));

        let exact = trie(filters, name);
        matching(
            &mut group,
            &format!("{label}-filters-exact-hit"),
            &exact,
            &hits,
            1,
        );
        matching(
            &mut group,
            &format!("{label}-filters-exact-miss-last-level"),
            &exact,
            &misses,
            0,
        );
        matching(
            &mut group,
            &format!("{label}-filters-exact-miss-first-level"),
            &exact,
            &strangers,
            0,
        );

        // A tenth of the filters with `+` for the room of all houses: each name has its own and nine more do not fit.
        let plus = trie(filters, |i| {
            format!("house/{}/+/{}-{}", i / 100, KINDS[i % 10], i / 10 % 10)
        });
        let rooms =
            names(|i| format!("house/{}/room-7/{}-{}", i / 100, KINDS[i % 10], i / 10 % 10));
        matching(
            &mut group,
            &format!("{label}-filters-plus-hit"),
            &plus,
            &rooms,
            1,
        );
        matching(
            &mut group,
            &format!("{label}-filters-plus-miss"),
            &plus,
            &hits,
            0,
        );

        let hash = trie(filters, |i| format!("house/{i}/#"));
        let below = names(|i| format!("house/{i}/room-5/temperature"));
        let beside = names(|i| format!("house/x{i}/room-5/temperature"));
        matching(
            &mut group,
            &format!("{label}-filters-hash-hit"),
            &hash,
            &below,
            1,
        );
        matching(
            &mut group,
            &format!("{label}-filters-hash-miss"),
            &hash,
            &beside,
            0,
        );
    }

    // 100,000 filters of which one name meets an exact one, two with `+` and two with `#`.
    let mut mixed = trie(100_000, name);
    for text in ["house/+/+/+", "+/+/+/+", "#", "house/#"] {
        mixed.subscribe(
            TopicFilter::new(text).expect("valid"),
            (u32::MAX, 0),
            (0, 0),
        );
    }
    let hits: Vec<_> = (0..NAMES).map(|i| name(scattered(i, 100_000))).collect();
    matching(&mut group, "100k-filters-mixed-5-hits", &mixed, &hits, 5);

    // What an attacker would send: 200 levels of `+` against 200 levels.
    let deep = trie(1, |_| vec!["+"; 200].join("/"));
    matching(
        &mut group,
        "200-levels-of-plus",
        &deep,
        &[vec!["a"; 200].join("/")],
        1,
    );
    group.finish();
}

fn subscriptions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/subscribe");
    group.throughput(Throughput::Elements(1));
    let mut trie = trie(100_000, name);
    let mut i = 100_000;
    group.bench_function("100k-filters-add-and-take-away", |bencher| {
        bencher.iter(|| {
            i += 1;
            let text = name(100_000 + i % 100_000);
            let done = trie.subscribe(TopicFilter::new(&text).expect("valid"), (7, 0), (0, 0));
            assert!(done.first && trie.unsubscribe_node(done.node, (7, 0)).is_some());
        });
    });
    group.finish();
}

fn retained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/retained");
    let names: Vec<_> = (0..RETAINED).map(name).collect();
    let names: Vec<_> = names
        .iter()
        .map(|name| TopicName::new(name).expect("valid"))
        .collect();
    let mut tree = RetainTree::<Arc<[u8]>>::new();
    for &name in &names {
        tree.set(name, Arc::from([7; 64]));
    }
    let payload: Arc<[u8]> = Arc::from([8; 64]);

    let mut i = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("20k-messages-get", |bencher| {
        bencher.iter(|| {
            i += 1;
            let name = names[scattered(i, RETAINED)].as_str();
            assert!(tree.get(black_box(name)).is_some());
        });
    });
    group.bench_function("20k-messages-set", |bencher| {
        bencher.iter(|| {
            i += 1;
            let name = names[scattered(i, RETAINED)];
            assert!(tree.set(black_box(name), payload.clone()).is_some());
        });
    });
    for (id, filter, found) in [
        ("20k-messages-replay-hash", "#", RETAINED),
        (
            "20k-messages-replay-plus",
            "house/+/room-5/+",
            RETAINED / 10,
        ),
        ("20k-messages-replay-one", "house/12/room-5/temperature", 1),
    ] {
        group.throughput(Throughput::Elements(found as u64));
        let mut topic = String::new();
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let filter = TopicFilter::new(black_box(filter)).expect("valid");
                let mut cursor = RetainTree::<Arc<[u8]>>::cursor(filter);
                let (mut count, mut bytes) = (0, 0);
                loop {
                    topic.clear();
                    let Some(payload) = tree.next(&mut cursor, &mut topic) else {
                        break;
                    };
                    count += 1;
                    bytes += topic.len() + payload.len();
                }
                assert_eq!(count, found);
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, matches, subscriptions, retained);
criterion_main!(benches);
