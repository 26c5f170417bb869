//! The program's own code in memory.
//!
//! A start runs through a large part of the program once: options, files, certificates, the store. The kernel counts
//! the pages of that code as ours until it needs memory. [`let_go`] gives them back as soon as the start is over: what
//! is still run comes back from the page cache, a few pages at a time, without reading the disk.

use std::ffi::{c_int, c_void};
use std::fs;

/// Of <sys/mman.h>, the same on every machine that Linux runs on.
const MADV_DONTNEED: c_int = 4;

/// Takes the pages of all code, of the program and of its libraries, out of this process' memory. It is a matter of
/// microseconds; the next calls bring back what they need.
pub fn let_go() {
    // Of <sys/mman.h>.
    // SAFETY: the signature is that of <sys/mman.h>.
    unsafe extern "C" {
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }
    // Without `/proc` everything stays.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, bytes) in maps.lines().filter_map(code_of_a_file) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: the kernel has just named this range as a private mapping of a file that can be read and run, and not
        // written. None of its pages can differ from the file, so what is dropped is read again as it was. No code is
        // unmapped: this process loads its libraries before `main` and keeps them.
        let result = unsafe { madvise(start, bytes, MADV_DONTNEED) };
        // A refusal leaves things as they were.
        let _ = result;
    }
}

/// Start and length of a line of `/proc/self/maps`, where it is a file's code that nobody can write.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let may = fields.next()?;
    let path = fields.nth(3)?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    // `[vdso]` is the kernel's.
    let is_code = may == "r-xp" && path.starts_with('/');
    is_code.then(|| (start, end.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_alone_is_let_go() {
        let code = "561483100000-561483659000 r-xp 0011b000 fe:00 10011119     /usr/bin/mqttfast";
        assert_eq!(code_of_a_file(code), Some((0x5614_8310_0000, 0x55_9000)));
        for other in [
            // Data, with addresses that the loader has written.
            "561483659000-56148366e000 r--p 005cc000 fe:00 10011119     /usr/bin/mqttfast",
            "5614a5469000-5614a5495000 rw-p 00000000 00:00 0            [heap]",
            "7ffdbc1a0000-7ffdbc1a2000 r-xp 00000000 00:00 0            [vdso]",
            "7fbe84000000-7fbe8404a000 r-xp 00000000 00:00 0",
            "561483100000-561483659000 rwxp 0011b000 fe:00 10011119     /usr/bin/mqttfast",
            "",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }
}
