//! Plays a case: the world's shards on one side, the model on the other, compared after each step. Here is what the
//! Clients do; `observe` reads what comes of it.

use crate::actions::{
    Action, Case, ConnectAs, FILTERS, IDENTITIES, NEVER, SHARES, SubscribeAs, TOPICS,
};
use crate::client::*;
use crate::groups::Groups;
use crate::model::Message;
use crate::support::*;
use mqttfast::broker::CloseCause;
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::limits::{CONNECT_DEADLINE_MS, LATE_GRACE_MS, TIMER_GRAIN_MS};

pub struct Play {
    pub world: World,
    pub case: Case,
    pub step: u64,
    pub identities: Vec<Identity>,
    pub connections: Vec<Connection>,
    /// Clients that belong to nobody and must be closed for what they sent.
    pub strangers: Vec<Client>,
    /// Who sends a CONNECT byte by byte, and since when.
    pub tricklers: Vec<(Client, u64)>,
    pub messages: Vec<Message>,
    pub groups: Groups,
    /// Steps at whose end the lanes were empty.
    pub rests: Vec<u64>,
    /// Whatever has been observed in this look happened no earlier.
    pub earliest_ms: u64,
    order: u64,
    /// Times the password file was read anew.
    reloads: u32,
}

pub type Judged = Result<(), String>;

/// Time between two looks while the clock runs.
const LOOK_MS: u64 = 1_000;

impl Play {
    pub fn new(case: &Case) -> Self {
        let default = Settings::default();
        let settings = Settings {
            inflight_max: case.inflight_max,
            session_queue_bytes_max: case
                .session_queue_bytes_max
                .unwrap_or(default.session_queue_bytes_max),
            shard_queue_bytes_max: case
                .shard_queue_bytes_max
                .unwrap_or(default.shard_queue_bytes_max),
            ..Settings::with_listener(ListenerSettings {
                passwords: case.passwords,
                ..ListenerSettings::default()
            })
        };
        let mut world = World::with(case.shards, Order::Seeded(case.seed), settings);
        world.lanes_held = true;
        world.verdicts_held = true;
        world.read_bytes_max = case.read_bytes_max;
        world.lane_high = case.lane_high;
        world.lane_low = case.lane_high.div_ceil(2).min(256);
        let identity = |who| Identity {
            client_id: format!("sim-{who}"),
            ..Identity::default()
        };
        let mut play = Play {
            earliest_ms: world.now().0,
            world,
            case: case.clone(),
            step: 0,
            identities: (0..IDENTITIES).map(identity).collect(),
            connections: Vec::new(),
            strangers: Vec::new(),
            tricklers: Vec::new(),
            messages: Vec::new(),
            groups: Groups::default(),
            rests: Vec::new(),
            order: 0,
            reloads: 0,
        };
        play.set_passwords();
        play
    }

    /// All actions, then what must hold at rest.
    pub fn run(&mut self) -> Judged {
        for action in self.case.actions.clone() {
            self.step += 1;
            self.act(&action)
                .and_then(|()| self.observe())
                .and_then(|()| self.queues_are_bounded())
                .map_err(|why| format!("step {} {action:?}: {why}", self.step))?;
            if self.world.lane_messages() == 0 {
                self.rests.push(self.step);
            }
        }
        if self.case.shutdown {
            return self.shut_down();
        }
        self.at_rest()
            .map_err(|why| format!("at rest after step {}: {why}", self.step))
    }

    /// The connection on which a Client can act; none while another CONNECT of it is on its way.
    pub fn active(&self, who: usize) -> Option<usize> {
        let mut of_it = self.connections.iter().filter(|c| c.asked.who == who);
        if of_it.any(Connection::is_pending) {
            return None;
        }
        self.connections
            .iter()
            .rposition(|c| c.asked.who == who && c.is_active())
    }

    /// Sends what was held back and these bytes, without the last `cut`.
    pub fn write(&mut self, index: usize, bytes: &[u8], cut: usize) {
        let connection = &mut self.connections[index];
        let mut all = std::mem::take(&mut connection.held);
        all.extend_from_slice(bytes);
        if all.is_empty() {
            return;
        }
        connection.held = all.split_off(all.len() - cut.min(all.len() - 1));
        connection.sent_at = self.world.now().0;
        self.world.send(connection.client, all);
        self.confirm(index);
    }

