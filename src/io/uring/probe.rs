//! Whether io_uring can be used here: tried, not guessed from version numbers, before glommio needs it (which would
//! panic).

use super::ring::Ring;
use crate::ids::ConnectionId;
use crate::io::driver::kernel::{Completion, Kernel};
use crate::limits;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::geteuid;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Lockable memory glommio asks for before it starts an executor. Kernels from 6.14 on also count every ring of an
/// unprivileged process: about 380 KiB a shard were measured with 6.18, so this much for each is enough.
const MEMLOCK_BYTES_MIN: rlim_t = 512 * 1024;

/// Sets up a wire ring and receives through it as the driver does.
///
/// Errors: one sentence with cause and remedy.
pub fn io_uring() -> Result<(), String> {
    raise_memlock(1);
    memlock(getrlimit(Resource::RLIMIT_MEMLOCK))?;
    let ring = ring().map_err(|error| explain(&error, disabled()))?;
    receive_twice(ring).map_err(|error| explain(&error, disabled()))
}

/// A ring. What a broker that has just died had locked is freed a moment after its end: no memory is tried again.
fn ring() -> io::Result<Ring> {
    let until = Instant::now() + Duration::from_millis(limits::BIND_RETRY_MS);
    loop {
        match Ring::new(&Arc::from([])) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(limits::BIND_RETRY_MS / 30));
            }
            result => return result,
        }
    }
}

/// Checks the limit of lockable memory.
fn memlock(limit: nix::Result<(rlim_t, rlim_t)>) -> Result<(), String> {
    match limit {
        Ok((soft, _)) if soft < MEMLOCK_BYTES_MIN => Err(memlock_sentence(soft, 1)),
        _ => Ok(()),
    }
}

fn memlock_sentence(soft: rlim_t, shards: usize) -> String {
    let (soft, needed) = (soft / 1024, MEMLOCK_BYTES_MIN / 1024 * shards as rlim_t);
    let (shards_are, fewer) = match shards {
        1 => ("1 shard".to_owned(), ""),
        shards => (format!("{shards} shards"), ", or start fewer with --shards"),
    };
    // Enough for us by itself: then the rest is taken by others.
    let (others, raised) = if soft < needed {
        ("", needed)
    } else {
        (
            " besides what other processes of this user lock",
            soft + needed,
        )
    };
    format!(
        "the limit of locked memory (memlock) is {soft} KiB and io_uring needs {needed} KiB for {shards_are}{others}: raise it with LimitMEMLOCK={raised}K in the systemd unit or `ulimit -l {raised}` in the shell{fewer}"
    )
}

/// Why so many shards may not get what they lock, as a sentence with the remedy. Root may lock what it likes.
pub fn may_lack_memory(shards: usize) -> Option<String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let lacks = hard < MEMLOCK_BYTES_MIN * shards as rlim_t && !geteuid().is_root();
    lacks.then(|| memlock_sentence(hard, shards))
}

/// Takes as much lockable memory as `shards` may need, as far as this process is allowed to.
pub fn raise_memlock(shards: usize) {
    let wanted = MEMLOCK_BYTES_MIN * shards as rlim_t;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && soft < wanted.min(hard)
    {
        // Refused: the start will tell, if it is too little.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, wanted.min(hard), hard);
    }
}

/// Why a shard's executor or ring could not be set up, after the probe found that one can be.
pub fn explain_shard(error: &io::Error, shards: usize) -> String {
    match (error.raw_os_error(), getrlimit(Resource::RLIMIT_MEMLOCK)) {
        (Some(libc::ENOMEM), Ok((soft, _))) => memlock_sentence(soft, shards),
        _ => format!("a shard could not start: {error}"),
    }
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
        Some(libc::ENOMEM) => memlock_sentence(getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft), 1),
        _ => format!("io_uring cannot be used: {error}"),
    }
}

/// Two receives into provided buffers: both bytes must come.
fn receive_twice(mut ring: Ring) -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    let connection = ConnectionId {
        index: 0,
        generation: 0,
    };
    for _ in 0..2 {
        ring.receive(connection, far.as_fd(), false)?;
        near.write_all(&[0])?;
        ring.enter(1, Some(Duration::from_millis(limits::RING_QUIESCE_MS)))?;
        match ring.next_completion() {
            Some(Completion::Received {
                result: Ok(Some(received)),
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
        let shared = memlock_sentence(8 << 20, 4);
        assert!(
            shared.contains("other processes") && shared.contains("10240"),
            "{shared}"
        );
        assert_eq!(memlock(Ok((8 << 20, 8 << 20))), Ok(()));
    }
}
