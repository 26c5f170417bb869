//! Costly packets of one client take many turns, and others are served in each: `broker/turn.rs`.

use mqttfast_rig::one as rig;

#[path = "work_budget/worst.rs"]
mod worst;

use mqttfast::broker::Dropped;
use mqttfast::ids::ConnectionId;
use mqttfast::limits::FILTERS_PER_SESSION_MAX;
use rig::{Rig, Watched, packet, publish};

const PINGREQ: [u8; 2] = [0xC0, 0];

/// A SUBSCRIBE (0x82) or UNSUBSCRIBE (0xA2).
fn filters(first: u8, filters: &[String]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        body.extend((filter.len() as u16).to_be_bytes());
        body.extend(filter.as_bytes());
        if first == 0x82 {
            body.push(0);
        }
    }
    packet(first, &body)
}

/// Another client pings in every turn, and is answered in it, until `wanted` bytes more have been sent. Gives the
/// turns.
fn turns_until(rig: &mut Rig, other: ConnectionId, mut wanted: usize) -> usize {
    for turns in 0.. {
        if wanted == 0 {
            rig.shard.check_invariants();
            return turns;
        }
        assert!(turns < 10_000, "{wanted} bytes are missing");
        let sent = rig.turn(other, &PINGREQ);
        assert!(sent >= 2, "PINGRESP in every turn");
        wanted = wanted.checked_sub(sent - 2).expect("no more than wanted");
    }
    unreachable!()
}

#[test]
fn a_large_subscribe_takes_several_turns() {
    let mut rig = Rig::new(4);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let list: Vec<String> = (0..3500).map(|n| format!("{n}/x")).collect();
    // What comes behind waits for it.
    let mut bytes = filters(0x82, &list);
    bytes.extend(PINGREQ);
    let sent = rig.turn(greedy, &bytes);
    assert_eq!(sent, 0);
    let suback = 3 + 2 + list.len();
    let turns = turns_until(&mut rig, other, suback + 2);
    assert!((3..=8).contains(&turns), "{turns}");
    assert_eq!(rig.shard.sizes().2, list.len());
    // Every filter is in force, the last one too.
    let message = publish(4, "3499/x", b"here", 0, 0);
    assert_eq!(rig.turn(other, &message), message.len());

    assert_eq!(rig.turn(greedy, &filters(0xA2, &list)), 0);
    let turns = turns_until(&mut rig, other, 4);
    assert!((3..=8).contains(&turns), "{turns}");
    assert_eq!(rig.shard.sizes().2, 0);
}

#[test]
fn the_end_of_a_session_with_many_filters_takes_several_turns() {
    let mut rig = Rig::new(4);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let list: Vec<String> = (0..3500).map(|n| format!("{n}/x")).collect();
    rig.turn(greedy, &filters(0x82, &list));
    turns_until(&mut rig, other, 3 + 2 + list.len());
    rig.close(greedy);
    let mut turns = 0;
    while rig.shard.sizes().2 > 0 {
        // Nobody is found by what is still there.
        let message = publish(4, "0/x", b"nobody", 0, 0);
        assert_eq!(rig.turn(other, &message), 0);
        rig.shard.check_invariants();
        turns += 1;
    }
    assert!((3..=6).contains(&turns), "{turns}");
    // Its place is free for the next one.
    let next = rig.client(2);
    rig.subscribe(next, "0/x", 0);
    let message = publish(4, "0/x", b"somebody", 0, 0);
    assert_eq!(rig.turn(other, &message), message.len());
}

#[test]
fn a_session_has_its_number_of_filters_and_no_more() {
    let mut rig = Rig::new(4);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let list: Vec<String> = (0..FILTERS_PER_SESSION_MAX + 1000)
        .map(|n| format!("{n}"))
        .collect();
    for part in list.chunks(10_000) {
        let mut sent = rig.turn(greedy, &filters(0x82, part));
        while sent < 3 + 2 + part.len() {
            sent += rig.turn(other, &[]);
        }
    }
    assert_eq!(rig.shard.sizes().2, FILTERS_PER_SESSION_MAX);
    let last = FILTERS_PER_SESSION_MAX - 1;
    let message = publish(4, &last.to_string(), b"the last", 0, 0);
    assert_eq!(rig.turn(other, &message), message.len());
    let message = publish(4, &(last + 1).to_string(), b"one more", 0, 0);
    assert_eq!(rig.turn(other, &message), 0);
}

