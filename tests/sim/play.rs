//! Plays a case: the world's shards on one side, the model on the other, compared after each step.

use crate::actions::{Action, Case, FILTERS, IDENTITIES, TOPICS};
use crate::model::{Delivery, Message, Session};
use crate::support::*;
use mqttfast::broker::CloseCause;
use mqttfast::config::Settings;
use std::collections::{BTreeMap, VecDeque};

/// A QoS 1 or 2 message of a Client that is not completely acknowledged.
struct Outgoing {
    message: usize,
    qos: u8,
    retain: bool,
    topic: usize,
    payload: Vec<u8>,
    /// PUBREC came.
    received: bool,
}

/// A Client beyond its connections.
#[derive(Default)]
pub struct Identity {
    pub client_id: String,
    /// What the broker must have of it.
    pub session: Option<Session>,
    outgoing: BTreeMap<u16, Outgoing>,
    next_packet_id: u16,
    /// The shard of its Session, once known.
    home: Option<usize>,
}

/// An answer a Client owes; the last of a handshake ends the delivery for the Client.
struct Owed {
    bytes: Vec<u8>,
    ends: Option<u16>,
}

pub struct Connection {
    pub client: Client,
    pub who: usize,
    clean: bool,
    keep_alive_ms: u64,
    will: Option<usize>,
    eager: bool,
    /// CONNACK came.
    pub accepted: bool,
    pub alive: bool,
    /// The Client went away before CONNACK.
    ghost: bool,
    /// DISCONNECT was sent, but the broker does not read now.
    leaving: bool,
    /// Bytes of the last packet that were held back.
    held: Vec<u8>,
    owed: VecDeque<Owed>,
    /// When it last sent something.
    sent_at: u64,
}

pub struct Play {
    pub world: World,
    pub case: Case,
    pub step: u64,
    pub identities: Vec<Identity>,
    pub connections: Vec<Connection>,
    pub messages: Vec<Message>,
    /// Steps at whose end the lanes were empty.
    pub rests: Vec<u64>,
    order: u64,
}

type Judged = Result<(), String>;

impl Play {
    pub fn new(case: &Case) -> Self {
        let settings = Settings {
            inflight_max: case.inflight_max,
            ..Settings::default()
        };
        let mut world = World::with(case.shards, Order::Seeded(case.seed), settings);
        world.lanes_held = true;
        world.read_bytes_max = case.read_bytes_max;
        world.lane_high = case.lane_high;
        world.lane_low = case.lane_high.div_ceil(2).min(256);
        let identity = |who| Identity {
            client_id: format!("sim-{who}"),
            ..Identity::default()
        };
        Play {
            world,
            case: case.clone(),
            step: 0,
            identities: (0..IDENTITIES).map(identity).collect(),
            connections: Vec::new(),
            messages: Vec::new(),
            rests: Vec::new(),
            order: 0,
        }
    }

    /// All actions, then what must hold at rest.
    pub fn run(&mut self) -> Judged {
        for action in self.case.actions.clone() {
            self.step += 1;
            self.act(&action)
                .and_then(|()| self.observe())
                .map_err(|why| format!("step {} {action:?}: {why}", self.step))?;
            if self.world.lane_messages() == 0 {
                self.rests.push(self.step);
            }
        }
        self.at_rest()
            .map_err(|why| format!("at rest after step {}: {why}", self.step))
    }

    /// The connection on which a Client can act.
    fn active(&self, who: usize) -> Option<usize> {
        let last = self.connections.iter().rposition(|c| c.who == who)?;
        let connection = &self.connections[last];
        (connection.alive && connection.accepted && !connection.leaving && !connection.ghost)
            .then_some(last)
    }

    /// Sends what was held back and these bytes, without the last `cut`.
    fn write(&mut self, index: usize, bytes: &[u8], cut: usize) {
        let connection = &mut self.connections[index];
        let mut all = std::mem::take(&mut connection.held);
        all.extend_from_slice(bytes);
        if all.is_empty() {
            return;
        }
        connection.held = all.split_off(all.len() - cut.min(all.len() - 1));
        connection.sent_at = self.world.now().0;
        self.world.send(connection.client, all);
    }

