//! One run: Clients act, shards step, the store keeps this and that, and now and then everything is killed.

use super::history::{
    FILTERS, GROUP_FILTERS, GROUP_TOPICS, Published, TOPICS, check_groups, check_retained,
};
use super::party::{Party, Testament, WILL_DELAY_S};
use crate::support::*;
use mqttfast::broker::{Restored, RestoredPart};
use mqttfast::limits;
use mqttfast::store::trial::Trial;

const PARTIES: usize = 4;
const ACTIONS: usize = 120;

/// What outlives the broker.
enum Kept {
    /// The rig's double, which is simple enough to be right.
    Double(Box<Store>),
    /// The product's frames, window and tables. The second number is of the changes that it has of this run.
    Product(Box<Trial>, usize),
}

impl Kept {
    /// Takes the first so many changes of the world.
    fn take(&mut self, world: &World, count: usize, random: &mut Random) {
        match self {
            // All at once, when the run ends.
            Kept::Double(_) => {}
            Kept::Product(trial, taken) => {
                for (shard, sequence, changes) in &world.changes[*taken..count] {
                    trial.take(*shard as u8, *sequence, changes, world.now());
                    if random.below(8) == 0 {
                        trial.commit(world.now(), random.below(3) == 0);
                    }
                }
                *taken = count;
            }
        }
    }

    /// The broker has ended, and these changes were kept.
    fn restart(
        &mut self,
        world: &World,
        count: usize,
        shards: usize,
        random: &mut Random,
    ) -> Vec<Vec<Restored>> {
        self.take(world, count, random);
        match self {
            Kept::Double(store) => {
                for (_, _, changes) in &world.changes[..count] {
                    store.apply(changes);
                }
                store.restored(shards, world.now(), random)
            }
            Kept::Product(trial, taken) => {
                *taken = 0;
                let size = 1 + random.below(9);
                let parts = trial.restart(shards, world.now(), true);
                parts.iter().map(|parts| in_chunks(parts, size)).collect()
            }
        }
    }

    /// At rest: names of Sessions that have something left, and what each topic has.
    fn at_rest(&mut self, world: &World, random: &mut Random) -> (Vec<String>, Vec<Option<usize>>) {
        self.take(world, world.changes.len(), random);
        let mut left = Vec::new();
        let mut values = vec![None; TOPICS.len()];
        match self {
            Kept::Double(store) => {
                for (_, _, changes) in &world.changes {
                    store.apply(changes);
                }
                for row in store.sessions.values() {
                    let counts = (row.queued.len(), row.in_flight.len(), row.received.len());
                    if counts != (0, 0, 0) {
                        left.push(format!("{} has {counts:?}", row.client_id));
                    }
                }
                for (topic, value) in TOPICS.iter().zip(&mut values) {
                    let kept = store.retained.get(*topic);
                    *value = kept.and_then(|(kept, _)| number_of(&kept.message.payload));
                }
            }
            Kept::Product(trial, _) => {
                for part in trial.contents(world.now()) {
                    match part {
                        RestoredPart::Queued { session, .. }
                        | RestoredPart::InFlight { session, .. }
                        | RestoredPart::Received { session, .. } => {
                            left.push(format!("{session:?}"));
                        }
                        RestoredPart::Retained { message, .. } => {
                            let topic = TOPICS.iter().position(|of| **of == *message.topic);
                            values[topic.expect("one of them")] = number_of(&message.payload);
                        }
                        _ => {}
                    }
                }
            }
        }
        (left, values)
    }
}

