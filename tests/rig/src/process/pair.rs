//! Well-behaved clients that exchange QoS 1 messages while a test does harm elsewhere, that notice every loss, and that
//! measure how long they wait.

use super::machine::{Machine, Starvation};
use super::packet::{self, Published};
use super::{Answer, Broker, Client, DEADLINE};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Subscribers of one publisher: with two shards they hardly ever share one with it.
const SUBSCRIBERS: usize = 3;
/// Time between two messages.
const PAUSE: Duration = Duration::from_millis(5);
/// What a well-behaved client may have to wait for an acknowledgement or a message, whatever others do.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// On a machine that is slow, or busy with other tests, it may be more: as many times that as the broker's threads had
/// to wait for a processor (time wanted by time got), or as many times what a byte between two threads took meanwhile;
/// a message passes four threads. Both factors are 1 on an idle machine.
const MACHINE_FACTOR: u32 = 4;

/// One publisher and its subscribers, each in a thread.
pub struct Pair {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    machine: Machine,
    starvation: Starvation,
    publisher: JoinHandle<Exchanged>,
    subscribers: Vec<JoinHandle<Exchanged>>,
}

/// What one of the clients saw: how many messages, and its longest wait.
struct Exchanged {
    messages: u64,
    longest: Duration,
}

impl Pair {
    pub fn start(broker: &Broker) -> Pair {
        let start = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicU64::new(0));
        let subscribers = (0..SUBSCRIBERS)
            .map(|number| {
                let mut client =
                    Client::connect(broker, &format!("well-behaved-subscriber-{number}"));
                client.subscribe("well/behaved/+", 1);
                std::thread::spawn(move || subscribe(client, start))
            })
            .collect();
        let client = Client::connect(broker, "well-behaved-publisher");
        let publisher = {
            let (stop, published) = (stop.clone(), published.clone());
            std::thread::spawn(move || publish(client, start, &stop, &published))
        };
        Pair {
            stop,
            published,
            machine: Machine::start(),
            starvation: Starvation::of(broker.pid()),
            publisher,
            subscribers,
        }
    }

    /// Waits until `count` more messages have been acknowledged: the broker serves others meanwhile.
    pub fn exchange(&self, count: u64) {
        let wanted = self.published.load(Ordering::Relaxed) + count;
        let end = Instant::now() + DEADLINE;
        while self.published.load(Ordering::Relaxed) < wanted {
            assert!(
                Instant::now() < end,
                "the well-behaved clients are no longer served"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the exchange. Panics unless every message was acknowledged, and reached every subscriber once and in order,
    /// and each of that in time.
    pub fn finish(self) {
        self.exchange(5);
        // While it runs: the tasks of a process that has ended are not to be seen.
        let starvation = self.starvation.factor();
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the well-behaved publisher");
        let mut longest = sent.longest;
        for subscriber in self.subscribers {
            let received = subscriber.join().expect("a well-behaved subscriber");
            assert_eq!(
                received.messages, sent.messages,
                "messages of the well-behaved publisher"
            );
            longest = longest.max(received.longest);
        }
        let machine = self.machine.finish();
        let starved = starvation;
        println!(
            "the longest wait: {longest:?}; of the machine alone: {machine:?}; the broker starved by {starved:.1}"
        );
        let most = WAIT_MAX.mul_f64(starved).max(machine * MACHINE_FACTOR);
        assert!(
            longest <= most,
            "a well-behaved client waited {longest:?}, more than {most:?}"
        );
    }
}

/// Message n carries n and when it was sent; the last one is empty.
fn publish(
    mut client: Client,
    start: Instant,
    stop: &AtomicBool,
    published: &AtomicU64,
) -> Exchanged {
    let mut longest = Duration::ZERO;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            client.publish("well/behaved/last", b"", 1, false);
            client.disconnect();
            return Exchanged {
                messages: n,
                longest,
            };
        }
        let sent = start.elapsed();
        let payload = format!("{n} {}", sent.as_micros());
        client.publish("well/behaved/next", payload.as_bytes(), 1, false);
        longest = longest.max(start.elapsed() - sent);
        published.store(n + 1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    unreachable!("u64 does not end");
}

fn subscribe(mut client: Client, start: Instant) -> Exchanged {
    let mut longest = Duration::ZERO;
    for n in 0.. {
        let bytes = match client.answer(DEADLINE) {
            Answer::Packet(bytes) => bytes,
            other => panic!("message {n} expected, not {other:?}"),
        };
        let message = Published::read(&bytes)
            .unwrap_or_else(|| panic!("message {n} expected, not {bytes:02x?}"));
        client.send(&packet::acknowledgement(packet::PUBACK, message.packet_id));
        if message.payload.is_empty() {
            client.disconnect();
            return Exchanged {
                messages: n,
                longest,
            };
        }
        let text = String::from_utf8(message.payload).expect("digits");
        let (number, sent) = text.split_once(' ').expect("two numbers");
        assert_eq!(
            number,
            n.to_string(),
            "a message of the well-behaved publisher is lost or out of order"
        );
        let sent = Duration::from_micros(sent.parse().expect("a number"));
        longest = longest.max(start.elapsed().saturating_sub(sent));
    }
    unreachable!("u64 does not end");
}