    /// QoS 0 messages have no answer: they are taken once the broker has read everything.
    pub fn confirm(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let is_whole = connection.accepted.is_some() && connection.held.is_empty();
        if !is_whole || !self.world.is_read(connection.client) {
            return;
        }
        let (step, now_ms) = (self.step, self.world.now().0);
        for number in connection.unconfirmed.drain(..) {
            let message = &mut self.messages[number];
            message.accepted.get_or_insert(step);
            message.accepted_ms.get_or_insert(now_ms);
        }
    }

    fn act(&mut self, action: &Action) -> Judged {
        match *action {
            Action::Connect(asked) => self.connect(asked),
            Action::Lanes { pick, count } => {
                for _ in 0..count {
                    let ready = self.world.lanes_ready();
                    if ready.is_empty() {
                        break;
                    }
                    let (from, to) = ready[pick % ready.len()];
                    self.world.deliver(from, to);
                }
                self.world.settle();
            }
            Action::Clock { ms } => self.let_pass(ms)?,
            Action::Jump { ms } => self.world.stop_for(ms),
            Action::Verdicts => self.world.answer_credentials(),
            Action::Reload => {
                self.reloads += 1;
                self.set_passwords();
            }
            Action::Stranger {
                shard,
                what,
                connected,
            } => self.stranger(shard, what, connected),
            Action::Trickle { shard } => {
                let client = self.world.open_at(shard % self.case.shards, Version::V311);
                self.tricklers.push((client, self.world.now().0));
            }
            Action::Subscribe { who, .. }
            | Action::Unsubscribe { who, .. }
            | Action::Join { who, .. }
            | Action::Leave { who, .. }
            | Action::Publish { who, .. }
            | Action::Repeat { who }
            | Action::Acknowledge { who, .. }
            | Action::Vanish { who }
            | Action::Disconnect { who, .. }
            | Action::Garbage { who, .. }
            | Action::Misacknowledge { who, .. }
            | Action::Slow { who }
            | Action::Take { who, .. }
            | Action::Quick { who } => {
                if let Some(index) = self.active(who) {
                    self.act_on(index, who, action);
                } else {
                    self.act_early(who, action);
                }
            }
        }
        Ok(())
    }

    /// Time passes, with a look at what comes of it now and then.
    pub fn let_pass(&mut self, ms: u64) -> Judged {
        let mut left = ms;
        while left > 0 {
            let some = left.min(LOOK_MS);
            self.world.advance(some);
            self.trickle()?;
            self.step += 1;
            self.observe()?;
            left -= some;
        }
        Ok(())
    }

    fn set_passwords(&mut self) {
        self.world.forget_users();
        let password = format!("password-{}", self.reloads);
        for who in 0..IDENTITIES {
            let name = format!("user-{who}");
            self.world.allow_user(&name, password.as_bytes());
        }
    }

    pub fn connect(&mut self, asked: ConnectAs) {
        let who = asked.who;
        let of_it = |c: &&Connection| c.asked.who == who;
        if self
            .connections
            .iter()
            .filter(of_it)
            .any(Connection::is_pending)
        {
            return; // Two CONNECTs on their way may arrive in any order; the model has one at a time.
        }
        let version = self.case.versions[who];
        let index = self.connections.len();
        let will_number = asked.will.map(|will| {
            let mut message = Message::new(who, index, will.topic, will.qos, will.retain);
            message.will = true;
            message.expiry_s = will.expiry_s.filter(|_| version == Version::V5);
            self.messages.push(message);
            self.messages.len() - 1
        });
        let payload = will_number.map(|number| number.to_string());
        if let (Some(number), Some(payload)) = (will_number, &payload) {
            self.messages[number].payload_bytes = payload.len();
        }
        let reloads = if asked.wrong_password {
            self.reloads.wrapping_sub(1)
        } else {
            self.reloads
        };
        let name = format!("user-{who}");
        let password = format!("password-{reloads}");
        let mut bytes = connect_bytes(
            &asked,
            version,
            &self.identities[who].client_id,
            will_number.zip(payload.as_deref()),
            self.case.passwords.then_some((&name, &password)),
        );
        let client = self.world.open_at(asked.shard % self.case.shards, version);
        let mut connection = Connection::new(client, asked, version, self.case.inflight_max);
        connection.will = will_number;
        connection.slow = asked.slow;
        if asked.slow {
            self.world.read_slowly(client);
        }
        connection.refused = self.case.passwords && asked.wrong_password;
        connection.sent_at = self.world.now().0;
        if let Some(topic) = asked.early {
            let number = self.messages.len();
            let payload = number.to_string();
            let mut message = Message::new(who, index, topic, 0, false);
            message.payload_bytes = payload.len();
            self.messages.push(message);
            if !connection.refused {
                self.mark_sent(number, who);
                connection.unconfirmed.push(number);
            }
            bytes.extend(publish(TOPICS[topic], &payload).bytes(version));
        }
        self.connections.push(connection);
        self.world.send(client, bytes);
    }

