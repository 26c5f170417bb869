//! `$SYS`: what the broker says of itself, by the names and in the formats of Mosquitto 2.0 and 2.1, and more below
//! `$SYS/broker/mqttfast/`.
//!
//! A thread asks all shards every `sys_interval` seconds and publishes what has changed, retained and with QoS 2. It
//! does so only while some Session subscribes below `$SYS`: a SUBSCRIBE wakes it, and the values are there a moment
//! later. When nobody wants them any more, they are withdrawn and the thread sleeps for good.

use crate::broker::{Counters, Dropped, Found, OwnMessage, Report, Sums};
use crate::ids::ShardId;
use crate::io::helpers::bridge::board::Board;
use crate::io::helpers::home_assistant::{HEALTH_TOPIC, Health};
use crate::io::helpers::summary;
use crate::io::mail::{Shards, ToShard};
use crate::io::words::figures;
use crate::limits;
use crate::wire::QoS;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A handle of the thread.
#[derive(Clone, Default)]
pub struct Sys {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody has subscribed since the last look.
    woken: bool,
    /// `None`: nothing is published.
    interval: Option<Duration>,
    /// Of the bridges.
    board: Board,
    /// For Home Assistant.
    tells_health: bool,
    /// Who asks for values, whether anybody subscribes or not.
    askers: Vec<Sender<()>>,
    /// Until then they are kept for who asked.
    asked_until: Option<Instant>,
}

impl Sys {
    /// Tells of these bridges too.
    pub fn tell_of(&self, board: Board) {
        self.lock().board = board;
    }

    /// From now on the broker's state is told as Home Assistant wants it, or no longer.
    pub fn tell_health(&self, wanted: bool) {
        self.lock().tells_health = wanted;
    }

    /// Somebody has subscribed below `$SYS`.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.shared.changed.notify_all();
    }

    /// Has the values published, if any are, for a while. `false`: they are not there yet.
    pub fn ask(&self, most: Duration) -> bool {
        let (asker, answer) = channel();
        let mut state = self.lock();
        let Some(interval) = state.interval else {
            return true;
        };
        let kept = (3 * interval).max(Duration::from_millis(limits::SYS_ASKED_MS));
        state.asked_until = Some(Instant::now() + kept);
        state.askers.push(asker);
        state.woken = true;
        drop(state);
        self.shared.changed.notify_all();
        answer.recv_timeout(most).is_ok()
    }

    /// From now on values are published so often; `None`: never.
    pub fn set_interval(&self, seconds: Option<u16>) {
        let mut state = self.lock();
        let interval = seconds.map(|seconds| Duration::from_secs(seconds.max(1).into()));
        if state.interval != interval {
            state.interval = interval;
            // Who wanted them while there were none is not forgotten.
            state.woken = true;
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread.
    pub fn start(&self, shards: Shards) -> io::Result<()> {
        let sys = self.clone();
        let started = Instant::now();
        thread::Builder::new()
            .name("sys".to_owned())
            .spawn(move || sys.run(&shards, started))?;
        Ok(())
    }

    fn run(&self, shards: &Shards, started: Instant) {
        let mut values = Values::new(started);
        loop {
            let interval = self.wait(values.are_published());
            let found = interval.map(|_| summary::statistics(shards));
            let mut state = self.lock();
            let board = state.board.clone();
            values.tells_health = state.tells_health;
            let askers = std::mem::take(&mut state.askers);
            let asked = state
                .asked_until
                .is_some_and(|until| Instant::now() < until);
            drop(state);
            let wanted = found.filter(|found| asked || is_wanted(found));
            let changed = match wanted {
                Some(found) => values.update(&found, board.values(), Instant::now()),
                None => values.withdraw(),
            };
            for (topic, text) in changed {
                let message = OwnMessage::new(&topic, text.as_bytes(), QoS::ExactlyOnce, true);
                if let Ok(message) = message {
                    shards.tell(ShardId(0), ToShard::Publish(message));
                }
            }
            for asker in askers {
                let _ = asker.send(());
            }
        }
    }

    /// Waits for the next look: until somebody subscribes, or for an interval if somebody has.
    fn wait(&self, published: bool) -> Option<Duration> {
        let mut state = self.lock();
        let until = state.interval.map(|interval| Instant::now() + interval);
        while !std::mem::take(&mut state.woken) {
            let waited = match until.filter(|_| published) {
                None => self.shared.changed.wait(state),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.shared.changed.wait_timeout(state, left);
                    waited.map(|(state, _)| state).map_err(|error| {
                        let (state, _) = error.into_inner();
                        PoisonError::new(state)
                    })
                }
            };
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.interval
    }
}

fn is_wanted(found: &[Report]) -> bool {
    found.iter().any(|report| match &report.found {
        Found::Sums(sums) => sums.statistics.is_some_and(|found| found.is_wanted),
        _ => false,
    })
}

/// What loads are averages of, per minute; in the order of [`Values::update`].
const LOADS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];
/// Their times, in minutes.
const MINUTES: [u8; 3] = [1, 5, 15];

