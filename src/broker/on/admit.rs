//! From the first bytes of a Network Connection to the home shard of its Session: what may come before CONNECT, the
//! CONNECT itself, the check of the user, and every refusal on this way.
//!
//! CONNECT is decoded once, on the shard that accepted the connection. From then on a [`ConnectRequest`] holds what it
//! asks for. It waits in the connection's phase while the password is checked, and moves in [`HandOver`].
//!
//! ```text
//! bytes ── no MQTT ──────────────────────────────► closed, a stranger's answer where it has one
//!   │ ──── no good CONNECT ──────────────────────► CONNACK with the code, where the version has one, and closed
//!   ▼
//! CONNECT ── Authenticating ── verdict ──► at home here: `establish`
//!                                   └────► `HandOver` ── `on_adopted` ──► `establish` there
//! ```

use super::terms::put_terms;
use crate::broker::clients::unaccepted;
use crate::broker::event::{Ending, HandOver, Output, Verdict};
use crate::broker::happening::{Happening, Identity, LogLevel, Refusal};
use crate::broker::home::home_of;
use crate::broker::other_protocol;
use crate::broker::other_protocol::Opening;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, ListenerId};
use crate::limits;
use crate::session::ConnectRequest;
use crate::wire;
use crate::wire::connack::ConnAckProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::{Connect, Malformed, Packet, Version, packet_type};
use std::net::SocketAddr;

impl Shard {
    /// Bytes of a connection whose CONNECT is incomplete. They do not move its deadline.
    pub(super) fn on_first_bytes(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        let mut kept = self.clients.take_received(id);
        // A CONNECT that comes in one piece is read in place.
        let in_place = kept.is_empty();
        if in_place && self.try_connect(id, bytes, out) {
            return;
        }
        unaccepted::append(&mut kept, bytes);
        if !in_place && self.try_connect(id, &kept, out) {
            return;
        }
        let level = wire::connect::protocol_level(&kept);
        self.clients.put_received(id, kept, &[]);
        if !self.clients.charge_unaccepted(id, out) {
            self.turn_away(id, Violation::NoRoomUnaccepted, level, out);
        }
    }

    /// The link of a connection keeps more bytes than before, or less.
    pub(in crate::broker) fn on_link_bytes(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        out: &mut Outputs,
    ) {
        if !self.clients.note_link_bytes(id, bytes, out) {
            self.turn_away(id, Violation::NoRoomUnaccepted, None, out);
        }
    }

    /// CONNECT did not come in time.
    pub(super) fn on_connect_late(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.clients.connection(id) else {
            return;
        };
        let level = wire::connect::protocol_level(&connection.received);
        let violation = other_protocol::recognise_at_end(&connection.received)
            .map_or(Violation::ConnectTooLate, Violation::OtherProtocol);
        self.turn_away(id, violation, level, out);
    }