    /// One more byte of each CONNECT that comes so slowly; the broker waits for a whole one from the beginning, not
    /// from the last byte.
    fn trickle(&mut self) -> Judged {
        let now_ms = self.world.now().0;
        for (client, since) in self.tricklers.clone() {
            if !self.world.is_open(client) {
                continue;
            }
            if now_ms > since + CONNECT_DEADLINE_MS + LATE_GRACE_MS + 2 * TIMER_GRAIN_MS {
                let ms = now_ms - since;
                return Err(format!("open for {ms} ms without a whole CONNECT"));
            }
            // A client id of 100 bytes.
            let hello = [0x10, 112, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 100];
            let at = ((now_ms - since) / LOOK_MS).saturating_sub(1) as usize;
            let byte = *hello.get(at).unwrap_or(&b'x');
            self.world.send(client, vec![byte]);
        }
        Ok(())
    }

    /// No shard queues more than it may.
    fn queues_are_bounded(&self) -> Judged {
        let Some(most) = self.case.shard_queue_bytes_max else {
            return Ok(());
        };
        for shard in 0..self.case.shards {
            let held = self.world.shard(shard).leftovers();
            // The account of each message in them, and this sum, are checked by `check_invariants`.
            let of = |(name, _): &&(&str, usize)| *name == "queued bytes";
            let bytes = held.iter().find(of).map_or(0, |(_, bytes)| *bytes);
            if bytes as u64 > most {
                return Err(format!("shard {shard} queues {bytes} bytes of {most}"));
            }
        }
        Ok(())
    }

    /// What a Client can do before CONNACK has come.
    fn act_early(&mut self, who: usize, action: &Action) {
        if let Action::Vanish { .. } = action {
            return self.vanish_early(who);
        }
        let pending = |c: &&Connection| c.asked.who == who && c.is_pending();
        let Some(client) = self.connections.iter().rfind(pending).map(|c| c.client) else {
            return;
        };
        match *action {
            Action::Take { bytes, .. } => {
                self.world.take_bytes(client, bytes);
            }
            Action::Quick { .. } => self.world.read_at_once(client),
            _ => {}
        }
    }

    /// The Client of a CONNECT that is on its way is gone.
    fn vanish_early(&mut self, who: usize) {
        let pending = |c: &&mut Connection| c.asked.who == who && c.is_pending();
        let Some(connection) = self.connections.iter_mut().rfind(pending) else {
            return;
        };
        let in_lane = self.world.place(connection.client).is_none();
        self.world.cut(connection.client, CloseCause::Reset);
        if in_lane {
            connection.ghost = true;
        } else {
            // Its password was being checked: nobody knows it.
            connection.alive = false;
            for number in connection.unconfirmed.drain(..) {
                self.messages[number].sent = None;
            }
        }
        self.world.settle();
    }

    fn stranger(&mut self, shard: usize, what: usize, connected: bool) {
        let version = if what.is_multiple_of(2) {
            Version::V311
        } else {
            Version::V5
        };
        let client = self.world.open_at(shard % self.case.shards, version);
        let mut bytes = Vec::new();
        if connected {
            let client_id = format!("stranger-{}", self.strangers.len());
            bytes = connect(version, &client_id).bytes();
        }
        bytes.extend(match garbage(version, what) {
            // A CONNECT is right where it comes first.
            bytes if !connected && bytes[0] == 0x10 => vec![0x10, 0x00],
            bytes => bytes,
        });
        self.strangers.push(client);
        self.world.send(client, bytes);
    }

    /// A message is on its way from now on.
    pub fn mark_sent(&mut self, number: usize, who: usize) {
        self.order += 1;
        let message = &mut self.messages[number];
        message.sent = Some(self.step);
        message.sent_ms = self.earliest_ms;
        message.order = self.order;
        message.home = self.identities[who].home.unwrap_or(usize::MAX - who);
    }

