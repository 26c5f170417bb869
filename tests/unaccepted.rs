//! What a connection may have the broker keep before it is accepted: `broker/unaccepted.rs`. One shard and no world
//! around it, since there are many connections.

use mqttfast_rig::process::packet;

use mqttfast::broker::{CloseCause, Happening, Input, Output, Outputs, Shard, Unaccepted, Verdict};
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::limits::{
    CONNECT_DEADLINE_MS, PACKET_BYTES_MAX_DEFAULT, UNACCEPTED_BYTES_FREE, UNACCEPTED_BYTES_MAX,
};
use mqttfast::random::SplitMix64;
use mqttfast::time::Time;
use mqttfast::wire::{
    self, ConnectProperties, Packet, PublishProperties, QoS, TopicName, Version, Will,
};
use packet::Connect;

struct Door {
    shard: Shard,
    opened: u32,
    /// Where the next connection comes from.
    from: [u8; 4],
    /// Why connections were closed before they were accepted, in order.
    told: Vec<String>,
    /// How often the log told that someone has had a fair share.
    shares_told: usize,
    /// The client id that the last CONNACK assigned.
    assigned: Option<String>,
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
            from: [127, 0, 0, 1],
            told: Vec::new(),
            shares_told: 0,
            assigned: None,
        }
    }

    /// One whose listener takes no larger packets.
    fn with_packets_of(packet_bytes_max: u32) -> Door {
        let listener = ListenerSettings {
            packet_bytes_max,
            ..ListenerSettings::default()
        };
        Door {
            shard: Shard::new(ShardId(0), 1, Settings::with_listener(listener)),
            opened: 0,
            from: [127, 0, 0, 1],
            told: Vec::new(),
            shares_told: 0,
            assigned: None,
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
                    let frame = wire::next_frame(&bytes, 1000).unwrap().unwrap();
                    if bytes[1] > 2
                        && let Ok(Packet::ConnAck(connack)) =
                            wire::decode(Some(Version::V5), &frame)
                    {
                        let assigned = connack.properties.assigned_client_identifier;
                        self.assigned = assigned.map(str::to_owned);
                    }
                }
                Output::Happened(happening) => {
                    let share = matches!(*happening, Happening::OverShare { .. });
                    self.shares_told += usize::from(share);
                    if let Happening::Unaccepted {
                        why: Unaccepted::Violation(violation),
                        ..
                    } = *happening
                    {
                        self.told.push(violation.to_string());
                    }
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
        let address = (self.from, 1).into();
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

/// Of how many connections of one address 12,000 bytes are kept at once: half-filled buffers count whole.
fn expect_share(kept: usize) {
    let most = UNACCEPTED_BYTES_MAX / 2 / (12_000 - UNACCEPTED_BYTES_FREE);
    assert!((most / 2..=most).contains(&kept), "{kept} of {most}");
}

#[test]
fn unfinished_connects_take_no_more_than_their_share() {
    let mut door = Door::new(false);
    let start = |number| connect(number, 14_000)[..12_000].to_vec();
    let (kept, last) = door.fill(start);
    expect_share(kept.len());
    assert_eq!(last, State::Answered(3), "3.1.1: server unavailable");
    // A v5 Client is told too, and it is the same for a CONNECT of one byte at a time.
    let mut bytes = start(9999);
    bytes[3 + 6] = 5;
    assert_eq!(door.open(&bytes).1, State::Answered(0x89));

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

/// Four such CONNECTs of one address once filled the allowance of a shard.
#[test]
fn one_address_leaves_room_for_others() {
    let mut door = Door::new(false);
    let most = [b'x'; 65_535];
    let whole = with_will_and_password(Version::V5, &most, &most);
    let begun = &whole[..whole.len() - 1];
    let mut kept = 0;
    while door.open(begun).1 == State::Waiting {
        kept += 1;
    }
    assert_eq!(door.open(begun).1, State::Answered(0x89));
    assert_eq!(door.shares_told, 1, "once a minute for each address");
    assert_eq!(kept, 4);
    door.from = [192, 0, 2, 1];
    let (connection, state) = door.open(begun);
    assert_eq!(state, State::Waiting, "from another address");
    door.shard.check_invariants();
    let bytes = &whole[whole.len() - 1..];
    let state = door.input(Input::Bytes { connection, bytes });
    assert_eq!(state, State::Answered(0));
    door.shard.check_invariants();
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
    assert_eq!(last, State::Answered(3), "while it was not whole");
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
    assert!(states.contains(&State::Answered(3)), "{states:?}");

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

/// A CONNECT whose will, and password, have as many bytes as these.
fn with_will_and_password(version: Version, payload: &[u8], password: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: TopicName::new("last/words").unwrap(),
        payload,
        delay_interval_s: 0,
        properties: PublishProperties::default(),
    };
    wire::Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        properties: ConnectProperties::default(),
        client_id: "large",
        will: Some(will),
        user_name: Some("alice"),
        password: Some(password),
    }
    .encode(&mut bytes);
    bytes
}

/// As long as a will, or a token in the place of a password, can be.
#[test]
fn a_connect_with_the_largest_will_and_password_is_served() {
    let most = [b'x'; 65_535];
    for version in Version::ALL {
        let bytes = with_will_and_password(version, &most, &most);
        let mut door = Door::new(false);
        assert_eq!(door.open(&bytes).1, State::Answered(0), "{version}");
        door.shard.check_invariants();

        let mut door = Door::new(true);
        let (connection, state) = door.open(&bytes);
        assert_eq!(state, State::Waiting, "{version}");
        door.shard.check_invariants();
        assert_eq!(door.verdict(connection), State::Answered(0), "{version}");
        door.shard.check_invariants();
    }
}

/// Its version is in the first bytes: v5 is told 0x95, before the rest has come; 3.1 and 3.1.1 have no code for it.
#[test]
fn a_connect_above_the_limit_is_told_which() {
    let announced = |level: u8| {
        let mut bytes = b"\x10\xFF\xFF\x7F\0\x04MQTT".to_vec();
        bytes.push(level);
        bytes
    };
    let limits = [
        (
            PACKET_BYTES_MAX_DEFAULT,
            "CONNECT is larger than 256 KiB, the most that is read before a client is accepted",
        ),
        (
            1000,
            "CONNECT is larger than 1000 bytes, the limit of --max-packet-size",
        ),
    ];
    for (packet_bytes_max, told) in limits {
        let mut door = Door::with_packets_of(packet_bytes_max);
        for (level, expected) in [(5, State::Answered(0x95)), (4, State::Closed)] {
            let bytes = announced(level);
            assert_eq!(door.open(&bytes).1, expected);
            // The same of one byte at a time.
            let connection = door.open(&[]).0;
            for (at, byte) in bytes.chunks(1).enumerate() {
                let input = Input::Bytes {
                    connection,
                    bytes: byte,
                };
                let state = door.input(input);
                if at + 1 < bytes.len() {
                    assert_eq!(state, State::Waiting);
                } else {
                    assert_eq!(state, expected);
                }
            }
        }
        assert_eq!(door.told, [told; 4]);
    }
}

/// A byte now and then does not hold a connection beyond its ten seconds.
#[test]
fn bytes_before_connect_do_not_extend_its_time() {
    for (level, expected) in [(5, State::Answered(0x83)), (4, State::Closed)] {
        let mut door = Door::new(false);
        let mut bytes = connect(1, 1000);
        bytes[3 + 6] = level;
        let (connection, state) = door.open(&bytes[..20]);
        assert_eq!(state, State::Waiting);
        for second in 1..10 {
            let at = 20 + second as usize;
            let bytes = &bytes[at..at + 1];
            let now = 1000 + 1000 * second;
            let state = door.input_at(now, Input::Bytes { connection, bytes });
            assert_eq!(state, State::Waiting);
            assert_eq!(door.input_at(now, Input::Tick), State::Waiting);
        }
        let deadline = 1000 + CONNECT_DEADLINE_MS;
        assert_eq!(door.input_at(deadline - 1, Input::Tick), State::Waiting);
        assert_eq!(door.input_at(deadline, Input::Tick), expected);
        assert_eq!(door.told, ["no complete CONNECT within 10 s"]);
    }
}

/// Who speaks another protocol is named, also where it ends before all of it is there.
#[test]
fn other_protocols_are_named() {
    let mut door = Door::new(false);
    let (_, state) = door.open(b"\x16\x03\x01\0\x05\x01\0\0\x01\0");
    assert_eq!(state, State::Closed);
    assert!(door.told[0].contains("TLS listener"), "{:?}", door.told);

    let (connection, state) = door.open(b"SSH-2.0-");
    assert_eq!(state, State::Closed, "{connection:?}");
    let (connection, state) = door.open(b"GET / HTTP/1.1\r\n");
    assert_eq!(state, State::Waiting);
    let cause = CloseCause::PeerClosed;
    door.input(Input::Closed { connection, cause });
    assert_eq!(door.told.len(), 3);
    assert!(door.told[2].contains("HTTP"), "{:?}", door.told);
}

/// A refusal has its code, whatever the broker is about.
#[test]
fn a_client_whose_password_is_checked_is_told_that_the_broker_stops() {
    let mut door = Door::new(true);
    let (_, state) = door.open(&connect(1, 100));
    assert_eq!(state, State::Waiting);
    assert_eq!(door.input(Input::Shutdown), State::Answered(3));
    door.shard.check_invariants();
}

/// The number that SplitMix64 was at when it gave this one: each step of it can be taken back.
fn splitmix_state(mut mixed: u64) -> u64 {
    let inverse = |odd: u64| {
        (0..6).fold(odd, |found, _| {
            found.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(found)))
        })
    };
    mixed ^= mixed >> 31 ^ mixed >> 62;
    mixed = mixed.wrapping_mul(inverse(0x94D0_49BB_1331_11EB));
    mixed ^= mixed >> 27 ^ mixed >> 54;
    mixed = mixed.wrapping_mul(inverse(0xBF58_476D_1CE4_E5B9));
    mixed ^ mixed >> 30 ^ mixed >> 60
}

