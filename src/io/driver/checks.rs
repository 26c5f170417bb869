//! When links are looked at that want it: a WebSocket on which nothing was sent for long is sent a Ping. Other links
//! are not in here, so that they wake nobody while they are idle.

use crate::ids::ConnectionId;
use crate::limits;
use crate::time::Time;
use std::collections::VecDeque;

/// From one check to the next. Tests have no time to wait.
const WAIT_MS: u64 = if cfg!(test) {
    100
} else {
    limits::LINK_CHECK_MS
};
/// Times are whole multiples of this, so that many connections wake the shard once.
const GRAIN_MS: u64 = if cfg!(test) {
    50
} else {
    limits::TIMER_GRAIN_MS
};

/// Connections by the time of their next check. All wait equally long, so the queue is in the order of times; of one
/// that has gone, the entry stays until its time.
#[derive(Default)]
pub struct Checks(VecDeque<(Time, ConnectionId)>);

impl Checks {
    /// Puts a connection in for its next check.
    pub fn add(&mut self, connection: ConnectionId, now: Time) {
        let Time(at) = now + WAIT_MS;
        let at = Time(at.next_multiple_of(GRAIN_MS));
        self.0.push_back((at, connection));
    }

    /// When the next one is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.0.front().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub fn next_due(&mut self, now: Time) -> Option<ConnectionId> {
        self.next_deadline().filter(|at| *at <= now)?;
        self.0.pop_front().map(|(_, connection)| connection)
    }
}
