//! What a shard's thread is given when it starts.

use crate::buffer::Stock;
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::crossing::Crossing;
use crate::io::helpers::handshakes::Handshakes;
use crate::io::helpers::log::Log;
use crate::io::helpers::passwords::Checker;
use crate::io::helpers::recent::Recent;
use crate::io::helpers::sys::Sys;
use crate::io::listener::ListeningSockets;
use crate::io::mail::{Shards, ToShard, Waker};
use crate::mesh::{Endpoint, Mailbox, Places};
use std::sync::Arc;

/// What all shards have in common; copies share it.
#[derive(Clone)]
pub struct Common {
    /// Every shard accepts from all of them.
    pub listeners: ListeningSockets,
    /// How many Network Connections the whole broker may have.
    pub places: Arc<Places>,
    /// The memory that all shards may hold together.
    pub memory: Arc<Stock>,
    /// `None`: nobody's password is checked, and there is no thread for that.
    pub checker: Option<Checker>,
    /// Does long steps of handshakes.
    pub handshakes: Handshakes,
    /// Never blocks a shard: lines that find its queue full are counted and lost.
    pub log: Log,
    /// What devices have trouble with, for who asks.
    pub recent: Recent,
    /// Hears who wants to know how the broker is.
    pub sys: Sys,
    /// No connection is accepted before the shards have what a store remembers.
    pub store: bool,
    /// The same for all shards, so that their times can be compared.
    pub clock: Clock,
}

/// Everything a shard's thread is given.
pub struct Seat {
    /// Its number: its place in the lanes, the mailboxes and the wakers.
    pub id: ShardId,
    /// Its ends of the lanes from and to all peers.
    pub endpoint: Endpoint<Crossing>,
    /// Mail of helper threads.
    pub mailbox: Mailbox<ToShard>,
    /// Of all shards, by their number.
    pub wakers: Arc<[Waker]>,
    /// What it shares with all other shards.
    pub common: Common,
}

impl Seat {
    /// Of this seat's shard.
    pub fn waker(&self) -> &Waker {
        &self.wakers[self.id.index()]
    }
}

/// The seats of all shards, in their order.
pub fn seats(shards: &Shards, endpoints: Vec<Endpoint<Crossing>>, common: &Common) -> Vec<Seat> {
    assert!(endpoints.len() == shards.count());
    let seat = |endpoint: Endpoint<Crossing>| Seat {
        id: endpoint.shard(),
        mailbox: shards.mailbox(endpoint.shard()),
        endpoint,
        wakers: shards.wakers(),
        common: common.clone(),
    };
    endpoints.into_iter().map(seat).collect()
}