fn number_of(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

pub struct Play {
    random: Random,
    shards: usize,
    shards_max: usize,
    /// How seldom the store keeps, of 4, and after how many actions the broker is killed.
    laziness: usize,
    crash_one_in: usize,
    /// Only QoS 2, of publishers and subscribers.
    exactly: bool,
    world: World,
    store: Kept,
    /// By shard: the number up to which it was told that the store has kept; and of all changes, how many it has.
    kept: Vec<u64>,
    stored: usize,
    parties: Vec<Party>,
    published: Vec<Published>,
    now: u64,
    trace: Vec<String>,
    extras: Extras,
    /// Decides for these alone, so that a seed plays the rest as it does without them.
    chance: Random,
}

/// What only some runs have.
#[derive(Clone, Copy, Default, Debug)]
pub struct Extras {
    /// Clients join groups.
    groups: bool,
    /// Clients have wills, and sometimes nobody comes back for long.
    wills: bool,
    /// Most messages are retained, at QoS 2 where their Client's are.
    retains: bool,
}

impl Extras {
    fn of(seed: u64) -> Extras {
        let mut chance = Random::new(!seed);
        Extras {
            groups: chance.below(2) == 0,
            wills: chance.below(3) == 0,
            retains: chance.below(4) == 0,
        }
    }
}

impl Play {
    pub fn new(seed: u64) -> Play {
        Play::with(seed, Extras::of(seed))
    }

    pub fn with(seed: u64, extras: Extras) -> Play {
        let mut random = Random::new(seed);
        let shards_max = [1, 4, 4][random.below(3)];
        let shards = 1 + random.below(shards_max);
        let parties = (0..PARTIES).map(|index| {
            let version = [Version::V311, Version::V5][random.below(2)];
            Party::new(index, version, index > 0)
        });
        let parties = parties.collect();
        Play {
            shards,
            shards_max,
            laziness: 1 + random.below(3),
            crash_one_in: [8, 16, 40][random.below(3)],
            exactly: random.below(3) == 0,
            world: world(shards, seed, extras),
            store: match random.below(2) {
                0 => Kept::Double(Box::default()),
                _ => Kept::Product(Box::default(), 0),
            },
            kept: vec![0; shards],
            stored: 0,
            parties,
            published: Vec::new(),
            now: 0,
            trace: vec![format!("{shards} shards, {extras:?}")],
            extras,
            chance: Random::new(seed ^ 0x5eed),
            random,
        }
    }

    pub fn run(mut self) -> Result<(), String> {
        self.play()
            .map_err(|why| format!("{why}\n{}", self.trace.join("\n")))
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..ACTIONS {
            self.act();
            let steps = self.random.below(40);
            self.step(steps)?;
            if self.random.below(4) >= self.laziness {
                self.keep();
            }
            if self.random.below(self.crash_one_in) == 0 {
                self.crash()?;
            }
        }
        self.finish()
    }

    fn act(&mut self) {
        let who = self.random.below(PARTIES);
        let party = &mut self.parties[who];
        let note = match self.random.below(12) {
            0 => self.connect(who),
            1 => {
                if let Some(client) = party.client
                    && self.world.is_open(client)
                {
                    self.world.drop_connection(client);
                }
                party.lose();
                "is gone".to_owned()
            }
            _ if !party.connected => match party.client {
                None => self.connect(who),
                Some(_) => "waits".to_owned(),
            },
            2 | 3 => {
                let filter = self.filter(who);
                let party = &mut self.parties[who];
                let qos = if self.exactly {
                    2
                } else {
                    1 + self.random.below(2) as u8
                };
                party.subscribe(&mut self.world, filter, qos);
                format!("subscribes to {}", FILTERS[filter])
            }
            4 if self.random.below(3) == 0 => {
                let filter = self.filter(who);
                let party = &mut self.parties[who];
                party.unsubscribe(&mut self.world, filter, self.now);
                format!("unsubscribes from {}", FILTERS[filter])
            }
            5..=8 => {
                // One alone writes the retained messages of a topic.
                let mut topic = self.random.below(GROUP_TOPICS);
                let mut retain = topic == who && self.random.below(3) == 0;
                if self.extras.groups && self.chance.below(2) == 0 {
                    (topic, retain) = (GROUP_TOPICS + self.chance.below(2), false);
                } else if self.extras.retains && self.chance.below(2) == 0 {
                    (topic, retain) = (who, true);
                }
                let qos = match (self.exactly, retain) {
                    // An older one of QoS 1 that is sent again would come after a newer one of QoS 2, which is not
                    // taken twice: so each Client keeps to one QoS.
                    (_, true) if self.extras.retains => 1 + who as u8 % 2,
                    (_, true) => [0, 1 + who as u8 % 2][self.random.below(2)],
                    (true, _) => 2,
                    (false, _) => [0, 1, 1, 2, 2][self.random.below(5)],
                };
                let message = Published {
                    by: who,
                    topic,
                    qos,
                    retain,
                    at: self.now,
                    taken: false,
                    empty: retain && self.random.below(5) == 0,
                    is_will: false,
                    void: None,
                };
                let number = self.published.len();
                party.publish(&mut self.world, number, &message);
                let note = format!("publishes {number}: {message:?}");
                self.published.push(message);
                note
            }
            _ => {
                party.acknowledge(&mut self.world, 1 + self.random.below(4));
                "acknowledges".to_owned()
            }
        };
        self.trace.push(format!("{}: party {who} {note}", self.now));
    }

    /// A filter for this Client. One that forgets its Session joins no group: what it was given would go with it.
    fn filter(&mut self, who: usize) -> usize {
        let plain = self.random.below(GROUP_FILTERS);
        if !self.extras.groups {
            return plain;
        }
        match self.chance.below(2) {
            0 if who > 0 => GROUP_FILTERS + self.chance.below(2),
            _ => plain % (GROUP_FILTERS - 1),
        }
    }

    fn connect(&mut self, who: usize) -> String {
        let party = &mut self.parties[who];
        if !self.extras.wills || self.chance.below(2) == 0 {
            party.connect(&mut self.world);
            return "connects".to_owned();
        }
        let will = Testament {
            number: self.published.len(),
            delayed: party.may_delay() && self.chance.below(2) == 0,
            orphaned: false,
        };
        let message = Published {
            by: who,
            topic: self.chance.below(GROUP_TOPICS),
            qos: 1 + self.chance.below(2) as u8,
            retain: false,
            at: self.now,
            taken: false,
            empty: false,
            is_will: true,
            void: None,
        };
        let note = format!("connects with {will:?}: {message:?}");
        self.published.push(message);
        party.connect_with(&mut self.world, Some(will), &self.published);
        note
    }

    /// Nobody comes back for long after a restart: the wills that the store had are published.
    fn stay_away(&mut self, wills: &[usize]) {
        self.world.stepwise = false;
        let longest = WILL_DELAY_S.max(limits::RESTORED_WILL_WAIT_S);
        self.world.advance(u64::from(longest) * 1_000 + 10_000);
        self.world.stepwise = true;
        for party in &mut self.parties {
            party.give_up_wills();
        }
        // Before that is kept, the next crash may take it back.
        if self.chance.below(2) == 0 {
            self.keep_all();
            for number in wills {
                let will = &mut self.published[*number];
                if will.void.is_none() {
                    (will.taken, will.at) = (true, self.now);
                }
            }
        }
        self.trace.push(format!("nobody comes, for {wills:?}"));
    }

    /// The store keeps all that it was told. `true`: there was something.
    fn keep_all(&mut self) -> bool {
        self.stored = self.world.changes.len();
        let mut more = false;
        for shard in 0..self.shards {
            let last = self.last_sequence(shard, self.stored);
            if last > self.kept[shard] {
                self.kept[shard] = last;
                self.world.keep_upto(shard, last);
                more = true;
            }
        }
        more
    }

    /// So many events, one after the other.
    fn step(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            if !self.world.step() {
                break;
            }
        }
        self.hear()
    }

    fn hear(&mut self) -> Result<(), String> {
        for party in &mut self.parties {
            self.now += 1;
            let heard = party.hear(&mut self.world, &mut self.published, self.now);
            heard.map_err(|why| format!("party {}: {why}", party.index))?;
        }
        Ok(())
    }

    /// The number of the last changes of a shard among the first so many.
    fn last_sequence(&self, shard: usize, count: usize) -> u64 {
        let of = self.world.changes[..count]
            .iter()
            .filter(|(of, _, _)| *of == shard);
        of.map(|(_, sequence, _)| *sequence).max().unwrap_or(0)
    }

    /// The store keeps what it was told, in the order it was told, and one shard, or each, hears of it.
    fn keep(&mut self) {
        let all = self.world.changes.len();
        self.stored += self.random.below(all - self.stored + 1);
        let chosen = self.random.below(2 * self.shards);
        for shard in 0..self.shards {
            let last = self.last_sequence(shard, self.stored);
            if (chosen == shard || chosen >= self.shards) && last > self.kept[shard] {
                self.kept[shard] = last;
                self.world.keep_upto(shard, last);
            }
        }
    }

    fn crash(&mut self) -> Result<(), String> {
        self.hear()?; // What has arrived has arrived.
        // Some of what no shard was told of is in the store nevertheless.
        let all = self.world.changes.len();
        self.stored += self.random.below(all - self.stored + 1);
        let kept = std::mem::take(&mut self.stored);
        let before = self.shards;
        self.shards = 1 + self.random.below(self.shards_max);
        self.kept = vec![0; self.shards];
        let now = self.world.now();
        let clients = self.parties.iter().filter_map(|party| party.client);
        let open: Vec<Client> = clients
            .filter(|client| self.world.is_open(*client))
            .collect();
        let chunks = self
            .store
            .restart(&self.world, kept, self.shards, &mut self.random);
        self.world = world(self.shards, self.random.number(), self.extras);
        self.world.begin_at(now);
        self.world.stepwise = false;
        let wills = wills_of(&chunks);
        // It had not kept yet that their Clients came back.
        for number in &wills {
            self.published[*number].void = None;
        }
        self.world.restore_all(chunks);
        self.world.stepwise = true;
        for party in &mut self.parties {
            party.orphan(party.client.is_some_and(|client| open.contains(&client)));
        }
        self.trace.push(format!(
            "{}: killed; {before} shards, now {}",
            self.now, self.shards
        ));
        if self.extras.wills && self.chance.below(3) == 0 {
            self.stay_away(&wills);
        }
        Ok(())
    }

    /// Everyone comes back and does all it owes.
    fn finish(&mut self) -> Result<(), String> {
        self.trace.push("everyone finishes".to_owned());
        for round in 0.. {
            if round == 400 {
                return Err("it does not come to rest".to_owned());
            }
            let mut idle = true;
            for party in &mut self.parties {
                if party.client.is_none() {
                    party.connect(&mut self.world);
                }
                party.acknowledge(&mut self.world, 100);
                idle &= party.is_idle();
            }
            let mut quiet = true;
            while self.world.step() {
                quiet = false;
            }
            quiet &= !self.keep_all();
            self.hear()?;
            if idle && quiet {
                break;
            }
        }
        for party in &self.parties[1..] {
            let complete = party
                .receipts
                .check_complete(&self.published, &party.intervals);
            complete.map_err(|why| format!("party {}: {why}", party.index))?;
        }
        let members = self.parties[1..].iter();
        let members: Vec<_> = members
            .map(|party| (&party.receipts, &party.intervals[..]))
            .collect();
        check_groups(&self.published, &members)?;
        self.check_rest()
    }

    fn check_rest(&mut self) -> Result<(), String> {
        let (left, stored) = self.store.at_rest(&self.world, &mut self.random);
        if let Some(left) = left.first() {
            return Err(format!("all is done, and left in the store: {left}"));
        }
        let mut found: Vec<Vec<Option<usize>>> = Vec::new();
        self.world.stepwise = false;
        self.world.store_stuck = false;
        for shard in 0..self.shards {
            let fresh = self.world.open_at(shard, Version::V311);
            self.world.send(
                fresh,
                connect(Version::V311, &format!("fresh {shard}")).bytes(),
            );
            self.world
                .send(fresh, subscribe(Version::V311, 1, &[("#", 0)]));
            let mut values = vec![None; TOPICS.len()];
            for packet in self.world.received(fresh) {
                if let Packet::Publish(message) = packet {
                    let topic = TOPICS.iter().position(|topic| **topic == message.topic);
                    values[topic.expect("one of them")] = message.text().parse().ok();
                }
            }
            found.push(values);
        }
        found.push(stored);
        if found.iter().any(|values| *values != found[0]) {
            return Err(format!(
                "shards and store differ in retained messages: {found:?}"
            ));
        }
        for (topic, value) in found[0].iter().enumerate() {
            check_retained(topic, *value, &self.published)?;
        }
        Ok(())
    }
}

/// The wills that a store gives back.
fn wills_of(chunks: &[Vec<Restored>]) -> Vec<usize> {
    let parts = chunks.iter().flatten().flat_map(|chunk| &chunk.parts);
    let wills = parts.filter_map(|part| match part {
        RestoredPart::Session(session) => session.will.as_ref(),
        RestoredPart::Will { will, .. } => Some(will),
        _ => None,
    });
    wills
        .filter_map(|will| number_of(&will.message.payload))
        .collect()
}

fn world(shards: usize, seed: u64, extras: Extras) -> World {
    let mut settings = with_store();
    if extras.groups {
        // So few that queues come up, which members give back.
        settings.inflight_max = 1 + (seed % 2) as u16;
    }
    let mut world = World::with(shards, Order::Seeded(seed), settings);
    world.store_stuck = true;
    world.stepwise = true;
    world
}
