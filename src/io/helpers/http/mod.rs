//! The page, and the API behind it, over HTTP: what an operator sees of a running broker in a browser, and Prometheus
//! by itself. `docs/http.md` has the paths and the answers.
//!
//! One thread serves all of it. It sleeps in `poll` while nobody asks, and asks shards by mail as the control socket
//! does, a page at a time, as fast as a reader takes the answer. So a reader that is slow, or hostile, holds nothing
//! but its own connection: header, body and answer are bounded, and each has its deadline. Passwords are checked by
//! the `passwords` thread, in the same line as those of MQTT.
//!
//! - `connection`: bytes in and out, and the request under way.
//! - `stream`: its socket, with or without TLS.
//! - `request`, `answer`: what is read and what is written of HTTP; `json`: of a body.
//! - `names`: which hosts and which pages may ask.
//! - `route`: which path has which answer; `listing`, `removal`, `metrics` and `page`
//!   make the larger ones.
//! - `live`: the WebSocket of a page, with `news` of what happens. `local`: a client of this broker, for that and for
//!   the `errand` of a message.
//! - `rights`: what who asks may read and write.
//! - `site`: where it listens. `house`: what all connections share.
//!
//! HTTP is httparse, which the WebSockets of MQTT use already, and the few hundred lines here: a server crate would
//! bring a thread for each connection, or a runtime, and bounds other than ours.

mod answer;
mod connection;
mod errand;
mod house;
mod json;
mod listing;
mod live;
mod local;
mod metrics;
mod names;
mod news;
mod page;
pub mod props;
mod removal;
mod request;
mod rights;
mod route;
mod site;
mod stream;

use self::connection::Connection;
use self::house::House;
use self::local::Local;
use self::news::News;
use self::page::Page;
pub use self::site::Site;
use self::stream::Stream;
use crate::broker::Verdict;
use crate::budget::Source;
use crate::io::helpers::known::{self, Known};
use crate::io::helpers::passwords::Checker;
use crate::io::helpers::sys::Sys;
use crate::limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Starts the thread.
///
/// Errors: the system gives no thread, or no eventfd.
pub fn start(sites: Vec<Site>, known: Known, checker: Option<Checker>, sys: Sys) -> io::Result<()> {
    for socket in sites.iter().flat_map(|site| &site.sockets) {
        socket.set_nonblocking(true)?;
    }
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let (verdicts, taken) = channel();
    let house = House {
        known,
        checker,
        sys,
        unsent: Cell::new(0),
        lives: Cell::new(0),
        has_opened: Cell::new(false),
        page: Page::default(),
        verdicts,
        wake: Arc::new(EventFd::from_flags(flags)?),
    };
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            let mut desk = Desk {
                sites,
                house,
                verdicts: taken,
                connections: Vec::new(),
                news: News::default(),
                next_id: 0,
                rests_until: None,
            };
            loop {
                desk.turn();
            }
        })?;
    Ok(())
}

struct Desk {
    sites: Vec<Site>,
    house: House,
    verdicts: Receiver<(u64, Verdict)>,
    connections: Vec<Connection>,
    /// For WebSockets.
    news: News,
    next_id: u64,
    /// No connection could be accepted: not before then.
    rests_until: Option<Instant>,
}

impl Desk {
    fn turn(&mut self) {
        let ready = self.wait();
        let now = Instant::now();
        if ready.woken {
            let _ = self.house.wake.read();
        }
        while let Ok((id, verdict)) = self.verdicts.try_recv() {
            let mut connections = self.connections.iter_mut();
            if let Some(connection) = connections.find(|connection| connection.id == id) {
                let site = &self.sites[connection.site];
                connection.on_verdict(verdict, site, &self.house, now);
                connection.turn(site, &self.house, now);
            }
        }
        let lines = self.news.take(&self.house.known, now);
        if !lines.is_empty() {
            for connection in &mut self.connections {
                connection.tell(&lines);
            }
        }
        for (connection, is_ready) in self.connections.iter_mut().zip(ready.connections) {
            if is_ready || connection.due() <= now {
                let site = &self.sites[connection.site];
                connection.turn(site, &self.house, now);
            }
        }
        self.connections.retain(|connection| !connection.is_over());
        self.count_lives();
        let unsent = self.connections.iter().map(Connection::held_bytes).sum();
        self.house.unsent.set(unsent);
        if ready.asked {
            self.accept(now);
            self.count_lives();
        }
    }

