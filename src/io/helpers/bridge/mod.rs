//! The thread of all bridges: sockets, clock and names for the machines of [`crate::bridge`].
//!
//! It connects to the other broker and logs in there. Then a shard gets that connection (`ToShard::Connected`) and
//! carries the packets ([`bridged`](crate::io::link::bridged)); only those inside TLS cross here, between that
//! connection and a pair of sockets, one end of which the shard gets. Nothing here waits but for `poll`: names are
//! looked up on threads of their own (`dial`). Without a bridge there is no thread.

pub mod board;
mod dial;
pub mod entry;
mod house;
mod running;
mod socket;
pub mod trial;
pub mod words;

use crate::bridge::mapping::Mapping;
use crate::bridge::{Loops, Terms};
use crate::broker::LogLevel;
use crate::config::mosquitto::Bridge;
use crate::io::link::bridged::SharedLoops;
use crate::limits;
use crate::random::system_random;
use board::Board;
pub use entry::Entry;
pub use house::House;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use running::{Running, Waits};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The name of this machine; another in the place of one that cannot be read.
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "mqttfast".to_owned(), |name| name.trim().to_owned())
}

/// What the thread is told.
enum Order {
    /// These are the bridges from now on.
    Exchange(Vec<Bridge>),
    /// All end; the sender is dropped when they have.
    Stop(Sender<()>),
}

/// A handle of the thread, which begins with the first bridge.
#[derive(Clone)]
pub struct Bridges {
    house: House,
    board: Board,
    thread: Arc<Mutex<Option<Orders>>>,
}

#[derive(Clone)]
struct Orders {
    orders: Sender<Order>,
    wake: Arc<EventFd>,
}

impl Bridges {
    /// None yet.
    pub fn new(house: House) -> Bridges {
        Bridges {
            board: Board::new(house.clone()),
            house,
            thread: Arc::default(),
        }
    }

    /// How they are.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// From now on there are these. One that stays the same goes on undisturbed.
    ///
    /// Errors: the thread cannot be made.
    pub fn exchange(&self, bridges: &[Bridge]) -> io::Result<()> {
        for bridge in bridges.iter().skip(limits::BRIDGES_MAX) {
            let most = limits::BRIDGES_MAX;
            let text = format!(
                "{}: the bridge {} is left out: at most {most} bridges",
                bridge.place, bridge.name
            );
            self.house.log.line(LogLevel::Error, text);
        }
        let bridges: Vec<Bridge> = bridges.iter().take(limits::BRIDGES_MAX).cloned().collect();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            if bridges.is_empty() {
                return Ok(());
            }
            *thread = Some(self.start()?);
        }
        if let Some(thread) = &*thread {
            thread.give(Order::Exchange(bridges));
        }
        Ok(())
    }

    fn start(&self) -> io::Result<Orders> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags)?);
        let (orders, taken) = channel();
        let thread = Thread {
            house: self.house.clone(),
            board: self.board.clone(),
            orders: taken,
            wake: Arc::clone(&wake),
            host: host_name(),
            bridges: Vec::new(),
            loops: SharedLoops::default(),
        };
        thread::Builder::new()
            .name("bridges".to_owned())
            .spawn(move || thread.run())?;
        Ok(Orders { orders, wake })
    }

    /// Ends all, and waits until the other brokers have been told, or for
    /// [`BRIDGE_FAREWELL_MS`](limits::BRIDGE_FAREWELL_MS).
    pub fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let (ended, wait) = channel();
            thread.give(Order::Stop(ended));
            // Nothing is sent: the sender is dropped when all have ended.
            let _ = wait.recv_timeout(Duration::from_millis(limits::BRIDGE_FAREWELL_MS));
        }
    }
}

impl Orders {
    fn give(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = self.wake.write(1);
        }
    }
}

struct Thread {
    house: House,
    board: Board,
    orders: Receiver<Order>,
    wake: Arc<EventFd>,
    host: String,
    bridges: Vec<Running>,
    loops: SharedLoops,
}

