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
pub struct Checks {
    queue: VecDeque<(Time, ConnectionId)>,
    wait_ms: u64,
    grain_ms: u64,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::every(WAIT_MS, GRAIN_MS)
    }
}

impl Checks {
    /// So many milliseconds from one check to the next, at multiples of so many.
    fn every(wait_ms: u64, grain_ms: u64) -> Checks {
        Checks {
            queue: VecDeque::new(),
            wait_ms,
            grain_ms,
        }
    }

    /// Puts a connection in for its next check.
    pub fn add(&mut self, connection: ConnectionId, now: Time) {
        let Time(at) = now + self.wait_ms;
        let at = Time(at.next_multiple_of(self.grain_ms));
        self.queue.push_back((at, connection));
    }

    /// When the next one is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub fn next_due(&mut self, now: Time) -> Option<ConnectionId> {
        self.next_deadline().filter(|at| *at <= now)?;
        self.queue.pop_front().map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Chunk;
    use crate::config::WebSocketTerms;
    use crate::io::driver::tests::peers::REQUEST;
    use crate::io::link::Layer;
    use crate::io::link::websocket::{Last, WebSocket};
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// An hour by the true intervals: proxies cut what is silent for a minute.
    #[test]
    fn a_silent_websocket_is_pinged_in_time() {
        const HOUR_MS: u64 = 3_600_000;
        let mut checks = Checks::every(limits::LINK_CHECK_MS, limits::TIMER_GRAIN_MS);
        let terms = Arc::new(WebSocketTerms::default());
        let mut socket = WebSocket::new(terms, Ipv4Addr::LOCALHOST.into());
        socket.open(REQUEST, &mut Vec::new()).unwrap();
        assert!(socket.own_bytes().is_some() && socket.wants_checks());
        let connection = ConnectionId {
            index: 0,
            generation: 0,
        };
        let begun = Time(12_345);
        checks.add(connection, begun);
        let (mut last_sent, mut pings, mut turns) = (begun, 0, 0);
        while last_sent.since_ms(begun) < HOUR_MS {
            let now = checks.next_deadline().unwrap();
            turns += 1;
            while let Some(due) = checks.next_due(now) {
                assert!(due == connection && !socket.has_own_bytes());
                socket.check();
                checks.add(connection, now);
                if socket.has_own_bytes() {
                    let own = socket.own_bytes().unwrap();
                    assert_eq!(own[0].bytes(), [0x89, 0]);
                    let silent_ms = now.since_ms(last_sent);
                    assert!((limits::WEBSOCKET_PING_MS..60_000).contains(&silent_ms));
                    last_sent = now;
                    pings += 1;
                    // In half of the pauses a message goes out, and the silence begins anew.
                    if pings % 2 == 0 {
                        last_sent = now + limits::LINK_CHECK_MS / 3;
                        let message = [Chunk::Block(vec![0xD0, 0])];
                        socket.seal(message.into_iter().collect(), &mut Last::default());
                    }
                }
            }
            assert!(now.since_ms(last_sent) < 60_000 || last_sent > now);
        }
        // 30 s from Ping to Ping, and the check after next where a message has come between: 40 s after that.
        assert!((95..=97).contains(&pings), "{pings} in {turns} turns");
        assert!(turns <= HOUR_MS / limits::LINK_CHECK_MS + 1);
    }
}