    /// Looks for a complete CONNECT at the start of the bytes that came. Returns `false` if more must come. Nothing
    /// behind CONNECT is read before the connection is accepted.
    fn try_connect(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> bool {
        let level = wire::connect::protocol_level(bytes);
        let packet_bytes_max = self.clients.packet_bytes_max(id);
        let connect_bytes_max = limits::CONNECT_PACKET_BYTES_MAX.min(packet_bytes_max);
        let frame = match other_protocol::recognise(bytes) {
            Opening::Undecided => return false,
            Opening::Other(protocol) => Err(Violation::OtherProtocol(protocol)),
            // The type is checked before the length is believed.
            Opening::Unknown if bytes[0] >> 4 != packet_type::CONNECT => {
                Err(Violation::FirstPacketNotConnect)
            }
            Opening::Unknown => match wire::next_frame(bytes, connect_bytes_max) {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => return false,
                Err(Malformed::PacketTooLarge) => {
                    if wire::connect::may_show_level_yet(bytes) {
                        return false; // The wording depends on its version.
                    }
                    Err(if packet_bytes_max < limits::CONNECT_PACKET_BYTES_MAX {
                        Violation::ConnectAbovePacketMax(packet_bytes_max)
                    } else {
                        Violation::ConnectTooLarge
                    })
                }
                Err(malformed) => Err(Violation::Malformed(malformed)),
            },
        };
        let connect = frame.and_then(|frame| match wire::decode(None, &frame) {
            Ok(Packet::Connect(connect)) => Ok((connect, &bytes[frame.bytes.len()..])),
            Ok(_) => Err(Violation::FirstPacketNotConnect),
            Err(malformed) => Err(Violation::Malformed(malformed)),
        });
        match connect {
            Ok((connect, behind)) => self.on_connect(id, &connect, behind, out),
            Err(violation) => self.turn_away(id, violation, level, out),
        }
        true
    }

    /// Closes a connection that broke a rule before its CONNECT was read. `level` is the protocol level it named, if
    /// that has come. 3.1.1 wants no CONNACK where it has no code [v3.1.1 MQTT-3.1.4-1, MQTT-3.2.2-6]; v5 has one for
    /// everything [v5 MQTT-3.1.4-2].
    pub(super) fn turn_away(
        &mut self,
        id: ConnectionId,
        violation: Violation,
        level: Option<u8>,
        out: &mut Outputs,
    ) {
        if let Violation::OtherProtocol(protocol) = violation {
            self.clients.append_bytes(id, protocol.answer());
        } else if let Some(level) = level {
            let unserved = violation == Violation::Malformed(Malformed::UnsupportedProtocolLevel);
            let version = match level {
                5 if unserved => Version::V311, // MQIsdp at level 5, say.
                5.. => Version::V5,
                _ => Version::V311,
            };
            self.clients.note_version(id, version);
            let text = violation.to_string();
            let properties = ConnAckProperties {
                // A future version may or may not have Properties.
                reason_string: (!unserved).then_some(&text),
                ..Default::default()
            };
            self.clients
                .append_connack(id, false, violation.reason_code(), &properties, 0);
        }
        self.close(id, Ending::Violation(violation), out);
    }

    /// Checks a CONNECT in the order of the standard: protocol, client id, user. [v5 3.1.4]
    fn on_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        behind: &[u8],
        out: &mut Outputs,
    ) {
        self.clients.stop_reading(id, out);
        let mut request = Box::new(ConnectRequest::new(connect));
        self.clients.note_terms(id, &request);
        let Some(connection) = self.clients.connection(id) else {
            return;
        };
        if connection.crowded {
            let code = match connect.version {
                Version::V5 => ReasonCode::QUOTA_EXCEEDED,
                Version::V31 | Version::V311 => ReasonCode::SERVER_UNAVAILABLE,
            };
            return self.refuse(id, &request, code, Refusal::ConnectionsMax, out);
        }
        if connect.properties.authentication_method.is_some() {
            let why = Refusal::AuthenticationMethod;
            let code = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return self.refuse(id, &request, code, why, out);
        }
        if connect.client_id.is_empty()
            && (connect.version == Version::V31
                || (connect.version == Version::V311 && !connect.clean_start))
        {
            let why = Refusal::EmptyClientId;
            let code = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            return self.refuse(id, &request, code, why, out);
        }
        let Some(listener) = self.clients.listener(id) else {
            return;
        };
        let certificate_names = listener.certificate_names;
        let own_clients = listener.own_clients;
        request.bridge |= listener.of_bridges;
        if certificate_names {
            // What CONNECT says of user and password does not count.
            request.user_name = self.clients.take_identity(id);
            request.password = Box::default();
            if request.user_name.is_none() {
                let (code, why) = (
                    ReasonCode::BAD_USER_NAME_OR_PASSWORD,
                    Refusal::NoCertificate,
                );
                return self.refuse(id, &request, code, why, out);
            }
        }
        let Some(listener) = self.clients.listener(id) else {
            return;
        };
        if let Err((code, why)) = put_terms(&mut request, listener, self.clients.settings()) {
            return self.refuse(id, &request, code, why, out);
        }
        let (anonymous, passwords) = (listener.anonymous, listener.passwords);
        self.clients.put_received(id, behind.to_vec(), &[]);
        match connect.user_name {
            _ if certificate_names => self.on_authentic(id, request, out),
            None if !anonymous => {
                let why = Refusal::Anonymous;
                self.refuse(id, &request, ReasonCode::NOT_AUTHORIZED, why, out);
            }
            Some(user_name) if passwords && !own_clients => {
                self.authenticate(id, request, user_name, out)
            }
            None | Some(_) => self.on_authentic(id, request, out),
        }
    }

