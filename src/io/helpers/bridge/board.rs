//! How the bridges are, for whoever asks: `$SYS`, the line at SIGUSR1, the control socket.
//!
//! The thread of the bridges writes what it knows without being asked, and never waits for a reader. What waits in the
//! Sessions here is asked of the shards when somebody reads, so a bridge that is down wakes nobody for it.

use super::entry::{Entry, Waiting};
use super::house::House;
use super::words;
use crate::broker::{Found, Survey};
use crate::io::helpers::summary;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All bridges, in the order of the configuration. Copies share it.
#[derive(Clone, Default)]
pub struct Board {
    /// `None`: there are no bridges, and there never will be.
    house: Option<House>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Board {
    /// Of no bridges yet.
    pub fn new(house: House) -> Board {
        Board {
            house: Some(house),
            entries: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written.
    pub(super) fn write(&self, change: impl FnOnce(&mut Vec<Entry>)) {
        change(&mut self.lock());
    }

    /// All bridges as they are now. Waits [`SURVEY_WAIT_MS`](crate::limits::SURVEY_WAIT_MS) at most for each: not for
    /// the thread of the bridges, nor for one that serves clients.
    pub fn entries(&self) -> Vec<Entry> {
        let Some(house) = &self.house else {
            return Vec::new();
        };
        // The lock is not held while shards are asked.
        let mut entries = self.lock().clone();
        let now = house.clock.now();
        for entry in &mut entries {
            if let Some(joint) = &entry.joint {
                entry.counts = joint.with(|machine| machine.counts());
            }
            entry.seconds = now.since_ms(entry.since) / 1000;
            for report in summary::ask(&house.shards, || Survey::session(&entry.local_client_id)) {
                if let Found::Sessions(found) = &report.found
                    && let Some(session) = found.first()
                {
                    entry.waiting = Some(Waiting {
                        queued: session.queued,
                        queued_bytes: session.queued_bytes,
                        in_flight: session.in_flight,
                        dropped: session.dropped,
                    });
                }
            }
        }
        entries
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<String> {
        self.entries().iter().map(words::status).collect()
    }

    /// Topics below `$SYS/broker/` and their values.
    pub fn values(&self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for entry in self.entries() {
            // A name may have been chosen without thought of topics.
            let bridge = entry.name.replace(['+', '#', '/'], "_");
            let mut put = |name: &str, value: String| {
                values.push((format!("mqttfast/bridges/{bridge}/{name}"), value));
            };
            put("state", entry.state.to_owned());
            put("address", entry.address.clone());
            put("seconds", entry.seconds.to_string());
            let waiting = entry.waiting.unwrap_or_default();
            // An empty value would be none.
            let error = entry.last_error.as_deref().unwrap_or("none");
            put("error", error.to_owned());
            for (name, count) in [
                ("queued", waiting.queued as u64),
                ("in_flight", waiting.in_flight as u64),
                ("sent", entry.counts.out),
                ("received", entry.counts.comes_in),
                ("dropped", entry.dropped()),
                ("unmapped", entry.counts.unmapped),
                ("refused", entry.counts.refused),
                ("connects", entry.counts.connects),
                ("failures", entry.counts.failures),
            ] {
                put(name, count.to_string());
            }
        }
        values
    }
}
