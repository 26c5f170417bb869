//! What a program that does not implement everything must say of a configuration.

use super::Mosquitto;
use super::listener::{Address, Protocol};
use super::note::{Exit, Kind, Note, Place, Refused};
use super::table::Support;

impl Mosquitto {
    /// Compares what is said with what a program does.
    ///
    /// `done` are the options it implements, by their first names, and beside them `protocol websockets`, `listener 0`
    /// (unix sockets) and `connection` (bridges). What is missing and needed refuses the start: Clients would find
    /// another broker than the file describes, or an open one. What is missing and not needed is told, one note a line;
    /// of bridges one for each, since a house must not stand still because its line to the world does.
    pub fn not_yet(&self, done: &[&str]) -> Result<Vec<Note>, Refused> {
        let is_done = |name: &str| done.contains(&name);
        let mut told = Vec::new();
        let mut faults = Vec::new();
        let refusal = |place: &Place, text: String| Note {
            kind: Kind::Warning,
            place: place.clone(),
            text,
            write_instead: None,
        };
        for (row, place) in &self.said {
            if row.support != Support::Implement
                || row.scope == super::Scope::Bridge
                || is_done(row.option)
            {
                continue;
            }
            let option = row.option;
            if row.needed {
                let text = format!(
                    "`{option}` is not implemented yet, and without it this would be another broker: remove the line"
                );
                faults.push(refusal(place, text));
            } else {
                told.push(Note {
                    kind: Kind::NoEffect,
                    place: place.clone(),
                    text: format!("`{option}` is not implemented yet and has no effect"),
                    write_instead: None,
                });
            }
        }
        for listener in &self.listeners {
            let Some(place) = &listener.place else {
                continue;
            };
            if listener.protocol == Protocol::WebSockets && !is_done("protocol websockets") {
                let text = "WebSocket listeners are not implemented yet: remove this one";
                faults.push(refusal(place, text.to_owned()));
            }
            if matches!(listener.address, Address::Unix(_)) && !is_done("listener 0") {
                let text = "unix sockets are not implemented yet: remove this listener";
                faults.push(refusal(place, text.to_owned()));
            }
        }
        if !is_done("connection") {
            for bridge in &self.bridges {
                let text = format!(
                    "bridges are not implemented yet: `{}` is not connected",
                    bridge.name
                );
                told.push(refusal(&bridge.place, text));
            }
        }
        if faults.is_empty() {
            return Ok(told);
        }
        Err(Refused {
            exit: Exit::Invalid,
            faults,
            notes: told,
        })
    }
}
