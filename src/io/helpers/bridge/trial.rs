//! Tries the other broker of a bridge, step by step, for `mqttfast bridge test`. Waits where the thread of the bridges
//! must not.

use super::dial::{Dial, Dialled};
use super::running::options;
use super::socket::Socket;
use super::words;
use crate::bridge::{Probe, Seen, Terms, Why};
use crate::io::disk::Disk;
use crate::io::link::tls::outward;
use crate::io::words::Shown;
use crate::limits;
use crate::wire::{QoS, ReasonCode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// One step that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// It did what it should.
    pub good: bool,
    /// A clause; where it is not good, with the remedy.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// Gives steps with their times as they are taken.
struct Steps<'a> {
    since: Instant,
    say: &'a mut dyn FnMut(Step),
    all_good: bool,
}

impl Steps<'_> {
    fn say(&mut self, good: bool, text: String) {
        let took = self.since.elapsed();
        self.since = Instant::now();
        self.all_good &= good;
        (self.say)(Step { good, text, took });
    }
}

/// Tries the address of this number. `true`: all steps are good.
pub fn attempt(terms: &Terms, index: usize, say: &mut dyn FnMut(Step)) -> bool {
    let since = Instant::now();
    let all_good = true;
    let mut steps = Steps {
        since,
        say,
        all_good,
    };
    if let Err(text) = go(terms, index, &mut steps) {
        steps.say(false, text);
    }
    steps.all_good
}

fn go(terms: &Terms, index: usize, steps: &mut Steps<'_>) -> Result<(), String> {
    let Some((host, port)) = terms.bridge.addresses.get(index) else {
        return Ok(());
    };
    let stream = dial(terms, host, *port, steps)?;
    let peer = stream.peer_addr().map_err(|error| error.to_string())?;
    steps.say(true, format!("connected to {peer}"));
    let mut socket = match &terms.bridge.tls {
        None => Socket::Remote(stream),
        Some(tls) => Socket::sealed(stream, outward::connection(tls, host, &Disk)?),
    };
    if terms.bridge.tls.is_some() {
        shake(&mut socket)?;
        let text = match terms.bridge.tls.as_ref().is_some_and(|tls| tls.insecure) {
            true => {
                "TLS is agreed, and the name in its certificate was not looked at (bridge_insecure)"
            }
            false => "TLS is agreed, and its certificate is believed",
        };
        steps.say(true, text.into());
    }
    converse(terms, &mut socket, limits::BRIDGE_LOGIN_MS, steps)
}

/// Waits until one of these is so; `false`: the time is over.
fn wait(socket: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> Result<bool, String> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(socket, flags)];
    let ready = poll(&mut polled, timeout).map_err(|errno| errno.to_string())?;
    Ok(ready > 0)
}

/// Waits until one of these is so, or the other broker takes what TLS has sealed.
///
/// Errors: the time is over.
fn wait_for_answer(socket: &Socket, mut flags: PollFlags, until: Instant) -> Result<(), String> {
    if socket.wants_write() {
        flags |= PollFlags::POLLOUT;
    }
    match wait(socket.as_fd(), flags, until)? {
        true => Ok(()),
        false => Err(words::why(&Why::LoginTimedOut)),
    }
}

