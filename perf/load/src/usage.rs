//! What the broker's processes have used, read from outside.
//!
//! CPU comes from each process's CPU-time clock: nanoseconds of all its threads, kernel time, ended threads and
//! io_uring workers included (`/proc/PID/stat` has 10 ms steps, `/proc/PID/task/*/schedstat` forgets ended threads).
//! Memory comes from `smaps_rollup`, the peak and the context switches from `status`.

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::ops::Sub;

/// Counters since the start of the process; a difference of two is what a span of time used.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    pub cpu_ns: u64,
    /// Ready to run and kept waiting, because something else had the core: noise of the machine.
    pub queued_ns: u64,
    /// Context switches because the thread waited: about the wake-ups.
    pub switches_voluntary: u64,
    pub switches_involuntary: u64,
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, earlier: Usage) -> Usage {
        // Threads that ended take their context switches along; never wrap for it.
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            queued_ns: self.queued_ns.saturating_sub(earlier.queued_ns),
            switches_voluntary: self
                .switches_voluntary
                .saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self
                .switches_involuntary
                .saturating_sub(earlier.switches_involuntary),
        }
    }
}

/// Bytes of memory now; the peak since the start.
#[derive(Clone, Copy, Default, Debug)]
pub struct Memory {
    pub rss_bytes: u64,
    pub pss_bytes: u64,
    pub rss_peak_bytes: u64,
}

/// The broker's processes. No pid: all figures are 0.
pub struct Processes(pub Vec<i32>);

impl Processes {
    /// Errors: a process is gone.
    pub fn usage(&self) -> Result<Usage, String> {
        let mut usage = Usage::default();
        for &pid in &self.0 {
            let gone =
                |error: &dyn std::fmt::Display| format!("the broker (pid {pid}) is gone: {error}");
            let clock = clock_getcpuclockid(Pid::from_raw(pid)).map_err(|error| gone(&error))?;
            usage.cpu_ns += clock_ns(clock).map_err(|error| gone(&error))?;
            for task in fs::read_dir(format!("/proc/{pid}/task"))
                .map_err(|error| gone(&error))?
                .flatten()
            {
                // A thread may end between the listing and the reading.
                let Ok(status) = fs::read_to_string(task.path().join("status")) else {
                    continue;
                };
                usage.switches_voluntary += field(&status, "voluntary_ctxt_switches:");
                usage.switches_involuntary += field(&status, "nonvoluntary_ctxt_switches:");
                let schedule =
                    fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                usage.queued_ns += schedule
                    .split_whitespace()
                    .nth(1)
                    .and_then(|ns| ns.parse().ok())
                    .unwrap_or(0);
            }
        }
        Ok(usage)
    }

    /// Errors: a process is gone, or its memory may not be read.
    pub fn memory(&self) -> Result<Memory, String> {
        let mut memory = Memory::default();
        for &pid in &self.0 {
            let read = |name: &str| {
                fs::read_to_string(format!("/proc/{pid}/{name}"))
                    .map_err(|error| format!("/proc/{pid}/{name}: {error}"))
            };
            let rollup = read("smaps_rollup")?;
            memory.rss_bytes += 1024 * field(&rollup, "Rss:");
            memory.pss_bytes += 1024 * field(&rollup, "Pss:");
            memory.rss_peak_bytes += 1024 * field(&read("status")?, "VmHWM:");
        }
        Ok(memory)
    }
}

/// The number in the line that starts with `name`; 0 without one.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn clock_ns(clock: ClockId) -> nix::Result<u64> {
    clock_gettime(clock).map(|time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// CPU nanoseconds of this process.
pub fn own_cpu_ns() -> u64 {
    clock_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

/// Monotonic nanoseconds.
pub fn now_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC).unwrap_or(0)
}
