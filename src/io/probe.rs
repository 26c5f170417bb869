//! Whether io_uring can be used here: tried, not guessed from version numbers, before glommio needs it (which would panic).

use crate::io::uring::ring::{Completion, Ring, Shots, Tag};
use crate::limits;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Lockable memory glommio asks for before it starts an executor; the wire ring needs none (since Linux 5.12).
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Sets up a wire ring and receives through it as the driver does.
///
/// Errors: one sentence with cause and remedy.
pub fn io_uring() -> Result<(), String> {
    memlock(getrlimit(Resource::RLIMIT_MEMLOCK))?;
    let ring = Ring::new().map_err(|error| explain(&error, disabled()))?;
    receive_twice(ring).map_err(|error| explain(&error, disabled()))
}

/// Checks the limit of lockable memory, and raises it if this process may.
fn memlock(limit: nix::Result<(u64, u64)>) -> Result<(), String> {
    let Ok((soft, hard)) = limit else {
        return Ok(());
    };
    if soft >= MEMLOCK_BYTES_MIN {
        return Ok(());
    }
    let raised = hard >= MEMLOCK_BYTES_MIN
        && setrlimit(Resource::RLIMIT_MEMLOCK, MEMLOCK_BYTES_MIN, hard).is_ok();
    if raised {
        return Ok(());
    }
    Err(format!(
        "the limit of locked memory (memlock) is {} KiB and io_uring needs {} KiB: raise it with LimitMEMLOCK=8M in the systemd unit or `ulimit -l 8192` in the shell",
        soft / 1024,
        MEMLOCK_BYTES_MIN / 1024
    ))
}

/// `/proc/sys/kernel/io_uring_disabled`: 0 for all, 1 for the privileged alone, 2 for nobody. Absent before Linux 6.6.
fn disabled() -> u8 {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn explain(error: &io::Error, disabled: u8) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled > 0 => format!(
            "io_uring is switched off on this machine (kernel.io_uring_disabled={disabled}): allow it with `sysctl kernel.io_uring_disabled=0`"
        ),
        Some(libc::EPERM | libc::EACCES) => "io_uring is forbidden here, as in Docker's default seccomp profile: allow the system calls io_uring_setup, io_uring_enter and io_uring_register".to_owned(),
        Some(libc::ENOSYS) => "this kernel has no io_uring, or a filter of system calls hides it: Linux 6.1 or later is needed".to_owned(),
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.1 or later is needed".to_owned(),
        Some(libc::ENOMEM) => "there is not enough memory for io_uring: raise LimitMEMLOCK= or free memory".to_owned(),
        _ => format!("io_uring cannot be used: {error}"),
    }
}

/// A receive that stays armed, with provided buffers: both bytes must come, and it must stay armed in between.
fn receive_twice(mut ring: Ring) -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    let tag = Tag {
        index: 0,
        generation: 0,
    };
    ring.receive(tag, far.as_raw_fd(), Shots::Many)?;
    let mut completions = Vec::new();
    for _ in 0..2 {
        near.write_all(&[0])?;
        ring.enter(1, Some(Duration::from_millis(limits::RING_QUIESCE_MS)))?;
        ring.completions(1, &mut completions);
        match completions.pop() {
            Some(Completion::Received {
                result: Ok(Some(received)),
                more: true,
                ..
            }) => ring.give_back(received),
            Some(Completion::Received {
                result: Err(errno), ..
            }) => return Err(io::Error::from_raw_os_error(errno)),
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_that_runs_the_tests_has_io_uring() {
        assert_eq!(io_uring(), Ok(()));
    }

    #[test]
    fn causes_and_remedies_are_told() {
        let of = |errno| io::Error::from_raw_os_error(errno);
        assert!(explain(&of(libc::EPERM), 2).contains("kernel.io_uring_disabled=2"));
        assert!(explain(&of(libc::EPERM), 0).contains("seccomp"));
        assert!(explain(&of(libc::ENOSYS), 0).contains("6.1"));
        assert!(explain(&of(libc::EINVAL), 0).contains("too old"));
        let low = memlock(Ok((65_536, 65_536))).unwrap_err();
        assert!(
            low.contains("64 KiB") && low.contains("LimitMEMLOCK"),
            "{low}"
        );
        assert_eq!(memlock(Ok((8 << 20, 8 << 20))), Ok(()));
    }
}
