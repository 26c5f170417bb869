//! What must hold once everything is at rest, once all have left, and when the broker is stopped in the middle.

use crate::actions::{IDENTITIES, TOPICS};
use crate::model;
use crate::play::{Judged, Play};
use crate::session::Missing;
use crate::support::*;
use mqttfast::broker::{CloseCause, Counters, Dropped};
use mqttfast::limits::{HELD_BACK_MS_MAX, TIMER_GRAIN_MS};
use std::collections::BTreeMap;

impl Play {
    /// All Clients read, all lanes deliver and everything owed is acknowledged, until nothing happens any more.
    pub fn drain(&mut self) -> Judged {
        self.world.lanes_held = false;
        self.world.verdicts_held = false;
        self.world.answer_credentials();
        for _ in 0..100_000 {
            self.world.settle();
            self.observe()?;
            let mut quiet = true;
            for index in 0..self.connections.len() {
                let connection = &self.connections[index];
                if !connection.alive {
                    continue;
                }
                let client = connection.client;
                self.world.read_at_once(client);
                if self.connections[index].accepted.is_none() {
                    continue;
                }
                let connection = &self.connections[index];
                if !connection.held.is_empty() {
                    quiet = false;
                    self.write(index, &[], 0);
                }
                if !self.connections[index].owed.is_empty() {
                    quiet = false;
                    self.acknowledge(index, usize::MAX, 0);
                }
            }
            self.observe()?;
            let is_served = |c: &crate::client::Connection| !c.alive || c.owed.is_empty();
            if quiet && self.connections.iter().all(is_served) {
                return Ok(());
            }
        }
        Err("it never comes to rest".into())
    }

    /// All checks at the end of a run.
    pub fn at_rest(&mut self) -> Judged {
        self.step += 1;
        self.drain()?;
        self.rests.push(self.step);
        // Clients that publish to each other may hold each other up until the broker gives up waiting.
        for _ in 0..2 {
            self.let_pass(HELD_BACK_MS_MAX + TIMER_GRAIN_MS)?;
            self.drain()?;
        }
        for index in 0..self.connections.len() {
            self.confirm(index);
        }
        self.step += 1;
        self.rests.push(self.step);
        self.mistakes_are_closed()?;
        let connected_since: Vec<Option<u64>> = (0..IDENTITIES)
            .map(|who| self.connections[self.active(who)?].accepted)
            .collect();
        for who in 0..IDENTITIES {
            self.step += 1;
            if self.active(who).is_none() && self.identities[who].session.is_some() {
                self.come_back(who, false);
            }
            self.drain()?;
        }
        self.everything_came(&connected_since)?;
        self.retained_agree()?;
        for (client, _) in std::mem::take(&mut self.tricklers) {
            self.world.cut(client, CloseCause::Reset);
        }
        self.nothing_remains()
    }

