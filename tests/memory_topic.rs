//! What a subscription and a retained message cost in heap, and that it all goes back. An allocator counts
//! what glibc's takes for each block: the bytes asked for and 8 of header, in steps of 16, 32 at least.

use mqttfast::topic::{FilterTrie, RetainTree};
use mqttfast::wire::topic::{TopicFilter, TopicName};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

const FILTERS: usize = 100_000;
const RETAINED: usize = 100_000;
/// `docs/performance.md`, "Memory of topics".
const FILTER_BYTES_MAX: usize = 150;
const RETAINED_BYTES_MAX: usize = 300;
const PAYLOAD: [u8; 64] = [7; 64];

thread_local! {
    /// Bytes that this test thread holds; each test has a thread of its own.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: usize, sign: isize) {
    let block = (bytes + 8).next_multiple_of(16).max(32);
    // Not there any more while a thread ends: then nobody asks.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * block as isize));
}

// SAFETY: every call goes to `System` as it came; counting touches no memory of the caller's and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: `block` came from `System` with this layout, since `alloc` and `realloc` pass everything on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(bytes, 1);
        // SAFETY: as for `dealloc`; `bytes` is the caller's promise.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> isize {
    HELD.get()
}

/// Ten rooms a house, ten sensors a room, of ten kinds.
fn by_kind(i: usize) -> String {
    let kinds = [
        "temperature",
        "humidity",
        "pressure",
        "light",
        "motion",
        "door",
        "window",
        "power",
    ];
    let kind = match i % 10 {
        kind @ 0..8 => kinds[kind].to_owned(),
        other => format!("switch-{other}"),
    };
    format!("house/{}/room-{}/{kind}", i / 100, i / 10 % 10)
}

/// The same with a name of its own for each sensor.
fn by_name(i: usize) -> String {
    format!("house/{}/room-{}/sensor-{i}", i / 100, i / 10 % 10)
}

/// What differs comes first, so no two share a node: three nodes a filter.
fn by_device(i: usize) -> String {
    format!("device-{i}/status/battery/level")
}

fn each_filter_costs_at_most(name: &str, bytes_max: usize, topic: fn(usize) -> String) {
    let base = held();
    // As `broker` has them: a SessionId, and options with a Subscription Identifier.
    let mut trie = FilterTrie::<(u32, u32), (u8, u32)>::new();
    let mut nodes = Vec::new();
    for i in 0..FILTERS {
        let topic = topic(i);
        let filter = TopicFilter::new(&topic).expect("valid");
        let done = trie.subscribe(filter, (i as u32, 0), (0, 0));
        if i % 2 == 0 {
            nodes.push((done.node, i as u32));
        }
    }
    assert_eq!(trie.subscriptions(), FILTERS);
    let full = held() - base - block_bytes(nodes.capacity() * size_of_val(&nodes[0]));
    let each = full as usize / FILTERS;
    assert!(each <= bytes_max, "{each} B a filter, {name}");

    for (node, subscriber) in nodes {
        assert!(trie.unsubscribe_node(node, (subscriber, 0)).is_some());
    }
    for i in (0..FILTERS).skip(1).step_by(2) {
        assert!(trie.unsubscribe(&topic(i), (i as u32, 0)).is_some());
    }
    trie.check_invariants();
    let left = held() - base;
    assert!(left <= 8 * 1024, "{left} B are left of {full}");
    drop(trie);
    assert_eq!(held(), base);
    // Last, because what a test prints is held too.
    println!("{each} B of heap a filter, {name}");
}

fn each_retained_message_costs_at_most(name: &str, bytes_max: usize, topic: fn(usize) -> String) {
    let base = held();
    let mut tree = RetainTree::<Arc<[u8]>>::new();
    for i in 0..RETAINED {
        let topic = topic(i);
        tree.set(TopicName::new(&topic).expect("valid"), Arc::from(PAYLOAD));
    }
    assert_eq!(tree.len(), RETAINED);
    let each = (held() - base) as usize / RETAINED;
    assert!(each <= bytes_max, "{each} B a retained message, {name}");

    for i in 0..RETAINED {
        assert!(tree.remove(&topic(i)).is_some());
    }
    tree.check_invariants();
    let left = held() - base;
    assert!(left <= 8 * 1024, "{left} B are left");
    drop(tree);
    assert_eq!(held(), base);
    println!("{each} B of heap a retained message of 64 B, {name}");
}

fn block_bytes(bytes: usize) -> isize {
    (bytes + 8).next_multiple_of(16).max(32) as isize
}

#[test]
fn a_filter_of_four_levels_costs_at_most_150_bytes() {
    each_filter_costs_at_most("ten kinds of sensors", FILTER_BYTES_MAX, by_kind);
    each_filter_costs_at_most("each sensor with a name", FILTER_BYTES_MAX, by_name);
}

#[test]
fn a_filter_that_shares_no_node_costs_at_most_twice_that() {
    each_filter_costs_at_most("the device first", 2 * FILTER_BYTES_MAX, by_device);
}

#[test]
fn a_retained_message_costs_at_most_300_bytes() {
    each_retained_message_costs_at_most("ten kinds of sensors", RETAINED_BYTES_MAX, by_kind);
    each_retained_message_costs_at_most("each sensor with a name", RETAINED_BYTES_MAX, by_name);
    each_retained_message_costs_at_most("the device first", RETAINED_BYTES_MAX, by_device);
}
