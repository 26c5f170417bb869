//! What the threads that answer operators know, and how they ask shards: the control socket's and that of the page.

use crate::acl::Rules;
use crate::broker::{Found, Order, OwnMessage, Report, RetainedReport, SessionReport, Survey};
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::helpers::bridge::board::Board;
use crate::io::helpers::log::Log;
use crate::io::helpers::recent::Recent;
use crate::io::helpers::summary;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::time::Time;
use crate::wire::QoS;
use nix::poll::PollTimeout;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
    /// The password file, if there is one for all listeners.
    pub passwd: Option<PathBuf>,
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

    /// Counters and sizes of all shards, in their order, so that owners that hold the same stand in the same order each
    /// time. `None`: one has not answered in time.
    pub fn statistics(&self) -> Option<Vec<Report>> {
        let mut reports = summary::statistics(&self.shards);
        reports.sort_by_key(|report| report.shard);
        (reports.len() == self.shards.count()).then_some(reports)
    }

    /// The rules in force. `None`: the shard that was asked has not answered in time.
    pub fn rules(&self) -> Option<Arc<Rules>> {
        match self.ask(ShardId(0), Survey::rules())?.found {
            Found::Rules(rules) => Some(rules),
            _ => None,
        }
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

/// How long such a thread sleeps in `poll`. `due`: when it must look, whatever comes; `None`: never.
pub fn until(due: Option<Instant>, now: Instant) -> PollTimeout {
    due.map_or(PollTimeout::NONE, |due| {
        // Rounded up, lest the last millisecond be a busy wait; what is due now waits for nothing.
        let left = due.saturating_duration_since(now);
        let left = left.as_millis() + u128::from(!left.is_zero());
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    })
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

/// Deletes retained messages, as an empty message from outside would: subscribers hear of it, and the store forgets.
pub struct Removal {
    next: Option<Survey>,
    older: Older,
    /// Nothing is deleted.
    is_trial: bool,
}

impl Removal {
    /// Of what a survey of retained messages finds.
    pub fn new(survey: Survey, older_s: Option<u64>, is_trial: bool) -> Removal {
        Removal {
            next: Some(survey.in_pages_of(limits::CONTROL_REMOVALS_AT_ONCE)),
            older: Older::by(older_s),
            is_trial,
        }
    }

    /// Goes on by one page of a shard, and deletes what `may` says of, which is given the time of the report too.
    /// `true`: that was all, and it is done. `None`: the shard has not answered in time.
    ///
    /// The next page is asked for behind the deletions of this one, in the same mail: so they cannot get ahead of the
    /// shard.
    pub fn step(
        &mut self,
        known: &Known,
        mut may: impl FnMut(&RetainedReport, Time) -> bool,
    ) -> Option<bool> {
        // All shards have the same.
        let shard = ShardId(0);
        let report = known.ask(shard, self.next.take()?)?;
        if let Found::Retained(page) = &report.found {
            for found in page {
                if self.older.holds(found.written_s)
                    && may(found, report.now)
                    && !self.is_trial
                    && let Ok(deletion) = OwnMessage::new(&found.topic, &[], QoS::AtMostOnce, true)
                {
                    known.shards.tell_surely(shard, ToShard::Publish(deletion));
                }
            }
        }
        self.next = report.next;
        if self.next.is_some() {
            return Some(false);
        }
        // What was told last is done before the answer ends.
        let is_done = self.is_trial || known.ask(shard, Survey::sums()).is_some();
        is_done.then_some(true)
    }
}
