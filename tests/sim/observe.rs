//! What the Clients receive, and how connections begin and end: read after each step and held against the model.

use crate::actions::NEVER;
use crate::client::{Owed, Waiting};
use crate::play::{Judged, Play};
use crate::session::{Delivery, Session};
use crate::support::v5::Full;
use crate::support::*;
use mqttfast::limits::TIMER_GRAIN_MS;

/// When something due at `ms` has certainly been looked at.
fn looked_at(ms: u64) -> u64 {
    ms.div_ceil(TIMER_GRAIN_MS).saturating_mul(TIMER_GRAIN_MS)
}

fn after_s(ms: u64, seconds: u32) -> u64 {
    if seconds == NEVER {
        u64::MAX
    } else {
        ms + u64::from(seconds) * 1000
    }
}

impl Play {
    /// Reads what came and compares.
    pub fn observe(&mut self) -> Judged {
        loop {
            let mut quiet = true;
            for index in 0..self.connections.len() {
                // An acknowledgement of one Client may let another's packets be read.
                self.wills_and_ends();
                self.check_last_answers(index)?;
                if !self.connections[index].alive {
                    continue;
                }
                let client = self.connections[index].client;
                if self.connections[index].slow && self.world.is_over(client) {
                    // It is judged by all that it was given before.
                    self.world.read_at_once(client);
                }
                if !self.connections[index].ghost {
                    for (packet, full) in self.received(index) {
                        quiet = false;
                        self.receive(index, &packet, full.as_ref()).map_err(|why| {
                            let who = self.connections[index].asked.who;
                            format!("sim-{who} received {packet:?}: {why}")
                        })?;
                    }
                }
                if self.world.is_over(client) {
                    self.connections[index].closing = Some(self.world.now().0);
                    self.check_close(index)?;
                    self.ended(index)?;
                    self.check_last_answers(index)?;
                } else if self.connections[index].asked.eager
                    && self.connections[index].accepted.is_some()
                    && !self.connections[index].owed.is_empty()
                {
                    quiet = false;
                    self.acknowledge(index, usize::MAX, 0);
                }
            }
            self.earliest_ms = self.world.now().0;
            if quiet {
                return Ok(());
            }
        }
    }

    fn received(&mut self, index: usize) -> Vec<(Packet, Option<Full>)> {
        let connection = &self.connections[index];
        let client = connection.client;
        if self.case.versions[connection.asked.who] == Version::V5 {
            let fulls = self.world.received_full(client).into_iter();
            fulls
                .map(|full| (full.packet.clone(), Some(full)))
                .collect()
        } else {
            let packets = self.world.received(client).into_iter();
            packets.map(|packet| (packet, None)).collect()
        }
    }

