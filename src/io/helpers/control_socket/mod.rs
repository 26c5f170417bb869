//! The control socket: what an operator asks a running broker and tells it, by one line of JSON each. `docs/control.md`
//! has the requests and the answers.
//!
//! One thread serves all its connections. It sleeps in `poll` while nobody asks; it asks shards by mail, a page at a
//! time, and only while the reader of the answer takes it. So a reader that is slow, or hostile, holds nothing but its
//! own connection: its request and its answer are bounded, and it has deadlines.
//!
//! - [`place`]: where the socket is.
//! - `connection`: bytes in and out, and the request under way.
//! - `request`: a line becomes work, `work` does a piece of it at a time.
//! - `lines`: the lines of an answer. What shards report becomes JSON in [`super::answers`].

mod connection;
mod lines;
pub mod place;
mod request;
mod work;

use self::connection::Connection;
use self::place::ControlSocket;
use crate::io::helpers::known::{self, Known};
use crate::limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Starts the thread.
///
/// Errors: the system gives no thread, or no eventfd.
pub fn start(socket: ControlSocket, known: Known) -> io::Result<()> {
    let lines = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let lines = Arc::new(lines);
    known.log.keep_tail(Arc::clone(&lines));
    let mut desk = Desk {
        socket,
        lines,
        follows: false,
        known,
        connections: Vec::new(),
    };
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || desk.serve())?;
    Ok(())
}

struct Desk {
    socket: ControlSocket,
    /// There are new lines of the log.
    lines: Arc<EventFd>,
    /// Somebody waits for them.
    follows: bool,
    known: Known,
    connections: Vec<Connection>,
}

impl Desk {
    fn serve(&mut self) {
        loop {
            self.wait();
            self.accept();
            let now = Instant::now();
            let mut unsent = self.unsent();
            for connection in &mut self.connections {
                let before = connection.waiting();
                connection.turn(&self.known, unsent, now);
                unsent = (unsent + connection.waiting()).saturating_sub(before);
            }
            self.connections.retain(|connection| !connection.is_over());
        }
    }

    /// Bytes that all connections have not sent.
    fn unsent(&self) -> usize {
        self.connections.iter().map(Connection::waiting).sum()
    }

    /// Waits for connections, bytes, room for bytes, lines of the log where somebody follows them, or a deadline.
    fn wait(&mut self) {
        let follows = self.connections.iter().any(Connection::follows);
        let begins = follows && !self.follows;
        if follows != self.follows {
            self.follows = follows;
            self.known.log.follow_tail(follows);
        }
        let mut watched = vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if follows {
            watched.push(PollFd::new(self.lines.as_fd(), PollFlags::POLLIN));
        }
        for connection in &self.connections {
            let interest = connection.interest();
            // One that waits for others would tell of its end again and again.
            if !interest.is_empty() {
                watched.push(PollFd::new(connection.as_fd(), interest));
            }
        }
        let now = Instant::now();
        let due = self.connections.iter().filter_map(Connection::due).min();
        let has_room = self.unsent() < limits::CONTROL_ALL_UNSENT_BYTES_MAX;
        let goes_on = has_room && self.connections.iter().any(Connection::rests);
        // Of lines that came since an answer began to follow them, nobody was told.
        let timeout = match begins || goes_on {
            true => PollTimeout::ZERO,
            false => known::until(due, now),
        };
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing that we watch can make it fail; if it does, not in a busy loop.
            Err(_) => thread::sleep(Duration::from_millis(limits::CONTROL_STUCK_MS / 10)),
        }
        if follows {
            let _ = self.lines.read();
        }
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.socket.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No file is free, say: the socket stays ready, and `poll` would tell that again and again.
                    if error.kind() != io::ErrorKind::WouldBlock {
                        thread::sleep(Duration::from_millis(limits::CONTROL_STUCK_MS / 100));
                    }
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= limits::CONTROL_CONNECTIONS_MAX {
                let idle = self.connections.iter().enumerate();
                let idle = idle.filter(|(_, connection)| connection.is_idle());
                match idle.min_by_key(|(_, connection)| connection.since()) {
                    Some((index, _)) => drop(self.connections.swap_remove(index)),
                    // Closed unanswered; the command says that the broker is busy.
                    None => continue,
                }
            }
            self.connections
                .push(Connection::new(stream, Instant::now()));
        }
    }
}