#[test]
fn a_client_that_goes_during_its_subscribe_leaves_nothing() {
    let mut rig = Rig::new(4);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let list: Vec<String> = (0..3500).map(|n| format!("{n}/x")).collect();
    rig.turn(greedy, &filters(0x82, &list));
    let again = ConnectionId {
        index: 0,
        generation: 1,
    };
    rig.close(greedy);
    rig.turn(other, &PINGREQ);
    assert_eq!(rig.shard.sizes(), (1, 1, 0, 0));
    rig.open(again);
    assert_eq!(rig.turn(other, &PINGREQ), 2);
    rig.shard.check_invariants();
}

#[test]
fn messages_that_match_by_thousands_of_ways_take_many_turns() {
    let mut rig = Rig::new(4);
    let (greedy, other, speaker) = (rig.client(0), rig.client(1), rig.client(2));
    let levels = 12;
    let list: Vec<String> = (0..1u32 << levels)
        .map(|bits| {
            let level = |n: u32| if bits >> n & 1 == 1 { "+" } else { "a" };
            let filter: Vec<&str> = (0..levels).map(level).collect();
            filter.join("/")
        })
        .collect();
    let suback = 3 + 2 + list.len();
    let sent = rig.turn(greedy, &filters(0x82, &list));
    turns_until(&mut rig, other, suback - sent);
    // 300 of 8,191 and 6,143 nodes in turn, in one read; no two that follow each other are the same, or they would be
    // routed as one.
    let name = |last: &str| ["a"; 11].join("/") + "/" + last;
    let pair = [
        publish(4, &name("a"), b"x", 0, 0),
        publish(4, &name("b"), b"x", 0, 0),
    ];
    let message_bytes = pair[0].len();
    let sent = rig.turn(speaker, &pair.concat().repeat(150));
    assert!(sent <= 10 * message_bytes, "{sent} bytes in one turn");
    let turns = turns_until(&mut rig, other, 300 * message_bytes - sent);
    assert!(turns >= 30, "{turns}");
    // As one they cost the look of one.
    let sent = rig.turn(speaker, &pair[0].repeat(300));
    assert_eq!(sent, 300 * message_bytes);
    // Ordinary ones of the same size all go in one.
    let message = publish(4, "b/b", b"a message of about the same size", 0, 0);
    rig.subscribe(other, "b/#", 0);
    let sent = rig.turn(speaker, &message.repeat(300));
    assert_eq!(sent, 300 * message.len());
}

#[test]
fn bytes_that_an_alias_moves_are_work() {
    // 9 bytes each, that stand for a Topic Name of 65 kB: one read holds 1,800 of them.
    let mut rig = Rig::new(5);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let mut body = 65_000_u16.to_be_bytes().to_vec();
    body.extend([b'x'; 65_000]);
    body.extend([3, 0x23, 0, 1]);
    rig.turn(greedy, &packet(0x30, &body));
    // At QoS 1, so that each is answered.
    let again = packet(0x32, &[0, 0, 0, 7, 3, 0x23, 0, 1]);
    let answer = 5; // PUBACK with "no matching subscribers".
    assert_eq!(rig.turn(greedy, &again), answer);
    let sent = rig.turn(greedy, &again.repeat(1600));
    let turns = turns_until(&mut rig, other, 1600 * answer - sent);
    assert!((5..100).contains(&turns), "{turns}");
}

#[test]
fn a_subscribe_that_repeats_its_filter_is_looked_at_in_parts() {
    let mut rig = Rig::new(4);
    let (greedy, other) = (rig.client(0), rig.client(1));
    let mut list = vec!["a".to_owned(); 50_000];
    list.push("b".to_owned());
    let bytes = filters(0x82, &list);
    assert_eq!(rig.turn(greedy, &bytes), 0);
    assert_eq!(rig.shard.sizes().2, 0, "it is looked at first");
    let turns = turns_until(&mut rig, other, 4 + 2 + list.len());
    assert!((100..=110).contains(&turns), "{turns}");
    assert_eq!(rig.shard.sizes().2, 2);
}

