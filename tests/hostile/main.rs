//! What a hostile or broken peer sends and does, over true sockets, while well-behaved clients go on
//! ([`support::pair`]) and must not lose a message. The numbers are those of `docs/security.md`.
//!
//! After every attack: the attacker's connection has ended where the standard wants it, with its reason in the log;
//! nobody else noticed; the broker runs, and has not grown.

mod acknowledge;
mod before_connect;
mod bystander;
#[cfg(target_env = "gnu")]
mod clock;
mod connect;
mod connect5;
mod foe;
mod greedy;
mod load;
mod names;
mod page;
mod publish;
mod publish5;
mod resources;
mod rights;
mod siege;
mod subscribe;
use mqttfast_rig::process as support;

pub use siege::{attack, attack_after, attack_ours, attack_with};
use std::io::Read;

/// Makes of `fn name(shards: usize)` one test `name::on_1_and_2_shards`: both at the same time, since attacks mostly
/// wait.
macro_rules! on_1_and_2_shards_at_once {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn on_1_and_2_shards() {
                std::thread::scope(|scope| {
                    scope.spawn(|| super::$name(1));
                    scope.spawn(|| super::$name(2));
                });
            }
        })+
    };
}
pub(crate) use on_1_and_2_shards_at_once;

/// Makes of it the two tests `name::on_1_shard` and `name::on_2_shards`, for attacks that keep a processor busy.
macro_rules! on_1_then_2_shards {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn on_1_shard() {
                super::$name(1);
            }
            #[test]
            fn on_2_shards() {
                super::$name(2);
            }
        })+
    };
}
pub(crate) use on_1_then_2_shards;
use support::{Answer, Broker, Client, DEADLINE, reference};

/// Sends `bytes` on a fresh connection and expects the close without a packet, and a log line with the peer's address.
#[track_caller]
fn closed(broker: &Broker, what: &str, bytes: &[u8]) {
    let mark = broker.log_len();
    let mut client = Client::open(broker);
    let address = client.local_address().to_string();
    client.try_send(bytes);
    let answer = client.answer(DEADLINE);
    assert_eq!(answer, Answer::Closed, "{what}");
    if !reference() {
        broker.logged_since(mark, &[&address]);
    }
}

/// Sends `bytes` on a fresh connection and expects CONNACK with this return code, and the close.
#[track_caller]
fn refused(broker: &Broker, what: &str, bytes: &[u8], code: u8) {
    let mark = broker.log_len();
    let mut client = Client::open(broker);
    let address = client.local_address().to_string();
    client.try_send(bytes);
    assert_eq!(
        client.answer(DEADLINE),
        Answer::Packet(vec![0x20, 2, 0, code]),
        "{what}"
    );
    assert_eq!(client.answer(DEADLINE), Answer::Closed, "{what}");
    if !reference() {
        broker.logged_since(mark, &[&address]);
    }
}

/// Connects, sends `bytes`, and expects the close without another packet, with a log line of the client's own for it.
#[track_caller]
fn violation(broker: &Broker, what: &str, bytes: &[u8]) {
    let mark = broker.log_len();
    let mut client = Client::connect(broker, "violator");
    // The line that it has come is not the one that says why it went.
    let came = if reference() {
        0
    } else {
        broker.logged_at(mark, &["violator"])
    };
    client.try_send(bytes);
    let answer = client.answer(DEADLINE);
    assert_eq!(answer, Answer::Closed, "{what}");
    if !reference() {
        broker.logged_since(came + 1, &["violator"]);
    }
}

/// Sends an UNSUBSCRIBE with packet id 1 of a filter that nobody can have subscribed to. UNSUBACK is as right as the
/// end: the standard asks for one of them even if no subscription goes.
#[track_caller]
fn ended_or_answered(broker: &Broker, what: &str, unsubscribe: &[u8]) {
    let mut client = Client::connect(broker, "unsubscriber");
    client.try_send(unsubscribe);
    match client.answer(DEADLINE) {
        Answer::Closed => {}
        Answer::Packet(answer) => {
            assert_eq!(answer, [0xB0, 2, 0, 1], "UNSUBSCRIBE, {what}");
            client.expect_alive();
        }
        Answer::Silence => panic!("no answer to UNSUBSCRIBE, {what}"),
    }
}

/// Sends one packet many times while another thread counts what comes back, until `wanted` bytes are there, the
/// connection ends, or nothing comes any more. Returns the bytes that came.
fn flood(client: &mut Client, bytes: &[u8], times: usize, wanted: usize) -> usize {
    let mut reader = client.stream();
    let counter = std::thread::spawn(move || {
        reader
            .set_read_timeout(Some(DEADLINE))
            .expect("set a deadline");
        let mut block = vec![0; 64 * 1024];
        let mut count = 0;
        while count < wanted {
            match reader.read(&mut block) {
                Ok(0) | Err(_) => break,
                Ok(len) => count += len,
            }
        }
        count
    });
    let at_once = (32 * 1024 / bytes.len()).max(1);
    let block = bytes.repeat(at_once);
    let mut left = times;
    while left > 0 {
        let now = left.min(at_once);
        if !client.try_send(&block[..now * bytes.len()]) {
            break;
        }
        left -= now;
    }
    counter.join().expect("the counting thread")
}
