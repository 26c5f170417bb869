//! Clients that do no harm while others do: each sends itself messages, one after the other, and notes how long each
//! took. None may be lost, doubled or out of order.

use crate::support::machine::{Machine, Starvation};
use crate::support::{Broker, Client, DEADLINE, Published, packet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Clients, which with several shards hardly ever live all on one.
const CLIENTS: usize = 3;
/// Time between two messages of one.
const PAUSE: Duration = Duration::from_millis(4);

/// The clients of one broker.
pub struct Bystanders {
    stop: Arc<AtomicBool>,
    machine: Machine,
    starvation: Starvation,
    threads: Vec<JoinHandle<Vec<Duration>>>,
}

/// How long round trips took, those of all clients together.
pub struct Served {
    /// Half took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
    /// How many there were.
    pub count: usize,
    /// What the machine itself cost: how many times as long as on an idle one a round trip may take, and the longest
    /// that a byte took between two threads of the test.
    pub starved: f64,
    /// See there.
    pub machine: Duration,
}

impl Bystanders {
    pub fn start(broker: &Broker) -> Bystanders {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |number| {
            let mut client = Client::connect(broker, &format!("bystander-{number}"));
            let topic = format!("bystander/{number}");
            client.subscribe(&topic, 1);
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || exchange(client, &topic, &stop))
        };
        let threads = (0..CLIENTS).map(thread).collect();
        Bystanders {
            stop,
            machine: Machine::start(),
            starvation: Starvation::of(broker.pid()),
            threads,
        }
    }

    /// Ends them. Panics if one was not served, or not in order.
    pub fn finish(self) -> Served {
        let starved = self.starvation.factor();
        self.stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for thread in self.threads {
            times.extend(thread.join().expect("a bystander that is served"));
        }
        times.sort();
        let part = |of_1000: usize| times[(times.len() * of_1000 / 1000).min(times.len() - 1)];
        Served {
            p50: part(500),
            p99: part(990),
            longest: part(1000),
            count: times.len(),
            starved,
            machine: self.machine.finish(),
        }
    }
}

/// QoS 0 and 1 by turns.
fn exchange(mut client: Client, topic: &str, stop: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut number = 0_u16;
    while !stop.load(Ordering::Relaxed) {
        number = number % 60_000 + 1;
        let qos = (number % 2) as u8;
        let payload = number.to_string();
        let start = Instant::now();
        client.send(&packet::publish(
            topic.as_bytes(),
            payload.as_bytes(),
            qos,
            number,
            false,
        ));
        let mut acknowledged = qos == 0;
        let mut came = false;
        while !(acknowledged && came) {
            let bytes = client.packet();
            if bytes == packet::acknowledgement(packet::PUBACK, number) {
                assert!(!acknowledged, "acknowledged twice");
                acknowledged = true;
                continue;
            }
            let message = Published::read(&bytes).expect("the message");
            assert!(
                !came && message.payload == payload.as_bytes(),
                "lost or out of order"
            );
            if message.qos == 1 {
                client.send(&packet::acknowledgement(packet::PUBACK, message.packet_id));
            }
            came = true;
        }
        times.push(start.elapsed());
        assert!(start.elapsed() < DEADLINE);
        std::thread::sleep(PAUSE);
    }
    times
}
