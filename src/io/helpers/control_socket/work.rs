//! The work of a request, a piece at a time: a page of a shard, and the lines of the answer for it.

use super::lines::{end, put, refuse};
use crate::acl::explain::{self, Asker};
use crate::broker::{Found, Order, Survey};
use crate::ids::{ListenerId, ShardId};
use crate::io::helpers::answers::{self, Times};
use crate::io::helpers::known::{Known, Older, Removal, unix_s};
use crate::io::helpers::recent::Kind;
use crate::io::helpers::summary;
use crate::limits;
use serde_json::json;

/// See the module.
pub enum Work {
    Version,
    Status,
    Bridges,
    Topics,
    List(Listing),
    Remove(Deletion),
    Disconnect(Box<str>),
    EndSession {
        client_id: Box<str>,
        only_absent: bool,
    },
    Explain {
        publish: bool,
        user: Option<Box<str>>,
        client_id: Box<str>,
        topic: Box<str>,
    },
    Happenings {
        kinds: Vec<Kind>,
        whom: Option<Box<str>>,
    },
    Log {
        from: u64,
        follow: bool,
    },
}

impl Work {
    /// It waits for lines of the log.
    pub fn follows(&self) -> bool {
        matches!(self, Work::Log { follow: true, .. })
    }

    /// Its lines have values of retained messages.
    pub fn has_values(&self) -> bool {
        matches!(self, Work::List(listing) if matches!(listing.what, What::Retained { values: true, .. }))
    }

    /// Does a piece. `true`: the answer is complete.
    pub fn step(&mut self, known: &Known, out: &mut Vec<u8>) -> bool {
        match self {
            Work::Version => {
                put(out, answers::broker());
                end(out, 1);
            }
            Work::Status => match known.statistics() {
                Some(reports) => {
                    put(out, answers::status(known, &reports));
                    end(out, 1);
                }
                None => busy(out),
            },
            Work::Bridges => {
                let bridges = answers::bridges(known);
                let count = bridges.len();
                bridges.into_iter().for_each(|bridge| put(out, bridge));
                end(out, count);
            }
            Work::Topics => {
                let reports = summary::ask(&known.shards, Survey::topics);
                let (topics, sums) = answers::topics(&reports);
                let count = topics.len() + 1;
                topics.into_iter().for_each(|topic| put(out, topic));
                put(out, sums);
                end(out, count);
            }
            Work::List(listing) => return listing.step(known, out),
            Work::Remove(deletion) => return deletion.step(known, out),
            Work::Disconnect(client_id) => {
                let client_id = client_id.clone();
                ordered(known, &Order::Disconnect { client_id }, out);
            }
            Work::EndSession {
                client_id,
                only_absent,
            } => {
                let order = Order::EndSession {
                    client_id: client_id.clone(),
                    only_absent: *only_absent,
                };
                ordered(known, &order, out);
            }
            Work::Explain {
                publish,
                user,
                client_id,
                topic,
            } => {
                let asker = Asker {
                    user: user.as_deref(),
                    client: client_id,
                };
                explain(known, *publish, asker, topic, out);
            }
            Work::Happenings { kinds, whom } => {
                let entries = known.recent.entries(kinds, whom.as_deref());
                for entry in &entries {
                    put(out, answers::happening(entry, known));
                }
                end(out, entries.len());
            }
            Work::Log { from, follow } => {
                let lines = known.log.tail_from(*from);
                for line in &lines {
                    *from = line.number + 1;
                    let at = unix_s(line.at);
                    put(
                        out,
                        json!({ "at": at, "type": line.kind, "line": line.text }),
                    );
                }
                if *follow {
                    return false;
                }
                end(out, lines.len());
            }
        }
        true
    }
}

fn busy(out: &mut Vec<u8>) {
    refuse("busy", "a shard did not answer in time: ask again", out);
}

fn ordered(known: &Known, order: &Order, out: &mut Vec<u8>) {
    match known.order(order) {
        Some(done) => {
            put(out, json!({ "done": done }));
            end(out, usize::from(done));
        }
        None => busy(out),
    }
}

