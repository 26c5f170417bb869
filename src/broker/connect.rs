//! From the first bytes of a Network Connection to CONNACK, and what becomes of the Session when it closes.

use super::counters::Dropped;
use super::event::{Ending, HandOver, Output, Verdict};
use super::happening::{Begun, Happening, Level, Refusal, Who};
use super::outputs::Outputs;
use super::shard::Shard;
use super::violation::Violation;
use crate::config::ClientIdTakeover;
use crate::ids::{ConnectionId, ListenerId, SessionId, ShardId};
use crate::limits;
use crate::session::alias::OutwardAliases;
use crate::session::connection::Version5;
use crate::session::contest::Told;
use crate::session::{Connection, Contest, Phase, Session};
use crate::time::Time;
use crate::wire;
use crate::wire::connack::ConnAckProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::{ConnAck, Connect, Malformed, Packet, Version, connack, packet_type};
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// Characters that stand before an assigned client id.
const ASSIGNED_PREFIX: &str = "auto-";

impl Shard {
    /// Looks for a complete CONNECT at the start of what has come. Only one packet is read before it is accepted, of at most
    /// `limits::CONNECT_PACKET_BYTES_MAX`.
    pub(super) fn try_connect(&mut self, id: ConnectionId, bytes: Vec<u8>, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if bytes
            .first()
            .is_some_and(|first| first >> 4 != packet_type::CONNECT)
        {
            // The type is checked before the length is believed.
            connection.received = bytes;
            let violation = Violation::FirstPacketNotConnect;
            return self.close(id, Ending::Violation(violation), out);
        }
        let frame = match wire::next_frame(&bytes, limits::CONNECT_PACKET_BYTES_MAX) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                if !self.keep_unaccepted(id, bytes) {
                    self.close(id, Ending::Violation(Violation::NoRoomUnaccepted), out);
                }
                return;
            }
            Err(malformed) => {
                connection.received = bytes;
                let violation = Violation::Malformed(malformed);
                return self.close(id, Ending::Violation(violation), out);
            }
        };
        connection.reading = false;
        out.push(Output::StopReading { connection: id });
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
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.received = bytes.to_vec();
        // Fixed Header, then the protocol name with its length, then the level.
        let level = wire::connect::protocol_level(bytes);
        if malformed == Malformed::UnsupportedProtocolLevel {
            connection.version = if level.is_some_and(|level| level > 5) {
                Version::V5
            } else {
                Version::V311
            };
            self.append_connack(
                id,
                false,
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                &ConnAckProperties::default(),
            );
        } else if level == Some(5) {
            connection.version = Version::V5;
            let text = malformed.to_string();
            let properties = ConnAckProperties {
                reason_string: Some(&text),
                ..Default::default()
            };
            self.append_connack(id, false, malformed.reason_code(), &properties);
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
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.version = connect.version;
        connection.packet_bytes_max = packet_bytes_max(connect);
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
        let listener = self.settings.listener(connection.listener);
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
        if !self.keep_unaccepted(id, bytes.to_vec()) {
            let why = Refusal::NoRoomForCheck;
            return self.refuse(id, connect, ReasonCode::SERVER_BUSY, why, out);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.phase = Phase::Authenticating;
        out.push(Output::Authenticate {
            connection: id,
            user_name: user_name.to_owned(),
            password: connect.password.unwrap_or_default().to_vec(),
        });
    }

    pub(super) fn on_verdict(&mut self, id: ConnectionId, verdict: Verdict, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.phase != Phase::Authenticating {
            return;
        }
        connection.phase = Phase::AwaitConnect;
        let bytes = std::mem::take(&mut connection.received);
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
        if let Some(mut connection) = self.connections.remove(id) {
            self.uncharge(&mut connection);
            assert!(connection.outbox.is_empty() && !connection.sending && !connection.reading);
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

    pub(super) fn on_adopted(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        hand_over: HandOver,
        out: &mut Outputs,
    ) {
        assert_eq!(hand_over.verdict, Verdict::Accepted);
        let mut connection = Connection::new(id, address, listener, self.now);
        connection.reading = false;
        self.connections.put(id, connection);
        if self.stopping {
            return self.close(id, Ending::Shutdown, out);
        }
        let Some(connect) = reread(&hand_over.bytes) else {
            return;
        };
        if let Some(user_name) = connect.user_name
            && self.settings.listener(listener).passwords
            && hand_over.user_epoch < self.gone.epoch()
        {
            // Users have gone since the verdict, this one perhaps.
            let connection = self.connections.get_mut(id).expect("it was put there");
            connection.version = connect.version;
            connection.packet_bytes_max = packet_bytes_max(&connect);
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
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
        let mut earlier = self.find_session(client_id);
        if let Some(session) = earlier.and_then(|earlier| self.sessions.get(earlier))
            && self.gone.ends(session)
        {
            self.end_with_user(earlier.take().expect("it was found"), out);
        }
        if let Some(earlier) = earlier {
            let session = self.sessions.get(earlier).expect("it was found");
            let listener = self.listener(id).expect("it is there");
            if listener.passwords
                && listener.client_id_takeover == ClientIdTakeover::Owner
                && session.user_name.as_deref() != connect.user_name
            {
                let why = Refusal::AnotherUsersSession;
                self.connections.get_mut(id).expect("it is there").version = connect.version;
                return self.refuse(id, connect, ReasonCode::NOT_AUTHORIZED, why, out);
            }
            (contest, told) = self.take_over(earlier, connect.clean_start, id, out);
        }
        // Leaving may have ended it.
        let earlier = self.find_session(client_id);
        let session_present = earlier.is_some();
        let session = match earlier {
            Some(session) => session,
            None => self.add_session(Session::new(client_id, connect.user_name, id)),
        };
        self.bind(id, session, connect, contest);
        let properties = self.connack_properties(id, assigned.as_deref(), connect);
        self.append_connack(id, session_present, ReasonCode::SUCCESS, &properties);
        self.counters.connects += 1;
        if told == Told::Each {
            self.log_connected(id, client_id, connect, session_present, out);
        }
        if connect.keep_alive_s == 0 {
            out.push(Output::ProbePeer { connection: id });
        }
        let inflight = &mut self
            .sessions
            .get_mut(session)
            .expect("it was bound")
            .inflight;
        inflight.begin_resend();
        self.tell_groups(session, true, out);
        self.pump(session);
        // What came behind CONNECT is read when the turn ends, and reading goes on.
        let frame_bytes = wire::frame_bytes(bytes).expect("it begins with a whole CONNECT");
        let connection = self.connections.get_mut(id).expect("it was bound");
        connection.received = bytes[frame_bytes..].to_vec();
        self.resumable.push_back(id);
    }

    /// Ends the connection that has the Session now, and the Session itself if the new one wants a clean start.
    /// [v3.1.1 MQTT-3.1.4-2, v5 MQTT-3.1.4-3]
    ///
    /// Gives the takeovers up to now, which outlive the Session, and what the log says of this one.
    fn take_over(
        &mut self,
        earlier: SessionId,
        clean_start: bool,
        by: ConnectionId,
        out: &mut Outputs,
    ) -> (Option<Box<Contest>>, Told) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(earlier) else {
            return (None, Told::Each);
        };
        let mut contest = session.contest.take();
        if clean_start {
            // The Session ends by this takeover, so a delayed will is due. [v5 3.1.3.2.2]
            session.expiry_interval_s = 0;
        } else if session
            .will
            .as_ref()
            .is_some_and(|will| will.delay_interval_s > 0 && session.expiry_interval_s > 0)
        {
            // The Session goes on before the delay is over. [v5 MQTT-3.1.3-9]
            session.will_due = Time::NEVER;
            session.will = None;
        }
        let mut told = Told::Each;
        let connection = self.sessions.get(earlier).and_then(|s| s.connection);
        if let Some(connection) = connection {
            told = contest.get_or_insert_default().on_takeover(now);
            if let Told::Warning { takeovers } = told {
                self.warn_of_contest(earlier, takeovers, connection, by, out);
            }
            let silently = told != Told::Each;
            self.close(connection, Ending::TakenOver { silently }, out);
        }
        if clean_start && self.sessions.get(earlier).is_some() {
            self.end_session(earlier, out);
        }
        (contest, told)
    }

    /// Tells the log that a client id is taken from one connection by another again and again.
    fn warn_of_contest(
        &self,
        session: SessionId,
        takeovers: u64,
        from: ConnectionId,
        by: ConnectionId,
        out: &mut Outputs,
    ) {
        let address = |id| {
            self.connections
                .get(id)
                .map(|connection| connection.address)
        };
        let (Some(session), Some(from), Some(by)) =
            (self.sessions.get(session), address(from), address(by))
        else {
            return;
        };
        self.happened(Level::Warning, out, || Happening::Contested {
            client_id: session.client_id.clone(),
            takeovers,
            from,
            by,
        });
    }

    /// Marries connection and Session under the terms of CONNECT.
    fn bind(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        connect: &Connect<'_>,
        contest: Option<Box<Contest>>,
    ) {
        let now = self.now;
        let will = connect.will.as_ref().map(super::will::stored);
        // A name that nobody checked takes no Session away from its user.
        let checked = connect.user_name.is_some()
            && self.listener(id).is_some_and(|listener| listener.passwords);
        let session = self
            .sessions
            .get_mut(session_id)
            .expect("it was found or made");
        session.connection = Some(id);
        session.bridge = connect.bridge;
        session.user_epoch = self.gone.epoch();
        if checked && session.user_name.as_deref() != connect.user_name {
            session.user_name = connect.user_name.map(Into::into);
        }
        session.ends = Time::NEVER;
        session.will_due = Time::NEVER;
        session.will = will;
        session.contest = contest;
        session.expiry_interval_s = match connect.version {
            Version::V5 => connect.properties.session_expiry_interval_s,
            Version::V31 | Version::V311 if connect.clean_start => 0,
            Version::V31 | Version::V311 => u32::MAX,
        };
        let connection = self.connections.get_mut(id).expect("it is connecting");
        connection.phase = Phase::Connected(session_id);
        self.unaccepted_bytes -= std::mem::take(&mut connection.charged_bytes);
        connection.version = connect.version;
        connection.packet_bytes_max = packet_bytes_max(connect);
        connection.since = now;
        connection.heard = now;
        connection.watched = now;
        connection.silence_ms_max = u64::from(connect.keep_alive_s) * 1500;
        connection.window = usize::from(
            self.settings
                .inflight_max
                .min(connect.properties.receive_maximum),
        );
        if connect.version == Version::V5 {
            connection.version5 = Some(Box::new(Version5 {
                aliases: Vec::new(),
                outward: OutwardAliases::new(connect.properties.topic_alias_maximum).map(Box::new),
                silent_about_problems: !connect.properties.request_problem_information,
            }));
        }
    }

    /// The CONNACK of an acceptance is within the Client's Maximum Packet Size.
    fn connack_fits(
        &self,
        id: ConnectionId,
        assigned: Option<&str>,
        connect: &Connect<'_>,
    ) -> bool {
        let most = packet_bytes_max(connect);
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
            maximum_packet_size: Some(self.packet_bytes_max(id)),
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
        self.append_connack(id, false, reason, &properties);
        self.counters.refusals += 1;
        if let Some(address) = self.connections.get(id).map(|c| c.address) {
            self.happened(Level::Info, out, || Happening::Refused {
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

    /// Puts CONNACK into the outbox in the form of the connection's version, or nothing where that has no code.
    fn append_connack(
        &mut self,
        id: ConnectionId,
        session_present: bool,
        reason: ReasonCode,
        properties: &ConnAckProperties<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let version = connection.version;
        let Some(code) = connack::connack_code(version, reason) else {
            return;
        };
        // 3.1 knows no Session Present: that byte is reserved. [3.1 §3.2]
        let session_present = session_present && version != Version::V31;
        let mut packet = ConnAck {
            session_present,
            code,
            properties: *properties,
        };
        let mut bytes = Vec::new();
        wire::encode(&Packet::ConnAck(packet), version, &mut bytes);
        if bytes.len() > connection.packet_bytes_max {
            packet.properties.reason_string = None; // [v5 MQTT-3.2.2-19]
            bytes.clear();
            wire::encode(&Packet::ConnAck(packet), version, &mut bytes);
        }
        self.append(id, |block| block.extend_from_slice(&bytes));
    }

    /// A client id that no Session has and whose home is this shard. [v3.1.1 MQTT-3.1.3-6]
    fn assign_client_id(&mut self) -> String {
        loop {
            let client_id = format!(
                "{ASSIGNED_PREFIX}{:016x}{:08x}",
                self.random(),
                self.random() as u32
            );
            if home_of(&client_id, self.shards) == self.id
                && self.find_session(&client_id).is_none()
            {
                return client_id;
            }
        }
    }

    /// SplitMix64. [Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014]
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn add_session(&mut self, session: Session) -> SessionId {
        let hash = self.hasher.hash_one(&*session.client_id);
        let id = self.sessions.add(session);
        let (sessions, hasher) = (&self.sessions, &self.hasher);
        self.by_client_id.insert_unique(hash, id, |id| {
            let session = sessions.get(*id).expect("an entry has its session");
            hasher.hash_one(&*session.client_id)
        });
        id
    }

    /// The Network Connection of a Session has ended: its will, and its keeping or its end.
    pub(super) fn leave_session(&mut self, id: SessionId, ending: Ending, out: &mut Outputs) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.connection = None;
        match &session.will {
            Some(_) if matches!(ending, Ending::Disconnect { with_will: false }) => {
                session.will = None; // [v3.1.1 MQTT-3.14.4-3]
            }
            Some(will) => {
                session.will_due = if session.expiry_interval_s == 0 {
                    now
                } else {
                    now.plus_s(will.delay_interval_s)
                };
            }
            None => {}
        }
        session.ends = match session.expiry_interval_s {
            0 => now,
            u32::MAX => Time::NEVER,
            seconds => now.plus_s(seconds),
        };
        if session.ends > now {
            self.tell_groups(id, false, out);
        }
        self.on_session_alarm(id, out);
    }

    /// Does what is due for a Session without a connection.
    pub(super) fn on_session_alarm(&mut self, id: SessionId, out: &mut Outputs) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.connection.is_some() {
            return;
        }
        let ends = session.ends <= self.now;
        if session.will_due <= self.now || ends {
            session.will_due = Time::NEVER;
            if let Some(will) = session.will.take() {
                self.publish_will(id, *will, out);
            }
        }
        if ends {
            self.log_expiry(id, out);
            return self.end_session(id, out);
        }
        let deadline = self.sessions.get(id).map_or(Time::NEVER, Session::deadline);
        self.session_alarms.set(id.index, deadline);
    }

    /// Other ends of a Session show in the lines of its connection.
    fn log_expiry(&self, id: SessionId, out: &mut Outputs) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        if session.expiry_interval_s > 0 {
            self.happened(Level::Info, out, || Happening::SessionExpired {
                client_id: session.client_id.clone(),
                messages: session.queue.count() + session.inflight.count(),
            });
        }
    }

    /// The end of a Session: its subscriptions, queue and windows go. Retained messages stay. [v3.1.1 MQTT-3.1.2-7]
    pub(super) fn end_session(&mut self, id: SessionId, out: &mut Outputs) {
        // Its will goes out while it still has its name, and before anyone else can take it.
        if let Some(will) = self
            .sessions
            .get_mut(id)
            .and_then(|session| session.will.take())
        {
            self.publish_will(id, *will, out);
        }
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        assert!(session.connection.is_none());
        let hash = self.hasher.hash_one(&*session.client_id);
        if let Ok(entry) = self.by_client_id.find_entry(hash, |entry| *entry == id) {
            entry.remove();
        }
        self.replays.forget(id);
        self.queued_bytes -= session.queue.bytes() as u64;
        let handed_back = self.leave_groups(id, &mut session, out);
        let lost = session.queue.count() + session.inflight.count() - handed_back;
        self.counters
            .drop_messages(Dropped::SessionEnded, lost as u64);
        let nodes = session.filters.take_keys();
        if nodes.len() <= limits::FILTERS_AT_ONCE {
            for node in nodes {
                self.forget_filter(node, id, out);
            }
            self.sessions.release(id);
        } else {
            self.departed.push_back((id, nodes));
        }
    }

    /// Takes subscriptions of Sessions that have ended out of the trie, a part in each turn: nobody is found by them any more, but a
    /// quarter of a million at once would hold up everyone, and the lanes.
    pub(super) fn forget_departed(&mut self, out: &mut Outputs) {
        if !self.may_forget_departed() {
            return;
        }
        let Some((id, mut nodes)) = self.departed.pop_front() else {
            return;
        };
        let kept = nodes.len().saturating_sub(limits::FILTERS_AT_ONCE);
        for node in nodes.drain(kept..) {
            self.forget_filter(node, id, out);
        }
        if nodes.is_empty() {
            self.sessions.release(id);
        } else {
            self.departed.push_front((id, nodes));
        }
        self.departed_sequence = self.ask_in_force(out);
    }

    /// There are such subscriptions, and all peers have come to the end of the part before.
    pub(super) fn may_forget_departed(&self) -> bool {
        !self.departed.is_empty() && self.peers.in_force() >= self.departed_sequence
    }

    fn log_connected(
        &self,
        id: ConnectionId,
        client_id: &str,
        connect: &Connect<'_>,
        session_present: bool,
        out: &mut Outputs,
    ) {
        let Some(address) = self.connections.get(id).map(|c| c.address) else {
            return;
        };
        self.happened(Level::Info, out, || Happening::Connected {
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

/// The shard where the Session of a client id lives: FNV-1a of its bytes, modulo the shards. The same in every run.
pub fn home_of(client_id: &str, shards: usize) -> ShardId {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = client_id.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    // The low bits of FNV-1a depend on few bits of the input; fold the high half in.
    ShardId(((hash ^ (hash >> 32)) % shards as u64) as u8)
}

/// The CONNECT that was read before.
fn reread(bytes: &[u8]) -> Option<Connect<'_>> {
    let frame = wire::next_frame(bytes, limits::CONNECT_PACKET_BYTES_MAX).ok()??;
    match wire::decode(None, &frame) {
        Ok(Packet::Connect(connect)) => Some(connect),
        Ok(_) | Err(_) => None,
    }
}

fn packet_bytes_max(connect: &Connect<'_>) -> usize {
    connect
        .properties
        .maximum_packet_size
        .map_or(wire::publish::PACKET_BYTES_MAX, |bytes| bytes as usize)
}
