//! Memory that the allocator has kept goes back to the system, on a thread of its own: no shard waits for it.

use crate::buffer::heap;
use std::sync::Mutex;
use std::thread;

/// Has a thread give free pages of the heap back, while the shard that asks goes on. There is one such thread at a
/// time; what asks meanwhile finds its work done.
pub fn give_back() {
    static UNDER_WAY: Mutex<()> = Mutex::new(());
    let work = || {
        if let Ok(_alone) = UNDER_WAY.try_lock() {
            heap::give_free_pages_back();
        }
    };
    // Without a thread the memory stays until the next time.
    let _ = thread::Builder::new().name("memory".to_owned()).spawn(work);
}