#[test]
fn a_run_of_messages_to_thousands_of_groups_takes_many_turns() {
    const GROUPS: usize = 3_000;
    const MESSAGES: usize = 60;
    let mut rig = Rig::new(4);
    let (greedy, speaker, other) = (rig.client(0), rig.client(1), rig.client(2));
    let list: Vec<String> = (0..GROUPS).map(|n| format!("$share/g{n}/#")).collect();
    rig.turn(greedy, &filters(0x82, &list));
    turns_until(&mut rig, other, 3 + 2 + list.len());
    // One read, of messages that differ in their payloads alone.
    let message = publish(4, "a", b"x", 0, 0);
    rig.hear(speaker, &message.repeat(MESSAGES));
    let turns = turns_until(&mut rig, other, MESSAGES * GROUPS * message.len());
    assert!((MESSAGES / 4..=2 * MESSAGES).contains(&turns), "{turns}");
}

#[test]
fn a_run_to_very_many_clients_takes_several_turns() {
    const READERS: u32 = 500;
    const MESSAGES: usize = 280;
    let mut rig = Rig::new(4);
    let (speaker, other) = (rig.client(READERS), rig.client(READERS + 1));
    for n in 0..READERS {
        let reader = rig.client(n);
        rig.subscribe(reader, "a", 0);
    }
    // Two dozen megabytes are copied.
    let message = publish(4, "a", &[b'x'; 160], 0, 0);
    rig.hear(speaker, &message.repeat(MESSAGES));
    let wanted = MESSAGES * READERS as usize * message.len();
    let turns = turns_until(&mut rig, other, wanted);
    assert!((6..=20).contains(&turns), "{turns}");
}

