//! The bytes of a connection: packets are taken out of what was read, one by one, and the incomplete rest is kept.

use super::event::{Ending, Output};
use super::large::is_large_publish;
use super::outputs::Outputs;
use super::shard::Shard;
use super::unaccepted;
use super::violation::Violation;
use crate::buffer::Pool;
use crate::config::Logs;
use crate::ids::ConnectionId;
use crate::limits::{
    LARGE_RECEIVE_BYTES, LARGE_RECEIVE_PACKET_BYTES, RECEIVE_BUFFER_BYTES, SPARE_PACKET_BYTES,
};
use crate::session::Phase;
use crate::wire;
use crate::wire::Run;

impl Shard {
    pub(super) fn on_bytes(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match connection.phase {
            Phase::AwaitConnect => {
                let mut whole = std::mem::take(&mut connection.received);
                unaccepted::append(&mut whole, bytes);
                self.try_connect(id, whole, out);
            }
            Phase::Authenticating => {
                let mut whole = std::mem::take(&mut connection.received);
                unaccepted::append(&mut whole, bytes);
                if !self.keep_unaccepted(id, whole) {
                    self.close(id, Ending::Violation(Violation::NoRoomUnaccepted), out);
                }
            }
            // Nothing counts that comes behind its end.
            Phase::Closing { .. } => {}
            Phase::Connected(_) => {
                connection.heard = now;
                connection.received_bytes += bytes.len() as u64;
                if connection.withheld {
                    connection.received.extend_from_slice(bytes);
                    return;
                }
                let reads_large = connection.reads_large;
                self.on_stream(id, bytes, out);
                if reads_large || bytes.len() >= RECEIVE_BUFFER_BYTES {
                    self.choose_read(id, bytes.len(), out);
                }
            }
        }
    }

    /// Says how much is to be read of a connection at a time, after a read of so many bytes has been handled.
    fn choose_read(&mut self, id: ConnectionId, read_bytes: usize, out: &mut Outputs) {
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

    /// Takes packets out of `bytes`, which follow what is kept in `received`, and keeps the incomplete rest.
    fn on_stream(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        let rest = match self.connections.get_mut(id) {
            Some(connection) if !connection.received.is_empty() => {
                // Complete the packet that was begun before, alone, so that the others are read in place.
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
                if !self.on_begun(id, begun, &bytes[taken..], out) {
                    return;
                }
                &bytes[taken..]
            }
            Some(_) => bytes,
            None => return,
        };
        self.on_rest(id, rest, out);
    }

    /// Takes packets out of `bytes`, and keeps the incomplete rest, or all that has to wait: nothing else is kept yet.
    fn on_rest(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        let used = self.on_packets(id, bytes, out);
        if used < bytes.len()
            && let Some(connection) = self.connections.get_mut(id)
        {
            keep(&mut connection.received, &bytes[used..], &mut self.pool);
        }
    }

    /// Handles a packet that came in pieces. `false`: no more is handled now; `rest` has been kept, or the connection is gone.
    fn on_begun(
        &mut self,
        id: ConnectionId,
        mut begun: Vec<u8>,
        rest: &[u8],
        out: &mut Outputs,
    ) -> bool {
        let Some(connection) = self.connections.get(id) else {
            return false;
        };
        if let Some(session) = connection.session()
            && is_large_publish(&begun)
            && self.settings.logs != Logs::Packets
        {
            match self.on_large_publish(id, session, connection.version, begun, out) {
                Ok(None) => return self.connections.get(id).is_some(),
                Ok(Some(packet)) => begun = packet,
                Err(violation) => {
                    self.close(id, Ending::Violation(violation), out);
                    return false;
                }
            }
        }
        let used = self.on_packets(id, &begun, out);
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        if used < begun.len() {
            begun.drain(..used);
            connection.received = begun;
            connection.received.extend_from_slice(rest);
            return false;
        }
        self.pool.give_packet(begun);
        true
    }

    /// Handles the complete packets at the start of `bytes` until one is incomplete, the connection is paced or gone. Returns the bytes used.
    fn on_packets(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Outputs) -> usize {
        let packet_bytes_max = self.packet_bytes_max(id);
        let toil_before = self.toil.done();
        let mut used = 0;
        while used < bytes.len() {
            let Some(connection) = self.connections.get(id) else {
                return bytes.len();
            };
            let (Some(session), version) = (connection.session(), connection.version) else {
                return bytes.len(); // It ended by the packet before.
            };
            if connection.withheld {
                break;
            }
            match wire::next_frame(&bytes[used..], packet_bytes_max) {
                Ok(Some(frame)) => {
                    let run = Run::of(version, &frame, &bytes[used..], packet_bytes_max);
                    used += run.bytes.len();
                    if let Err(violation) = self.on_frame(id, session, version, &frame, run, out) {
                        self.close(id, Ending::Violation(violation), out);
                        return bytes.len();
                    }
                    if self.is_unfinished(id) {
                        used -= frame.bytes.len();
                        self.defer_unfinished(id, out);
                    } else if self.toil.is_enough(toil_before) && used < bytes.len() {
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

    /// Handles what had to wait, and keeps what still has to or is incomplete.
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
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if used == 0 {
            connection.received = withheld;
        } else if used < withheld.len() {
            keep(&mut connection.received, &withheld[used..], &mut self.pool);
        }
    }

    /// Packets withheld while the connection was paced or being authenticated.
    pub(super) fn resume(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.paced > 0 || connection.session().is_none() {
            return;
        }
        let withheld = std::mem::take(&mut connection.received);
        self.on_withheld(id, withheld, out);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.paced == 0 && !connection.reading {
            connection.reading = true;
            connection.heard = self.now;
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            out.push(Output::ResumeReading { connection: id });
        }
    }
}

/// Bytes still missing of the packet at the start of `bytes`, as far as its header tells.
fn missing_bytes(bytes: &[u8]) -> usize {
    wire::frame_bytes(bytes).map_or(1, |whole| whole.saturating_sub(bytes.len()))
}

/// Room behind a packet of `whole` bytes for what is read with its end, should both have to wait: without, all of it would move.
fn room_behind(whole: usize) -> usize {
    if whole >= SPARE_PACKET_BYTES {
        LARGE_RECEIVE_BYTES
    } else {
        0
    }
}

/// Keeps the beginning of a packet in an empty `received`: in what an earlier one of its size has left, or else with room for all of it when
/// much of it has come, so that it is moved but once. What was only announced gets no room.
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
