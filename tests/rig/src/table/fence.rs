//! Knows when the shards of a running broker have done all that follows from what they were sent.

use super::process::{Answer, Broker, Client, Connect};
use super::sockets::DEADLINE;

/// A Client of the harness that takes part in nothing.
///
/// The answer to its SUBSCRIBE waits until every other shard has the filter and said so; lanes are first in, first out.
/// So when the SUBACK of a new filter is there, every shard has handled what the fence's own shard had told it, and the
/// fence's shard what the others had told it: one round is a way there and a way back. What follows from a packet goes
/// at most there, back, there and back (the first member of a shared subscription: join, filter, in force, joined), and
/// when the first way is towards the fence, one round brings only that one; so three rounds are enough.
pub struct Fence {
    client: Client,
    rounds_done: u32,
}

/// Ways between shards that follow from one packet, at most, begun and ended anywhere.
const ROUNDS: u32 = 3;

impl Fence {
    /// As a user if the broker asks for one.
    pub fn new(broker: &Broker, user: Option<(&str, &str)>) -> Fence {
        let connect = Connect {
            client_id: b"fence",
            keep_alive_s: 0,
            user: user.map(|(name, _)| name),
            password: user.map(|(_, password)| password),
            ..Connect::default()
        };
        let (client, _) = Client::connect_with(broker, &connect);
        Fence {
            client,
            rounds_done: 0,
        }
    }

    pub fn pass(&mut self) {
        for _ in 0..ROUNDS {
            let done = self.rounds_done;
            self.rounds_done += 1;
            let (old, new) = (format!("fence/{done}"), format!("fence/{}", done + 1));
            let id = (done % 32_768) as u16 + 1;
            let mut bytes = super::unsubscribe(super::Version::V311, id, &[&old]);
            bytes.extend(super::subscribe(super::Version::V311, id, &[(&new, 0)]));
            self.client.send(&bytes);
            let [high, low] = id.to_be_bytes();
            for answer in [vec![0xb0, 2, high, low], vec![0x90, 3, high, low, 0]] {
                assert_eq!(self.client.answer(DEADLINE), Answer::Packet(answer));
            }
        }
    }
}