/// The values published last, and what averages and maxima need.
struct Values {
    started: Instant,
    /// By topic.
    published: BTreeMap<String, String>,
    looked_at: Instant,
    before: [u64; LOADS.len()],
    loads: [[f64; MINUTES.len()]; LOADS.len()],
    /// Rates of the last interval, per minute.
    rates: [f64; LOADS.len()],
    clients_max: usize,
    heap_max: u64,
    tells_health: bool,
}

impl Values {
    fn new(started: Instant) -> Values {
        Values {
            started,
            published: BTreeMap::new(),
            looked_at: started,
            before: [0; LOADS.len()],
            loads: Default::default(),
            rates: Default::default(),
            clients_max: 0,
            heap_max: 0,
            tells_health: false,
        }
    }

    fn are_published(&self) -> bool {
        !self.published.is_empty()
    }

    /// Nobody wants them: all are deleted.
    fn withdraw(&mut self) -> Vec<(String, String)> {
        let topics = std::mem::take(&mut self.published).into_keys();
        topics.map(|topic| (topic, String::new())).collect()
    }

    /// The topics whose values have changed, with these.
    fn update(
        &mut self,
        found: &[Report],
        more: Vec<(String, String)>,
        now: Instant,
    ) -> Vec<(String, String)> {
        let mut changed = Vec::new();
        for (topic, text) in self.all(found, now).into_iter().chain(more) {
            let topic = format!("$SYS/broker/{topic}");
            if self.published.get(&topic) != Some(&text) {
                self.published.insert(topic.clone(), text.clone());
                changed.push((topic, text));
            }
        }
        changed
    }

