//! The bytes of a connection: packets are taken one by one from what was read, and the incomplete rest is kept.

use super::large::is_large_publish;
use crate::broker::event::Ending;
use crate::broker::happening::{Happening, LogLevel, Refusal};
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::config::Logs;
use crate::ids::{ConnectionId, SessionId};
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::session::Phase;
use crate::wire;
use crate::wire::frame::Frame;
use crate::wire::reason::ReasonCode;
use crate::wire::{Ack, AckKind, Packet, Publish, Run, Version, packet_type};

impl Shard {
    pub(in crate::broker) fn on_bytes(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        out: &mut Outputs,
    ) {
        let Some(connection) = self.clients.connection(id) else {
            return;
        };
        match connection.phase {
            Phase::AwaitConnect => self.on_first_bytes(id, bytes, out),
            Phase::Authenticating(_) => {
                if !self.clients.keep_behind(id, bytes, out) {
                    let why = Refusal::NoRoomForCheck;
                    self.give_up_check(id, ReasonCode::SERVER_BUSY, why, out);
                }
            }
            // Bytes after the end of a connection are ignored.
            Phase::Closing { .. } => {}
            Phase::Connected(_) => {
                let Some((reads_large, has_begun)) = self.clients.hear(id, bytes) else {
                    return;
                };
                let keeps = match has_begun {
                    true => self.on_stream(id, bytes, out),
                    false => self.on_rest(id, bytes, out),
                };
                if reads_large || bytes.len() >= RECEIVE_BUFFER_BYTES {
                    self.clients.choose_read(id, bytes.len(), out);
                }
                if keeps {
                    self.book_received(id, out);
                }
            }
        }
    }

