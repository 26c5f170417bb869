//! What the threads that answer operators know, and how they ask shards: the control socket's and that of the page.

use crate::broker::{Found, Order, Report, SessionReport, Survey};
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::helpers::bridge::board::Board;
use crate::io::helpers::log::Log;
use crate::io::helpers::recent::Recent;
use crate::io::helpers::summary;
use crate::io::mail::{Shards, ToShard};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of the protocol, in each answer's last line. It rises when something that was there means something
/// else; new fields and requests do not raise it.
pub const VERSION: u32 = 1;

/// What is true from the start to the end.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What drives the sockets, and why.
    pub io: String,
    /// Addresses, with `with TLS` behind those of TLS.
    pub listeners: Vec<String>,
    /// The configuration that was read, if one was.
    pub configuration: Option<PathBuf>,
    /// What all Clients together may hold, in bytes.
    pub memory_bytes_max: u64,
    /// The directory of the store; `None`: nothing is remembered.
    pub store: Option<PathBuf>,
}

/// What such a thread asks; copies share it.
#[derive(Clone)]
pub struct Known {
    /// By mail.
    pub shards: Shards,
    /// Of the shards.
    pub clock: Clock,
    /// Its last lines.
    pub log: Log,
    /// What devices had trouble with.
    pub recent: Recent,
    /// How the bridges are.
    pub bridges: Board,
    /// See there.
    pub facts: Facts,
}

impl Known {
    /// The report of one shard. `None`: it has not answered in time.
    pub fn ask(&self, shard: ShardId, survey: Survey) -> Option<Report> {
        summary::ask_one(&self.shards, shard, survey)
    }

    /// Whether some shard had something to do for the order. `None`: one has not answered in time.
    pub fn order(&self, order: &Order) -> Option<bool> {
        let reports = summary::reports(&self.shards, |reply| ToShard::Order {
            order: Box::new(order.clone()),
            reply,
        });
        let is_done = |report: &Report| matches!(report.found, Found::Done(true));
        let all_answered = reports.len() == self.shards.count();
        all_answered.then(|| reports.iter().any(is_done))
    }

    /// The Session of a client id, on whichever shard.
    pub fn session(&self, client_id: &str) -> Option<SessionReport> {
        let on = |shard| match self.ask(shard, Survey::session(client_id))?.found {
            Found::Sessions(found) => found.into_iter().next(),
            _ => None,
        };
        self.all_shards().find_map(on)
    }

    /// All shards, by their number.
    pub fn all_shards(&self) -> impl Iterator<Item = ShardId> {
        (0..self.shards.count()).map(|index| ShardId(index as u8))
    }
}

/// Seconds since 1970.
pub fn unix_s(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Only what was written so many seconds before it is asked for, or earlier. What does not know its age is not old.
#[derive(Clone, Copy)]
pub enum Older {
    /// Whatever its age is.
    All,
    /// Not later than this, in seconds since 1970. `None`: nothing is so old.
    Than(Option<u64>),
}

impl Older {
    /// `None`: all.
    pub fn by(seconds: Option<u64>) -> Older {
        match seconds {
            Some(seconds) => Older::Than(unix_s(SystemTime::now()).checked_sub(seconds)),
            None => Older::All,
        }
    }

    /// Is what was written then so old? `None`: it is not known when.
    pub fn holds(self, written_s: Option<u64>) -> bool {
        match (self, written_s) {
            (Older::All, _) => true,
            (Older::Than(Some(latest_s)), Some(written_s)) => written_s <= latest_s,
            (Older::Than(_), _) => false,
        }
    }
}
