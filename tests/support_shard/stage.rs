//! Where a test's Clients meet a broker: shards without sockets, or a process behind sockets.

use super::ear::Ear;
use super::packets::Version;

/// A Client of a stage, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(pub usize);

pub trait Stage {
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
}
