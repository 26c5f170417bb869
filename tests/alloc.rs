//! A routed QoS 0 PUBLISH on a warm shard allocates nothing.

use mqttfast_rig::one as rig;

use rig::{Rig, V311, publish};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    act();
    ALLOCATIONS.with(Cell::get) - before
}

fn turns_allocate_nothing(filters: &[&str], subscribers: u32, messages: usize) {
    let mut rig = Rig::new(V311);
    for index in 0..subscribers {
        let subscriber = rig.client(index);
        for filter in filters {
            rig.subscribe(subscriber, filter, 0);
        }
    }
    let publisher = rig.client(subscribers);
    let packet = publish(V311, "house/kitchen/temperature", b"21.5", 0, 0);
    let bytes = packet.repeat(messages);
    for _ in 0..10 {
        rig.turn(publisher, &bytes);
    }
    let mut sent = 0;
    let count = allocations(|| {
        for _ in 0..100 {
            sent += rig.turn(publisher, &bytes);
        }
    });
    assert_eq!(
        sent,
        100 * subscribers as usize * bytes.len(),
        "every message arrived"
    );
    assert_eq!(count, 0, "allocations in 100 warm turns");
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8, 2, 3]))) >= 1);
}

#[test]
fn decoding_allocates_nothing_whatever_is_announced() {
    let corpus = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode"));
    let mut streams: Vec<Vec<u8>> = corpus
        .expect("the corpus is committed")
        .map(|entry| std::fs::read(entry.expect("readable").path()).expect("readable"))
        .collect();
    assert!(streams.len() > 50);
    // CONNECT of 268,435,455 bytes of which six have come, and strings longer than their packet.
    streams.push(vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0]);
    streams.push(vec![0x10, 4, 0xFF, 0xFF, b'M', b'Q']);
    streams.push(vec![0x32, 4, 0xFF, 0xFF, b'a', b'b']);
    for stream in streams {
        let count = allocations(|| mqttfast::wire::props::decode_all(&stream));
        assert_eq!(count, 0, "{stream:02x?}");
    }
}

#[test]
fn one_to_one() {
    turns_allocate_nothing(&["house/kitchen/temperature"], 1, 1);
}

#[test]
fn many_messages_a_turn() {
    turns_allocate_nothing(&["house/kitchen/temperature"], 1, 100);
}

#[test]
fn fan_out_by_wildcards_that_overlap() {
    turns_allocate_nothing(&["house/+/temperature", "house/#", "+/kitchen/#"], 50, 4);
}