    fn act_on(&mut self, index: usize, who: usize, action: &Action) {
        let version = self.case.versions[who];
        let client = self.connections[index].client;
        match *action {
            Action::Subscribe {
                filter,
                options,
                cut,
                ..
            } => self.subscribe(index, (FILTERS[filter], None), options, cut),
            Action::Join {
                share,
                retain_as_published,
                identifier,
                ..
            } => {
                let (group, filter) = SHARES[share];
                let options = SubscribeAs {
                    qos: self.case.share_qos,
                    no_local: false,
                    retain_as_published,
                    retain_handling: 0,
                    identifier,
                };
                let session = self.identities[who].session.as_ref();
                let key = session.expect("a connected Client has one").key;
                self.groups.joined(group, filter, key);
                self.subscribe(index, (filter, Some(group)), options, 0);
            }
            Action::Unsubscribe { filter, cut, .. } => {
                self.unsubscribe(index, (FILTERS[filter], None), cut);
            }
            Action::Leave { share, .. } => {
                let (group, filter) = SHARES[share];
                self.unsubscribe(index, (filter, Some(group)), 0);
            }
            Action::Publish { .. } => self.publish(index, who, action),
            Action::Repeat { .. } => {
                let bytes = self.identities[who]
                    .outgoing
                    .iter()
                    .find(|(_, outgoing)| outgoing.qos == 2 && !outgoing.received)
                    .map(|(id, outgoing)| outgoing.again(*id, version));
                if let (Some(bytes), true) = (bytes, version != Version::V5) {
                    self.write(index, &bytes, 0);
                }
            }
            Action::Acknowledge { count, cut, .. } => self.acknowledge(index, count, cut),
            Action::Vanish { .. } => {
                self.connections[index].ghost = true;
                self.world.cut(client, CloseCause::Reset);
                self.world.settle();
            }
            Action::Disconnect {
                with_will,
                expiry_s,
                ..
            } => self.disconnect(index, with_will, expiry_s),
            Action::Garbage { what, .. } => {
                self.connections[index].faulty = true;
                self.write(index, &garbage(version, what), 0);
            }
            Action::Misacknowledge { what, .. } => {
                let connection = &mut self.connections[index];
                let mut owed = connection.owed.iter();
                let wrong = owed.find_map(|owed| wrong_acknowledgement(owed, what));
                if let Some(bytes) = wrong {
                    connection.faulty = true;
                    connection.must_hear = (version == Version::V5).then_some(0x82);
                    self.write(index, &bytes, 0);
                }
            }
            Action::Slow { .. } => {
                self.connections[index].slow = true;
                self.world.read_slowly(client);
            }
            Action::Take { bytes, .. } => {
                self.world.take_bytes(client, bytes);
            }
            Action::Quick { .. } => self.world.read_at_once(client),
            _ => (),
        }
    }

    fn subscribe(
        &mut self,
        index: usize,
        (filter, group): (&'static str, Option<&'static str>),
        options: SubscribeAs,
        cut: usize,
    ) {
        let who = self.connections[index].asked.who;
        let version = self.case.versions[who];
        let packet_id = self.identities[who].packet_id();
        let text = group.unwrap_or(filter);
        let (options, bytes) = if version == Version::V5 {
            let mut byte = options.qos | options.retain_handling << 4;
            byte |= if options.no_local { NO_LOCAL } else { 0 };
            if options.retain_as_published {
                byte |= RETAIN_AS_PUBLISHED;
            }
            let properties = options.identifier.map(subscription_identifier);
            let properties = properties.unwrap_or_default();
            let bytes = subscribe_with(packet_id, &properties, &[(text, byte)]);
            (options, bytes)
        } else {
            let options = SubscribeAs {
                qos: options.qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
                identifier: None,
            };
            (
                options,
                subscribe(version, packet_id, &[(text, options.qos)]),
            )
        };
        let session = self.identities[who].session.as_mut();
        let session = session.expect("a connected Client has one");
        session.subscribe(filter, group, options, packet_id);
        self.connections[index].subscribes.push(packet_id);
        self.write(index, &bytes, cut);
    }

    fn unsubscribe(
        &mut self,
        index: usize,
        (filter, group): (&'static str, Option<&'static str>),
        cut: usize,
    ) {
        let who = self.connections[index].asked.who;
        let packet_id = self.identities[who].packet_id();
        let session = self.identities[who].session.as_mut();
        let session = session.expect("a connected Client has one");
        session.unsubscribe(filter, group, packet_id);
        let text = group.unwrap_or(filter);
        let bytes = unsubscribe(self.case.versions[who], packet_id, &[text]);
        self.write(index, &bytes, cut);
    }