/// An assigned client id gives its owner none of the others, as it did when all came from one generator with a state
/// of 64 bits.
#[test]
fn an_assigned_client_id_does_not_give_the_next() {
    let numbers = [0x0123_4567_89AB_CDEF, 1, u64::MAX];
    for number in numbers {
        let state = splitmix_state(SplitMix64::new(number).draw());
        assert_eq!(state, number.wrapping_add(0x9E37_79B9_7F4A_7C15));
    }

    let mut door = Door::new(false);
    let mut ids = Vec::new();
    for _ in 0..8 {
        let mut connect = Vec::new();
        wire::Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive_s: 60,
            properties: ConnectProperties::default(),
            client_id: "",
            will: None,
            user_name: None,
            password: None,
        }
        .encode(&mut connect);
        assert_eq!(door.open(&connect).1, State::Answered(0));
        ids.push(door.assigned.take().expect("it has got an id"));
    }
    for pair in ids.windows(2) {
        let [first, next] = [0, 1].map(|index| pair[index].trim_start_matches("auto-"));
        let first = u64::from_str_radix(&first[..16], 16).unwrap();
        let mut guess = SplitMix64::new(splitmix_state(first));
        let guesses: Vec<String> = (0..8).map(|_| format!("{:016x}", guess.draw())).collect();
        assert!(
            guesses.iter().all(|guess| !next.starts_with(guess)),
            "{next} was guessed"
        );
        assert_eq!(next.len(), 32, "all 128 bits are used");
    }
}