    fn count_lives(&mut self) {
        let lives = self.connections.iter().filter(|one| one.is_live()).count();
        self.house.lives.set(lives);
        let (recent, wake) = (&self.house.known.recent, &self.house.wake);
        if self.house.has_opened.take() {
            self.news.listen(true, recent, wake);
        }
        self.news.listen(lives > 0, recent, wake);
    }

    /// Waits for connections, bytes, room for bytes, verdicts, or a deadline.
    fn wait(&mut self) -> Ready {
        let now = Instant::now();
        let rests = self.rests_until.filter(|until| *until > now);
        self.rests_until = rests;
        let mut polled = vec![PollFd::new(self.house.wake.as_fd(), PollFlags::POLLIN)];
        if rests.is_none() {
            let sockets = self.sites.iter().flat_map(|site| &site.sockets);
            polled.extend(sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        }
        let of_connections = polled.len();
        let mut places = Vec::with_capacity(self.connections.len());
        let due = self.connections.iter().map(Connection::due).min();
        let due = due.into_iter().chain(self.news.due()).chain(rests).min();
        for connection in &mut self.connections {
            let from = polled.len();
            let interest = connection.interest();
            let local = connection.local().map(Local::interest);
            let connection = &*connection;
            if !interest.is_empty() {
                polled.push(PollFd::new(connection.as_fd(), interest));
            }
            if let Some((local, interest)) = connection.local_fd().zip(local) {
                polled.push(PollFd::new(local, interest));
            }
            places.push(from..polled.len());
        }
        match poll(&mut polled, known::until(due, now)) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing that is watched can make it fail; if it does, not in a busy loop.
            Err(_) => thread::sleep(Duration::from_millis(limits::HTTP_REST_MS)),
        }
        let is_ready = |at: usize| polled[at].any().unwrap_or(false);
        Ready {
            woken: is_ready(0),
            asked: (1..of_connections).any(is_ready),
            connections: places
                .into_iter()
                .map(|mut places| places.any(is_ready))
                .collect(),
        }
    }

    fn accept(&mut self, now: Instant) {
        for index in 0..self.sites.len() {
            for socket in 0..self.sites[index].sockets.len() {
                for _ in 0..limits::HTTP_ACCEPTS_PER_TURN {
                    match self.sites[index].sockets[socket].accept() {
                        Ok((stream, peer)) => {
                            let tls = self.sites[index].tls.as_ref();
                            let tls = tls.map(|server| Arc::clone(&server.terms().config));
                            let local = stream.local_addr().map(|local| local.ip());
                            let opened = Stream::new(stream, tls);
                            // One that is gone already.
                            let (Ok(local), Ok(stream)) = (local, opened) else {
                                continue;
                            };
                            self.make_place();
                            let id = self.next_id;
                            self.next_id += 1;
                            let connection = Connection::new(id, index, stream, peer, local, now);
                            self.connections.push(connection);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error)
                            if matches!(
                                error.kind(),
                                ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                            ) => {}
                        // No file is free, say. The socket stays ready, and would wake us again at once.
                        Err(_) => {
                            let rest = Duration::from_millis(limits::HTTP_REST_MS);
                            self.rests_until = Some(now + rest);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Closes one connection where there are as many as there may be: of the address that has most of them, so that
    /// nobody is pushed out by another machine.
    fn make_place(&mut self) {
        if self.connections.len() < limits::HTTP_CONNECTIONS_MAX {
            return;
        }
        let source = |connection: &Connection| Source::of(connection.address());
        let count = |connection: &Connection| {
            let own = source(connection);
            let same = self.connections.iter();
            same.filter(|other| source(other) == own).count()
        };
        let first = self.connections.iter().enumerate().min_by_key(|(_, one)| {
            let (is_live, is_at_work, since) = one.rank();
            (is_live, std::cmp::Reverse(count(one)), is_at_work, since)
        });
        if let Some((index, _)) = first {
            self.connections.swap_remove(index);
        }
    }
}

/// What a wait has come to.
struct Ready {
    woken: bool,
    /// Somebody wants to connect.
    asked: bool,
    /// By their places.
    connections: Vec<bool>,
}
