//! Where a test's Clients meet a broker: shards without sockets, or a process behind sockets.

use super::ear::Ear;
use super::packets::Version;
use super::world::World;

/// A Client of a stage, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(pub usize);

pub trait Stage {
    /// The broker is a process behind sockets.
    fn has_sockets(&self) -> bool;

    /// How many shards the broker has.
    fn shards(&self) -> usize;

    /// Lets this user in with this password; any name not told so is unknown. Before the first Client opens.
    fn allow_user(&mut self, user_name: &str, password: &[u8]);

    /// A Network Connection at the shard whose turn it is.
    fn open(&mut self, version: Version) -> Client;

    fn version(&self, client: Client) -> Version;

    /// The Client sends these bytes. What follows from them has happened when anything is looked at, and before
    /// another Client sends.
    fn send_bytes(&mut self, client: Client, bytes: &[u8]);

    /// These Clients send these bytes, none waiting for what follows from another's.
    fn send_together(&mut self, sends: &[(Client, Vec<u8>)]);

    /// From now on the harness sends nothing of its own on this connection, not even to find out whether it is done:
    /// the Client's own packets alone are to count.
    fn leave_alone(&mut self, client: Client);

    /// The Client is gone without a DISCONNECT.
    fn drop_connection(&mut self, client: Client);

    /// The same by a reset.
    fn reset_connection(&mut self, client: Client);

    /// What the Client has heard when all that was sent has had its effect.
    fn ear(&mut self, client: Client) -> &mut Ear;

    /// What the Client has heard when it has been answered all that it sent itself.
    fn ear_answered(&mut self, client: Client) -> &mut Ear {
        self.ear(client)
    }

    /// A Packet Identifier the Client has not used.
    fn unused_packet_id(&mut self, client: Client) -> u16;

    /// The broker has closed the connection.
    fn is_closed(&mut self, client: Client) -> bool;

    /// Neither side has closed.
    fn is_open(&mut self, client: Client) -> bool;

    /// What the broker has logged.
    fn log(&self) -> Vec<String>;

    /// The broker is told to stop, and does.
    fn shut_down(&mut self);

    // Time

    /// This much time passes: over sockets it is truly waited for.
    fn pass(&mut self, ms: u64);

    /// Much time passes, in which nothing may change by itself: over sockets it is short.
    fn pass_long(&mut self, ms: u64);

    /// The broker closes no sooner than `least_ms` after the Client last sent something, and no later than `most_ms`;
    /// over sockets only the former is looked at, since a loaded machine may be as late as it likes. Nothing keeps the
    /// connection alive meanwhile.
    fn closes_after(&mut self, client: Client, least_ms: u64, most_ms: u64);

    /// A moment, for `hears_after`.
    fn now_ms(&mut self) -> u64;

    /// The Client hears nothing until `least_ms` after the moment `since_ms`, and something until `most_ms` after it;
    /// over sockets again only the former is looked at.
    fn hears_after(&mut self, client: Client, since_ms: u64, least_ms: u64, most_ms: u64);

    /// The shards, where there are no sockets: for what only they can be told.
    fn as_shards(&mut self) -> Option<&mut World>;
}
