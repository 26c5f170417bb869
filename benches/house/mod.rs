//! Filters and names of many houses, for the benches of matching: what is subscribed, and what meets it or does not.

use mqttfast::topic::FilterTrie;
use mqttfast::wire::topic::TopicFilter;

pub type Trie = FilterTrie<(u32, u32), (u8, u32)>;

const SENSORS: [&str; 10] = [
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

/// What a case is called, and the filter or name of its `i`th filter.
type Named = (&'static str, fn(usize) -> String);

/// One kind of filters. Each function makes the filter or name that belongs to the `i`th filter.
pub struct Kind {
    pub id: &'static str,
    pub filter: fn(usize) -> String,
    /// Met by the `i`th filter alone.
    pub hit: fn(usize) -> String,
    /// Met by none.
    pub misses: &'static [Named],
}

pub const KINDS: [Kind; 3] = [
    Kind {
        id: "exact",
        filter: name,
        hit: name,
        misses: &[
            ("miss-last-level", |i| {
                format!("house/{}/room-{}/unknown", i / 100, i / 10 % 10)
            }),
            ("miss-first-level", |i| {
                format!("garden/{}/room-{}/temperature", i / 100, i % 10)
            }),
        ],
    },
    Kind {
        // `+` for the room of each house: beside its own, nine filters do not fit in the last level.
        id: "plus",
        filter: |i| format!("house/{}/+/{}-{}", i / 100, SENSORS[i % 10], i / 10 % 10),
        hit: |i| {
            format!(
                "house/{}/room-7/{}-{}",
                i / 100,
                SENSORS[i % 10],
                i / 10 % 10
            )
        },
        misses: &[("miss", name)],
    },
    Kind {
        id: "hash",
        filter: |i| format!("house/{i}/#"),
        hit: |i| format!("house/{i}/room-5/temperature"),
        misses: &[("miss", |i| format!("house/x{i}/room-5/temperature"))],
    },
];

/// A name of the house: `house/12/room-5/temperature`.
pub fn name(i: usize) -> String {
    let sensor = SENSORS[i % 10];
    format!("house/{}/room-{}/{sensor}", i / 100, i / 10 % 10)
}

/// The `i`th of many in scattered order.
pub fn scattered(i: usize, below: usize) -> usize {
    (i as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(32) as usize
        % below
}

pub fn trie(filters: usize, filter: fn(usize) -> String) -> Trie {
    let mut trie = FilterTrie::new();
    for i in 0..filters {
        let text = filter(i);
        let valid = TopicFilter::new(&text).expect("valid");
        trie.subscribe(valid, (i as u32, 0), (0, 0));
    }
    assert_eq!(trie.subscriptions(), filters);
    trie
}