    /// Has the password checked; the verdict comes later.
    fn authenticate(
        &mut self,
        id: ConnectionId,
        request: Box<ConnectRequest>,
        user_name: &str,
        out: &mut Outputs,
    ) {
        let password = request.password.to_vec();
        if self.clients.begin_check(id, request, out) {
            out.push(Output::Authenticate {
                connection: id,
                user_name: user_name.to_owned(),
                password,
            });
        } else {
            let why = Refusal::NoRoomForCheck;
            self.give_up_check(id, ReasonCode::SERVER_BUSY, why, out);
        }
    }

    pub(in crate::broker) fn on_verdict(
        &mut self,
        id: ConnectionId,
        verdict: Verdict,
        out: &mut Outputs,
    ) {
        let (code, why) = match verdict {
            Verdict::Accepted => {
                if let Some(request) = self.clients.end_check(id) {
                    self.on_authentic(id, request, out);
                }
                return;
            }
            Verdict::UnknownUser => (ReasonCode::NOT_AUTHORIZED, Refusal::UnknownUser),
            Verdict::WrongPassword => (ReasonCode::NOT_AUTHORIZED, Refusal::WrongPassword),
            Verdict::Busy => (ReasonCode::SERVER_BUSY, Refusal::ChecksWaiting),
        };
        self.give_up_check(id, code, why, out);
    }

    /// Refuses a connection after the check of its password. Nothing else changes.
    pub(super) fn give_up_check(
        &mut self,
        id: ConnectionId,
        code: ReasonCode,
        why: Refusal,
        out: &mut Outputs,
    ) {
        if let Some(request) = self.clients.end_check(id) {
            self.refuse(id, &request, code, why, out);
        }
    }

    /// The Client may come in. The connection goes on to the home of its Session.
    fn on_authentic(&mut self, id: ConnectionId, request: Box<ConnectRequest>, out: &mut Outputs) {
        let home = if request.client_id.is_empty() {
            self.id // The id assigned will be one of ours.
        } else {
            home_of(&request.client_id, self.shards)
        };
        let user_epoch = self.gone.epoch();
        if home == self.id {
            return self.establish(id, request, user_epoch, out);
        }
        if let Some(bytes) = self.clients.hand_over(id) {
            out.push(Output::HandOver {
                connection: id,
                to: home,
                hand_over: Box::new(HandOver {
                    request,
                    bytes,
                    user_epoch,
                }),
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
        let HandOver {
            request,
            bytes,
            user_epoch,
        } = hand_over;
        self.clients.adopt(id, address, listener, &request, bytes);
        if self.stopping {
            let why = Refusal::Stopping;
            return self.refuse(id, &request, ReasonCode::SERVER_UNAVAILABLE, why, out);
        }
        let listener = self.clients.listener(id);
        let checks =
            listener.is_some_and(|l| l.passwords && !l.certificate_names && !l.own_clients);
        if let Some(user_name) = request.user_name.clone()
            && checks
            && user_epoch < self.gone.epoch()
        {
            // Users have gone since the verdict, perhaps this one.
            self.clients.watch(id);
            return self.authenticate(id, request, &user_name, out);
        }
        let user_epoch = user_epoch.max(self.gone.epoch());
        self.establish(id, request, user_epoch, out);
    }

    /// Answers a CONNECT with a refusal and closes. Where 3.1 and 3.1.1 have no code, it closes without CONNACK.
    /// [v3.1.1 MQTT-3.2.2-5, MQTT-3.2.2-6]
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        request: &ConnectRequest,
        reason: ReasonCode,
        why: Refusal,
        out: &mut Outputs,
    ) {
        let text = why.to_string();
        let properties = ConnAckProperties {
            reason_string: Some(&text),
            ..Default::default()
        };
        self.clients
            .append_connack(id, false, reason, &properties, 0);
        self.clients.count_refusal();
        // A refusal because of a share is told of once a minute for each owner, by the account book.
        if why != Refusal::OverShare
            && let Some(address) = self.clients.connection(id).map(|c| c.address)
        {
            out.tell(self.logs, LogLevel::Info, || Happening::Refused {
                who: Identity {
                    client_id: request.client_id.clone(),
                    user_name: request.user_name.clone(),
                    address,
                },
                why,
            });
        }
        self.close(id, Ending::Refused, out);
    }
}
