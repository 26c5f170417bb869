//! The list of a turn's consequences, and the parcels that are packed for peers meanwhile.

use super::event::{Output, PeerMessage};
use super::happening::{Happening, LogLevel};
use super::parcel::{Parcel, Parcels};
use super::passing::Verbatim;
use crate::buffer::Pool;
use crate::buffer::account::Booked;
use crate::config::Logs;
use crate::ids::{ConnectionId, ShardId};

/// All consequences of a turn. Kept and cleared by the driver, so that a warm turn allocates nothing.
#[derive(Default, Debug)]
pub struct Outputs {
    /// In the order they must be carried out.
    pub list: Vec<Output>,
    /// For peers, until the turn ends or something else is said to them.
    parcels: Parcels,
}

impl Outputs {
    /// Appends one. Parcels for the same peer leave before it, so a lane keeps its order.
    #[inline]
    pub fn push(&mut self, output: Output) {
        if let Output::Peer { to, .. } = &output {
            self.close_parcel(*to);
        }
        self.list.push(output);
    }

    /// Tells what happened, if the configured logs show it; else nothing is built.
    #[inline]
    pub(super) fn tell(
        &mut self,
        logs: Logs,
        level: LogLevel,
        happening: impl FnOnce() -> Happening,
    ) {
        if logs >= level.logs() {
            let happening = happening();
            debug_assert_eq!(happening.level(), level);
            self.push(Output::Happened(Box::new(happening)));
        }
    }

    /// The packets already packed for a peer go before the next message to it.
    #[inline(never)]
    fn close_parcel(&mut self, to: ShardId) {
        if let Some(parcel) = self.parcels.close(to) {
            self.send_parcel(to, parcel);
        }
    }

    /// Packs packets of a connection for a peer, in a parcel with others of this turn. `booked` counts them until they
    /// are handled.
    pub(super) fn pack(
        &mut self,
        to: ShardId,
        origin: ConnectionId,
        verbatim: &Verbatim<'_>,
        booked: Option<Booked>,
        pool: &mut Pool,
    ) {
        if let Some(full) = self.parcels.append(to, origin, verbatim, booked, pool) {
            self.send_parcel(to, full);
        }
    }

    /// The turn ends: what was packed is sent.
    pub(super) fn close_parcels(&mut self) {
        while let Some((to, parcel)) = self.parcels.close_any() {
            self.send_parcel(to, parcel);
        }
    }

    /// A received parcel has been handled: its memory is kept for reuse.
    pub(super) fn reuse_parcel(&mut self, parcel: Box<Parcel>, pool: &mut Pool) {
        self.parcels.reuse(parcel, pool);
    }

    fn send_parcel(&mut self, to: ShardId, parcel: Box<Parcel>) {
        let message = PeerMessage::Parcel(parcel);
        self.list.push(Output::Peer { to, message });
    }
}