    fn packet_id(&mut self, who: usize) -> u16 {
        let identity = &mut self.identities[who];
        identity.next_packet_id += 1;
        identity.next_packet_id
    }

    fn payload(&self, number: usize, padding: usize) -> Vec<u8> {
        let mut payload = number.to_string().into_bytes();
        payload.extend(std::iter::repeat_n(b'.', padding));
        payload
    }

    fn act(&mut self, action: &Action) -> Judged {
        match *action {
            Action::Connect {
                who,
                shard,
                clean,
                keep_alive_s,
                will,
                eager,
            } => self.connect(who, shard, clean, keep_alive_s, will, eager),
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
            Action::Clock { ms } => self.world.advance(ms),
            Action::Subscribe { who, .. }
            | Action::Unsubscribe { who, .. }
            | Action::Publish { who, .. }
            | Action::Repeat { who }
            | Action::Acknowledge { who, .. }
            | Action::Vanish { who }
            | Action::Disconnect { who }
            | Action::Slow { who }
            | Action::Take { who, .. }
            | Action::Quick { who } => {
                if let Some(index) = self.active(who) {
                    self.act_on(index, who, action);
                } else if let (Action::Vanish { .. }, Some(connection)) = (
                    action,
                    self.connections
                        .iter_mut()
                        .rfind(|c| c.who == who && c.alive && !c.accepted),
                ) {
                    connection.ghost = true;
                    self.world.cut(connection.client, CloseCause::Reset);
                    self.world.settle();
                }
            }
        }
        Ok(())
    }

    fn connect(
        &mut self,
        who: usize,
        shard: usize,
        clean: bool,
        keep_alive_s: u16,
        will: Option<(usize, u8, bool)>,
        eager: bool,
    ) {
        if self
            .connections
            .iter()
            .any(|c| c.who == who && c.alive && !c.accepted)
        {
            return; // Two CONNECTs on their way may arrive in any order; the model has one at a time.
        }
        let version = self.case.versions[who];
        let mut packet = connect(version, &self.identities[who].client_id).keep_alive(keep_alive_s);
        if !clean {
            packet = packet.persistent();
        }
        let connection = self.connections.len();
        let mut will_number = None;
        if let Some((topic, qos, retain)) = will {
            let number = self.new_message(who, connection, topic, qos, retain, false);
            packet = packet.will(TOPICS[topic], &number.to_string(), qos, retain);
            self.messages[number].will = true;
            will_number = Some(number);
        }
        let client = self.world.open_at(shard % self.case.shards, version);
        self.connections.push(Connection {
            client,
            who,
            clean,
            keep_alive_ms: u64::from(keep_alive_s) * 1000,
            will: will_number,
            eager,
            accepted: false,
            alive: true,
            ghost: false,
            leaving: false,
            held: Vec::new(),
            owed: VecDeque::new(),
            sent_at: self.world.now().0,
        });
        self.world.send(client, packet.bytes());
    }

    fn new_message(
        &mut self,
        who: usize,
        connection: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        empty: bool,
    ) -> usize {
        self.messages.push(Message {
            topic: TOPICS[topic],
            qos,
            retain,
            empty,
            will: false,
            publisher: who,
            connection,
            sent: None,
            order: 0,
            copies: 1,
            repeated: false,
            accepted: None,
            home: 0,
        });
        self.messages.len() - 1
    }

    fn mark_sent(&mut self, number: usize, home: usize) {
        self.order += 1;
        let message = &mut self.messages[number];
        message.sent = Some(self.step);
        message.order = self.order;
        message.home = home;
    }

