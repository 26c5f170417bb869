//! The trie of filters and the retained messages: who wants a Topic Name, and what it costs with 10,
//! 10,000 and 100,000 filters. Every answer is checked; an element is one Topic Name or one message.

mod house;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use house::{Trie, name, scattered, trie};
use mqttfast::topic::{Matches, RetainTree};
use mqttfast::wire::topic::{TopicFilter, TopicName};
use std::hint::black_box;
use std::sync::Arc;

/// Names matched in turn: more than fit in the nearest caches with what they lead to.
const NAMES: usize = 8192;
const RETAINED: usize = 20_000;
/// Matches names in turn; each must have `subscribers`.
fn matching(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    trie: &Trie,
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
        for kind in &house::KINDS {
            let trie = trie(filters, kind.filter);
            let id = |what: &str| format!("{label}-filters-{}-{what}", kind.id);
            matching(&mut group, &id("hit"), &trie, &names(kind.hit), 1);
            for (what, miss) in kind.misses {
                matching(&mut group, &id(what), &trie, &names(*miss), 0);
            }
        }
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
