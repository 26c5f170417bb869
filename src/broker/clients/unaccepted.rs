//! What is kept of connections before they are accepted: an incomplete CONNECT, or what CONNECT asked for while its
//! password is checked.
//!
//! Memory grows with what has come, never with what was announced. Every connection may have
//! [`limits::UNACCEPTED_BYTES_FREE`] bytes kept, so a small CONNECT is never refused because of other connections.
//! Bytes beyond that come out of one [`Allowance`] of the shard. A connection that finds no room there is refused with
//! "server busy" and closed. A CONNECT that arrives whole and needs no password check is not kept at all.
//!
//! What is kept is in the account book under the address.

use super::allowance::Allowance;
use super::owner::Clients;
use crate::broker::outputs::Outputs;
use crate::budget::{Refused, Source};
use crate::ids::ConnectionId;
use crate::limits;
use crate::session::{ConnectRequest, Connection, Phase};
use crate::wire;
use crate::wire::Version;
use std::net::SocketAddr;

impl Clients {
    /// Books the bytes that are kept of a connection before it is accepted, for its address. Returns `false` if the
    /// allowance is used up, or this address has had its share of it: the connection must be closed.
    pub fn charge_unaccepted(&mut self, id: ConnectionId, out: &mut Outputs) -> bool {
        let source = self.source_of(id);
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        let checked = match &connection.phase {
            Phase::Authenticating(request) => request.bytes_while_checked(),
            Phase::AwaitConnect | Phase::Connected(_) | Phase::Closing { .. } => 0,
        };
        let kept = connection.received.capacity() + connection.link_bytes as usize + checked;
        let charge = kept.saturating_sub(limits::UNACCEPTED_BYTES_FREE);
        let owner = match connection.owner {
            Some(owner) => owner,
            None => {
                let owner = self.book.open(&format!("address {source}"), Some(source));
                connection.owner = Some(owner);
                owner
            }
        };
        let may = self
            .unaccepted
            .may_have(source, connection.charged_bytes as usize, charge);
        if may {
            self.unaccepted
                .change(source, connection.charged_bytes as usize, charge);
            connection.charged_bytes = charge as u32; // No more than the allowance.
        }
        self.rebook_connection(id);
        if !may {
            self.refuse(owner, Refused::Unaccepted, out);
        }
        may
    }

    /// A proxy has said where the Client is: what was charged to the proxy is charged to that address.
    pub fn note_address(&mut self, id: ConnectionId, address: SocketAddr, out: &mut Outputs) {
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        self.uncharge(&mut connection);
        self.unbook_connection(&mut connection);
        connection.address = address;
        let keeps = connection.link_bytes > 0;
        self.connections.put(id, *connection);
        if keeps {
            // It keeps no more than it did, and that was not too much.
            self.charge_unaccepted(id, out);
        }
    }

    /// The link of a connection keeps so many bytes. Returns `false` if there is no room for them before it is
    /// accepted: the connection must be closed.
    pub fn note_link_bytes(&mut self, id: ConnectionId, bytes: usize, out: &mut Outputs) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        connection.link_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if connection.session().is_some() || connection.is_closing() {
            self.rebook_connection(id);
            return true;
        }
        self.charge_unaccepted(id, out)
    }

    /// More bytes came behind a CONNECT whose password is being checked. Returns `false` if there is no room for them:
    /// the connection must be closed.
    pub fn keep_behind(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> bool {
        if let Some(connection) = self.connections.get_mut(id) {
            append(&mut connection.received, bytes);
        }
        self.charge_unaccepted(id, out)
    }

    /// Notes what CONNECT says about the form of packets: version, sizes, Reason Strings.
    pub fn note_terms(&mut self, id: ConnectionId, request: &ConnectRequest) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.note_terms(request);
        }
    }

    /// The answer to the connection has the form of this version.
    pub fn note_version(&mut self, id: ConnectionId, version: Version) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.version = version;
        }
    }

    /// Keeps what CONNECT asks for until the password is checked. Returns `false` if there is no room for it: the
    /// CONNECT must be refused.
    pub fn begin_check(
        &mut self,
        id: ConnectionId,
        request: Box<ConnectRequest>,
        out: &mut Outputs,
    ) -> bool {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.phase = Phase::Authenticating(request);
        }
        self.charge_unaccepted(id, out)
    }

    /// The connection has its deadline to be accepted.
    pub fn watch(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id) {
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
        }
    }

    /// The password check is over. Returns what waited for it, if anything did.
    pub fn end_check(&mut self, id: ConnectionId) -> Option<Box<ConnectRequest>> {
        let connection = self.connections.get_mut(id)?;
        match std::mem::replace(&mut connection.phase, Phase::AwaitConnect) {
            Phase::Authenticating(request) => Some(request),
            phase => {
                connection.phase = phase;
                None
            }
        }
    }

    /// A connection is accepted or gone, so its kept bytes no longer count.
    pub(super) fn uncharge(&mut self, connection: &mut Connection) {
        let source = Source::of(connection.address.ip());
        let charged_bytes = std::mem::take(&mut connection.charged_bytes) as usize;
        self.unaccepted.change(source, charged_bytes, 0);
    }

    /// For `check_invariants`.
    pub(super) fn check_unaccepted(&self) {
        let mut charged = Allowance::default();
        for id in self.connections.ids() {
            let connection = self.connections.get(id).expect("it was listed");
            assert!(connection.session().is_none() || connection.charged_bytes == 0);
            let source = Source::of(connection.address.ip());
            charged.change(source, 0, connection.charged_bytes as usize);
        }
        assert_eq!(charged, self.unaccepted);
    }
}

/// Appends to the kept bytes. Their capacity doubles, but not beyond the size of the awaited packet.
pub fn append(kept: &mut Vec<u8>, bytes: &[u8]) {
    let len = kept.len() + bytes.len();
    if len > kept.capacity() {
        let awaited = wire::frame_bytes(kept).unwrap_or(0);
        let room = len.max((2 * kept.capacity()).min(awaited));
        kept.reserve_exact(room - kept.len());
    }
    kept.extend_from_slice(bytes);
}
