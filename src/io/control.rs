//! The main thread once the shards run: signals, shards that end, and the service manager's watchdog.
//!
//! Signals are blocked before any other thread starts and read here from a signalfd, so no handler runs anywhere.

use crate::broker::Level;
use crate::io::checker::Checker;
use crate::io::host::{Shards, ToShard};
use crate::io::log::Log;
use crate::io::notify::{Notify, Watchdog};
use crate::limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Blocked signals, to be read one at a time.
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals we answer, in this thread and all it starts. SIGPIPE is ignored by Rust's start-up already; blocked
    /// here too, it cannot end a broker whose standard error was closed.
    pub fn block() -> nix::Result<Signals> {
        let mut all = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            all.add(signal);
        }
        let mut blocked = all;
        blocked.add(Signal::SIGPIPE);
        blocked.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&all, flags)?;
        Ok(Signals { descriptor })
    }

    fn next(&self) -> Option<Signal> {
        let info = self.descriptor.read_signal().ok()??;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}

/// How the broker ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// On a signal, all shards within their time.
    Asked,
    /// On a signal, and some shard did not stop in time or a second signal came.
    Hurried,
    /// A shard ended that nobody had asked to.
    ShardLost,
}

/// Serves signals until the broker is to end, and all shards have (or their time is over). `ended` counts ended shards.
pub fn serve(
    signals: &Signals,
    ended: &EventFd,
    shards: &Shards,
    checker: Option<&Checker>,
    log: &Log,
    notify: &Notify,
    mut watchdog: Option<Watchdog>,
) -> End {
    let mut shards_ended = 0;
    let mut stop_at: Option<Instant> = None;
    let mut end = End::Asked;
    loop {
        while let Some(signal) = signals.next() {
            match (signal, stop_at) {
                (Signal::SIGHUP, None) => reload(checker, log, notify),
                (Signal::SIGHUP, Some(_)) => {}
                (_, Some(_)) => return End::Hurried,
                (signal, None) => {
                    log.line(Level::Info, format!("{signal}: stopping"));
                    notify.stopping("stopping, as asked");
                    stop_at = Some(stop(shards));
                }
            }
        }
        if shards_ended >= shards.count() {
            return end;
        }
        if shards_ended > 0 && stop_at.is_none() {
            // One shard's Clients are gone: let systemd start a whole broker.
            end = End::ShardLost;
            notify.stopping("stopping: a shard was lost");
            stop_at = Some(stop(shards));
        }
        let now = Instant::now();
        let wake_at = match (stop_at, &mut watchdog) {
            (Some(at), _) if at <= now => {
                return if end == End::Asked { End::Hurried } else { end };
            }
            // Who was told of the end asks for no more signs of life.
            (Some(at), _) => Some(at),
            (None, Some(watchdog)) => {
                watchdog.tick(now);
                Some(watchdog.due())
            }
            (None, None) => None,
        };
        let timeout = wake_at.map_or(PollTimeout::NONE, |at| {
            // Rounded up, lest the last millisecond be a busy wait.
            let left = at.saturating_duration_since(now).as_millis() + 1;
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut descriptors = [
            PollFd::new(signals.descriptor.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log.line(Level::Error, format!("poll: {}", errno.desc())),
        }
        let told = descriptors[1]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if told && let Ok(count) = ended.read() {
            shards_ended += count as usize;
        }
    }
}

/// Tells the service manager that we serve.
pub fn tell_ready(notify: &Notify, status: &str, log: &Log) {
    if let Err(error) = notify.ready(status) {
        let text = format!("the service manager was not told that this serves: {error}");
        log.line(Level::Warning, text);
    }
}

/// Reads again what SIGHUP asks for. Whatever comes of it, we serve on.
fn reload(checker: Option<&Checker>, log: &Log, notify: &Notify) {
    notify.reloading();
    let (level, text) = match checker {
        Some(checker) => checker.reload(),
        None => {
            let text = "SIGHUP: there is no password file to read";
            (Level::Info, text.to_owned())
        }
    };
    tell_ready(notify, &text, log);
    log.line(level, text);
}

/// Asks all shards to stop; returns when they must have.
fn stop(shards: &Shards) -> Instant {
    shards.tell_all(|| ToShard::Shutdown);
    Instant::now() + Duration::from_millis(limits::SHUTDOWN_MS + limits::SHUTDOWN_GRACE_MS)
}
