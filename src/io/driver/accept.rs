//! Accepting: one accept a listener stays armed. When descriptors run out, the broker keeps serving those it has and tells newcomers
//! by closing their connection, for which one descriptor is held in reserve.

use super::kernel::Kernel;
use crate::broker::Level;
use crate::io::host::Seat;
use crate::limits;
use crate::time::Time;
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be armed when the turn begins.
    Off,
    Armed,
    /// No descriptor was left; newcomers are to be turned away until this time.
    Exhausted(Time),
    /// The reserve is given up, and one accept is armed whose connection is closed at once.
    Shedding(Time),
    /// As above, and cancelled because its time was over.
    Ending,
    /// Refused by the machine; armed again at this time.
    Paused(Time),
    Stopped,
}

/// The accepts of one shard.
pub struct Accepting {
    listeners: Vec<State>,
    /// An open descriptor that is given up when there is no other.
    reserve: Option<File>,
    /// Complaints not logged since the last that was.
    unlogged: u64,
    logged: Option<Time>,
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Accepting {
    pub fn new(listeners: usize) -> Accepting {
        Accepting {
            listeners: vec![State::Off; listeners],
            reserve: reserve(),
            unlogged: 0,
            logged: None,
        }
    }

    /// Arms what is to be armed.
    pub fn arm(&mut self, kernel: &mut impl Kernel, now: Time) -> io::Result<()> {
        for (index, state) in self.listeners.iter_mut().enumerate() {
            let listener = index as u32;
            match *state {
                State::Off => {
                    self.reserve = self.reserve.take().or_else(reserve);
                    kernel.accept(listener)?;
                    *state = State::Armed;
                }
                State::Paused(until) if now >= until => *state = State::Off,
                State::Exhausted(until) => {
                    self.reserve = None;
                    kernel.accept_to_shed(listener)?;
                    *state = State::Shedding(until);
                }
                State::Shedding(until) if now >= until => {
                    kernel.cancel_accept(listener)?;
                    *state = State::Ending;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// When [`Accepting::arm`] has something to do that no completion tells of.
    pub fn next_deadline(&self) -> Option<Time> {
        let until = |state: &State| match *state {
            State::Off | State::Exhausted(_) => Some(Time(0)),
            State::Shedding(until) | State::Paused(until) => Some(until),
            State::Armed | State::Ending | State::Stopped => None,
        };
        self.listeners.iter().filter_map(until).min()
    }

    /// The new connection, if there is one.
    pub fn on_accepted(
        &mut self,
        listener: u32,
        result: Result<OwnedFd, i32>,
        more: bool,
        seat: &Seat,
        now: Time,
    ) -> Option<OwnedFd> {
        let state = &mut self.listeners[listener as usize];
        if *state == State::Stopped {
            return None;
        }
        if !more {
            *state = State::Off;
        }
        let errno = match result {
            Ok(socket) => return Some(socket),
            Err(errno) => errno,
        };
        let until = now + limits::ACCEPT_PAUSE_MS;
        match errno {
            // The newcomer has gone again, or its network has; it is no longer in the queue.
            libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::ECANCELED | libc::EAGAIN => {}
            libc::EMFILE | libc::ENFILE => *state = State::Exhausted(until),
            errno => {
                *state = State::Paused(until);
                let error = io::Error::from_raw_os_error(errno);
                self.complain(seat, now, &format!("cannot accept connections: {error}"));
            }
        }
        None
    }

    /// A connection was accepted to be closed, or could not be.
    pub fn on_shed(&mut self, listener: u32, result: Result<OwnedFd, i32>, seat: &Seat, now: Time) {
        let state = &mut self.listeners[listener as usize];
        let until = now + limits::ACCEPT_PAUSE_MS;
        *state = match (*state, &result) {
            (State::Stopped, _) => State::Stopped,
            (State::Shedding(until), Ok(_)) => State::Exhausted(until),
            (_, Err(libc::EMFILE | libc::ENFILE)) => State::Paused(until),
            _ => State::Off,
        };
        if let Ok(socket) = result {
            drop(socket);
            let text = "refused a connection: the limit of open files is reached (raise LimitNOFILE= or ulimit -n)";
            self.complain(seat, now, text);
        }
    }

    /// Accepts no more.
    pub fn stop(&mut self, kernel: &mut impl Kernel) -> io::Result<()> {
        for (index, state) in self.listeners.iter_mut().enumerate() {
            *state = State::Stopped;
            kernel.cancel_accept(index as u32)?;
        }
        Ok(())
    }

    /// A connection had to be given up as the machine could not take it: `error` says why.
    pub fn cannot_serve(&mut self, seat: &Seat, now: Time, error: &io::Error) {
        self.complain(seat, now, &format!("gave up a new connection: {error}"));
    }

    fn complain(&mut self, seat: &Seat, now: Time, text: &str) {
        if let Some(at) = self.logged
            && now.since_ms(at) < limits::LOG_REPEAT_MS
        {
            self.unlogged += 1;
            return;
        }
        self.logged = Some(now);
        let unlogged = std::mem::take(&mut self.unlogged);
        let more = match unlogged {
            0 => String::new(),
            count => format!("; {count} more since the last such line"),
        };
        seat.log.line(Level::Warning, format!("{text}{more}"));
    }
}