/// A PUBLISH of v5 whose Topic Name, Properties and payload are so long, and what its readers get of it.
fn long_publish(qos: u8, topic: usize, properties: usize, payload: usize) -> Vec<u8> {
    let mut body = (topic as u16).to_be_bytes().to_vec();
    body.extend(vec![b't'; topic]);
    if qos > 0 {
        body.extend([0, 1]);
    }
    let property_bytes = if properties == 0 { 0 } else { 6 + properties };
    let mut rest = property_bytes;
    loop {
        body.push((rest % 128) as u8 | u8::from(rest > 127) << 7);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    if properties > 0 {
        body.extend([0x26, 0, 1, b'n']);
        body.extend((properties as u16).to_be_bytes());
        body.extend(vec![b'v'; properties]);
    }
    body.extend(vec![b'p'; payload]);
    packet(0x30 | qos << 1, &body)
}

#[test]
fn no_reader_gets_a_copy_of_a_long_name() {
    const READERS: u32 = 50;
    for (topic, properties, payload) in [
        (65_000, 0, 1),
        (65_000, 0, 40_000),
        (65_000, 20_000, 40_000),
        (65_000, 20_000, 0),
        // None of these is long by itself.
        (15_000, 15_000, 15_000),
        (16_383, 4_095, 4_095),
    ] {
        for qos in [0, 1] {
            let mut rig = Rig::new(5);
            let name = "t".repeat(topic);
            let speaker = rig.client(READERS);
            for n in 0..READERS {
                let reader = rig.client(n);
                rig.subscribe(reader, &name, qos);
            }
            let message = long_publish(qos, topic, properties, payload);
            let last = ConnectionId {
                index: READERS - 1,
                generation: 0,
            };
            rig.watched = Some(Watched::new(last));
            let sent = rig.turn(speaker, &message);
            let answers = sent - READERS as usize * message.len();
            assert!(answers <= 4, "{topic}, {properties}, {payload}: {sent}");
            let seen = rig.watched.take().expect("it was put there");
            assert!(seen.got == message, "{topic}, {properties}, {payload}");
            let most = READERS as usize * 8_300;
            assert!(seen.copied <= most, "{} bytes were copied", seen.copied);
            rig.shard.check_invariants();
        }
    }
}

/// An absent Client whose queue holds so many messages of `t`, by this filter; the Clients `1` and `2`.
fn absent_with_queue(rig: &mut Rig, filter: &str, count: usize) -> (ConnectionId, ConnectionId) {
    let (speaker, other) = (rig.client(1), rig.client(2));
    let absent = persistent(rig, 0);
    rig.subscribe(absent, filter, 1);
    rig.close(absent);
    let message = publish(4, "t", b"x", 1, 1);
    for _ in 0..count / 500 {
        let puback = 4;
        let sent = rig.turn(speaker, &message.repeat(500));
        assert_eq!(sent, 500 * puback, "nobody is held back");
    }
    rig.shard.check_invariants();
    (speaker, other)
}

/// The Client `name` comes with its Session, or with a new one that stays.
fn persistent(rig: &mut Rig, number: u32) -> ConnectionId {
    let connection = connect(rig, number, 0);
    rig.end_turn();
    connection
}

/// CONNECT of the Client `name` comes, with these flags, on its connection of this number.
fn connect(rig: &mut Rig, number: u32, flags: u8) -> ConnectionId {
    let connection = ConnectionId {
        index: 10 + number,
        generation: 0,
    };
    rig.open(connection);
    let connect = [
        0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0, 0, 4, b'n', b'a', b'm', b'e',
    ];
    rig.hear(connection, &packet(0x10, &connect));
    connection
}

/// What is queued.
fn queued(rig: &Rig) -> usize {
    let all = rig.shard.leftovers().into_iter();
    all.filter(|(name, _)| *name == "queued bytes")
        .map(|(_, bytes)| bytes)
        .sum()
}

#[test]
fn the_end_of_a_session_with_a_long_queue_takes_several_turns() {
    let mut rig = Rig::new(4);
    let (_, other) = absent_with_queue(&mut rig, "t", 30_000);
    let before = queued(&rig);
    connect(&mut rig, 1, 2);
    let mut turns = 0;
    while queued(&rig) > 0 {
        assert!(
            turns > 0 || queued(&rig) > before / 2,
            "a part in the first"
        );
        rig.shard.check_invariants();
        assert!(rig.turn(other, &PINGREQ) >= 2, "PINGRESP in every turn");
        turns += 1;
    }
    assert!((2..=5).contains(&turns), "{turns}");
    let ended = Dropped::SessionEnded;
    assert_eq!(rig.shard.counters().dropped(ended), 30_000);
}

#[test]
fn another_member_gets_the_queue_of_one_whose_session_ends_part_by_part() {
    const MESSAGES: usize = 10_000;
    for ends in [true, false] {
        let mut rig = Rig::new(4);
        let (_, other) = absent_with_queue(&mut rig, "$share/g/t", MESSAGES);
        let heir = rig.client(3);
        let mut taken = 0;
        if ends {
            rig.subscribe(heir, "$share/g/t", 0);
            connect(&mut rig, 1, 2);
        } else {
            // It comes back, is sent a window of them, and goes.
            let again = persistent(&mut rig, 1);
            rig.subscribe(heir, "$share/g/t", 0);
            rig.close(again);
            taken = 20;
        }
        let message = publish(4, "t", b"x", 0, 0);
        let connack = if ends { 4 } else { 0 };
        let wanted = connack + (MESSAGES - taken) * message.len();
        let turns = turns_until(&mut rig, other, wanted);
        assert!((5..=9).contains(&turns), "{turns}");
    }
}

#[test]
fn a_subscribe_cut_off_takes_no_retained_message_that_was_owed_before() {
    const RETAINED: usize = 20_000;
    let mut rig = Rig::new(4);
    let (speaker, other) = (rig.client(1), rig.client(2));
    let mut bytes = Vec::new();
    for n in 0..RETAINED {
        let mut message = publish(4, &format!("k/{n:05}"), b"x", 0, 0);
        message[0] |= 1;
        bytes.extend(message);
    }
    let each = bytes.len() / RETAINED;
    rig.hear(speaker, &bytes);
    turns_until(&mut rig, other, 0);
    while rig.shard.sizes().3 < RETAINED {
        rig.turn(other, &PINGREQ);
    }
    let reader = persistent(&mut rig, 0);
    let sent = rig.turn(reader, &filters(0x82, &["k/#".to_owned()]));
    assert!(sent < 5 + RETAINED * each, "a part of them: {sent}");
    // The same filter again, with very many others, and in the middle of that the Client comes anew.
    let mut list: Vec<String> = (0..3500).map(|n| format!("{n}/x")).collect();
    list.insert(0, "k/#".to_owned());
    rig.hear(reader, &filters(0x82, &list));
    let again = connect(&mut rig, 1, 0);
    rig.watched = Some(Watched::new(again));
    for _ in 0..100 {
        rig.turn(other, &PINGREQ);
    }
    let seen = rig.watched.take().expect("it was put there");
    assert_eq!(
        seen.got.len(),
        4 + RETAINED * each,
        "all of them, from the first"
    );
    rig.shard.check_invariants();
}
