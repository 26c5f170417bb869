//! Any bytes, as a stream and as packets of every version: the truths of `mqttfast::wire::props`, and that decoding
//! allocates nothing, whatever lengths the bytes announce.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::wire::props;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to `System` as it came; counting touches no memory of the caller's and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED_BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    let before = ALLOCATED_BYTES.get();
    props::decode_all(data);
    assert_eq!(ALLOCATED_BYTES.get(), before, "decoding allocates nothing");
    props::frames_ignore_cuts(data);
    props::runs_say_what_their_first_packet_says(data);
    props::decode_of_encode_is_identity(data);
});
