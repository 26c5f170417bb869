//! What a connection may have the broker keep before it is accepted: `broker/unaccepted.rs`. One shard and no world around it, since
//! there are many connections.

#[path = "support/packet.rs"]
#[allow(dead_code)]
mod packet;

use mqttfast::broker::{Input, Output, Outputs, Shard, Verdict};
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::limits::{UNACCEPTED_BYTES_FREE, UNACCEPTED_BYTES_MAX};
use mqttfast::time::Time;
use packet::Connect;

struct Door {
    shard: Shard,
    opened: u32,
}

/// What became of a connection after an input.
#[derive(PartialEq, Eq, Debug)]
enum State {
    Waiting,
    /// With this code of CONNACK.
    Answered(u8),
    Closed,
}

impl Door {
    fn new(passwords: bool) -> Door {
        let settings = Settings::with_listener(ListenerSettings {
            passwords,
            ..ListenerSettings::default()
        });
        Door {
            shard: Shard::new(ShardId(0), 1, settings),
            opened: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) -> State {
        self.input_at(1000, input)
    }

    /// The same at this time in milliseconds.
    fn input_at(&mut self, now: u64, input: Input<'_>) -> State {
        let mut out = Outputs::default();
        self.shard.handle(Time(now), input, &mut out);
        self.shard.flush(Time(now), &mut out);
        let mut state = State::Waiting;
        for output in out.list {
            match output {
                Output::Send { chunks, .. } => {
                    let bytes: Vec<u8> = chunks.iter().flat_map(|c| c.bytes().to_vec()).collect();
                    assert_eq!(bytes[0], 0x20);
                    state = State::Answered(bytes[3]);
                }
                Output::Close { .. } if state == State::Waiting => state = State::Closed,
                _ => {}
            }
        }
        state
    }

    /// Opens a connection and sends it this, a part at a time.
    fn open(&mut self, bytes: &[u8]) -> (ConnectionId, State) {
        let connection = ConnectionId {
            index: self.opened,
            generation: 0,
        };
        self.opened += 1;
        let address = ([127, 0, 0, 1], 1).into();
        self.input(Input::Opened {
            connection,
            address,
            listener: ListenerId(0),
            crowded: false,
        });
        let mut state = State::Waiting;
        for bytes in bytes.chunks(1400) {
            if state == State::Waiting {
                state = self.input(Input::Bytes { connection, bytes });
            }
        }
        (connection, state)
    }

    fn verdict(&mut self, connection: ConnectionId) -> State {
        let verdict = Verdict::Accepted;
        self.input(Input::Verdict {
            connection,
            verdict,
        })
    }

    /// Opens connections with this until one is not kept. Gives those that are, and what became of that one.
    fn fill(&mut self, bytes: impl Fn(usize) -> Vec<u8>) -> (Vec<ConnectionId>, State) {
        let mut kept = Vec::new();
        loop {
            assert!(kept.len() < 1000, "no end of it");
            match self.open(&bytes(kept.len())) {
                (connection, State::Waiting) => kept.push(connection),
                (_, state) => {
                    self.shard.check_invariants();
                    return (kept, state);
                }
            }
        }
    }
}

/// A right CONNECT a little larger than `bytes`.
fn connect(number: usize, bytes: usize) -> Vec<u8> {
    let client_id = format!("{number:08}{}", "x".repeat(bytes));
    Connect {
        client_id: client_id.as_bytes(),
        user: Some("alice"),
        ..Connect::default()
    }
    .bytes()
}

/// Of how many connections 12,000 bytes are kept at once: half-filled buffers count whole.
fn expect_share(kept: usize) {
    let most = UNACCEPTED_BYTES_MAX / (12_000 - UNACCEPTED_BYTES_FREE);
    assert!((most / 2..=most).contains(&kept), "{kept} of {most}");
}

#[test]
fn unfinished_connects_take_no_more_than_their_share() {
    let mut door = Door::new(false);
    let start = |number| connect(number, 14_000)[..12_000].to_vec();
    let (kept, last) = door.fill(start);
    expect_share(kept.len());
    assert_eq!(last, State::Closed);

    // Small ones are kept however many there are.
    let small: Vec<ConnectionId> = (0..2000)
        .map(|number| {
            let (connection, state) = door.open(&connect(number, 3800)[..3000]);
            assert_eq!(state, State::Waiting);
            connection
        })
        .collect();
    for (number, connection) in small.into_iter().enumerate() {
        let bytes = &connect(number, 3800)[3000..];
        let state = door.input(Input::Bytes { connection, bytes });
        assert_eq!(state, State::Answered(0));
    }
    // So are the large ones that found room, and then there is room again.
    for (number, connection) in kept.into_iter().enumerate() {
        let bytes = &connect(number, 14_000)[12_000..];
        let state = door.input(Input::Bytes { connection, bytes });
        assert_eq!(state, State::Answered(0));
    }
    let (kept, _) = door.fill(start);
    expect_share(kept.len());
    for connection in kept {
        let cause = mqttfast::broker::CloseCause::PeerClosed;
        door.input(Input::Closed { connection, cause });
    }
    let (kept, _) = door.fill(start);
    expect_share(kept.len());
}

#[test]
fn a_connect_of_one_byte_at_a_time_is_kept_without_waste() {
    let mut door = Door::new(false);
    let bytes = connect(0, 14_000);
    let (connection, _) = door.open(&bytes[..1]);
    for byte in bytes[1..bytes.len() - 1].chunks(1) {
        let input = Input::Bytes {
            connection,
            bytes: byte,
        };
        assert_eq!(door.input(input), State::Waiting);
    }
    let last = Input::Bytes {
        connection,
        bytes: &bytes[bytes.len() - 1..],
    };
    assert_eq!(door.input(last), State::Answered(0));
    door.shard.check_invariants();
}

#[test]
fn large_connects_that_wait_for_their_password_take_no_more_than_their_share() {
    let mut door = Door::new(true);
    let (kept, last) = door.fill(|number| connect(number, 12_000));
    expect_share(kept.len());
    assert_eq!(last, State::Closed, "while it was not whole");
    // One that comes whole is told why.
    let connection = door.open(&[]).0;
    let bytes = &connect(7000, 12_000)[..];
    let state = door.input(Input::Bytes { connection, bytes });
    assert_eq!(state, State::Answered(3));

    // Who sends on while his CONNECT waits gets no more room than others.
    let connection = kept[0];
    let bytes = &[0xC0; 14_000][..];
    let states: Vec<State> = (0..3)
        .map(|_| door.input(Input::Bytes { connection, bytes }))
        .collect();
    assert!(states.contains(&State::Closed), "{states:?}");

    let (small, state) = door.open(&connect(5000, 100));
    assert_eq!(state, State::Waiting);
    assert_eq!(door.verdict(small), State::Answered(0));
    for connection in kept.into_iter().skip(1) {
        assert_eq!(door.verdict(connection), State::Answered(0));
    }
    let (kept, _) = door.fill(|number| connect(number, 12_000));
    expect_share(kept.len());
}

/// Its CONNECT came in time: it is told that the broker is busy, not closed for being late.
#[test]
fn a_password_that_is_not_checked_in_time_is_answered() {
    let mut door = Door::new(true);
    let (connection, state) = door.open(&connect(1, 100));
    assert_eq!(state, State::Waiting);
    assert_eq!(door.input_at(10_000, Input::Tick), State::Waiting);
    assert_eq!(door.input_at(11_000, Input::Tick), State::Answered(3));
    let late = Input::Verdict {
        connection,
        verdict: Verdict::Accepted,
    };
    assert_eq!(door.input_at(12_000, late), State::Waiting);
}
