//! How the C library's allocator is to deal with large blocks.
//!
//! By default, glibc takes each block of 128 KiB or more from the kernel, until the first of them is freed. From then
//! on blocks up to that size come from the common heap. A table that has grown then leaves a hole of its old size in
//! the heap for good, and 100,000 Topic Filters cost a fifth more memory. So the threshold is fixed here: the memory of
//! a large payload or table goes back to the kernel when it is freed. Small blocks come from the heap as before.

/// Blocks from this size on are the kernel's: fresh pages cost more than copying a message, and the tables of 100,000
/// filters are to be given back. With 128 KiB a filter costs 125 bytes and a message of 256 KiB twice the time; with 2
/// MiB a filter costs 155; with 1 MiB 135. The receive buffers of a shard, of just this size, are to be pages that
/// nothing has touched.
pub const KERNEL_FROM_BYTES: usize = 1024 * 1024;
/// Free bytes at the end of the heap that are kept rather than given back and asked for again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: std::ffi::c_int = 1024 * 1024;

/// Gives free pages of the heap back to the system, wherever they lie: a block in use above them keeps glibc from doing
/// that by itself. Takes some milliseconds for 100 MiB, in which other threads may wait for memory. Has no effect with
/// other C libraries.
pub fn give_free_pages_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Of <malloc.h>.
        // SAFETY: the signature is that of <malloc.h>; `malloc_trim` may be called at any time, from any thread.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        let _ = malloc_trim(0);
    }
}

/// Fixes the threshold for the whole process. Has no effect with other C libraries.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Of <malloc.h>.
        const M_TRIM_THRESHOLD: std::ffi::c_int = -1;
        const M_MMAP_THRESHOLD: std::ffi::c_int = -3;
        // SAFETY: the signature is that of <malloc.h>; `mallopt` may be called with any numbers, at any time, from any
        // thread, and refuses what it does not know.
        unsafe extern "C" {
            safe fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        // A refusal leaves things as they were.
        let _ = mallopt(M_MMAP_THRESHOLD, KERNEL_FROM_BYTES as std::ffi::c_int);
        let _ = mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
