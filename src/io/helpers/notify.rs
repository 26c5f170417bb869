//! Messages to a service manager such as systemd, by the protocol of `sd_notify(3)`: that we serve, read our files
//! again or stop, one line of status, and that every shard still turns.
//!
//! By hand, since the crate for it (sd-notify 0.5) knows no abstract sockets, which container managers use, and may
//! wait for ever in a send to a manager that does not read.
//!
//! A datagram of `NAME=value` lines goes to the socket named by `NOTIFY_SOCKET`. Without that variable nothing here
//! does anything, and nobody wakes for it: the watchdog's ticks too exist only where the manager asks for them by
//! `WATCHDOG_USEC`.

use crate::ids::ShardId;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The service manager, or nobody.
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// The manager ends us when it hears no sign of life for so long.
    watchdog: Option<Duration>,
}

impl Notify {
    /// No manager: nothing is sent.
    pub const NOBODY: Notify = Notify {
        manager: None,
        watchdog: None,
    };

    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. The environment stays as it is: we start no other
    /// programs.
    ///
    /// Errors: `NOTIFY_SOCKET` names nothing that can be sent to.
    pub fn from_environment() -> io::Result<Notify> {
        match env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            None => Ok(Notify::NOBODY),
            Some(name) => Notify::to(
                &name,
                watchdog_period(
                    env::var("WATCHDOG_USEC").ok().as_deref(),
                    env::var("WATCHDOG_PID").ok().as_deref(),
                    std::process::id(),
                ),
            ),
        }
    }

    /// A manager that listens on `name`: a path, or `@` and the name of an abstract socket.
    fn to(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Notify> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "it begins with neither / nor @",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // Nobody but the main thread waits for a manager that is slow to read.
        socket.set_write_timeout(Some(Duration::from_millis(limits::NOTIFY_WAIT_MS)))?;
        Ok(Notify {
            manager: Some((socket, address)),
            watchdog,
        })
    }

    /// We serve; `status` is one line for people.
    ///
    /// Errors: the message could not be sent, and the manager still believes that we are starting.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// Files are being read again; [`Notify::ready`] ends it.
    pub fn reloading(&self) {
        if self.manager.is_none() {
            return;
        }
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
            now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1000
        });
        let _ = self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// We end, and need no watchdog for it.
    pub fn stopping(&self, status: &str) {
        let _ = self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// One line for people, such as why we did not start. `systemctl status` shows it.
    pub fn status(&self, status: &str) {
        let _ = self.send(&format!("STATUS={}", one_line(status)));
    }

    /// A sign of life. One that is lost is made good by the next.
    fn alive(&self) {
        let _ = self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some((socket, manager)) = &self.manager else {
            return Ok(());
        };
        socket.send_to_addr(text.as_bytes(), manager).map(drop)
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// How long the manager waits for a sign of life of this process, if it waits at all.
fn watchdog_period(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok()?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    (ours && usec > 0).then(|| Duration::from_micros(usec))
}

/// Asks all shards whether they still turn, and gives the manager a sign of life only when all have answered since
/// the last one.
///
/// A question goes through a shard's mailbox and wakes it, so the answer proves that its thread runs, that the
/// kernel's wake-ups reach it and that its turn comes round. Worst case: the shard stops just after its answer, and
/// the manager ends us one tick later than its period.
pub struct Watchdog<'a> {
    notify: &'a Notify,
    shards: &'a Shards,
    every: Duration,
    due: Instant,
    /// Written by its shard for each question.
    answers: Vec<Arc<EventFd>>,
    /// Has answered since the last sign of life.
    answered: Vec<bool>,
}

impl<'a> Watchdog<'a> {
    /// `None` if no manager watches. The first questions are due at `now`.
    pub fn new(
        notify: &'a Notify,
        shards: &'a Shards,
        now: Instant,
    ) -> nix::Result<Option<Watchdog<'a>>> {
        let Some(period) = notify.watchdog else {
            return Ok(None);
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let answer = |_| EventFd::from_flags(flags).map(Arc::new);
        let answers: nix::Result<Vec<_>> = (0..shards.count()).map(answer).collect();
        Ok(Some(Watchdog {
            notify,
            shards,
            every: (period / limits::WATCHDOG_TICKS_PER_PERIOD).max(Duration::from_millis(1)),
            due: now,
            answers: answers?,
            answered: vec![false; shards.count()],
        }))
    }

    /// When [`Watchdog::tick`] is to be called next.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Collects answers and asks again, if it is time. Other threads are never waited for.
    pub fn tick(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        for (answered, answer) in self.answered.iter_mut().zip(&self.answers) {
            *answered |= answer.read().is_ok();
        }
        if self.answered.iter().all(|answered| *answered) {
            self.notify.alive();
            self.answered.fill(false);
        }
        for (index, answer) in self.answers.iter().enumerate() {
            // Lost in a full mailbox, it is asked again at the next tick.
            let question = ToShard::AreYouThere(Arc::clone(answer));
            self.shards.tell(ShardId(index as u8), question);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Mailbox;

    /// A manager on an abstract socket of its own.
    fn manager(name: &str) -> (UnixDatagram, String) {
        let name = format!("mqttfast-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, format!("@{name}"))
    }

    /// What waits to be read: datagrams of one machine are there as soon as they are sent.
    fn told(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next = || match manager.recv(&mut buffer) {
            Ok(bytes) => Some(String::from_utf8(buffer[..bytes].to_vec()).unwrap()),
            Err(_) => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn one_datagram_a_message_and_one_line_a_status() {
        let (manager, name) = manager("messages");
        let notify = Notify::to(name.as_ref(), None).unwrap();
        notify.ready("a\nREADY=0\u{1b}").unwrap();
        notify.stopping("b");
        notify.status("c");
        let expected = [
            "READY=1\nSTATUS=a READY=0 ",
            "STOPPING=1\nSTATUS=b",
            "STATUS=c",
        ];
        assert_eq!(told(&manager), expected);
        notify.reloading();
        let text = told(&manager).concat();
        let (head, usec) = text.rsplit_once('=').unwrap();
        assert_eq!(head, "RELOADING=1\nMONOTONIC_USEC");
        let usec: u64 = usec.parse().unwrap();
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        assert!(usec > 0 && usec <= (now.tv_sec() as u64 + 1) * 1_000_000);
    }

    #[test]
    fn a_socket_that_is_a_file() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("mqttfast-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str(), None).unwrap();
        let sent = notify.ready("x");
        std::fs::remove_file(&path).unwrap();
        sent.unwrap();
        manager.set_nonblocking(true).unwrap();
        assert_eq!(told(&manager), ["READY=1\nSTATUS=x"]);
        // Nobody is there any more: said, and no more than that.
        drop(manager);
        assert!(notify.ready("x").is_err());
        notify.stopping("x");
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused() {
        for name in ["vsock:2:1234", "relative/path", "x"] {
            assert!(Notify::to(name.as_ref(), None).is_err(), "{name}");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_done() {
        Notify::NOBODY.ready("x").unwrap();
        Notify::NOBODY.reloading();
        let shards = Shards::new(1).unwrap();
        let watchdog = Watchdog::new(&Notify::NOBODY, &shards, Instant::now());
        assert!(watchdog.unwrap().is_none());
    }

    #[test]
    fn a_watchdog_for_another_process_is_none_of_ours() {
        let second = Some(Duration::from_secs(1));
        for (usec, pid, period) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog_period(usec, pid, 7), period, "{usec:?} {pid:?}");
        }
    }

    /// Answers what waits in the mailbox, as a shard's turn does.
    fn turn(mailbox: &Mailbox<ToShard>) -> usize {
        let mut mail = Vec::new();
        mailbox.drain(&mut mail);
        for item in &mail {
            match item {
                ToShard::AreYouThere(answer) => drop(answer.write(1)),
                other => panic!("{other:?}"),
            }
        }
        mail.len()
    }

    #[test]
    fn a_sign_of_life_takes_an_answer_of_every_shard() {
        let (manager, name) = manager("watchdog");
        let period = Duration::from_secs(3);
        let notify = Notify::to(name.as_ref(), Some(period)).unwrap();
        let shards = Shards::new(2).unwrap();
        let mailboxes = [0, 1].map(|shard| shards.mailbox(ShardId(shard)));
        let mut now = Instant::now();
        let mut watchdog = Watchdog::new(&notify, &shards, now).unwrap().unwrap();
        let mut tick = || {
            // Between two ticks nothing is asked.
            watchdog.tick(now);
            watchdog.tick(now);
            assert_eq!(
                watchdog.due(),
                now + period / limits::WATCHDOG_TICKS_PER_PERIOD
            );
            now = watchdog.due();
            told(&manager).len()
        };
        assert_eq!(tick(), 0);
        for _ in 0..3 {
            assert_eq!((turn(&mailboxes[0]), turn(&mailboxes[1])), (1, 1));
            assert_eq!(tick(), 1);
        }
        // One shard stands still: what the other says, however often, does not do.
        for _ in 0..10 {
            assert_eq!(turn(&mailboxes[0]), 1);
            assert_eq!(tick(), 0);
        }
        // It only was slow.
        assert_eq!(turn(&mailboxes[1]), 11);
        assert_eq!(tick(), 1);
        // An answer counts for one sign of life alone.
        assert_eq!(turn(&mailboxes[1]), 1);
        assert_eq!(tick(), 0);
    }
}
