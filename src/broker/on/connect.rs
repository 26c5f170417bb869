//! An accepted CONNECT at the home of its Session: takeover, Session, CONNACK.

use crate::broker::event::{Ending, Output};
use crate::broker::happening::{Happening, Identity, LogLevel, Refusal, SessionBegin};
use crate::broker::home::home_of;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::config::ClientIdTakeover;
use crate::ids::ConnectionId;
use crate::limits;
use crate::session::ConnectRequest;
use crate::session::takeovers::TakeoverLines;
use crate::wire;
use crate::wire::connack::ConnAckProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::{ConnAck, Packet, QoS, Version};

impl Shard {
    /// At the home of the Session: takeover, Session, CONNACK, then the messages that wait for the Client. [v3.1.1
    /// 3.1.4]
    ///
    /// `user_epoch`: how often users had gone when it was let in, here or on another shard that may have come further.
    pub(super) fn establish(
        &mut self,
        id: ConnectionId,
        mut request: Box<ConnectRequest>,
        user_epoch: u32,
        out: &mut Outputs,
    ) {
        let assigned = request
            .client_id
            .is_empty()
            .then(|| self.assign_client_id(id));
        if !self.connack_fits(id, assigned.as_deref(), &request) {
            // CONNACK of a refusal is shorter, and mostly fits. [v5 MQTT-3.1.2-24]
            let why = Refusal::AnswerTooLarge;
            return self.refuse(id, &request, ReasonCode::PACKET_TOO_LARGE, why, out);
        }
        let will = request.will.take();
        let request = &*request;
        let client_id = assigned.as_deref().unwrap_or(&request.client_id);
        let (mut takeovers, mut lines) = (None, TakeoverLines::Ordinary);
        let mark = self.mark();
        if let Some(earlier) = self.clients.find_session(client_id)
            && let Some(session) = self.clients.session(earlier)
            && self.gone.ends(session)
        {
            self.end_with_user(earlier, out);
        }
        self.end_will_alone(client_id, request, out);
        // Whoever may say any user name is no user.
        let checks = self.clients.listener(id).is_some_and(|l| l.passwords);
        let user_name = request.user_name.as_deref().filter(|_| checks);
        let will_bytes = will.as_ref().map_or(0, |will| will.message.bytes());
        let source = self.clients.source_of(id);
        let code_of_limits = match request.version {
            Version::V5 => ReasonCode::QUOTA_EXCEEDED,
            Version::V31 | Version::V311 => ReasonCode::SERVER_UNAVAILABLE,
        };
        let is_new = self.clients.find_session(client_id).is_none();
        if is_new && self.clients.are_too_many() {
            return self.refuse(id, request, code_of_limits, Refusal::ClientsMax, out);
        }
        if is_new
            && !self
                .clients
                .may_begin(user_name, client_id, will_bytes, source)
        {
            self.clients.refuse_session(id, user_name, client_id, out);
            return self.refuse(id, request, code_of_limits, Refusal::OverShare, out);
        }
        if let Some(earlier) = self.clients.find_session(client_id)
            && let Some(session) = self.clients.session(earlier)
            && let Some(listener) = self.clients.listener(id)
        {
            // Its user name as far as it was checked. By a listener without passwords nobody is a user.
            let checked = request.user_name.as_deref().filter(|_| listener.passwords);
            let is_owned = listener.passwords || session.user_name().is_some();
            let is_another = is_owned
                && listener.client_id_takeover == ClientIdTakeover::Owner
                && session.user_name() != checked;
            if !is_another {
                (takeovers, lines) = self.take_over(earlier, request.clean_start, id, out);
            } else if session.is_claim || listener.of_bridges {
                // The Client is not locked out, and gets nobody's messages. A bridge has the name that the operator
                // gives it, also when it comes by another user name than before.
                let of_bridge = listener.of_bridges;
                out.tell(self.logs, LogLevel::Info, || Happening::ClaimEnded {
                    client_id: client_id.into(),
                    of_bridge,
                });
                self.end_session(earlier, out);
            } else {
                let why = Refusal::AnotherUsersSession;
                return self.refuse(id, request, ReasonCode::NOT_AUTHORIZED, why, out);
            }
        }
        // The Session may have ended when its connection left it.
        let earlier = self.clients.find_session(client_id);
        let session_present = earlier.is_some();
        let session = match earlier {
            Some(session) => session,
            None => self.clients.begin_session(client_id, user_name, id),
        };
        // A Session that ended here may not come back once its Client was told of a new one.
        let ended = match session_present {
            true => 0,
            false => self.needed_since(mark),
        };
        if session_present && self.clients.will_change_rights(session, id, request) {
            self.topics.forget_found();
        }
        let bound = self
            .clients
            .bind(id, session, request, will, takeovers, user_epoch);
        if let Err(broken) = bound {
            return self.close(id, Ending::Violation(Violation::Broken(broken)), out);
        }
        self.hand_back_forgotten(out);
        let after = self.clients.begun(session).max(ended);
        if self.clients.has_stored() {
            self.peers.tell_stores(out);
        }
        let properties = self.connack_properties(id, assigned.as_deref(), request);
        self.clients
            .append_connack(id, session_present, ReasonCode::SUCCESS, &properties, after);
        // Nothing may be sent before CONNACK, so no packet is handled before it has left.
        self.clients.wait_for_answers(id, out);
        if lines == TakeoverLines::Ordinary {
            self.log_connected(id, client_id, request, session_present, out);
        }
        if request.keep_alive_s == 0 {
            out.push(Output::ProbePeer { connection: id });
        }
        self.show_online(session, out);
        self.tell_groups(session, true, out);
        self.pump(session);
        // The bytes that followed CONNECT are handled when the turn ends, and reading goes on.
        self.clients.resume_later(id);
    }

