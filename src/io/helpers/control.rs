//! The main thread once the shards run: signals, shards that end, and the service manager's watchdog.
//!
//! Signals are blocked before any other thread starts and read here from a signalfd, so no handler runs anywhere.

use crate::broker::{LogLevel, Order};
use crate::io::clock::Clock;
use crate::io::helpers::log::Log;
use crate::io::helpers::notify::{Notify, Watchdog};
use crate::io::helpers::reload::Reload;
use crate::io::helpers::summary;
use crate::io::mail::{Shards, ToShard};
use crate::io::store::inbox::Inlet;
use crate::limits;
use nix::errno::Errno;
use nix::libc::SIGRTMIN;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Signals that stay as the system made them: faults of this process, what a terminal or a debugger sends, limits and
/// timers of processor time, and those that do nothing by default.
const LEFT_ALONE: [Signal; 18] = [
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCONT,
    Signal::SIGCHLD,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGXCPU,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
];

/// Signals of a write that failed, blocked so that a log that was closed, or a file at its size limit, cannot end the
/// broker. The write says what is wrong.
const OF_WRITES: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];

/// Blocked signals, to be read one at a time.
pub struct Signals {
    descriptor: SignalFd,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Stop(Signal),
    Reload,
    /// A line of the log for each shard.
    Sums,
    /// Nothing that is done here. Its number.
    Nothing(i32),
}

impl Signals {
    /// Blocks, in this thread and all it starts, every signal that would end the process, real-time signals included:
    /// an operator who signals the broker as he would Mosquitto gets an answer in the log.
    pub fn block() -> nix::Result<Signals> {
        let mut blocked = SigSet::all();
        for signal in LEFT_ALONE {
            blocked.remove(signal);
        }
        blocked.thread_block()?;
        let mut read = blocked;
        for signal in OF_WRITES {
            read.remove(signal);
        }
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&read, flags)?;
        Ok(Signals { descriptor })
    }

    fn next(&self) -> Option<Asked> {
        let info = self.descriptor.read_signal().ok()??;
        Some(meaning(info.ssi_signo as i32))
    }
}

fn meaning(number: i32) -> Asked {
    match Signal::try_from(number) {
        // SIGPWR: a container's manager or an uninterruptible power supply wants an orderly end.
        Ok(signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGPWR)) => Asked::Stop(signal),
        Ok(Signal::SIGHUP) => Asked::Reload,
        Ok(Signal::SIGUSR1) => Asked::Sums,
        _ => Asked::Nothing(number),
    }
}

/// The line for a signal that asks for nothing here, with what it means to Mosquitto where it means something.
fn unused(number: i32) -> String {
    let why = match Signal::try_from(number) {
        Ok(Signal::SIGUSR2) => "the tree of subscriptions is not printed",
        _ if number == SIGRTMIN() => {
            "the log goes to standard error, so there is no file to open again"
        }
        _ => "mqttfast does nothing on this signal",
    };
    let name = match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => match number - SIGRTMIN() {
            0 => "SIGRTMIN".to_owned(),
            more => format!("SIGRTMIN+{more}"),
        },
    };
    format!("{name} ignored: {why}")
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

/// Whom signals concern.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// All of them.
    pub shards: &'a Shards,
    /// Theirs.
    pub clock: Clock,
    /// `None`: nothing is remembered.
    pub store: Option<&'a Inlet>,
}

