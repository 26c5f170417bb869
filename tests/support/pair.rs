//! Well-behaved clients that exchange QoS 1 messages while a test does harm elsewhere, and that notice every loss.

use super::packet::{self, Published};
use super::{Answer, Broker, Client, DEADLINE};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Subscribers of one publisher: with two shards they hardly ever share one with it.
const SUBSCRIBERS: usize = 3;
/// Time between two messages.
const PAUSE: Duration = Duration::from_millis(2);

/// One publisher and its subscribers, each in a thread.
pub struct Pair {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    publisher: JoinHandle<u64>,
    subscribers: Vec<JoinHandle<u64>>,
}

impl Pair {
    pub fn start(broker: &Broker) -> Pair {
        let stop = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicU64::new(0));
        let subscribers = (0..SUBSCRIBERS)
            .map(|number| {
                let mut client =
                    Client::connect(broker, &format!("well-behaved-subscriber-{number}"));
                client.subscribe("well/behaved/+", 1);
                std::thread::spawn(move || subscribe(client))
            })
            .collect();
        let client = Client::connect(broker, "well-behaved-publisher");
        let publisher = {
            let (stop, published) = (stop.clone(), published.clone());
            std::thread::spawn(move || publish(client, &stop, &published))
        };
        Pair {
            stop,
            published,
            publisher,
            subscribers,
        }
    }

    /// Waits until `count` more messages have been acknowledged: the broker serves others meanwhile.
    pub fn exchange(&self, count: u64) {
        let wanted = self.published.load(Ordering::Relaxed) + count;
        let end = std::time::Instant::now() + DEADLINE;
        while self.published.load(Ordering::Relaxed) < wanted {
            assert!(
                std::time::Instant::now() < end,
                "the well-behaved clients are no longer served"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the exchange. Panics unless every message was acknowledged, and reached every subscriber once and in order.
    pub fn finish(self) {
        self.exchange(5);
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the well-behaved publisher");
        for subscriber in self.subscribers {
            let received = subscriber.join().expect("a well-behaved subscriber");
            assert_eq!(received, sent, "messages of the well-behaved publisher");
        }
    }
}

/// Message n carries n; the last one is empty.
fn publish(mut client: Client, stop: &AtomicBool, published: &AtomicU64) -> u64 {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            client.publish("well/behaved/last", b"", 1, false);
            client.disconnect();
            return n;
        }
        client.publish("well/behaved/next", n.to_string().as_bytes(), 1, false);
        published.store(n + 1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    unreachable!("u64 does not end");
}

fn subscribe(mut client: Client) -> u64 {
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
            return n;
        }
        assert_eq!(
            message.payload,
            n.to_string().as_bytes(),
            "a message of the well-behaved publisher is lost or out of order"
        );
    }
    unreachable!("u64 does not end");
}