/// By the rules in force: those of the listener by which the Client is connected, else those of each listener.
fn explain(known: &Known, publish: bool, asker: Asker<'_>, topic: &str, out: &mut Vec<u8>) {
    let Some(rules) = known.rules() else {
        return busy(out);
    };
    let by = known
        .session(asker.client)
        .and_then(|session| session.connection);
    let listeners = match by {
        Some(connection) => vec![connection.listener],
        None => (0..rules.listeners())
            .map(|index| ListenerId(index as u8))
            .collect(),
    };
    let answer_by = |acl| match publish {
        true => explain::publish(acl, asker, topic),
        false => explain::subscribe(acl, asker, topic),
    };
    let mut told = Vec::new();
    for listener in listeners {
        let answer = answer_by(rules.of(listener));
        // Listeners with the same rules have one answer.
        if told.contains(&answer) {
            continue;
        }
        put(
            out,
            json!({ "allowed": answer.allowed, "listener": listener.index(), "text": answer.text }),
        );
        told.push(answer);
    }
    if told.is_empty() {
        let answer = answer_by(None);
        put(
            out,
            json!({ "allowed": answer.allowed, "text": answer.text }),
        );
        told.push(answer);
    }
    end(out, told.len());
}

/// A list of all shards, or of one, page by page.
pub struct Listing {
    /// The next page; `None`: the next shard is asked from its beginning.
    next: Option<Survey>,
    shard: usize,
    shards: usize,
    what: What,
    count: usize,
}

enum What {
    Clients,
    Sessions,
    Subscriptions { of: Option<Box<str>> },
    Retained { older: Older, values: bool },
}

impl Listing {
    fn new(shards: usize, what: What) -> Listing {
        Listing {
            next: None,
            shard: 0,
            shards,
            what,
            count: 0,
        }
    }

    pub fn clients(known: &Known) -> Listing {
        Listing::new(known.shards.count(), What::Clients)
    }

    pub fn sessions(known: &Known) -> Listing {
        Listing::new(known.shards.count(), What::Sessions)
    }

    pub fn subscriptions(known: &Known, of: Option<&str>) -> Listing {
        let of = of.map(Into::into);
        Listing::new(known.shards.count(), What::Subscriptions { of })
    }

    pub fn retained(survey: Survey, older_s: Option<u64>, values: bool) -> Listing {
        let older = Older::by(older_s);
        // All shards have the same.
        Listing {
            next: Some(survey),
            ..Listing::new(1, What::Retained { older, values })
        }
    }

    fn step(&mut self, known: &Known, out: &mut Vec<u8>) -> bool {
        let survey = self.next.take().unwrap_or_else(|| match self.what {
            What::Clients | What::Sessions => Survey::sessions(),
            What::Subscriptions { .. } => Survey::subscriptions(),
            What::Retained { .. } => Survey::retained(),
        });
        let Some(report) = known.ask(ShardId(self.shard as u8), survey) else {
            busy(out);
            return true;
        };
        let times = Times::of(known, report.now);
        let mut tell = |line| {
            put(out, line);
            self.count += 1;
        };
        match (&self.what, report.found) {
            (What::Clients | What::Sessions, Found::Sessions(page)) => {
                let all = matches!(self.what, What::Sessions);
                for session in page.iter().filter(|s| all || s.connection.is_some()) {
                    tell(answers::session(session, report.shard, &times));
                }
            }
            (What::Subscriptions { of }, Found::Subscriptions(page)) => {
                let of = of.as_deref();
                for found in page
                    .iter()
                    .filter(|s| of.is_none_or(|of| *s.client_id == *of))
                {
                    tell(answers::subscription(found));
                }
            }
            (What::Retained { older, .. }, Found::Retained(page)) => {
                for found in page.iter().filter(|found| older.holds(found.written_s)) {
                    tell(answers::retained(
                        found,
                        &times,
                        limits::CONTROL_VALUE_BYTES_MAX,
                    ));
                }
            }
            // No survey is answered with what it did not ask for.
            _ => {}
        }
        self.next = report.next;
        if self.next.is_none() {
            self.shard += 1;
        }
        let is_last = self.shard >= self.shards;
        if is_last {
            end(out, self.count);
        }
        is_last
    }
}

/// A deletion, with a line for each message.
pub struct Deletion {
    removal: Removal,
    count: usize,
}

impl Deletion {
    pub fn new(survey: Survey, older_s: Option<u64>, is_trial: bool) -> Deletion {
        Deletion {
            removal: Removal::new(survey, older_s, is_trial),
            count: 0,
        }
    }

    fn step(&mut self, known: &Known, out: &mut Vec<u8>) -> bool {
        let done = self.removal.step(known, |found, now| {
            let times = Times::of(known, now);
            let most = limits::CONTROL_VALUE_BYTES_MAX;
            put(out, answers::retained(found, &times, most));
            self.count += 1;
            true
        });
        match done {
            Some(true) => end(out, self.count),
            Some(false) => {}
            None => busy(out),
        }
        done != Some(false)
    }
}
