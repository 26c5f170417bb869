//! What must hold once everything is at rest, and once all have left.

use crate::actions::{IDENTITIES, TOPICS};
use crate::model;
use crate::play::Play;
use crate::support::*;
use mqttfast::limits::{STALLED_AFTER_MS, TIMER_GRAIN_MS};
use std::collections::BTreeMap;

type Judged = Result<(), String>;

impl Play {
    /// All checks at the end of a run.
    pub fn at_rest(&mut self) -> Judged {
        self.step += 1;
        self.drain()?;
        self.rests.push(self.step);
        // Clients that publish to each other may hold each other up until the broker gives up waiting. (Seed 9897.)
        for _ in 0..2 {
            self.step += 1;
            self.world.advance(STALLED_AFTER_MS + TIMER_GRAIN_MS);
            self.drain()?;
        }
        for who in 0..IDENTITIES {
            self.step += 1;
            if self.open(who).is_none() && self.identities[who].session.is_some() {
                self.come_back(who, false);
            }
            self.drain()?;
        }
        for who in 0..IDENTITIES {
            self.everything_came(who)
                .map_err(|why| format!("sim-{who}: {why}"))?;
        }
        self.retained_agree()?;
        self.nothing_remains()
    }

    fn everything_came(&self, who: usize) -> Judged {
        if self.open(who).is_none() {
            return Ok(());
        }
        if self.unfinished(who) > 0 {
            return Err(format!(
                "{} of its messages are unanswered",
                self.unfinished(who)
            ));
        }
        match &self.identities[who].session {
            Some(session) => session.missing(&self.messages),
            None => Ok(()),
        }
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
        for topic in TOPICS {
            let found = seen[0].get(topic).map(Vec::as_slice);
            model::retained_may_be(&self.messages, &self.rests, topic, found)?;
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
        }
        Ok(())
    }
}