    /// Topics below `$SYS/broker/` and their values.
    fn all(&mut self, found: &[Report], now: Instant) -> Vec<(String, String)> {
        let mut sums: Vec<&Sums> = Vec::new();
        for report in found {
            if let Found::Sums(of_shard) = &report.found {
                sums.push(of_shard);
            }
        }
        let mut counters = Counters::default();
        for of_shard in &sums {
            counters.add(&of_shard.counters);
        }
        let sum = |of: fn(&Sums) -> usize| sums.iter().map(|sums| of(sums)).sum::<usize>();
        let statistic = |of: fn(&crate::broker::Statistics) -> usize| {
            let found = sums.iter().filter_map(|sums| sums.statistics.as_ref());
            found.map(of).sum::<usize>()
        };
        let total = sum(|sums| sums.sessions);
        let connected = counters.connects.saturating_sub(counters.disconnects) as usize;
        let connected = connected.min(total);
        self.clients_max = self.clients_max.max(total);
        // Every shard has all of them.
        let retained = sums.iter().map(|sums| sums.retained).max().unwrap_or(0);
        let stored = retained + statistic(|found| found.queued);
        let stored_bytes = sums.iter().map(|sums| sums.held_bytes).sum::<u64>();
        let received = counters.messages_received + counters.others_received + counters.connects;
        let sent = counters.messages_sent + counters.others_sent;
        let sockets = counters.connects + counters.refusals + counters.probes;
        self.average(
            [
                received,
                sent,
                counters.messages_received,
                counters.messages_sent,
                counters.losses,
                counters.bytes_received,
                counters.bytes_sent,
                sockets,
                counters.connects,
            ],
            now,
        );
        let unsent_bytes = statistic(|found| found.unsent_bytes);
        let heap = heap_bytes();
        self.heap_max = self.heap_max.max(heap);
        let uptime = now.saturating_duration_since(self.started).as_secs();
        let version = concat!("mqttfast version ", env!("CARGO_PKG_VERSION"));
        let mut all = vec![
            ("version".to_owned(), version.to_owned()),
            ("uptime".to_owned(), format!("{uptime} seconds")),
        ];
        let mut store = None;
        let mut put = |topic: &str, value: u64| all.push((topic.to_owned(), value.to_string()));
        for (topic, value) in [
            ("clients/total", total),
            ("clients/maximum", self.clients_max),
            ("clients/connected", connected),
            ("clients/active", connected),
            ("clients/disconnected", total - connected),
            ("clients/inactive", total - connected),
            ("messages/stored", stored),
            ("store/messages/count", stored),
            ("subscriptions/count", sum(|sums| sums.subscriptions)),
            (
                "shared_subscriptions/count",
                statistic(|found| found.shared_subscriptions),
            ),
            ("retained messages/count", retained),
            ("connections/socket/count", sum(|sums| sums.connections)),
            (
                "packet/out/count",
                packets_of(unsent_bytes, sent, counters.bytes_sent),
            ),
            ("packet/out/bytes", unsent_bytes),
            ("mqttfast/shards", sums.len()),
        ] {
            put(topic, value as u64);
        }
        for (topic, value) in [
            ("clients/expired", counters.expired),
            ("messages/received", received),
            ("messages/sent", sent),
            ("store/messages/bytes", stored_bytes),
            ("publish/messages/received", counters.messages_received),
            ("publish/messages/sent", counters.messages_sent),
            ("publish/messages/dropped", counters.losses),
            ("publish/bytes/received", counters.payload_bytes_received),
            ("publish/bytes/sent", counters.payload_bytes_sent),
            ("bytes/received", counters.bytes_received),
            ("bytes/sent", counters.bytes_sent),
            ("heap/current", heap),
            ("heap/maximum", self.heap_max),
            ("mqttfast/probes", counters.probes),
            ("mqttfast/refusals", counters.refusals),
            ("mqttfast/memory/booked", stored_bytes),
        ] {
            put(topic, value);
        }
        if let Some((state, waiting_bytes)) = summary::store(found) {
            let figures = state.figures;
            for (topic, value) in [
                ("waiting", waiting_bytes as u64),
                ("commits", figures.commits),
                ("bytes-written", figures.bytes_written),
                ("last-commit-ms", figures.last_commit_ms),
                ("loss-window-ms", figures.loss_window_ms),
            ] {
                put(&format!("mqttfast/store/{topic}"), value);
            }
            store = Some(figures::condition(&state).to_owned());
        }
        for why in Dropped::ALL {
            let name = format!("mqttfast/dropped/{}", name_of(why));
            put(&name, counters.dropped(why));
        }
        if self.tells_health {
            let health = Health {
                clients: connected as u64,
                // The third and the fourth of `LOADS`.
                received_per_s: self.rates[2] / 60.0,
                sent_per_s: self.rates[3] / 60.0,
                retained: retained as u64,
                memory_bytes: heap,
                uptime_s: uptime,
                store: store.clone().unwrap_or_else(|| "none".to_owned()),
            };
            all.push((HEALTH_TOPIC.to_owned(), health.state()));
        }
        all.extend(store.map(|state| ("mqttfast/store/state".to_owned(), state)));
        for (name, loads) in LOADS.iter().zip(&self.loads) {
            for (minutes, load) in MINUTES.iter().zip(loads) {
                all.push((format!("load/{name}/{minutes}min"), format!("{load:.2}")));
            }
        }
        all
    }

