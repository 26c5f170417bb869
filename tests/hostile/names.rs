//! Many client ids of one address, whose user names nobody has checked: together they have one share of the memory, and
//! a client at another address keeps its own.

use crate::foe::{Foe, by_alias, long_topic, retained};
use crate::support::packet::Connect;
use crate::support::{Answer, Broker, Client};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Client ids of the foe.
const NAMES: usize = 16;
/// What the modest client has the broker retain: much less than its share of 64 MiB, and than the last tenth of them.
const MODEST_MESSAGES: u16 = 40;
const MODEST_BYTES: usize = 100_000;

/// The first fills what anyone may take, the others take what they get, and publish by aliases of long topics. Then a
/// client at another address has 4 MB retained.
pub fn many_names_of_one_address(broker: &Broker, until: Instant) {
    let names = 0..NAMES;
    let mut foes: Vec<Foe> = names
        .filter_map(|n| Foe::nameless(broker, &format!("name-{n}"), until))
        .collect();
    let payload = vec![b'x'; 250_000];
    for (n, foe) in foes.iter_mut().enumerate() {
        for number in 0..if n == 0 { 300 } else { 40 } {
            let topic = format!("taken/{n}/{number}");
            if !foe.send(&retained(topic.as_bytes(), &payload)) {
                break;
            }
        }
    }
    let mut modest = connect_from_elsewhere(broker);
    for number in 0..MODEST_MESSAGES {
        let topic = format!("modest/{number}");
        // Panics unless it is acknowledged: before v5 the broker closes rather than take a message it has no room for.
        modest.publish(&topic, &vec![b'm'; MODEST_BYTES], 1, true);
    }
    std::thread::scope(|scope| {
        for foe in &mut foes {
            scope.spawn(|| {
                foe.send(&by_alias(&long_topic(65_000), b"x"));
                foe.flood(&by_alias(b"", b"x").repeat(1000));
            });
        }
    });
}

fn connect_from_elsewhere(broker: &Broker) -> Client {
    let mut client = Client::open_from(broker, Ipv4Addr::new(127, 0, 0, 67));
    let connect = Connect {
        client_id: b"modest",
        ..Connect::default()
    };
    client.send(&connect.bytes());
    let answer = client.answer(Duration::from_secs(10));
    assert_eq!(answer, Answer::Packet(vec![0x20, 2, 0, 0]), "no room");
    client
}