fn after(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn dial(terms: &Terms, host: &str, port: u16, steps: &mut Steps<'_>) -> Result<TcpStream, String> {
    let until = after(limits::BRIDGE_CONNECT_MS);
    let (wake, woken) = channel();
    let mut dial = Dial::new(host, port, options(&terms.bridge), move || {
        // Nobody waits any more where the time was over.
        let _ = wake.send(());
    });
    let mut looks_up = host.parse::<IpAddr>().is_err();
    let mut writable = false;
    loop {
        match dial.go_on(writable) {
            Dialled::There(stream) => return Ok(stream),
            Dialled::Failed(why) => return Err(why),
            Dialled::NotYet if Instant::now() >= until => {
                return Err(words::why(&Why::ConnectTimedOut));
            }
            Dialled::NotYet => {}
        }
        match dial.socket() {
            None => {
                let left = until.saturating_duration_since(Instant::now());
                // Whichever way it ends, the next look tells.
                let _ = woken.recv_timeout(left);
            }
            Some(socket) => {
                if std::mem::take(&mut looks_up) {
                    steps.say(true, format!("looked up {}", Shown(host)));
                }
                writable = wait(socket.as_fd(), PollFlags::POLLOUT, until)?;
            }
        }
    }
}

fn shake(socket: &mut Socket) -> Result<(), String> {
    let until = after(limits::BRIDGE_LOGIN_MS);
    while !socket.shake().map_err(|error| error.to_string())? {
        wait_for_answer(socket, PollFlags::POLLIN, until)?;
    }
    Ok(())
}

/// Logs in and subscribes. Each step has `login_ms`, whatever else the other broker sends meanwhile.
fn converse(
    terms: &Terms,
    socket: &mut Socket,
    login_ms: u64,
    steps: &mut Steps<'_>,
) -> Result<(), String> {
    let mut probe = Probe::new(terms.clone());
    probe.begin();
    let mut buffer = vec![0; limits::BRIDGE_READ_BYTES];
    let mut until = after(login_ms);
    let mut seen = Vec::new();
    loop {
        send(&mut probe, socket, until)?;
        if probe.is_done() {
            // It has left whatever becomes of these bytes.
            let _ = socket.finish();
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(words::why(&Why::LoginTimedOut));
        }
        match socket.read(&mut buffer) {
            Ok(0) => {
                return Err("the other broker has closed the connection without a reason: do user name, password, client id and bridge_protocol_version suit it, and is that the port for TLS?".into());
            }
            Ok(count) => {
                let received = probe.receive(&buffer[..count], &mut seen);
                for seen in seen.drain(..) {
                    until = after(login_ms);
                    let (good, text) = told(terms, probe.client_id(), &seen);
                    steps.say(good, text);
                }
                received.map_err(|why| words::why(&why))?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_for_answer(socket, PollFlags::POLLIN, until)?;
                socket.flush().map_err(|error| error.to_string())?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// All that the probe has to send.
fn send(probe: &mut Probe, socket: &mut Socket, until: Instant) -> Result<(), String> {
    while !probe.outgoing().is_empty() {
        match socket.write(probe.outgoing().unsent()) {
            Ok(count) => probe.outgoing().taken(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_for_answer(socket, PollFlags::POLLOUT, until)?;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// A clause, and whether it is good.
fn told(terms: &Terms, client_id: &str, seen: &Seen) -> (bool, String) {
    match seen {
        Seen::Accepted { qos_max, retain } => {
            let mut text = format!(
                "logged in as {} by MQTT {}",
                Shown(client_id),
                terms.version
            );
            if *qos_max < QoS::ExactlyOnce {
                text += &format!("; messages cross at QoS {} at most", *qos_max as u8);
            }
            if !retain {
                text += "; it takes no retained messages, so they cross as others do";
            }
            (true, text)
        }
        Seen::Subscribed { filter, code } if ReasonCode(*code).is_failure() => (
            false,
            format!(
                "may not subscribe to {} (code {code:#04x}): allow it in the ACL of the other broker",
                Shown(filter)
            ),
        ),
        Seen::Subscribed { filter, code } => (
            true,
            format!("may subscribe to {} (QoS {code})", Shown(filter)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::props::terms;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread;

    /// Retained messages without end, and no SUBACK among them.
    #[test]
    fn who_talks_all_the_time_and_does_not_answer_is_given_up() {
        let terms = terms("topic a in 1\n");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let talks = thread::spawn(move || {
            let mut bytes = vec![0x20, 2, 0, 0];
            while theirs.write_all(&bytes).is_ok() {
                bytes = [0x31, 4, 0, 1, b'a', b'x'].repeat(10_000);
            }
        });
        let mut socket = Socket::Local(ours);
        let mut steps = Steps {
            since: Instant::now(),
            say: &mut |_| {},
            all_good: true,
        };
        let begun = Instant::now();
        let ended = converse(&terms, &mut socket, 200, &mut steps);
        assert_eq!(ended, Err(words::why(&Why::LoginTimedOut)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(socket);
        talks.join().unwrap();
    }
}
