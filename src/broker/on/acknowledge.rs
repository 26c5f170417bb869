//! PUBACK, PUBREC, PUBREL and PUBCOMP.

use crate::broker::clients::Progress;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, SessionId};
use crate::session::inflight::Acknowledged;
use crate::wire::reason::ReasonCode;
use crate::wire::{Ack, AckKind, PacketId, Version};

impl Shard {
    #[inline]
    pub(in crate::broker) fn on_ack(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        kind: AckKind,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        match kind {
            AckKind::PubAck => self.on_puback(id, session, ack, out),
            AckKind::PubRec => self.on_pubrec(id, session, version, ack, out),
            AckKind::PubComp => self.on_pubcomp(id, session, ack, out),
            AckKind::PubRel => {
                self.on_pubrel(id, session, version, ack);
                Ok(())
            }
        }
    }

    fn on_puback(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        self.on_end_of_delivery(id, session, ack.packet_id, Progress::Acknowledged, out)
    }

    /// Ends a delivery, if the acknowledgement is right.
    fn on_end_of_delivery(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        packet_id: PacketId,
        progress: Progress,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        match self.clients.acknowledge(session, packet_id, progress) {
            Acknowledged::Known(_) => {
                // The window has room for one more delivery.
                self.pump(session);
                self.clients.on_served(id, out);
                Ok(())
            }
            Acknowledged::Unknown => Ok(()),
            Acknowledged::WrongKind => Err(Violation::WrongAcknowledgement),
        }
    }

    fn on_pubrec(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let packet_id = ack.packet_id;
        if ack.reason.is_failure() {
            // It ends the flow: no PUBREL. [v5 4.3.3]
            let refusal = Progress::Refused;
            return self.on_end_of_delivery(id, session, packet_id, refusal, out);
        }
        let received = Progress::Received;
        let reason = match self.clients.acknowledge(session, packet_id, received) {
            Acknowledged::Known(_) => ReasonCode::SUCCESS,
            // Before v5 PUBREL is the right answer to an unknown identifier too: the Client waits for it.
            Acknowledged::Unknown => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            Acknowledged::WrongKind => return Err(Violation::WrongAcknowledgement),
        };
        let after = self.clients.state_of(session);
        self.clients
            .append_ack(id, AckKind::PubRel, version, packet_id, reason, after);
        Ok(())
    }

    fn on_pubrel(&mut self, id: ConnectionId, session: SessionId, version: Version, ack: &Ack<'_>) {
        let reason = if self.clients.release_received(session, ack.packet_id) {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        let after = self.clients.state_of(session);
        self.clients
            .append_ack(id, AckKind::PubComp, version, ack.packet_id, reason, after);
    }

    fn on_pubcomp(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        self.on_end_of_delivery(id, session, ack.packet_id, Progress::Completed, out)
    }
}
