//! DISCONNECT, and the end of a Network Connection for whatever reason.

use crate::broker::event::Ending;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, SessionId};
use crate::wire::reason::ReasonCode;
use crate::wire::{Disconnect, Version};

impl Shard {
    pub(in crate::broker) fn on_disconnect(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        disconnect: &Disconnect<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        if disconnect.server_reference.is_some() || !sent_by_clients(disconnect.reason) {
            return Err(Violation::ServerDisconnect);
        }
        if let Some(seconds) = disconnect.session_expiry_interval_s {
            self.clients.set_expiry(session, seconds)?;
        }
        let with_will = version == Version::V5 && disconnect.reason != ReasonCode::SUCCESS;
        self.close(id, Ending::Disconnect { with_will }, out);
        Ok(())
    }

    /// Ends a Network Connection: tells the Client where the standard allows it, publishes the will if it is due, ends
    /// or keeps the Session, and forgets the connection.
    pub(in crate::broker) fn close(&mut self, id: ConnectionId, ending: Ending, out: &mut Outputs) {
        if let Some(part) = self.pending.forget(id) {
            self.cancel_replays(id, &part);
        }
        let filter = self.pending.take_blamed();
        if let Some(session) = self.clients.close(id, ending, filter, out) {
            self.leave_session(session, ending, out);
        }
    }
}

/// The Reason Codes of DISCONNECT that a Client may send. [v5 3.14.2.1]
fn sent_by_clients(reason: ReasonCode) -> bool {
    matches!(
        reason.0,
        0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99
    )
}
