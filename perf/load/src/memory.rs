//! What a broker's memory grows by: connections that do nothing, filters, retained messages.

use crate::client::{Client, Target};
use crate::usage::{self, Memory, Processes, Usage};
use crate::wire;
use std::thread::sleep;
use std::time::Duration;

/// Filters that one client holds.
const FILTERS_PER_CLIENT: usize = 1_000;
pub const FILTERS_PER_SUBSCRIBE: usize = 100;
/// Unacknowledged messages while retained ones are stored: the receive maximum most brokers start with.
const STORE_WINDOW: usize = 20;
const STUCK_PAYLOAD_BYTES: usize = 1024;
/// Until allocators and timers have come to rest.
const SETTLE: Duration = Duration::from_millis(700);

/// What was seen while `items` of something were put into the broker.
pub struct Growth {
    pub items: u64,
    pub before: Memory,
    pub after: Memory,
    /// While they were put in, and how long that took.
    pub usage: Usage,
    pub seconds: f64,
    pub own_cpu_ns: u64,
    /// While nothing was done afterwards.
    pub idle: Usage,
    pub idle_seconds: f64,
}

/// `items` distinct filters of four levels, one device each: a level of its own, and a last one all share.
///
/// `plain`: without wildcards. Otherwise one of ten has a `+` and one of fifty a `#`; none matches the topics
/// `site/3/p/...` of the pairs beside them, but a matcher must follow the `+`.
pub fn filters(items: usize, plain: bool) -> Vec<String> {
    let filter = |index: usize| match index {
        _ if plain => format!("site/{}/dev{index}/temp", index % 10),
        _ if index % 50 == 7 => format!("site/{}/dev{index}/#", index % 10),
        _ if index % 10 == 3 => format!("site/+/dev{index}/temp"),
        _ => format!("site/{}/dev{index}/temp", index % 10),
    };
    (0..items).map(filter).collect()
}

/// Where the pairs beside [`filters`] talk.
pub const BYSTANDER_TOPIC: &str = "site/3/p";

/// Clients that hold these filters as long as they live.
pub fn hold(to: Target, filters: &[String]) -> Result<Vec<Client>, String> {
    let mut clients = Vec::new();
    for (index, held) in filters.chunks(FILTERS_PER_CLIENT).enumerate() {
        let mut client = Client::connect(to, &format!("holder{index}"))?;
        for some in held.chunks(FILTERS_PER_SUBSCRIBE) {
            client.subscribe(some, 0)?;
        }
        clients.push(client);
    }
    Ok(clients)
}

/// Stores `items` retained messages under distinct topics of four levels.
pub fn store_retained(to: Target, items: usize, payload_bytes: usize) -> Result<Client, String> {
    let mut client = Client::connect(to, "storer")?;
    let mut out = Vec::new();
    for start in (0..items).step_by(STORE_WINDOW) {
        let end = items.min(start + STORE_WINDOW);
        out.clear();
        for index in start..end {
            let at = out.len();
            let topic = format!("kept/{}/{}/d{index}", index % 10, index / 10 % 100);
            let shape = wire::append_publish(to.v5, &topic, 1, true, payload_bytes, &mut out);
            let id = (index % 65_535 + 1) as u16;
            out[at + shape.packet_id_at..at + shape.packet_id_at + 2]
                .copy_from_slice(&id.to_be_bytes());
            let payload = &mut out[at + shape.payload_at..];
            payload[..4].copy_from_slice(&(index as u32).to_le_bytes());
        }
        client.send_bytes(&out)?;
        for _ in start..end {
            client.expect(wire::PUBACK, |_| Ok(()))?;
        }
    }
    Ok(client)
}

/// Measures the growth by whatever `put` puts in; what `put` returns is held until the end.
///
/// `warm_up` has done a little of the same: the code that serves it is in the broker's memory already, and does not
/// count as memory of what is put in.
pub fn grow<T>(
    processes: &Processes,
    items: usize,
    idle_seconds: f64,
    warm_up: impl FnOnce() -> Result<(), String>,
    put: impl FnOnce() -> Result<T, String>,
) -> Result<Growth, String> {
    warm_up()?;
    sleep(SETTLE);
    let before = processes.memory()?;
    let (usage_before, own_before, from) =
        (processes.usage()?, usage::own_cpu_ns(), usage::now_ns());
    let held = put()?;
    let usage = processes.usage()? - usage_before;
    let (own_cpu_ns, seconds) = (
        usage::own_cpu_ns() - own_before,
        (usage::now_ns() - from) as f64 / 1e9,
    );
    sleep(SETTLE);
    let after = processes.memory()?;
    let idle_before = processes.usage()?;
    sleep(Duration::from_secs_f64(idle_seconds));
    let idle = processes.usage()? - idle_before;
    drop(held);
    Ok(Growth {
        items: items as u64,
        before,
        after,
        usage,
        seconds,
        own_cpu_ns,
        idle,
        idle_seconds,
    })
}

/// Clients of one topic that never read, and one that sends them `bytes` in messages of 1 KiB.
pub fn never_reading(
    to: Target,
    clients: usize,
    qos: u8,
    bytes: usize,
) -> Result<Vec<Client>, String> {
    const TOPIC: &str = "stuck/topic";
    let mut held = Vec::new();
    for index in 0..clients {
        let mut client = Client::connect(to, &format!("stuck{index}"))?;
        client.subscribe(&[TOPIC.into()], qos)?;
        held.push(client);
    }
    let mut publisher = Client::connect(to, "publisher")?;
    let mut out = Vec::new();
    let messages = bytes / STUCK_PAYLOAD_BYTES;
    for start in (0..messages).step_by(STORE_WINDOW) {
        out.clear();
        let end = messages.min(start + STORE_WINDOW);
        for index in start..end {
            let at = out.len();
            let shape =
                wire::append_publish(to.v5, TOPIC, qos, false, STUCK_PAYLOAD_BYTES, &mut out);
            if qos > 0 {
                let id = ((index % 65_535 + 1) as u16).to_be_bytes();
                out[at + shape.packet_id_at..][..2].copy_from_slice(&id);
            }
        }
        publisher.send_bytes(&out)?;
        for _ in start..if qos > 0 { end } else { start } {
            publisher.expect(wire::PUBACK, |_| Ok(()))?;
        }
    }
    // The broker has taken all of it when it answers this.
    publisher.subscribe(&["stuck/last".into()], 0)?;
    held.push(publisher);
    Ok(held)
}

/// `items` connections with one subscription each.
pub fn idle_clients(to: Target, items: usize) -> Result<Vec<Client>, String> {
    let connect = |index: usize| {
        let mut client = Client::connect(to, &format!("idle{index}"))?;
        client.subscribe(&[format!("idle/{}/dev{index}/temp", index % 10)], 0)?;
        client.received = Vec::new();
        Ok(client)
    };
    (0..items).map(connect).collect()
}
