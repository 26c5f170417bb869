//! Answers: the packets other than PUBLISH that are sent to a Client. An answer goes into the outbox of its connection
//! and leaves in the flush of this turn. An answer above the Client's Maximum Packet Size is sent without its Reason
//! String, or not at all.

use super::owner::{Clients, mark_dirty};
use crate::broker::event::Ending;
use crate::broker::outputs::Outputs;
use crate::broker::passing::Acknowledgement;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::session::Connection;
use crate::wire;
use crate::wire::connack::ConnAckProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::{Ack, AckKind, ConnAck, Packet, PacketId, Version, connack};

/// The bytes of an answer: with its Reason String, or without it where the packet would be too large. Empty where it is
/// too large even so. [v5 MQTT-3.1.2-24, MQTT-3.2.2-19, MQTT-3.4.2-2, MQTT-3.9.2-1, MQTT-3.14.2-3]
fn fitting(
    packet_bytes_max: usize,
    why: Option<&str>,
    write: impl Fn(Option<&str>, &mut Vec<u8>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(why, &mut bytes);
    if bytes.len() > packet_bytes_max && why.is_some() {
        bytes.clear();
        write(None, &mut bytes);
    }
    if bytes.len() > packet_bytes_max {
        bytes.clear();
    }
    bytes
}

/// The Reason String of PUBACK and PUBREC where subscribers are there.
const NO_ROOM: &str = "no subscriber has room for it";

impl Clients {
    /// Appends an answer to a connection's outbox.
    pub fn append(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let packet_bytes_most = connection.packet_bytes_most();
        let block = connection
            .outbox
            .block(&mut self.pool, limits::ANSWER_BYTES);
        let before = block.len();
        write(block);
        if block.len() - before > packet_bytes_most {
            block.truncate(before); // [v5 MQTT-3.1.2-24]
            return;
        }
        let bytes = block.len() - before;
        connection.unsent_bytes += bytes;
        let end = connection.sent_bytes + connection.unsent_bytes as u64;
        connection.answers.add(bytes, end);
        connection.patience.on_answer(bytes);
        mark_dirty(connection, &mut self.dirty);
    }

    /// Holds an answer back until the changes up to number `after` are kept (0: it needs none), and until earlier
    /// answers of its connection have left.
    #[inline]
    pub fn answer(&mut self, id: ConnectionId, after: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.counters.others_sent += 1;
        if after <= self.kept && !self.held.holds(id) {
            return self.append(id, write);
        }
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.hold(id, after, 0, bytes);
    }

    fn hold(&mut self, id: ConnectionId, after: u64, token: u64, bytes: Vec<u8>) {
        if self.connections.get(id).is_some() {
            let mut booked = None;
            let held_bytes = limits::HELD_ANSWER_BYTES + bytes.capacity();
            self.book_beside(id, &mut booked, held_bytes);
            self.held.push(id, after, token, bytes, booked);
        }
    }

    /// Holds PUBACK or PUBREC back until `token` is settled ([`Clients::settle`]) and the changes up to number `after`
    /// are kept.
    pub fn hold_ack(&mut self, of: &Acknowledgement, after: u64, token: u64) {
        let mut bytes = Vec::new();
        let success = ReasonCode::SUCCESS;
        wire::append_ack(of.kind, of.version, of.packet_id, success, &mut bytes);
        self.hold(of.connection, after, token, bytes);
    }

    /// An acknowledgement waits for the changes up to `after` too.
    pub fn hold_longer(&mut self, of: &Acknowledgement, token: u64, after: u64) {
        self.held.hold_longer(of.connection, token, after);
    }

    /// What an acknowledgement waited for is settled, with a refusal where no subscriber had room: v5 is told so, as it
    /// is for subscribers of this shard. Returns how its connection has ended, if it has, and this was its last answer.
    pub fn settle(&mut self, of: &Acknowledgement, token: u64, taken: bool) -> Option<Ending> {
        let refused = !taken && of.version == Version::V5;
        let mut after = 0;
        if refused && of.kind == AckKind::PubRec {
            self.release_received(of.session, of.packet_id); // No PUBREL follows. [v5 4.3.3]
            after = self.state_of(of.session);
        }
        let instead = refused.then(|| {
            let connection = self.connections.get(of.connection);
            let room = connection.map_or(0, |connection| connection.packet_bytes_most());
            let why = connection.filter(|c| c.takes_reasons()).map(|_| NO_ROOM);
            fitting(room, why, |reason_string, block| {
                let ack = Ack {
                    reason_string,
                    ..Ack::new(of.packet_id, ReasonCode::QUOTA_EXCEEDED)
                };
                ack.encode(of.kind, of.version, block);
            })
        });
        self.held.settle(of.connection, token, after, instead);
        self.release_answers_of(of.connection)
    }

    /// The changes up to `sequence` are kept, so the answers that waited for them leave. Returns the next ended
    /// connection that has now received its last answer, and how it ended.
    pub fn release_answers(&mut self, sequence: u64) -> Option<(ConnectionId, Ending)> {
        self.kept = self.kept.max(sequence);
        self.held.forget_begun(self.kept);
        while let Some(id) = self.held.next_kept(self.kept) {
            if let Some(ending) = self.release_answers_of(id) {
                return Some((id, ending));
            }
        }
        None
    }

    /// The answers of a connection that wait for nothing any more leave.
    fn release_answers_of(&mut self, id: ConnectionId) -> Option<Ending> {
        while let Some(answer) = self.held.pop(id, self.kept) {
            self.append_bytes(id, &answer.bytes);
        }
        if self.held.holds(id) {
            return None;
        }
        if self.held.take_paced(id) {
            self.unpace(id);
        }
        self.ending_of(id)
    }

    /// The next Session with a delivery that has waited for the store and may be sent now.
    pub fn next_fresh(&mut self) -> Option<SessionId> {
        self.held.next_fresh(self.kept)
    }

    /// The number of the changes that must be kept before a Client is told that its Session is there.
    pub fn begun(&self, id: SessionId) -> u64 {
        self.held.begun(id)
    }

    /// The number of the changes that must be kept before an answer may confirm the present state of a Session: of all
    /// there are, because one of them may have led to it. 0 if nothing of the Session is stored.
    #[inline]
    pub fn state_of(&self, id: SessionId) -> u64 {
        let stored = self.sessions.get(id).and_then(|session| session.stored);
        stored.map_or(0, |_| self.last_sequence())
    }

    /// Stops reading from a connection until its answers have left.
    pub fn wait_for_answers(&mut self, id: ConnectionId, out: &mut Outputs) {
        if self.held.holds(id) && self.held.note_paced(id) {
            self.pace(id, out);
            self.withhold(id);
        }
    }

    /// The number of waiting answers of this connection is at its limit, which is one while the store is behind.
    #[inline]
    pub fn has_many_held(&self, id: ConnectionId) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let most = match self.is_store_behind() {
            true => 1,
            false => limits::HELD_ANSWERS_MAX,
        };
        self.held.count(id) >= most
    }

    pub fn append_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.append(id, |block| block.extend_from_slice(bytes));
        }
    }

    /// Appends encoded bytes as an answer. Does nothing if there are none.
    fn answer_bytes(&mut self, id: ConnectionId, after: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.answer(id, after, |block| block.extend_from_slice(&bytes));
        }
    }

    /// Appends an answer with `why` as its Reason String. Leaves the Reason String out where `why` is `None`, or where
    /// the Client does not want it or cannot take it. [v5 MQTT-3.1.2-29]
    pub fn append_explained(
        &mut self,
        id: ConnectionId,
        after: u64,
        why: &str,
        write: impl Fn(Option<&str>, &mut Vec<u8>),
    ) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if why.is_empty() || !connection.takes_reasons() {
            return self.answer(id, after, |block| write(None, block));
        }
        let bytes = fitting(connection.packet_bytes_most(), Some(why), write);
        self.answer_bytes(id, after, bytes);
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn append_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        version: Version,
        packet_id: PacketId,
        reason: ReasonCode,
        after: u64,
    ) {
        if version == Version::V5 && reason.is_failure() {
            return self.append_refusal(id, kind, version, packet_id, reason, after);
        }
        self.answer(id, after, |block| {
            wire::append_ack(kind, version, packet_id, reason, block)
        });
    }

    /// An acknowledgement that says to a Client of v5 why it is a refusal.
    #[cold]
    fn append_refusal(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        version: Version,
        packet_id: PacketId,
        reason: ReasonCode,
        after: u64,
    ) {
        let why = match reason {
            ReasonCode::QUOTA_EXCEEDED => NO_ROOM,
            ReasonCode::NOT_AUTHORIZED => "you may not publish to this topic",
            _ => "no QoS 2 message of this Packet Identifier is under way",
        };
        self.append_explained(id, after, why, |reason_string, block| {
            let ack = Ack {
                reason_string,
                ..Ack::new(packet_id, reason)
            };
            ack.encode(kind, version, block);
        });
    }

    /// CONNACK in the form of the connection's version. Nothing where that version has no code for the reason.
    pub fn append_connack(
        &mut self,
        id: ConnectionId,
        session_present: bool,
        reason: ReasonCode,
        properties: &ConnAckProperties<'_>,
        after: u64,
    ) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let version = connection.version;
        let Some(code) = connack::connack_code(version, reason) else {
            return;
        };
        // 3.1 knows no Session Present: that byte is reserved. [3.1 §3.2]
        let session_present = session_present && version != Version::V31;
        let write = |reason_string: Option<&str>, bytes: &mut Vec<u8>| {
            let packet = ConnAck {
                session_present,
                code,
                properties: ConnAckProperties {
                    reason_string,
                    ..*properties
                },
            };
            wire::encode(&Packet::ConnAck(packet), version, bytes);
        };
        let bytes = fitting(
            connection.packet_bytes_most(),
            properties.reason_string,
            write,
        );
        self.answer_bytes(id, after, bytes);
    }

    /// DISCONNECT of the server: v5 only, and only after CONNACK. [v5 3.14]
    pub(super) fn append_disconnect(&mut self, connection: &mut Connection, ending: Ending) {
        let accepted = connection.is_closing() || connection.session().is_some();
        if connection.version != Version::V5 || !accepted {
            return;
        }
        let (reason, why) = match ending {
            Ending::Violation(violation) => (violation.reason_code(), violation.to_string()),
            Ending::TakenOver { .. } => {
                let why = "another connection came with this client id".to_owned();
                (ReasonCode::SESSION_TAKEN_OVER, why)
            }
            Ending::UserGone => {
                let why = "the user may log in no more".to_owned();
                (ReasonCode::ADMINISTRATIVE_ACTION, why)
            }
            Ending::SentAway => {
                let why = "the operator of the broker has closed the connection".to_owned();
                (ReasonCode::ADMINISTRATIVE_ACTION, why)
            }
            Ending::LoginNeeded => {
                let why = "a user name and password are needed now".to_owned();
                (ReasonCode::NOT_AUTHORIZED, why)
            }
            Ending::Shutdown => {
                let why = "the broker stops".to_owned();
                (ReasonCode::SERVER_SHUTTING_DOWN, why)
            }
            Ending::Disconnect { .. } | Ending::Lost(_) | Ending::Refused => return,
        };
        let write = |reason_string: Option<&str>, bytes: &mut Vec<u8>| {
            let mut packet = wire::Disconnect {
                reason,
                ..Default::default()
            };
            packet.reason_string = reason_string;
            wire::encode(&Packet::Disconnect(packet), Version::V5, bytes);
        };
        let bytes = fitting(connection.packet_bytes_most(), Some(&why), write);
        if !bytes.is_empty() {
            connection
                .outbox
                .block(&mut self.pool, bytes.len())
                .extend_from_slice(&bytes);
        }
    }
}