impl Thread {
    fn run(mut self) {
        let mut buffer = vec![0; limits::BRIDGE_READ_BYTES].into_boxed_slice();
        loop {
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Exchange(bridges) => self.exchange(bridges),
                    Order::Stop(ended) => {
                        self.exchange(Vec::new());
                        self.say_farewell(&mut buffer);
                        return drop(ended);
                    }
                }
            }
            self.turn(None, &mut buffer);
            self.tell_board();
        }
    }

    /// Turns until all last bytes have left, or for so long.
    fn say_farewell(&mut self, buffer: &mut [u8]) {
        let until = self.house.clock.now() + limits::BRIDGE_FAREWELL_MS;
        loop {
            let left = until.since_ms(self.house.clock.now());
            if left == 0 || self.bridges.iter().all(|bridge| !bridge.has_farewells()) {
                return;
            }
            self.turn(Some(left), buffer);
        }
    }

    /// Ends the bridges that are not there any more or others now, and begins the new ones. With `bridge_reload_type
    /// lazy` one that is connected becomes another when its connection ends.
    fn exchange(&mut self, bridges: Vec<Bridge>) {
        let now = self.house.clock.now();
        let mut before = std::mem::take(&mut self.bridges);
        let mut after = Vec::new();
        let watch = Mapping::could_loop(bridges.iter().flat_map(|bridge| &bridge.topics));
        let loops = Loops::new(watch, system_random());
        let mut stays = Vec::new();
        for bridge in &bridges {
            let index = before
                .iter()
                .position(|old| !old.is_leaving() && old.may_go_on_as(bridge));
            stays.push(index.map(|index| before.swap_remove(index)));
        }
        for old in &mut before {
            if !old.is_leaving() {
                old.stop(now, &self.house);
            }
        }
        *self.loops.lock().unwrap_or_else(PoisonError::into_inner) = loops;
        for (bridge, stays) in bridges.into_iter().zip(stays) {
            after.push(match stays {
                Some(mut old) => {
                    old.becomes(bridge, &self.house);
                    old
                }
                None => self.begin(&bridge),
            });
        }
        // Their last bytes still leave.
        after.extend(before.into_iter().filter(Running::has_farewells));
        self.bridges = after;
        self.tell_board();
    }

    fn begin(&mut self, bridge: &Bridge) -> Running {
        let terms = Terms::new(bridge, &self.host);
        let wake = Arc::clone(&self.wake);
        let (loops, clock) = (Arc::clone(&self.loops), self.house.clock);
        let mut new = Running::new(terms, system_random(), wake, loops, clock);
        new.start(self.house.clock.now(), &self.house);
        new
    }

    /// Those whose connection has ended become what they were to become.
    fn change_late(&mut self) {
        for index in 0..self.bridges.len() {
            if let Some(bridge) = self.bridges[index].is_due() {
                let new = self.begin(&bridge);
                let mut old = std::mem::replace(&mut self.bridges[index], new);
                old.stop(self.house.clock.now(), &self.house);
                // Its last bytes still leave.
                self.bridges.push(old);
            }
        }
    }

    /// Waits for something to do, `most_ms` at most, and does it.
    fn turn(&mut self, most_ms: Option<u64>, buffer: &mut [u8]) {
        let now = self.house.clock.now();
        let deadline = self
            .bridges
            .iter()
            .map(|bridge| bridge.next_deadline(now))
            .min();
        let timeout_ms = deadline
            .filter(|at| *at != crate::time::Time::NEVER)
            .map(|at| at.since_ms(now))
            .into_iter()
            .chain(most_ms)
            .chain(self.bridges.iter().any(Running::is_busy).then_some(0))
            .min();
        let timeout = timeout_ms.map_or(PollTimeout::NONE, |ms| {
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        });
        let mut waits = vec![];
        let mut polled = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        for bridge in &self.bridges {
            waits.push(bridge.wait(&mut polled));
        }
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                let text = format!("bridges: poll: {}", errno.desc());
                self.house.log.line(LogLevel::Error, text);
                thread::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS));
            }
        }
        let ready: Vec<PollFlags> = polled
            .iter()
            .map(|polled| polled.revents().unwrap_or(PollFlags::empty()))
            .collect();
        drop(polled);
        if !ready[0].is_empty() {
            let _ = self.wake.read();
        }
        let now = self.house.clock.now();
        for (bridge, waits) in self.bridges.iter_mut().zip(waits) {
            let waits: Waits = waits;
            bridge.turn(&waits, &ready, now, &self.house, buffer);
        }
        self.change_late();
        self.bridges.retain(|bridge| !bridge.is_gone());
    }

    fn tell_board(&self) {
        let bridges = self.bridges.iter().filter(|bridge| !bridge.is_leaving());
        self.board.write(|entries| {
            entries.resize_with(bridges.clone().count(), Entry::default);
            for (bridge, entry) in bridges.zip(entries) {
                bridge.write(entry);
            }
        });
    }
}
