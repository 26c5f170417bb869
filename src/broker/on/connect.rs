//! CONNECT: from the first bytes of a Network Connection to CONNACK.

use super::will::stored;
use crate::broker::event::{Ending, HandOver, Output, Verdict};
use crate::broker::happening::{Begun, Happening, Level, Refusal, Who};
use crate::broker::home::home_of;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::config::ClientIdTakeover;
use crate::ids::{ConnectionId, ListenerId};
use crate::limits;
use crate::session::contest::Told;
use crate::wire;
use crate::wire::connack::ConnAckProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::{ConnAck, Connect, Malformed, Packet, Version, packet_type};
use std::net::SocketAddr;

/// Characters that stand before an assigned client id.
const ASSIGNED_PREFIX: &str = "auto-";

impl Shard {
    /// Looks for a complete CONNECT at the start of what has come. Only one packet is read before it is accepted, of at most
    /// `limits::CONNECT_PACKET_BYTES_MAX`.
    pub(in crate::broker) fn try_connect(
        &mut self,
        id: ConnectionId,
        bytes: Vec<u8>,
        out: &mut Outputs,
    ) {
        if self.clients.connection(id).is_none() {
            return;
        }
        if bytes
            .first()
            .is_some_and(|first| first >> 4 != packet_type::CONNECT)
        {
            // The type is checked before the length is believed.
            self.clients.put_received(id, bytes, &[]);
            let violation = Violation::FirstPacketNotConnect;
            return self.close(id, Ending::Violation(violation), out);
        }
        let frame = match wire::next_frame(&bytes, limits::CONNECT_PACKET_BYTES_MAX) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                if !self.clients.keep_unaccepted(id, bytes) {
                    self.close(id, Ending::Violation(Violation::NoRoomUnaccepted), out);
                }
                return;
            }
            Err(malformed) => {
                self.clients.put_received(id, bytes, &[]);
                let violation = Violation::Malformed(malformed);
                return self.close(id, Ending::Violation(violation), out);
            }
        };
        self.clients.stop_reading(id, out);
        match wire::decode(None, &frame) {
            Ok(Packet::Connect(connect)) => self.on_connect(id, &connect, &bytes, out),
            Ok(_) => unreachable!("the packet type is CONNECT"),
            Err(malformed) => self.refuse_unreadable(id, malformed, &bytes, out),
        }
    }

    /// A CONNECT that cannot be read: closed without CONNACK [v3.1.1 MQTT-3.1.4-1], but for a protocol level that is not
    /// served [v3.1.1 MQTT-3.1.2-2] and for v5, which has a code for it.
    fn refuse_unreadable(
        &mut self,
        id: ConnectionId,
        malformed: Malformed,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        self.clients.put_received(id, bytes.to_vec(), &[]);
        // Fixed Header, then the protocol name with its length, then the level.
        let level = wire::connect::protocol_level(bytes);
        if malformed == Malformed::UnsupportedProtocolLevel {
            let newer = level.is_some_and(|level| level > 5);
            let version = if newer { Version::V5 } else { Version::V311 };
            self.clients.note_version(id, version);
            self.clients.append_connack(
                id,
                false,
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                &ConnAckProperties::default(),
            );
        } else if level == Some(5) {
            self.clients.note_version(id, Version::V5);
            let text = malformed.to_string();
            let properties = ConnAckProperties {
                reason_string: Some(&text),
                ..Default::default()
            };
            self.clients
                .append_connack(id, false, malformed.reason_code(), &properties);
        }
        self.close(id, Ending::Violation(Violation::Malformed(malformed)), out);
    }

    /// Checks a CONNECT in the order of the standard: protocol, client id, who it is. [v5 3.1.4]
    fn on_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        self.clients.note_terms(id, connect);
        let Some(connection) = self.clients.connection(id) else {
            return;
        };
        if connection.crowded {
            let code = match connect.version {
                Version::V5 => ReasonCode::QUOTA_EXCEEDED,
                Version::V31 | Version::V311 => ReasonCode::SERVER_UNAVAILABLE,
            };
            let why = Refusal::ConnectionsMax;
            return self.refuse(id, connect, code, why, out);
        }
        if connect.properties.authentication_method.is_some() {
            let why = Refusal::AuthenticationMethod;
            return self.refuse(id, connect, ReasonCode::BAD_AUTHENTICATION_METHOD, why, out);
        }
        if connect.client_id.is_empty()
            && (connect.version == Version::V31
                || (connect.version == Version::V311 && !connect.clean_start))
        {
            let why = Refusal::EmptyClientId;
            return self.refuse(
                id,
                connect,
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                why,
                out,
            );
        }
        let listener = self.clients.listener(id).expect("it is there");
        match connect.user_name {
            None if !listener.anonymous => {
                let why = Refusal::Anonymous;
                self.refuse(id, connect, ReasonCode::NOT_AUTHORIZED, why, out);
            }
            Some(user_name) if listener.passwords => {
                self.authenticate(id, connect, user_name, bytes, out);
            }
            None | Some(_) => self.on_authentic(id, connect, bytes, out),
        }
    }

    /// Has the password checked; the verdict comes later.
    fn authenticate(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        user_name: &str,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        if !self.clients.keep_unaccepted(id, bytes.to_vec()) {
            let why = Refusal::NoRoomForCheck;
            return self.refuse(id, connect, ReasonCode::SERVER_BUSY, why, out);
        }
        if self.clients.connection(id).is_none() {
            return;
        }
        self.clients.begin_check(id);
        out.push(Output::Authenticate {
            connection: id,
            user_name: user_name.to_owned(),
            password: connect.password.unwrap_or_default().to_vec(),
        });
    }

    pub(in crate::broker) fn on_verdict(
        &mut self,
        id: ConnectionId,
        verdict: Verdict,
        out: &mut Outputs,
    ) {
        let Some(bytes) = self.clients.end_check(id) else {
            return;
        };
        let Some(connect) = reread(&bytes) else {
            return;
        };
        let (code, why) = match verdict {
            Verdict::Accepted => return self.on_authentic(id, &connect, &bytes, out),
            Verdict::UnknownUser => (ReasonCode::NOT_AUTHORIZED, Refusal::UnknownUser),
            Verdict::WrongPassword => (ReasonCode::NOT_AUTHORIZED, Refusal::WrongPassword),
            Verdict::Busy => (ReasonCode::SERVER_BUSY, Refusal::ChecksWaiting),
        };
        self.refuse(id, &connect, code, why, out);
    }

    /// The Client is who it says: on to the home of its Session.
    fn on_authentic(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        let home = if connect.client_id.is_empty() {
            self.id // The id assigned will be one of ours.
        } else {
            home_of(connect.client_id, self.shards)
        };
        if home == self.id {
            return self.establish(id, connect, bytes, out);
        }
        if self.clients.hand_over(id) {
            let hand_over = HandOver {
                bytes: bytes.to_vec(),
                verdict: Verdict::Accepted,
                user_epoch: self.gone.epoch(),
            };
            out.push(Output::HandOver {
                connection: id,
                to: home,
                hand_over: Box::new(hand_over),
            });
        }
    }

    pub(in crate::broker) fn on_adopted(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        hand_over: HandOver,
        out: &mut Outputs,
    ) {
        assert_eq!(hand_over.verdict, Verdict::Accepted);
        self.clients.adopt(id, address, listener);
        if self.stopping {
            return self.close(id, Ending::Shutdown, out);
        }
        let Some(connect) = reread(&hand_over.bytes) else {
            return;
        };
        let checks = self.clients.listener(id).is_some_and(|l| l.passwords);
        if let Some(user_name) = connect.user_name
            && checks
            && hand_over.user_epoch < self.gone.epoch()
        {
            // Users have gone since the verdict, this one perhaps.
            self.clients.note_terms(id, &connect);
            self.clients.watch(id);
            return self.authenticate(id, &connect, user_name, &hand_over.bytes, out);
        }
        self.establish(id, &connect, &hand_over.bytes, out);
    }

    /// At home: takeover, Session, CONNACK, then what is owed to the Client. [v3.1.1 3.1.4]
    fn establish(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        let assigned = connect
            .client_id
            .is_empty()
            .then(|| self.assign_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        if !self.connack_fits(id, assigned.as_deref(), connect) {
            // Not even a DISCONNECT may come before CONNACK. [v5 MQTT-3.1.2-24, MQTT-3.14.0-1]
            let violation = Violation::AnswerTooLarge;
            return self.close(id, Ending::Violation(violation), out);
        }
        let (mut contest, mut told) = (None, Told::Each);
        let mut earlier = self.clients.find_session(client_id);
        if let Some(session) = earlier.and_then(|earlier| self.clients.session(earlier))
            && self.gone.ends(session)
        {
            self.end_with_user(earlier.take().expect("it was found"), out);
        }
        if let Some(earlier) = earlier {
            let session = self.clients.session(earlier).expect("it was found");
            let listener = self.clients.listener(id).expect("it is there");
            if listener.passwords
                && listener.client_id_takeover == ClientIdTakeover::Owner
                && session.user_name.as_deref() != connect.user_name
            {
                let why = Refusal::AnotherUsersSession;
                self.clients.note_version(id, connect.version);
                return self.refuse(id, connect, ReasonCode::NOT_AUTHORIZED, why, out);
            }
            (contest, told) = self.take_over(earlier, connect.clean_start, id, out);
        }
        // Leaving may have ended it.
        let earlier = self.clients.find_session(client_id);
        let session_present = earlier.is_some();
        let session = match earlier {
            Some(session) => session,
            None => self.clients.begin_session(client_id, connect.user_name, id),
        };
        let will = connect.will.as_ref().map(stored);
        self.clients
            .bind(id, session, connect, will, contest, self.gone.epoch());
        let properties = self.connack_properties(id, assigned.as_deref(), connect);
        self.clients
            .append_connack(id, session_present, ReasonCode::SUCCESS, &properties);
        if told == Told::Each {
            self.log_connected(id, client_id, connect, session_present, out);
        }
        if connect.keep_alive_s == 0 {
            out.push(Output::ProbePeer { connection: id });
        }
        self.tell_groups(session, true, out);
        self.pump(session);
        // What came behind CONNECT is read when the turn ends, and reading goes on.
        let frame_bytes = wire::frame_bytes(bytes).expect("it begins with a whole CONNECT");
        self.clients
            .put_received(id, bytes[frame_bytes..].to_vec(), &[]);
        self.clients.resume_later(id);
    }

    /// The CONNACK of an acceptance is within the Client's Maximum Packet Size.
    fn connack_fits(
        &self,
        id: ConnectionId,
        assigned: Option<&str>,
        connect: &Connect<'_>,
    ) -> bool {
        let most = connect.packet_bytes_max();
        if most >= limits::CONNACK_BYTES_MAX {
            return true;
        }
        let connack = ConnAck {
            session_present: false,
            code: ReasonCode::SUCCESS.0,
            properties: self.connack_properties(id, assigned, connect),
        };
        let mut bytes = Vec::new();
        wire::encode(&Packet::ConnAck(connack), connect.version, &mut bytes);
        assert!(bytes.len() <= limits::CONNACK_BYTES_MAX);
        bytes.len() <= most
    }

    fn connack_properties<'a>(
        &self,
        id: ConnectionId,
        assigned: Option<&'a str>,
        connect: &Connect<'_>,
    ) -> ConnAckProperties<'a> {
        if connect.version != Version::V5 {
            return ConnAckProperties::default();
        }
        ConnAckProperties {
            assigned_client_identifier: assigned,
            receive_maximum: Some(limits::RECEIVE_MAXIMUM),
            maximum_packet_size: Some(self.clients.packet_bytes_max(id)),
            topic_alias_maximum: Some(limits::TOPIC_ALIAS_MAXIMUM),
            ..Default::default()
        }
    }

    /// Answers a CONNECT with a refusal and closes. Where 3.1 and 3.1.1 have no code, it closes without CONNACK.
    /// [v3.1.1 MQTT-3.2.2-5, MQTT-3.2.2-6]
    fn refuse(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        reason: ReasonCode,
        why: Refusal,
        out: &mut Outputs,
    ) {
        let text = why.to_string();
        let properties = ConnAckProperties {
            reason_string: Some(&text),
            ..Default::default()
        };
        self.clients.append_connack(id, false, reason, &properties);
        self.clients.counters_mut().refusals += 1;
        if let Some(address) = self.clients.connection(id).map(|c| c.address) {
            out.tell(self.logs, Level::Info, || Happening::Refused {
                who: Who {
                    client_id: connect.client_id.into(),
                    user_name: connect.user_name.map(Into::into),
                    address,
                },
                why,
            });
        }
        self.close(id, Ending::Refused, out);
    }

    /// A client id that no Session has and whose home is this shard. [v3.1.1 MQTT-3.1.3-6]
    fn assign_client_id(&mut self) -> String {
        loop {
            let client_id = format!(
                "{ASSIGNED_PREFIX}{:016x}{:08x}",
                self.clients.random(),
                self.clients.random() as u32
            );
            if home_of(&client_id, self.shards) == self.id
                && self.clients.find_session(&client_id).is_none()
            {
                return client_id;
            }
        }
    }

    fn log_connected(
        &self,
        id: ConnectionId,
        client_id: &str,
        connect: &Connect<'_>,
        session_present: bool,
        out: &mut Outputs,
    ) {
        let Some(address) = self.clients.connection(id).map(|c| c.address) else {
            return;
        };
        out.tell(self.logs, Level::Info, || Happening::Connected {
            who: Who {
                client_id: client_id.into(),
                user_name: connect.user_name.map(Into::into),
                address,
            },
            version: connect.version,
            session: match (session_present, connect.clean_start) {
                (true, _) => Begun::Resumed,
                (false, true) => Begun::Clean,
                (false, false) => Begun::New,
            },
            keep_alive_s: connect.keep_alive_s,
        });
    }
}

/// The CONNECT that was read before.
fn reread(bytes: &[u8]) -> Option<Connect<'_>> {
    let frame = wire::next_frame(bytes, limits::CONNECT_PACKET_BYTES_MAX).ok()??;
    match wire::decode(None, &frame) {
        Ok(Packet::Connect(connect)) => Some(connect),
        Ok(_) | Err(_) => None,
    }
}
