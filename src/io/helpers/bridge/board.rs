//! How the bridges are, for whoever asks: `$SYS`, the line at SIGUSR1.

use super::entry::Entry;
use super::words;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All bridges, in the order of the configuration. Copies share it.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Vec<Entry>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all.
    pub fn set(&self, entries: Vec<Entry>) {
        *self.lock() = entries;
    }

    /// A copy of each.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().map(words::status).collect()
    }

    /// Topics below `$SYS/broker/` and their values.
    pub fn values(&self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for entry in &*self.lock() {
            let (status, counts) = (&entry.status, entry.status.counts);
            let mut put = |name: &str, value: String| {
                // A name may have been chosen without thought of topics.
                let bridge = entry.name.replace(['+', '#', '/'], "_");
                values.push((format!("mqttfast/bridges/{bridge}/{name}"), value));
            };
            put("state", words::state(status.state).to_owned());
            put("address", entry.address.clone());
            let since_ms = entry.looked_at.since_ms(status.since);
            put("seconds", (since_ms / 1000).to_string());
            // An empty value would be none.
            let last = status
                .last
                .as_ref()
                .map_or_else(|| "none".to_owned(), words::why);
            put("error", last);
            for (name, count) in [
                ("sent", counts.out),
                ("received", counts.comes_in),
                ("dropped", counts.dropped),
                ("unmapped", counts.unmapped),
                ("refused", counts.refused),
                ("connects", counts.connects),
                ("failures", counts.failures),
            ] {
                put(name, count.to_string());
            }
        }
        values
    }
}
