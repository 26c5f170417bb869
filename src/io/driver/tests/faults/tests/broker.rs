//! A broker whose shards run on a kernel with faults, and can be put to sleep.

use super::PATIENCE;
use crate::broker::{Input, Output, Outputs, Shard};
use crate::buffer::Stock;
use crate::config::Settings;
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::driver::kernel::Kernel;
use crate::io::driver::tests::faults::{Faulty, PLAN, Plan, Tally};
use crate::io::driver::{Core, Driver};
use crate::io::helpers::handshakes::Handshakes;
use crate::io::helpers::log::Log;
use crate::io::link::Wrapping;
use crate::io::listener::ListeningSockets;
use crate::io::mail::{Shards, ToShard};
use crate::io::seat::{Common, seats};
use crate::mesh::{Places, lanes};
use crate::time::Time;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Invariants are a walk over all connections after each input.
const CONNECTIONS_WALKED_MAX: usize = 50;

/// A shard that can be told to do nothing for a while, as a machine that has no time for its thread would make it.
struct Drowsy {
    shard: Shard,
    naps: Receiver<Duration>,
    asleep: Sender<()>,
}

impl Core for Drowsy {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        self.shard.handle(now, input, out);
        // Thousands of lines of coming and going say nothing here.
        out.list
            .retain(|output| !matches!(output, Output::Happened(_)));
        if self.shard.sizes().0 < CONNECTIONS_WALKED_MAX {
            self.shard.check_invariants();
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outputs) {
        self.shard.flush(now, out);
        if let Ok(nap) = self.naps.try_recv() {
            self.asleep.send(()).unwrap();
            thread::sleep(nap);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.shard.next_deadline()
    }

    fn is_spent(&self) -> bool {
        self.shard.is_spent()
    }
}

/// What a shard's thread leaves behind.
struct Left {
    slots: usize,
    /// Connections, Sessions, subscriptions, retained messages.
    sizes: (usize, usize, usize, usize),
    tally: Tally,
}

pub(super) struct Broker {
    pub(super) address: SocketAddr,
    shards: Shards,
    capacity: Arc<Places>,
    threads: Vec<JoinHandle<Left>>,
    naps: Vec<Sender<Duration>>,
    asleep: Receiver<()>,
}

impl Broker {
    pub(super) fn start<K: Kernel>(count: usize, plan: Plan) -> Broker {
        Broker::start_with::<K>(count, plan, &Wrapping::default())
    }

    pub(super) fn start_with<K: Kernel>(count: usize, plan: Plan, wrapping: &Wrapping) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = ListeningSockets::of_one_listener(vec![listener], wrapping);
        let capacity = Arc::new(Places::new(usize::MAX, 0, &[]));
        let handshakes = Handshakes::default();
        let common = Common {
            handshakes: handshakes.clone(),
            listeners,
            recent: Default::default(),
            sys: Default::default(),
            places: Arc::clone(&capacity),
            memory: Arc::new(Stock::new(Settings::default().memory_bytes_max, count)),
            checker: None,
            store: false,
            log: Log::start(None, None).unwrap(),
            clock: Clock::start(),
        };
        let shards = Shards::new(count).unwrap();
        handshakes.start(shards.clone(), 1).unwrap();
        let seats = seats(&shards, lanes(count, &LANE_BOUNDS), &common);
        let (tell, asleep) = channel();
        let (mut threads, mut all_naps) = (Vec::new(), Vec::new());
        for seat in seats {
            let (nap, naps) = channel();
            all_naps.push(nap);
            let asleep = tell.clone();
            threads.push(thread::spawn(move || {
                PLAN.set(plan);
                let shard = Shard::new(seat.id, count, Settings::default());
                let core = Drowsy {
                    shard,
                    naps,
                    asleep,
                };
                let mut driver = Driver::<_, Faulty<K>>::new(core, seat).unwrap();
                driver.run().unwrap();
                Left {
                    slots: driver.sockets.used(),
                    sizes: driver.core.shard.sizes(),
                    tally: driver.kernel.tally,
                }
            }));
        }
        Broker {
            address,
            shards,
            capacity,
            threads,
            naps: all_naps,
            asleep,
        }
    }

    /// This shard does nothing for a while, beginning before this returns.
    pub(super) fn starve(&self, shard: usize, nap: Duration) {
        self.naps[shard].send(nap).unwrap();
        // A turn, at whose end it finds the nap: nobody waits for this verdict.
        let connection = crate::ids::ConnectionId {
            index: u32::MAX,
            generation: 0,
        };
        let verdict = crate::broker::Verdict::Accepted;
        let mail = ToShard::Verdict {
            connection,
            verdict,
        };
        self.shards.tell(crate::ids::ShardId(shard as u8), mail);
        self.asleep.recv_timeout(PATIENCE).unwrap();
    }

    /// All have left and nothing of them is there any more. Returns the sum of what went wrong.
    pub(super) fn stop(self) -> Tally {
        self.shards.tell_all(|| ToShard::Shutdown);
        let mut sum = Tally::default();
        for thread in self.threads {
            let left = thread.join().unwrap();
            assert_eq!((left.slots, left.sizes), (0, (0, 0, 0, 0)));
            sum.errors += left.tally.errors;
            sum.overtaken += left.tally.overtaken;
            sum.pieces += left.tally.pieces;
            sum.large += left.tally.large;
            sum.found_at_once_max = sum.found_at_once_max.max(left.tally.found_at_once_max);
        }
        assert_eq!(self.capacity.taken(), 0);
        sum
    }
}