    fn act_on(&mut self, index: usize, who: usize, action: &Action) {
        let version = self.case.versions[who];
        let client = self.connections[index].client;
        match *action {
            Action::Subscribe {
                filter, qos, cut, ..
            } => {
                let packet_id = self.packet_id(who);
                let session = self.identities[who].session.as_mut();
                let session = session.expect("a connected Client has one");
                session.subscribe(FILTERS[filter], qos, packet_id);
                let bytes = subscribe(version, packet_id, &[(FILTERS[filter], qos)]);
                self.write(index, &bytes, cut);
            }
            Action::Unsubscribe { filter, cut, .. } => {
                let packet_id = self.packet_id(who);
                let session = self.identities[who].session.as_mut();
                let session = session.expect("a connected Client has one");
                session.unsubscribe(FILTERS[filter], packet_id);
                let bytes = unsubscribe(version, packet_id, &[FILTERS[filter]]);
                self.write(index, &bytes, cut);
            }
            Action::Publish {
                topic,
                qos,
                retain,
                empty,
                padding,
                count,
                cut,
                ..
            } => {
                let mut bytes = Vec::new();
                for _ in 0..count {
                    let empty = empty && retain;
                    let number = self.new_message(who, index, topic, qos, retain, empty);
                    let home = self.identities[who].home.unwrap_or(usize::MAX - who);
                    self.mark_sent(number, home);
                    let payload = if empty {
                        Vec::new()
                    } else {
                        self.payload(number, padding)
                    };
                    let mut packet = publish(TOPICS[topic], &payload);
                    packet.retain = retain;
                    if qos > 0 {
                        let packet_id = self.packet_id(who);
                        packet = packet.qos(qos, packet_id);
                        let outgoing = Outgoing {
                            message: number,
                            qos,
                            retain,
                            topic,
                            payload,
                            received: false,
                        };
                        self.identities[who].outgoing.insert(packet_id, outgoing);
                    }
                    bytes.extend(packet.bytes(version));
                }
                self.write(index, &bytes, cut);
            }
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
                self.world.cut(client, CloseCause::Reset);
                self.world.settle();
                self.ended(index, false);
            }
            Action::Disconnect { .. } => {
                self.write(index, &disconnect(), 0);
                if self.world.is_closed(client) {
                    // What came before the close still counts; `observe` must not take it for a loss.
                    self.connections[index].will = None;
                }
                self.connections[index].leaving = true;
            }
            Action::Slow { .. } => self.world.read_slowly(client),
            Action::Take { bytes, .. } => {
                self.world.take_bytes(client, bytes);
            }
            Action::Quick { .. } => self.world.read_at_once(client),
            Action::Connect { .. } | Action::Lanes { .. } | Action::Clock { .. } => (),
        }
    }

    pub fn acknowledge(&mut self, index: usize, count: usize, cut: usize) {
        let connection = &mut self.connections[index];
        let who = connection.who;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let Some(owed) = connection.owed.pop_front() else {
                break;
            };
            bytes.extend(owed.bytes);
            if let (Some(id), Some(session)) = (owed.ends, &mut self.identities[who].session) {
                session.open.remove(&id);
            }
        }
        if !bytes.is_empty() {
            self.write(index, &bytes, cut);
        }
    }

    /// A connection is over. `leaving`: perhaps by its DISCONNECT.
    fn ended(&mut self, index: usize, leaving: bool) {
        let connection = &mut self.connections[index];
        connection.alive = false;
        let (who, clean) = (connection.who, connection.clean);
        self.will_left(index, leaving);
        let identity = &mut self.identities[who];
        if clean {
            identity.session = None;
            identity.outgoing.clear();
        } else {
            identity.session.get_or_insert_default().resumed = true;
        }
    }

    /// The will of a connection that is over is due. `leaving`: or not, if its DISCONNECT was read.
    fn will_left(&mut self, index: usize, leaving: bool) {
        let who = self.connections[index].who;
        if let Some(number) = self.connections[index].will.take() {
            let home = self.identities[who].home.unwrap_or(usize::MAX - who);
            self.mark_sent(number, home);
            self.messages[number].accepted = (!leaving).then_some(self.step);
        }
    }

    /// Reads what came and compares.
    pub fn observe(&mut self) -> Judged {
        loop {
            let mut quiet = true;
            for index in 0..self.connections.len() {
                let connection = &self.connections[index];
                if connection.alive && !self.world.is_open(connection.client) {
                    self.will_left(index, self.connections[index].leaving);
                }
            }
            for index in 0..self.connections.len() {
                if !self.connections[index].alive {
                    continue;
                }
                let client = self.connections[index].client;
                if !self.connections[index].ghost {
                    for packet in self.world.received(client) {
                        quiet = false;
                        self.receive(index, &packet).map_err(|why| {
                            let who = self.connections[index].who;
                            format!("sim-{who} received {packet:?}: {why}")
                        })?;
                    }
                }
                if !self.world.is_open(client) {
                    self.check_close(index)?;
                    let leaving = self.connections[index].leaving;
                    self.ended(index, leaving);
                } else if self.connections[index].eager
                    && self.connections[index].accepted
                    && !self.connections[index].owed.is_empty()
                {
                    quiet = false;
                    self.acknowledge(index, usize::MAX, 0);
                }
            }
            if quiet {
                return Ok(());
            }
        }
    }

    /// The broker may close only after DISCONNECT, a takeover or too long a silence.
    fn check_close(&self, index: usize) -> Judged {
        let connection = &self.connections[index];
        let who = connection.who;
        let taken_over = self.connections[index + 1..].iter().any(|c| c.who == who);
        let silence = self.world.now().0 - connection.sent_at;
        let silent = connection.keep_alive_ms > 0 && silence * 2 >= connection.keep_alive_ms * 3;
        if connection.ghost || connection.leaving || taken_over || silent {
            return Ok(());
        }
        let log = &self.world.log[self.world.log.len().saturating_sub(2)..];
        Err(format!("sim-{who} was closed without reason: {log:?}"))
    }

    fn receive(&mut self, index: usize, packet: &Packet) -> Judged {
        let who = self.connections[index].who;
        let step = self.step;
        let owed = answer(packet);
        match packet {
            Packet::ConnAck {
                session_present,
                code,
            } => return self.connected(index, *session_present, *code),
            Packet::Publish(message) => {
                let identity = &mut self.identities[who];
                let session = identity.session.as_mut().ok_or("it has no Session")?;
                let delivery = Delivery {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    dup: message.dup,
                    packet_id: message.packet_id,
                };
                let inflight_max = usize::from(self.case.inflight_max);
                session.receive(&self.messages, &delivery, inflight_max)?;
                let ends = (message.qos == 1).then_some(message.packet_id);
                if message.qos > 0 {
                    self.connections[index]
                        .owed
                        .push_back(Owed { bytes: owed, ends });
                }
            }
            Packet::PubRel { packet_id, .. } => {
                let identity = &mut self.identities[who];
                let session = identity.session.as_mut().ok_or("it has no Session")?;
                session.released(*packet_id);
                self.connections[index].owed.push_back(Owed {
                    bytes: owed,
                    ends: Some(*packet_id),
                });
            }
            Packet::PubAck { packet_id, code } => {
                let outgoing = self.identities[who].outgoing.remove(packet_id);
                // One sent again is acknowledged again.
                if let Some(outgoing) = outgoing {
                    if outgoing.qos != 1 || !matches!(code, 0 | 0x10) {
                        return Err("not an answer to what was sent".into());
                    }
                    self.messages[outgoing.message].accepted.get_or_insert(step);
                }
            }
            Packet::PubRec { packet_id, code } => {
                if let Some(outgoing) = self.identities[who].outgoing.get_mut(packet_id) {
                    if outgoing.qos != 2 || !matches!(code, 0 | 0x10) {
                        return Err("not an answer to what was sent".into());
                    }
                    self.messages[outgoing.message].accepted.get_or_insert(step);
                    outgoing.received = true;
                    self.connections[index].owed.push_back(Owed {
                        bytes: pubrel(*packet_id),
                        ends: None,
                    });
                }
            }
            Packet::PubComp { packet_id, .. } => {
                let outgoing = self.identities[who].outgoing.remove(packet_id);
                if outgoing.is_some_and(|outgoing| !outgoing.received) {
                    return Err("before PUBREC".into());
                }
            }
            Packet::SubAck { packet_id, codes } => {
                let identity = &mut self.identities[who];
                let session = identity.session.as_mut().ok_or("it has no Session")?;
                session.acknowledged(*packet_id, step);
                let asked = session
                    .subscriptions
                    .iter()
                    .find(|s| s.packet_id == *packet_id);
                if asked.is_none_or(|asked| *codes != [asked.qos]) {
                    return Err(format!("{asked:?} was asked for"));
                }
            }
            Packet::UnsubAck { packet_id, .. } => {
                let identity = &mut self.identities[who];
                let session = identity.session.as_mut().ok_or("it has no Session")?;
                session.acknowledged(*packet_id, step);
            }
            Packet::Disconnect { .. } | Packet::PingResp => (),
        }
        Ok(())
    }

    fn connected(&mut self, index: usize, session_present: bool, code: u8) -> Judged {
        if code != 0 {
            return Err("refused".into());
        }
        let connection = &mut self.connections[index];
        let (who, clean) = (connection.who, connection.clean);
        connection.accepted = true;
        let place = self.world.place(connection.client);
        let version = self.case.versions[who];
        let identity = &mut self.identities[who];
        identity.home = identity.home.or(place);
        if clean {
            identity.session = None;
        }
        let resumed = identity.session.is_some();
        if version != Version::V31 && session_present != resumed {
            return Err(format!("Session Present must be {resumed}"));
        }
        if !resumed {
            identity.session = Some(Session::default());
            identity.outgoing.clear();
            return Ok(());
        }
        identity.session.as_mut().expect("it is there").resumed = true;
        // What the Client has not seen acknowledged it sends again. [v3.1.1 MQTT-4.4.0-1]
        let mut bytes = Vec::new();
        for (packet_id, outgoing) in &identity.outgoing {
            if outgoing.received {
                bytes.extend(pubrel(*packet_id));
            } else {
                if outgoing.qos == 1 {
                    self.messages[outgoing.message].copies += 1;
                }
                self.messages[outgoing.message].repeated = true;
                bytes.extend(outgoing.again(*packet_id, version));
            }
        }
        self.write(index, &bytes, 0);
        Ok(())
    }

    /// QoS 1 and 2 messages of this Client whose handshake is not over.
    pub fn unfinished(&self, who: usize) -> usize {
        self.identities[who].outgoing.len()
    }

    /// All Clients read, all lanes deliver and everything owed is acknowledged, until nothing happens any more.
    pub fn drain(&mut self) -> Judged {
        self.world.lanes_held = false;
        for _ in 0..100_000 {
            self.world.settle();
            self.observe()?;
            let mut quiet = true;
            for index in 0..self.connections.len() {
                let connection = &self.connections[index];
                if !connection.alive || !connection.accepted {
                    continue;
                }
                let client = connection.client;
                self.world.read_at_once(client);
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
            if quiet
                && self
                    .connections
                    .iter()
                    .all(|c| !c.alive || c.owed.is_empty())
            {
                return Ok(());
            }
        }
        Err("it never comes to rest".into())
    }

    /// The last connection of each Client that is open, or none.
    pub fn open(&self, who: usize) -> Option<usize> {
        self.active(who)
    }

    /// Connects a Client, for the checks at the end.
    pub fn come_back(&mut self, who: usize, clean: bool) {
        self.connect(who, who, clean, 0, None, true);
    }

    pub fn leave(&mut self, who: usize) {
        if let Some(index) = self.active(who) {
            self.act_on(index, who, &Action::Disconnect { who });
        }
    }
}

impl Outgoing {
    /// The PUBLISH once more, with DUP.
    fn again(&self, packet_id: u16, version: Version) -> Vec<u8> {
        let mut packet = publish(TOPICS[self.topic], &self.payload).qos(self.qos, packet_id);
        packet.retain = self.retain;
        packet.dup().bytes(version)
    }
}