/// Serves signals until the broker is to end, and all shards have (or their time is over). `ended` counts ended shards.
pub fn serve(
    signals: &Signals,
    ended: &EventFd,
    served: Served<'_>,
    again: &mut Reload,
    log: &Log,
    notify: &Notify,
    mut watchdog: Option<Watchdog>,
) -> End {
    let Served {
        shards,
        clock,
        store,
    } = served;
    let calendar = Calendar::watch();
    let mut shards_ended = 0;
    let mut stop_at: Option<Instant> = None;
    let mut end = End::Asked;
    loop {
        while let Some(signal) = signals.next() {
            match (signal, stop_at) {
                (Asked::Nothing(number), _) => log.line(LogLevel::Info, unused(number)),
                (Asked::Reload, None) => reload(again, log, notify),
                (Asked::Sums, None) => {
                    if let Some(store) = store {
                        store.commit(true);
                    }
                    summary::log_sums(shards, log);
                    again.log_bridges();
                }
                (Asked::Reload | Asked::Sums, Some(_)) => {}
                (Asked::Stop(_), Some(_)) => return End::Hurried,
                (Asked::Stop(signal), None) => {
                    log.line(LogLevel::Info, format!("{signal}: stopping"));
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
            // A service manager that knows of the end expects no more signs of life.
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
        let mut descriptors = vec![
            PollFd::new(signals.descriptor.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(calendar) = &calendar {
            descriptors.push(PollFd::new(calendar.timer.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log.line(LogLevel::Error, format!("poll: {}", errno.desc())),
        }
        let told = descriptors[1]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if told && let Ok(count) = ended.read() {
            shards_ended += count as usize;
        }
        if calendar.as_ref().is_some_and(Calendar::was_set) {
            tell_calendar(shards, clock);
        }
    }
}

/// Wakes the main thread when somebody sets the clock of the machine: a board without a battery does so a while after
/// its start.
struct Calendar {
    timer: TimerFd,
}

impl Calendar {
    /// `None`: the system has no such timer, and shards keep the time of the start.
    fn watch() -> Option<Calendar> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags).ok()?;
        let calendar = Calendar { timer };
        calendar.arm().then_some(calendar)
    }

    /// It is due at the end of time; what counts is that it is cancelled by a set clock.
    fn arm(&self) -> bool {
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        let end = Expiration::OneShot(TimeSpec::new(i64::from(i32::MAX) as _, 0));
        self.timer.set(end, flags).is_ok()
    }

    /// Somebody has, since the last look.
    fn was_set(&self) -> bool {
        let mut counter = [0; 8];
        let read = nix::unistd::read(self.timer.as_fd(), &mut counter);
        read == Err(Errno::ECANCELED) && self.arm()
    }
}

/// Shards note when retained messages are written.
fn tell_calendar(shards: &Shards, clock: Clock) {
    let order = Order::SetCalendar {
        zero_s: clock.zero_s(),
    };
    // Nobody waits for the reports.
    let (reply, _) = channel();
    shards.tell_all(|| ToShard::Order {
        order: Box::new(order.clone()),
        reply: reply.clone(),
    });
}

/// Tells the service manager that we serve.
pub fn tell_ready(notify: &Notify, status: &str, log: &Log) {
    if let Err(error) = notify.ready(status) {
        let text =
            format!("the service manager could not be notified that the broker serves: {error}");
        log.line(LogLevel::Warning, text);
    }
}

/// Reads again what SIGHUP asks for. Whatever comes of it, we serve on: with all that was read or, after a fault in one
/// of the files, with all that was in force before.
fn reload(again: &mut Reload, log: &Log, notify: &Notify) {
    notify.reloading();
    let (level, text) = again.reload();
    tell_ready(notify, &text, log);
    log.line(level, text);
}

/// Asks all shards to stop; returns when they must have.
fn stop(shards: &Shards) -> Instant {
    shards.tell_all(|| ToShard::Shutdown);
    Instant::now() + Duration::from_millis(limits::SHUTDOWN_MS + limits::SHUTDOWN_GRACE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal is left alone, asks for something, or is a line: none that ends a process by default is forgotten.
    #[test]
    fn every_signal_has_an_answer() {
        for number in (1..=31).chain(SIGRTMIN()..=nix::libc::SIGRTMAX()) {
            let signal = Signal::try_from(number).ok();
            if signal.is_some_and(|s| LEFT_ALONE.contains(&s) || OF_WRITES.contains(&s)) {
                continue;
            }
            let name = signal.map_or("SIGRTMIN", Signal::as_str);
            let expected = match name {
                "SIGTERM" | "SIGINT" | "SIGPWR" => Asked::Stop(signal.unwrap()),
                "SIGHUP" => Asked::Reload,
                "SIGUSR1" => Asked::Sums,
                _ => Asked::Nothing(number),
            };
            assert_eq!(meaning(number), expected);
            assert!(unused(number).starts_with(name));
        }
        assert!(unused(SIGRTMIN() + 2).starts_with("SIGRTMIN+2 ignored: "));
    }
}