    /// Whether the CONNACK of an acceptance fits the Client's Maximum Packet Size.
    fn connack_fits(
        &self,
        id: ConnectionId,
        assigned: Option<&str>,
        request: &ConnectRequest,
    ) -> bool {
        let most = request.packet_bytes_max;
        if most >= limits::CONNACK_BYTES_MAX {
            return true;
        }
        let connack = ConnAck {
            session_present: false,
            code: ReasonCode::SUCCESS.0,
            properties: self.connack_properties(id, assigned, request),
        };
        let mut bytes = Vec::new();
        wire::encode(&Packet::ConnAck(connack), request.version, &mut bytes);
        assert!(bytes.len() <= limits::CONNACK_BYTES_MAX);
        bytes.len() <= most
    }

    fn connack_properties<'a>(
        &self,
        id: ConnectionId,
        assigned: Option<&'a str>,
        request: &ConnectRequest,
    ) -> ConnAckProperties<'a> {
        let Some(listener) = self.clients.listener(id) else {
            return ConnAckProperties::default();
        };
        if request.version != Version::V5 {
            return ConnAckProperties::default();
        }
        let expiry = request.session_expiry_interval_s;
        ConnAckProperties {
            session_expiry_interval_s: request.session_expiry_is_ours.then_some(expiry),
            assigned_client_identifier: assigned,
            server_keep_alive_s: request.keep_alive_is_ours.then_some(request.keep_alive_s),
            maximum_qos: match listener.qos_max {
                0 => Some(QoS::AtMostOnce),
                1 => Some(QoS::AtLeastOnce),
                _ => None,
            },
            retain_available: match self.clients.settings().retain_available {
                true => None,
                false => Some(false),
            },
            receive_maximum: Some(listener.receive_maximum()),
            maximum_packet_size: Some(listener.packet_bytes_max),
            topic_alias_maximum: Some(listener.topic_alias_max),
            ..Default::default()
        }
    }

    /// A client id that no Session has and whose home is this shard. [v3.1.1 MQTT-3.1.3-6]
    fn assign_client_id(&mut self, id: ConnectionId) -> String {
        let prefix = self.clients.listener(id).map(|l| l.assigned_prefix.clone());
        let prefix = prefix.unwrap_or_default();
        loop {
            let client_id = format!("{prefix}{:032x}", self.clients.next_assigned());
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
        request: &ConnectRequest,
        session_present: bool,
        out: &mut Outputs,
    ) {
        let Some(address) = self.clients.connection(id).map(|c| c.address) else {
            return;
        };
        out.tell(self.logs, LogLevel::Info, || Happening::Connected {
            who: Identity {
                client_id: client_id.into(),
                user_name: request.user_name.clone(),
                address,
            },
            version: request.version,
            session: match (session_present, request.clean_start) {
                (true, _) => SessionBegin::Resumed,
                (false, true) => SessionBegin::Clean,
                (false, false) => SessionBegin::New,
            },
            keep_alive_s: request.keep_alive_s,
        });
    }
}