    fn publish(&mut self, index: usize, who: usize, action: &Action) {
        let Action::Publish {
            topic,
            qos,
            retain,
            empty,
            padding,
            count,
            cut,
            expiry_s,
            alias,
            ..
        } = *action
        else {
            return;
        };
        let version = self.case.versions[who];
        let empty = empty && retain;
        let expiry_s = expiry_s.filter(|_| version == Version::V5);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let number = self.messages.len();
            let mut payload = Vec::new();
            if !empty {
                payload = number.to_string().into_bytes();
                payload.extend(std::iter::repeat_n(b'.', padding));
            }
            let mut message = Message::new(who, index, topic, qos, retain);
            message.empty = empty;
            message.payload_bytes = payload.len();
            message.expiry_s = expiry_s;
            message.may_be_refused = version == Version::V5 && self.case.has_small_queues();
            self.messages.push(message);
            self.mark_sent(number, who);
            let mut packet = publish(TOPICS[topic], &payload);
            packet.retain = retain;
            if let Some(seconds) = expiry_s {
                packet = packet.with(message_expiry(seconds));
            }
            if let Some(alias) = alias.filter(|_| version == Version::V5) {
                packet = packet.with(topic_alias(alias));
                let aliases = &mut self.connections[index].aliases;
                if aliases.insert(alias, topic) == Some(topic) {
                    packet = packet.topic_bytes(b"");
                }
            }
            if qos > 0 {
                let packet_id = self.identities[who].packet_id();
                packet = packet.qos(qos, packet_id);
                let outgoing = Outgoing {
                    message: number,
                    qos,
                    retain,
                    topic,
                    payload,
                    expiry_s,
                    received: false,
                };
                self.identities[who].outgoing.insert(packet_id, outgoing);
            } else {
                self.connections[index].unconfirmed.push(number);
            }
            bytes.extend(packet.bytes(version));
        }
        self.write(index, &bytes, cut);
    }

    pub fn acknowledge(&mut self, index: usize, count: usize, cut: usize) {
        let connection = &mut self.connections[index];
        let who = connection.asked.who;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let Some(owed) = connection.owed.pop_front() else {
                break;
            };
            bytes.extend(owed.bytes);
            if let (Some(id), Some(session)) = (owed.ends, &mut self.identities[who].session) {
                session.done(id);
                self.groups.acknowledged(session.key, id);
            }
        }
        if !bytes.is_empty() {
            self.write(index, &bytes, cut);
        }
    }

    fn disconnect(&mut self, index: usize, with_will: bool, expiry_s: Option<u32>) {
        let who = self.connections[index].asked.who;
        let before = self.connections[index].expiry_s.0;
        let mut bytes = disconnect();
        let mut after = before;
        let mut keeps_will = false;
        if self.case.versions[who] == Version::V5 {
            // What was 0 may not be raised. [v5 3.14.2.2.2]
            let properties = expiry_s.filter(|_| before > 0).map(|seconds| {
                after = seconds;
                session_expiry(seconds)
            });
            keeps_will = with_will;
            if keeps_will || properties.is_some() {
                let code = if keeps_will { 0x04 } else { 0x00 };
                bytes = disconnect_with(code, &properties.unwrap_or_default());
            }
        }
        let client = self.connections[index].client;
        self.write(index, &bytes, 0);
        let connection = &mut self.connections[index];
        if self.world.is_over(client) {
            // It was read; what came before the close still counts.
            connection.expiry_s = (after, after);
            if !keeps_will {
                connection.will = None;
            }
        } else {
            connection.expiry_s = (before.min(after), before.max(after));
            connection.will_in_doubt = !keeps_will;
        }
        connection.leaving = true;
    }

    /// Connects a Client to stay, for the checks at the end.
    pub fn come_back(&mut self, who: usize, clean: bool) {
        self.connect(ConnectAs {
            who,
            shard: who,
            clean,
            keep_alive_s: 0,
            will: None,
            eager: true,
            slow: false,
            expiry_s: if clean { 0 } else { NEVER },
            receive_maximum: None,
            packet_bytes_max: None,
            topic_alias_maximum: 0,
            early: None,
            wrong_password: false,
        });
        self.world.answer_credentials();
    }

    pub fn leave(&mut self, who: usize) {
        if let Some(index) = self.active(who) {
            self.disconnect(index, false, None);
        }
    }
}
