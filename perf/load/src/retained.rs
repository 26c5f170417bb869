//! `retained`: again and again a new subscriber of `#` gets everything that is retained.

use crate::client::{Client, Target};
use crate::memory;
use crate::usage::{self, Processes, Usage};
use crate::wire;

pub struct Outcome {
    pub delivered: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub corrupt: u64,
    pub usage: Usage,
    pub own_cpu_ns: u64,
    pub seconds: f64,
}

/// Stores `items` messages, then replays them to one new subscriber after another for `seconds`.
pub fn run(
    to: Target,
    processes: &Processes,
    items: usize,
    payload_bytes: usize,
    seconds: f64,
) -> Result<Outcome, String> {
    let _storer = memory::store_retained(to, items, payload_bytes)?;
    let mut seen = vec![0u32; items];
    // The first replay warms up both sides.
    replay(to, &mut seen, payload_bytes, 0)?;
    let (before, own_before, from) = (processes.usage()?, usage::own_cpu_ns(), usage::now_ns());
    let (mut delivered, mut duplicates, mut lost, mut corrupt) = (0, 0, 0, 0);
    for turn in 1.. {
        let replayed = replay(to, &mut seen, payload_bytes, turn)?;
        delivered += replayed.delivered;
        duplicates += replayed.duplicates;
        lost += replayed.lost;
        corrupt += replayed.corrupt;
        if replayed.lost > 0 || usage::now_ns() - from > (seconds * 1e9) as u64 {
            break;
        }
    }
    Ok(Outcome {
        delivered,
        lost,
        duplicates,
        corrupt,
        usage: processes.usage()? - before,
        own_cpu_ns: usage::own_cpu_ns() - own_before,
        seconds: (usage::now_ns() - from) as f64 / 1e9,
    })
}

struct Replayed {
    delivered: u64,
    lost: u64,
    duplicates: u64,
    corrupt: u64,
}

/// `seen[i]` is the last turn, plus one, in which message i came.
fn replay(
    to: Target,
    seen: &mut [u32],
    payload_bytes: usize,
    turn: u32,
) -> Result<Replayed, String> {
    let mut client = Client::connect(to, "newcomer")?;
    client.subscribe_send(&["#".to_string()], 0)?;
    let mut replayed = Replayed {
        delivered: 0,
        lost: seen.len() as u64,
        duplicates: 0,
        corrupt: 0,
    };
    while replayed.lost > 0 {
        // A broker that stops in the middle ends the wait by the read timeout; what is missing is lost.
        if client.receive().is_err() {
            break;
        }
        let mut at = 0;
        while let Some(packet) = wire::next_packet(&client.received[at..])? {
            at += packet.bytes;
            match packet.kind() {
                wire::SUBACK => {}
                wire::PUBLISH => {
                    let publish = packet.publish(to.v5)?;
                    let index = match publish.payload.first_chunk::<4>() {
                        Some(bytes) => u32::from_le_bytes(*bytes) as usize,
                        None => usize::MAX,
                    };
                    // The RETAIN flag is set in answer to a new subscription [3.1.1 MQTT-3.3.1-8].
                    if index >= seen.len()
                        || publish.payload.len() != payload_bytes
                        || packet.first & 1 == 0
                    {
                        replayed.corrupt += 1;
                    } else if seen[index] > turn {
                        replayed.duplicates += 1;
                    } else {
                        seen[index] = turn + 1;
                        replayed.delivered += 1;
                        replayed.lost -= 1;
                    }
                }
                kind => return Err(format!("a subscriber got a packet of type {kind}")),
            }
        }
        client.received.drain(..at);
    }
    client.send_bytes(&wire::DISCONNECT)?;
    Ok(replayed)
}