    /// Takes packets out of `bytes`, which follow what is kept of the connection, and keeps the incomplete rest.
    /// Returns `false` if nothing was kept before and nothing is now.
    #[inline(never)]
    fn on_stream(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> bool {
        match self.clients.complete_begun(id, bytes) {
            Some((begun, taken)) => {
                if self.on_begun(id, begun, &bytes[taken..], out) {
                    self.on_rest(id, &bytes[taken..], out);
                }
                true
            }
            None => self.on_rest(id, bytes, out),
        }
    }

    /// Takes packets out of `bytes`, and keeps the incomplete rest or the packets that have to wait. Nothing else may
    /// be kept yet. Returns `false` if nothing is.
    fn on_rest(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> bool {
        let used = self.on_packets(id, bytes, out);
        if used < bytes.len() {
            self.clients.keep_received(id, &bytes[used..]);
        }
        used < bytes.len()
    }

    /// Handles a packet that came in pieces. Returns `false` if no more is handled now: `rest` is kept, or the
    /// connection is gone.
    fn on_begun(
        &mut self,
        id: ConnectionId,
        mut begun: Vec<u8>,
        rest: &[u8],
        out: &mut Outputs,
    ) -> bool {
        let Some(connection) = self.clients.connection(id) else {
            return false;
        };
        if let Some(session) = connection.session()
            && is_large_publish(&begun)
            && self.logs != Logs::Packets
        {
            match self.on_large_publish(id, session, connection.version, begun, out) {
                Ok(None) => return self.clients.connection(id).is_some(),
                Ok(Some(packet)) => begun = packet,
                Err(violation) => {
                    self.close(id, Ending::Violation(violation), out);
                    return false;
                }
            }
        }
        let used = self.on_packets(id, &begun, out);
        if self.clients.connection(id).is_none() {
            return false;
        }
        if used < begun.len() {
            begun.drain(..used);
            self.clients.put_received(id, begun, rest);
            return false;
        }
        self.clients.give_packet(begun);
        true
    }

    /// Handles the complete packets at the start of `bytes` until one is incomplete, the connection is paced or gone.
    /// Returns the bytes used.
    fn on_packets(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> usize {
        let packet_bytes_max = self.clients.packet_bytes_max(id);
        let work_before = self.turn.work();
        let mut used = 0;
        while used < bytes.len() {
            let Some(connection) = self.clients.connection(id) else {
                return bytes.len();
            };
            let (Some(session), version) = (connection.session(), connection.version) else {
                return bytes.len(); // It ended by the packet before.
            };
            if connection.withheld {
                break;
            }
            if connection.is_full_of_answers() {
                self.clients.wait_for_room(id, out);
                break;
            }
            match wire::next_frame(&bytes[used..], packet_bytes_max) {
                Ok(Some(frame)) => {
                    let run = Run::of(version, &frame, &bytes[used..], packet_bytes_max);
                    used += run.bytes.len();
                    if let Err(violation) = self.on_frame(id, session, version, &frame, run, out) {
                        self.turn.take_left();
                        self.close(id, Ending::Violation(violation), out);
                        return bytes.len();
                    }
                    let left = self.turn.take_left();
                    if left > 0 {
                        used -= left;
                        self.defer(id, out);
                    }
                    if self.clients.has_many_held(id) {
                        self.clients.wait_for_answers(id, out);
                    }
                    if self.pending.is_unfinished(id) {
                        used -= frame.bytes.len();
                        self.defer_unfinished(id, out);
                    } else if self.turn.is_enough(work_before) && used < bytes.len() {
                        self.defer(id, out);
                    }
                }
                Ok(None) => break,
                Err(malformed) => {
                    self.close(id, Ending::Violation(Violation::Malformed(malformed)), out);
                    return bytes.len();
                }
            }
        }
        used
    }

    /// Handles one packet of a connected Client, or the run of packets that begins with it.
    #[inline]
    fn on_frame(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        frame: &Frame<'_>,
        run: Run<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        if self.logs == Logs::Packets {
            self.log_packets(id, session, &run, out);
        }
        if frame.packet_type() == packet_type::PUBLISH {
            let publish = Publish::decode(version, frame).map_err(Violation::Malformed)?;
            return self.on_publish(id, session, version, &publish, run, out);
        }
        if !self.pending.is_unfinished(id) {
            self.clients.count_other_received();
        }
        if let Some(kind) = AckKind::of(version, frame) {
            let ack = Ack::decode(kind, version, frame).map_err(Violation::Malformed)?;
            return self.on_ack(id, session, version, kind, &ack, out);
        }
        self.on_rare_frame(id, session, version, frame, run, out)
    }

    /// A packet of a type that is no part of the life of a message. Kept out of the loop over packets, which would
    /// prepare itself for it: 45 instructions a read.
    #[inline(never)]
    fn on_rare_frame(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        frame: &Frame<'_>,
        run: Run<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        match wire::decode_head(version, frame).map_err(Violation::Malformed)? {
            Packet::Subscribe(subscribe) => {
                return self.on_subscribe(id, session, version, &subscribe, out);
            }
            Packet::Unsubscribe(unsubscribe) => {
                return self.on_unsubscribe(id, session, version, &unsubscribe, out);
            }
            Packet::PingReq => self.clients.append(id, |block| {
                wire::encode(&Packet::PingResp, version, block);
            }),
            Packet::Disconnect(disconnect) => {
                return self.on_disconnect(id, session, version, &disconnect, out);
            }
            Packet::Auth(_) => return Err(Violation::UnexpectedAuth),
            Packet::Connect(_) => return Err(Violation::SecondConnect),
            // These were taken above, without a match.
            Packet::Publish(publish) => {
                return self.on_publish(id, session, version, &publish, run, out);
            }
            Packet::Ack(kind, ack) => {
                return self.on_ack(id, session, version, kind, &ack, out);
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Violation::ServerPacket);
            }
        }
        Ok(())
    }

    #[cold]
    fn log_packets(&self, id: ConnectionId, session: SessionId, run: &Run<'_>, out: &mut Outputs) {
        if !self.pending.is_unfinished(id) {
            for frame in run.frames() {
                self.log_packet(session, &frame, out);
            }
        }
    }

    fn log_packet(&self, session: SessionId, frame: &Frame<'_>, out: &mut Outputs) {
        let Some(session) = self.clients.session(session) else {
            return;
        };
        out.tell(self.logs, LogLevel::Packet, || Happening::PacketReceived {
            client_id: (&session.client_id).into(),
            packet_type: frame.packet_type(),
            bytes: frame.bytes.len(),
        });
    }

    /// Handles the bytes that had to wait. Keeps the packets that still have to wait and the incomplete rest.
    fn on_withheld(&mut self, id: ConnectionId, mut withheld: Vec<u8>, out: &mut Outputs) {
        if let Some(whole) = wire::frame_bytes(&withheld)
            && whole <= withheld.len()
            && is_large_publish(&withheld[..whole])
        {
            let rest = withheld.split_off(whole);
            if self.on_begun(id, withheld, &rest, out) {
                self.on_rest(id, &rest, out);
            }
            return;
        }
        let used = self.on_packets(id, &withheld, out);
        if used == 0 {
            self.clients.put_received(id, withheld, &[]);
        } else if used < withheld.len() {
            self.clients.keep_received(id, &withheld[used..]);
        }
    }

    /// Handles the packets that were withheld while the connection was paced or authenticated, and resumes reading.
    pub(in crate::broker) fn resume(&mut self, id: ConnectionId, out: &mut Outputs) {
        if !self.clients.may_resume(id) {
            return;
        }
        let withheld = self.clients.take_received(id);
        self.on_withheld(id, withheld, out);
        self.clients.resume_reading(id, out);
        self.book_received(id, out);
    }

    /// What is kept of a connection has changed. When memory is short, half a packet of one who has had a fair share is
    /// not kept.
    #[inline]
    fn book_received(&mut self, id: ConnectionId, out: &mut Outputs) {
        if !self.clients.book_received(id, out) {
            self.close(id, Ending::Violation(Violation::OverShare), out);
        }
    }
}
