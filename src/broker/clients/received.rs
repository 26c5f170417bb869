//! Bytes that were read from a connection and are not handled yet: the beginning of a packet, or packets that wait
//! while reading is stopped.

use super::owner::Clients;
use crate::broker::event::Output;
use crate::broker::outputs::Outputs;
use crate::buffer::Pool;
use crate::ids::ConnectionId;
use crate::limits::{
    LARGE_RECEIVE_BYTES, LARGE_RECEIVE_PACKET_BYTES, RECEIVE_BUFFER_BYTES, SPARE_PACKET_BYTES,
};
use crate::wire;

impl Clients {
    /// Bytes came on an accepted connection. Returns `None` if they wait with the withheld ones or the connection is
    /// gone; else whether large reads are on, and whether the beginning of a packet is kept.
    #[inline]
    pub fn hear(&mut self, id: ConnectionId, bytes: &[u8]) -> Option<(bool, bool)> {
        let connection = self.connections.get_mut(id)?;
        connection.heard = self.now;
        connection.received_bytes += bytes.len() as u64;
        self.counters.bytes_received += bytes.len() as u64;
        if connection.withheld {
            connection.received.extend_from_slice(bytes);
            return None;
        }
        Some((connection.reads_large, !connection.received.is_empty()))
    }

    /// Takes what is kept of a connection.
    pub fn take_received(&mut self, id: ConnectionId) -> Vec<u8> {
        let connection = self.connections.get_mut(id);
        connection.map_or(Vec::new(), |connection| {
            std::mem::take(&mut connection.received)
        })
    }

    /// Keeps these bytes, and `more` behind them, in place of what was kept.
    pub fn put_received(&mut self, id: ConnectionId, received: Vec<u8>, more: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.received = received;
            connection.received.extend_from_slice(more);
        }
    }

    /// Keeps the beginning of a packet, or packets that wait. Nothing else may be kept yet.
    pub fn keep_received(&mut self, id: ConnectionId, rest: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            keep(&mut connection.received, rest, &mut self.pool);
        }
    }

    /// Completes the packet whose beginning is kept, and no more, so that the packets behind it are read in place.
    /// Returns it and how many of `bytes` it took, or `None` if no beginning is kept.
    pub fn complete_begun(&mut self, id: ConnectionId, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let connection = self.connections.get_mut(id)?;
        if connection.received.is_empty() {
            return None;
        }
        let mut begun = std::mem::take(&mut connection.received);
        let missing = missing_bytes(&begun);
        let mut taken = missing.min(bytes.len());
        if missing <= 3 * begun.len() {
            begun.reserve_exact(missing + room_behind(begun.len() + missing));
        }
        begun.extend_from_slice(&bytes[..taken]);
        while taken < bytes.len() && missing_bytes(&begun) > 0 {
            let more = missing_bytes(&begun).min(bytes.len() - taken);
            begun.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
        }
        Some((begun, taken))
    }

    /// Decides, after a read of so many bytes, whether the connection is read in large parts.
    pub fn choose_read(&mut self, id: ConnectionId, read_bytes: usize, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let under_way = wire::frame_bytes(&connection.received).unwrap_or(0);
        let on = read_bytes >= RECEIVE_BUFFER_BYTES && under_way >= LARGE_RECEIVE_PACKET_BYTES;
        if connection.reads_large != on {
            connection.reads_large = on;
            out.push(Output::ReadLarge { connection: id, on });
        }
    }

    /// The next connection whose withheld packets are handled now.
    pub fn next_resumable(&mut self) -> Option<ConnectionId> {
        self.resumable.pop_front()
    }

    /// There are withheld packets to handle at the end of the turn.
    pub fn has_resumable(&self) -> bool {
        !self.resumable.is_empty()
    }

    /// The withheld packets of the connection are handled when the turn ends, and reading goes on.
    pub fn resume_later(&mut self, id: ConnectionId) {
        self.resumable.push_back(id);
    }

    /// Nothing holds the packets of the connection back.
    pub fn may_resume(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id);
        connection.is_some_and(|c| c.paced == 0 && c.session().is_some())
    }

    /// Resumes reading, if nothing holds it back.
    pub fn resume_reading(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // Its own packets may just have ended it, with answers awaited: nothing more is read then.
        let goes_on = connection.paced == 0 && connection.session().is_some();
        if goes_on && !connection.reading {
            connection.reading = true;
            connection.heard = self.now;
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            out.push(Output::ResumeReading { connection: id });
        }
    }
}

/// How many bytes the packet at the start of `bytes` still lacks, as far as its header tells.
fn missing_bytes(bytes: &[u8]) -> usize {
    wire::frame_bytes(bytes).map_or(1, |whole| whole.saturating_sub(bytes.len()))
}

/// Room behind a packet of `whole` bytes for the bytes that are read with its end. If both had to wait and there were
/// no room, the whole packet would be copied.
fn room_behind(whole: usize) -> usize {
    if whole >= SPARE_PACKET_BYTES {
        LARGE_RECEIVE_BYTES
    } else {
        0
    }
}

/// Keeps the beginning of a packet in an empty `received`: in the vector of an earlier packet of its size, else, if
/// much of it has come, in a new one with room for the whole packet, so that it is copied once. A length that was only
/// announced gets no room.
fn keep(received: &mut Vec<u8>, begun: &[u8], pool: &mut Pool) {
    if let Some(bytes) = wire::frame_bytes(begun).filter(|bytes| *bytes >= SPARE_PACKET_BYTES) {
        *received = pool.take_packet(bytes + room_behind(bytes));
    }
    let missing = missing_bytes(begun);
    let room = if missing <= 3 * begun.len() {
        missing + room_behind(begun.len() + missing)
    } else {
        0
    };
    received.reserve_exact(begun.len() + room);
    received.extend_from_slice(begun);
}