    /// Moves the averages on: each is a rate per minute, in which what lies back the average's own time counts 1/e.
    fn average(&mut self, counts: [u64; LOADS.len()], now: Instant) {
        let elapsed = now.saturating_duration_since(self.looked_at).as_secs_f64() / 60.0;
        if elapsed <= 0.0 {
            return;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let rate = count.saturating_sub(self.before[at]) as f64 / elapsed;
            self.rates[at] = rate;
            for (load, minutes) in self.loads[at].iter_mut().zip(MINUTES) {
                let weight = (-elapsed / f64::from(minutes)).exp();
                *load = rate + weight * (*load - rate);
            }
        }
        self.before = counts;
        self.looked_at = now;
    }
}

/// How many packets wait to be sent, reckoned from their bytes by the mean of all that were made: nobody counts them
/// one by one. `sent`: packets made, those that wait among them; `bytes_sent`: what has left of them.
fn packets_of(unsent_bytes: usize, sent: u64, bytes_sent: u64) -> usize {
    let bytes = bytes_sent as u128 + unsent_bytes as u128;
    let packets = (unsent_bytes as u128 * u128::from(sent)).checked_div(bytes);
    let least = usize::from(unsent_bytes > 0);
    packets.map_or(least, |packets| {
        usize::try_from(packets).unwrap_or(usize::MAX).max(least)
    })
}

/// A word for a topic.
fn name_of(why: Dropped) -> String {
    let mut name = String::new();
    for character in format!("{why:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(character.to_lowercase());
    }
    name
}

/// Memory of this process that is no file's.
fn heap_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_averages_per_minute() {
        let start = Instant::now();
        let mut values = Values::new(start);
        let counts = |count| [count; LOADS.len()];
        // 60 a minute for an hour: all averages are there.
        for second in 1..=3600 {
            let now = start + Duration::from_secs(second);
            values.average(counts(second), now);
        }
        for load in values.loads[0].iter().take(2) {
            assert!((load - 60.0).abs() < 0.01, "{load}");
        }
        assert!((58.0..=60.0).contains(&values.loads[0][2]));
        // A minute of silence.
        values.average(counts(3600), start + Duration::from_secs(3660));
        let expected = 60.0 * (-1.0f64).exp();
        assert!((values.loads[0][0] - expected).abs() < 0.01);
    }

    #[test]
    fn packets_that_wait_are_reckoned_from_their_bytes() {
        for (unsent_bytes, sent, bytes_sent, packets) in [
            (0, 0, 0, 0),
            (0, 100, 10_000, 0),
            (4, 1, 0, 1),
            (1000, 110, 10_000, 10),
            (1, 100, 10_000, 1),
            (usize::MAX, u64::MAX, 0, usize::MAX),
        ] {
            assert_eq!(packets_of(unsent_bytes, sent, bytes_sent), packets);
        }
    }

    #[test]
    fn only_what_has_changed_is_published_again_and_all_is_withdrawn() {
        let start = Instant::now();
        let mut values = Values::new(start);
        let found = vec![Report {
            shard: ShardId(0),
            now: crate::time::Time(0),
            found: Found::Sums(Box::default()),
            next: None,
        }];
        let first = values.update(&found, Vec::new(), start + Duration::from_secs(1));
        let topics: Vec<&str> = first.iter().map(|(topic, _)| topic.as_str()).collect();
        assert!(topics.contains(&"$SYS/broker/retained messages/count"));
        let second = values.update(&found, Vec::new(), start + Duration::from_secs(2));
        let topics: Vec<&str> = second.iter().map(|(topic, _)| topic.as_str()).collect();
        assert!(topics.contains(&"$SYS/broker/uptime") && !topics.contains(&"$SYS/broker/version"));
        assert_eq!(values.withdraw().len(), first.len());
        assert!(!values.are_published());
    }
}