    /// What others may already have seen of connections that came and went in this step, before anything is read.
    fn wills_and_ends(&mut self) {
        let now_ms = self.world.now().0;
        for who in 0..self.identities.len() {
            self.due(who);
            let identity = &self.identities[who];
            if let (Some((from, _)), Some(session)) = (identity.ends_ms, &identity.session)
                && from <= now_ms
            {
                self.groups.session_over(session.key);
            }
        }
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            if !connection.alive {
                continue;
            }
            let who = connection.asked.who;
            let is_over = self.world.is_over(connection.client);
            if !connection.settled && self.is_established(index) {
                self.settle(index);
            }
            if !is_over || !self.connections[index].settled {
                continue;
            }
            self.will_left(index);
            if let (0, Some(session)) = (
                self.connections[index].expiry_s.0,
                &self.identities[who].session,
            ) {
                self.groups.session_over(session.key);
            }
        }
    }

    /// Its CONNECT was taken: it has CONNACK 0, or would have had it.
    fn is_established(&mut self, index: usize) -> bool {
        let connection = &self.connections[index];
        if connection.ghost && connection.accepted.is_none() {
            return !self.world.is_open(connection.client);
        }
        let first = self.world.history(connection.client).first();
        matches!(first, Some(Packet::ConnAck { code: 0, .. }))
    }

    /// A Client has come back: what becomes of a will of its that waits. [v5 MQTT-3.1.3-9]
    fn settle(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.settled = true;
        let (who, clean) = (connection.asked.who, connection.asked.clean);
        if clean && let Some(session) = &self.identities[who].session {
            self.groups.session_over(session.key);
        }
        let Some(waiting) = self.identities[who].will.take() else {
            return;
        };
        let perhaps = waiting.from_ms <= self.world.now().0;
        if (clean || perhaps) && self.messages[waiting.number].sent.is_none() {
            self.mark_sent(waiting.number, who);
        }
        if clean && waiting.certain {
            self.will_is_out(waiting.number);
        }
    }

    /// The will of a connection that is over.
    fn will_left(&mut self, index: usize) {
        let Some(number) = self.connections[index].will.take() else {
            return;
        };
        let connection = &self.connections[index];
        let who = connection.asked.who;
        let certain = !connection.will_in_doubt;
        let delay_s = match (self.case.versions[who], connection.asked.will) {
            (Version::V5, Some(will)) => will.delay_s,
            _ => 0,
        };
        let (least, most) = connection.expiry_s;
        if delay_s.min(most) == 0 {
            self.mark_sent(number, who);
            if certain {
                self.will_is_out(number);
            }
            return;
        }
        self.identities[who].will = Some(Waiting {
            number,
            from_ms: after_s(self.earliest_ms, delay_s.min(least)),
            until_ms: after_s(self.world.now().0, delay_s.min(most)),
            certain,
        });
        self.due(who);
    }

    /// A will that waits may be published now, or must have been.
    fn due(&mut self, who: usize) {
        let now_ms = self.world.now().0;
        let Some(waiting) = &self.identities[who].will else {
            return;
        };
        let (number, certain, until_ms) = (waiting.number, waiting.certain, waiting.until_ms);
        if waiting.from_ms <= now_ms && self.messages[number].sent.is_none() {
            self.mark_sent(number, who);
        }
        if looked_at(until_ms) <= now_ms {
            self.identities[who].will = None;
            if certain {
                self.will_is_out(number);
            }
        }
    }

    fn will_is_out(&mut self, number: usize) {
        let message = &mut self.messages[number];
        message.accepted = Some(self.step);
        message.accepted_ms = Some(self.world.now().0);
    }

    /// A connection is over.
    fn ended(&mut self, index: usize) -> Judged {
        let connection = &mut self.connections[index];
        connection.alive = false;
        if !connection.settled {
            // Nobody has known it.
            for number in connection.unconfirmed.drain(..) {
                self.messages[number].sent = None;
            }
            return Ok(());
        }
        let (who, (least, most)) = (connection.asked.who, connection.expiry_s);
        if connection.accepted.is_none() {
            self.took_over(index, None)?;
        }
        let identity = &mut self.identities[who];
        if most == 0 {
            identity.session = None;
            identity.outgoing.clear();
            return Ok(());
        }
        if let Some(session) = &mut identity.session {
            session.resumed = true;
        }
        identity.ends_ms = Some((
            after_s(self.earliest_ms, least),
            after_s(self.world.now().0, most),
        ));
        Ok(())
    }

    /// The broker may close only after DISCONNECT, a takeover, a mistake or too long a silence.
    fn check_close(&self, index: usize) -> Judged {
        let connection = &self.connections[index];
        let who = connection.asked.who;
        let later = self.connections[index + 1..].iter();
        let taken_over = later.clone().any(|c| c.asked.who == who && !c.refused);
        let keep_alive_ms = u64::from(connection.asked.keep_alive_s) * 1000;
        let silence = self.world.now().0 - connection.sent_at;
        let silent = keep_alive_ms > 0 && silence * 2 >= keep_alive_ms * 3;
        let late = connection.is_pending() && silence >= mqttfast::limits::CONNECT_DEADLINE_MS;
        let excused = connection.ghost || connection.leaving || connection.faulty;
        if excused || connection.refused || late || taken_over || silent {
            return Ok(());
        }
        let log = &self.world.log[self.world.log.len().saturating_sub(2)..];
        Err(format!("sim-{who} was closed without reason: {log:?}"))
    }

    /// A connection that was over has closed: what came last.
    fn check_last_answers(&mut self, index: usize) -> Judged {
        let connection = &mut self.connections[index];
        if self.world.is_open(connection.client) {
            return Ok(());
        }
        let Some(since_ms) = connection.closing.take() else {
            return Ok(());
        };
        let waited_ms = self.world.now().0 - since_ms;
        self.check_last_word(index)?;
        let connection = &self.connections[index];
        let who = connection.asked.who;
        let mut later = self.connections[index + 1..].iter();
        let taken_over = later.any(|c| c.asked.who == who && !c.refused);
        let by_itself = connection.leaving || connection.faulty;
        let slow_peers = waited_ms >= mqttfast::limits::LAST_ANSWERS_MS;
        let silent = connection.asked.keep_alive_s > 0;
        if !by_itself || connection.ghost || taken_over || silent || slow_peers {
            return Ok(()); // SUBSCRIBE may not have been read, or those who must answer do not.
        }
        for packet_id in &connection.subscribes {
            let is_answer = |packet: &Packet| matches!(packet, Packet::SubAck { packet_id: of, .. } if of == packet_id);
            if !self.world.history(connection.client).iter().any(is_answer) {
                return Err(format!(
                    "sim-{who} has no SUBACK for {packet_id} at the close"
                ));
            }
        }
        Ok(())
    }

    /// Who acknowledged wrongly has heard that, unless it was closed for another reason before that was read.
    fn check_last_word(&mut self, index: usize) -> Judged {
        let connection = &self.connections[index];
        let Some(wanted) = connection.must_hear.filter(|_| !connection.slow) else {
            return Ok(());
        };
        let who = connection.asked.who;
        match self.world.history(connection.client).last() {
            // Keep Alive timeout, and Session taken over.
            Some(Packet::Disconnect { code: 0x8d | 0x8e }) => Ok(()),
            Some(Packet::Disconnect { code }) if *code == wanted => Ok(()),
            last => Err(format!(
                "sim-{who} must hear {wanted:#x}, and heard {last:?}"
            )),
        }
    }

    fn receive(&mut self, index: usize, packet: &Packet, full: Option<&Full>) -> Judged {
        let who = self.connections[index].asked.who;
        if let Packet::ConnAck {
            session_present,
            code,
        } = packet
        {
            return self.connected(index, *session_present, *code);
        }
        let (step, now_ms) = (self.step, self.world.now().0);
        let owed = answer(packet);
        match packet {
            Packet::ConnAck { .. } => unreachable!("it was taken above"),
            Packet::Publish(message) => {
                let connection = &mut self.connections[index];
                let session = self.identities[who].session.as_mut();
                let session = session.ok_or("it has no Session")?;
                let delivery = Delivery {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    dup: message.dup,
                    packet_id: message.packet_id,
                    identifiers: full.map(Full::identifiers),
                    expiry_left_s: full
                        .and_then(|full| full.number(property::MESSAGE_EXPIRY_INTERVAL)),
                    now_ms,
                    not_before_ms: (!connection.slow).then_some(self.earliest_ms),
                };
                let groups = &mut self.groups;
                session.receive(&self.messages, groups, &delivery, connection.window)?;
                let ends = (message.qos == 1).then_some(message.packet_id);
                if message.qos > 0 {
                    connection.owed.push_back(Owed { bytes: owed, ends });
                }
            }
            Packet::PubRel { packet_id, .. } => {
                let session = self.identities[who].session.as_mut();
                session.ok_or("it has no Session")?.released(*packet_id);
                self.connections[index].owed.push_back(Owed {
                    bytes: owed,
                    ends: Some(*packet_id),
                });
            }
            Packet::PubAck { packet_id, code } => {
                let outgoing = self.identities[who].outgoing.remove(packet_id);
                // One sent again is acknowledged again.
                if let Some(outgoing) = outgoing {
                    if outgoing.qos != 1 {
                        return Err("not an answer to what was sent".into());
                    }
                    self.answered(outgoing.message, *code)?;
                }
            }
            Packet::PubRec { packet_id, code } => {
                if let Some(outgoing) = self.identities[who].outgoing.get_mut(packet_id) {
                    if outgoing.qos != 2 {
                        return Err("not an answer to what was sent".into());
                    }
                    outgoing.received = true;
                    let number = outgoing.message;
                    if *code < 0x80 {
                        self.connections[index].owed.push_back(Owed {
                            bytes: pubrel(*packet_id),
                            ends: None,
                        });
                    } else {
                        self.identities[who].outgoing.remove(packet_id);
                    }
                    self.answered(number, *code)?;
                }
            }
            Packet::PubComp { packet_id, .. } => {
                let outgoing = self.identities[who].outgoing.remove(packet_id);
                if outgoing.is_some_and(|outgoing| !outgoing.received) {
                    return Err("before PUBREC".into());
                }
            }
            Packet::SubAck { packet_id, codes } => {
                let session = self.session(who)?;
                session.acknowledged(*packet_id, step);
                let mut asked = session.subscriptions.iter();
                let asked = asked.find(|s| s.packet_id == *packet_id);
                if asked.is_none_or(|asked| *codes != [asked.options.qos]) {
                    return Err(format!("{asked:?} was asked for"));
                }
            }
            Packet::UnsubAck { packet_id, .. } => {
                self.session(who)?.acknowledged(*packet_id, step);
            }
            Packet::Disconnect { .. } | Packet::PingResp => (),
        }
        Ok(())
    }

    fn session(&mut self, who: usize) -> Result<&mut Session, String> {
        let session = self.identities[who].session.as_mut();
        session.ok_or("it has no Session".into())
    }

    /// PUBACK or PUBREC.
    fn answered(&mut self, number: usize, code: u8) -> Judged {
        match code {
            0x00 => (),
            // No matching subscribers.
            0x10 => self.nobody_matches(number)?,
            // Quota exceeded.
            0x97 if self.case.has_small_queues() => {
                self.messages[number].refused = true;
                return Ok(());
            }
            _ => return Err(format!("Reason Code {code:#04x}")),
        }
        let (step, now_ms) = (self.step, self.world.now().0);
        let message = &mut self.messages[number];
        message.accepted.get_or_insert(step);
        message.accepted_ms.get_or_insert(now_ms);
        Ok(())
    }

    /// The publisher was told that there is no subscriber.
    fn nobody_matches(&mut self, number: usize) -> Judged {
        let connected: Vec<bool> = (0..self.identities.len())
            .map(|who| self.is_connected(who))
            .collect();
        let message = &self.messages[number];
        for (who, identity) in self.identities.iter().enumerate() {
            let mut of_it = self.connections.iter().filter(|c| c.asked.who == who);
            let Some(session) = &identity.session else {
                continue;
            };
            if identity.ends_ms.is_some() || of_it.any(|c| c.is_pending() || c.leaving || c.faulty)
            {
                continue;
            }
            let found = session.subscriptions.iter().find(|s| {
                message.sent.is_some_and(|sent| s.is_certain(sent))
                    && crate::model::matches(s.filter, message.topic)
            });
            if let (Some(found), true) = (found, connected[who]) {
                return Err(format!(
                    "No matching subscribers, but sim-{who} has {found:?}"
                ));
            }
        }
        Ok(())
    }

    fn is_connected(&mut self, who: usize) -> bool {
        let last = self.connections.iter().rfind(|c| c.asked.who == who);
        last.is_some_and(|c| c.is_active() && self.world.is_open(c.client))
    }

    fn connected(&mut self, index: usize, session_present: bool, code: u8) -> Judged {
        let connection = &mut self.connections[index];
        if connection.refused {
            return match code {
                0 => Err("its password is wrong".into()),
                _ => Ok(()),
            };
        }
        let waited = self.world.now().0 - connection.sent_at;
        // Its password was not checked in time: server busy. The close that follows is judged as that of one who came
        // to nothing.
        let busy = matches!(code, 3 | 0x89) && waited >= mqttfast::limits::CONNECT_DEADLINE_MS;
        if busy {
            return Ok(());
        }
        if code != 0 {
            return Err("refused".into());
        }
        connection.accepted = Some(self.step);
        let who = connection.asked.who;
        let version = self.case.versions[who];
        let place = self.world.place(connection.client);
        let identity = &mut self.identities[who];
        identity.home = identity.home.or(place);
        let present = (version != Version::V31).then_some(session_present);
        let resumed = self.took_over(index, present)?;
        if !resumed {
            return Ok(());
        }
        // What the Client has not seen acknowledged it sends again. [v3.1.1 MQTT-4.4.0-1]
        let mut bytes = Vec::new();
        for (packet_id, outgoing) in &self.identities[who].outgoing {
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

    /// A connection has its Session, an earlier one or a new one, as Session Present says where it can be seen. Whether
    /// it is an earlier one.
    fn took_over(&mut self, index: usize, present: Option<bool>) -> Result<bool, String> {
        let asked = self.connections[index].asked;
        let who = asked.who;
        let bytes_max = asked.packet_bytes_max;
        let bytes_max = bytes_max.filter(|_| self.case.versions[who] == Version::V5);
        let now_ms = self.world.now().0;
        let identity = &mut self.identities[who];
        let (from, until) = identity.ends_ms.take().unwrap_or((u64::MAX, u64::MAX));
        let lives = identity.session.is_some() && !asked.clean;
        let resumed = if !lives || looked_at(until) <= now_ms {
            false
        } else if now_ms < from {
            true
        } else {
            present.unwrap_or_else(|| {
                // It cannot be told: neither side is held to what was before.
                identity.outgoing.clear();
                if let Some(session) = &mut identity.session {
                    session.doubt();
                }
                true
            })
        };
        if present.is_some_and(|present| present != resumed) {
            return Err(format!("Session Present must be {resumed}"));
        }
        if !resumed {
            identity.new_session(who);
        }
        let session = identity.session.as_mut().expect("it has one");
        session.resumed |= resumed;
        session.under_way.clear();
        if let Some(bytes) = bytes_max {
            session.packet_bytes_least = session.packet_bytes_least.min(bytes as usize);
        }
        Ok(resumed)
    }
}