    /// Who sent what no Client may send has been closed.
    fn mistakes_are_closed(&mut self) -> Judged {
        for client in &self.strangers {
            if !self.world.is_closed(*client) {
                return Err("a stranger who broke a rule is still connected".into());
            }
        }
        match self.connections.iter().find(|c| c.faulty && c.alive) {
            Some(faulty) => Err(format!("sim-{} is still connected", faulty.asked.who)),
            None => Ok(()),
        }
    }

    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in 0..self.case.shards {
            sum.add(self.world.shard(shard).counters());
        }
        sum
    }

    /// Everything accepted was delivered, or is counted as dropped by a named reason.
    fn everything_came(&self, connected_since: &[Option<u64>]) -> Judged {
        let mut missing = self.missing_of_groups();
        for (who, since) in connected_since.iter().enumerate() {
            if self.active(who).is_none() {
                continue;
            }
            let unanswered = self.identities[who].outgoing.len();
            if unanswered > 0 {
                return Err(format!("sim-{who}: {unanswered} messages are unanswered"));
            }
            if let Some(session) = &self.identities[who].session {
                missing.extend(session.missing(&self.messages, *since, self.world.now().0));
            }
        }
        let counters = self.counters();
        let of =
            |reasons: &[Dropped]| -> u64 { reasons.iter().map(|why| counters.dropped(*why)).sum() };
        let limits = counters.losses;
        let excused = of(&[Dropped::Expired, Dropped::TooLargeForClient]);
        let unexcused = missing.iter().filter(|missing| !missing.excused).count() as u64;
        if unexcused > limits || missing.len() as u64 > limits + excused {
            let first = missing.iter().find(|missing| !missing.excused);
            return Err(format!(
                "{} messages never came, {unexcused} of them for no reason; {limits} and {excused} were counted as dropped: {}",
                missing.len(),
                first
                    .or(missing.first())
                    .map_or("", |missing| &missing.what)
            ));
        }
        self.drops_have_reasons(&counters)
    }

    /// Nothing is counted for a reason that was never there.
    fn drops_have_reasons(&self, counters: &Counters) -> Judged {
        let case = &self.case;
        let small = case.session_queue_bytes_max.is_some();
        let small_shard = case.shard_queue_bytes_max.is_some();
        let expires = self.messages.iter().any(|m| m.expiry_s.is_some());
        let bounded = self
            .connections
            .iter()
            .any(|c| c.asked.packet_bytes_max.is_some());
        for (reason, there) in [
            (Dropped::SessionQueueFull, small),
            (Dropped::ShardQueueFull, small_shard),
            (Dropped::Expired, expires),
            (Dropped::TooLargeForClient, bounded),
            (Dropped::OwnTopic, false),
        ] {
            if !there && counters.dropped(reason) > 0 {
                return Err(format!("{} drops for {reason:?}", counters.dropped(reason)));
            }
        }
        Ok(())
    }

    /// Messages of groups with a lasting member that no member has.
    fn missing_of_groups(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let qos = self.case.share_qos;
        let now_ms = self.world.now().0;
        let sessions = || self.identities.iter().filter_map(|i| i.session.as_ref());
        let least = sessions().map(|s| s.packet_bytes_least).min();
        for (number, message) in self.messages.iter().enumerate() {
            let (Some(sent), Some(_)) = (message.sent, message.accepted) else {
                continue;
            };
            if message.empty || message.refused || message.qos == 0 || qos == 0 {
                continue;
            }
            let owed: Vec<&str> = self
                .groups
                .matching(message.topic)
                .into_iter()
                .filter(|group| {
                    let is_member = |s: &&crate::session::Session| {
                        let mut subscriptions = s.subscriptions.iter();
                        subscriptions.any(|s| s.group == Some(group) && s.is_certain(sent))
                    };
                    sessions().find(is_member).is_some()
                        && (qos.min(message.qos) == 1 || !self.groups.may_have_lost(group))
                })
                .collect();
            let came = self.groups.came(number);
            for _ in came..owed.len() {
                missing.push(Missing {
                    what: format!("message {number} came {came} times for {owed:?}"),
                    excused: message.lives_until() <= now_ms
                        || least.is_some_and(|least| message.packet_bytes_max() + 5 > least)
                        || self
                            .connections
                            .iter()
                            .any(|c| c.asked.packet_bytes_max.is_some()),
                });
            }
        }
        missing
    }

    /// A new subscriber on each shard sees the same retained messages, and those the model allows.
    fn retained_agree(&mut self) -> Judged {
        let mut seen: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
        let mut number = 0;
        for shard in 0..self.case.shards {
            let watcher = loop {
                number += 1;
                let client = self
                    .world
                    .connect(&connect(Version::V311, &format!("watch-{number}")));
                if self.world.place(client) == Some(shard) {
                    break client;
                }
                self.world.disconnect(client);
            };
            let bytes = subscribe(Version::V311, 1, &[("#", 0)]);
            self.world.send(watcher, bytes);
            let found = self.world.messages(watcher);
            let retained = found.into_iter().filter(|m| m.retain);
            seen.push(retained.map(|m| (m.topic, m.payload)).collect());
            self.world.disconnect(watcher);
        }
        for (shard, one) in seen.iter().enumerate() {
            if *one != seen[0] {
                return Err(format!(
                    "shard {shard} retains {one:?}, shard 0 {:?}",
                    seen[0]
                ));
            }
        }
        let now_ms = self.world.now().0;
        for topic in TOPICS {
            let found = seen[0].get(topic).map(Vec::as_slice);
            model::retained_may_be(&self.messages, &self.rests, topic, found, now_ms)?;
        }
        Ok(())
    }

    /// All leave and all retained messages are deleted: no shard keeps anything.
    fn nothing_remains(&mut self) -> Judged {
        for who in 0..IDENTITIES {
            self.step += 1;
            self.leave(who);
            self.drain()?;
            self.come_back(who, true);
            self.drain()?;
            self.leave(who);
            self.drain()?;
        }
        let cleaner = self.world.connect(&connect(Version::V311, "cleaner"));
        for topic in TOPICS {
            self.world
                .publish(cleaner, &publish(topic, "").qos(1, 0).retain());
        }
        self.world.disconnect(cleaner);
        self.world.advance(3_000);
        for shard in 0..self.case.shards {
            let sizes = self.world.shard(shard).sizes();
            if sizes != (0, 0, 0, 0) {
                return Err(format!(
                    "all have left, but shard {shard} holds {sizes:?} (connections, sessions, subscriptions, retained)"
                ));
            }
            let leftovers = self.world.shard(shard).leftovers();
            if !leftovers.is_empty() {
                return Err(format!(
                    "all have left, but shard {shard} holds {leftovers:?}"
                ));
            }
        }
        Ok(())
    }

    /// The broker is stopped in the middle: everyone is closed, and v5 Clients are told why. [v5 3.14.2.1]
    pub fn shut_down(&mut self) -> Judged {
        let open: Vec<usize> = (0..self.connections.len())
            .filter(|index| !self.world.is_over(self.connections[*index].client))
            .collect();
        self.world.shut_down();
        self.world.lanes_held = false;
        self.world.settle();
        for index in open {
            let connection = &self.connections[index];
            let who = connection.asked.who;
            if self.world.is_open(connection.client) {
                return Err(format!("stopped, but sim-{who} is still connected"));
            }
            let last = self.world.history(connection.client).last();
            let told = matches!(last, Some(Packet::Disconnect { code: 0x8b }));
            let owed = connection.accepted.is_some() && self.case.versions[who] == Version::V5;
            if told != owed {
                return Err(format!("stopped, and the last to sim-{who} was {last:?}"));
            }
        }
        Ok(())
    }
}
