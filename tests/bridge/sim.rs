//! The machine of a bridge between two model brokers. A seed decides what is published, how the streams are cut into
//! reads, when connections are cut or refused, and in which order acknowledgements come. Then all is let go, and every
//! message must have arrived as its QoS says, in its order.
//!
//! `MQTTFAST_BRIDGE_SEEDS` in the environment sets how many seeds are tried (50,000 take some minutes).

use super::model::{Broker, Message};
use mqttfast::bridge::props::terms_of;
use mqttfast::bridge::{Action, Event, Loops, Machine, Side, State, Told, Why};
use mqttfast::limits;
use mqttfast::random::SplitMix64;
use mqttfast::time::Time;
use mqttfast::wire::{QoS, Version};
use std::collections::VecDeque;

/// Both brokers, the bridge, and what is between them.
struct World {
    machine: Machine,
    version: Version,
    loops: Loops,
    local: Broker,
    remote: Broker,
    /// The bridge has a connection on this side.
    open: [bool; 2],
    now: Time,
    events: VecDeque<(Side, Option<&'static str>)>,
    states: Vec<bool>,
    told: usize,
    /// Drops of the queue that were told last.
    queue_dropped: u64,
    asked_retained: usize,
}

impl World {
    /// The process of the bridge is killed and begins again.
    fn restart(&mut self, lines: &str) {
        for side in [Side::Local, Side::Remote] {
            self.open[side as usize] = false;
            self.broker(side).cut();
        }
        self.events.clear();
        self.states.clear();
        self.machine = Machine::new(terms_of(self.version, lines), self.now.0);
        let mut actions = Vec::new();
        self.machine.start(self.now, &mut actions);
        self.carry_out(actions);
    }

    fn new(lines: &str, version: Version, seed: u64) -> World {
        let mut world = World {
            machine: Machine::new(terms_of(version, lines), seed),
            version,
            loops: Loops::new(false, seed),
            local: Broker::mqttfast(5),
            remote: Broker::new(version, 5),
            open: [false; 2],
            now: Time(1),
            events: VecDeque::new(),
            states: Vec::new(),
            told: 0,
            queue_dropped: 0,
            asked_retained: 0,
        };
        let mut actions = Vec::new();
        world.machine.start(world.now, &mut actions);
        world.carry_out(actions);
        world
    }

    fn broker(&mut self, side: Side) -> &mut Broker {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    fn handle(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.machine
            .handle(self.now, event, &mut self.loops, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect(_) => self.events.push_back((Side::Remote, None)),
                Action::OpenLocal => self.events.push_back((Side::Local, None)),
                Action::Close(side) => {
                    self.events.retain(|(of, _)| *of != side);
                    if std::mem::take(&mut self.open[side as usize]) {
                        // The last bytes arrive, as they mostly do.
                        self.deliver_out(side, usize::MAX, false);
                    }
                    let outgoing = self.machine.outgoing(side);
                    outgoing.taken(usize::MAX);
                    self.broker(side).cut();
                }
                Action::Publish { up } => self.states.push(up),
                Action::AskWaiting => {}
                Action::AskRetained => self.asked_retained += 1,
                Action::Tell(told) => {
                    self.told += 1;
                    if let Told::Dropping { queue, .. } = told {
                        self.queue_dropped = queue;
                    }
                }
            }
        }
    }

    /// Bytes of the bridge reach a broker.
    fn deliver_out(&mut self, side: Side, most: usize, hold: bool) {
        let unsent = self.machine.outgoing(side).unsent();
        let bytes = unsent[..unsent.len().min(most)].to_vec();
        self.machine.sent(side, bytes.len(), self.now);
        self.broker(side).receive(&bytes, hold);
        assert!(!self.broker(side).broken, "{side:?}");
    }

    /// Bytes of a broker reach the bridge.
    fn deliver_in(&mut self, side: Side, most: usize) {
        if !self.open[side as usize] || !self.machine.wants(side) {
            return;
        }
        let sends = &mut self.broker(side).sends;
        let count = sends.len().min(most);
        let bytes: Vec<u8> = sends.drain(..count).collect();
        if !bytes.is_empty() {
            self.handle(Event::Bytes(side, &bytes));
        }
    }

    fn cut(&mut self, side: Side) {
        if std::mem::take(&mut self.open[side as usize]) {
            self.broker(side).cut();
            self.handle(Event::Closed(side, "cut"));
        }
    }

    fn next_event(&mut self) {
        if let Some((side, _)) = self.events.pop_front() {
            self.open[side as usize] = true;
            self.handle(Event::Opened(side));
        }
    }

    /// Until the other broker has the SUBSCRIBE of the next connection, and has answered nothing of it.
    fn connect_until_asked(&mut self) {
        self.remote.subscribed.clear();
        let mut steps = 0;
        while self.remote.subscribed.is_empty() {
            self.now = self.now + 1_000;
            self.handle(Event::Tick);
            self.next_event();
            for side in [Side::Local, Side::Remote] {
                if self.open[side as usize] {
                    self.deliver_in(side, usize::MAX);
                    self.deliver_out(side, usize::MAX, false);
                }
            }
            steps += 1;
            assert!(steps < 100);
        }
    }

    /// Everything goes its way until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            self.next_event();
            for side in [Side::Local, Side::Remote] {
                if self.open[side as usize] {
                    self.deliver_out(side, usize::MAX, false);
                }
                self.broker(side).release();
                self.deliver_in(side, usize::MAX);
            }
            let is_quiet = self.events.is_empty()
                && self.local.sends.is_empty()
                && self.remote.sends.is_empty()
                && !self.machine.has_unsent(Side::Local)
                && !self.machine.has_unsent(Side::Remote);
            if !is_quiet {
                continue;
            }
            if self.machine.status().state == State::Up
                && self.local.is_quiet()
                && self.remote.is_quiet()
            {
                return;
            }
            self.now = self
                .now
                .max(self.machine.next_deadline().min(self.now + 60_000));
            self.handle(Event::Tick);
        }
        panic!("never quiet: {:?}", self.machine.status());
    }
}

const LINES: &str = "topic # both 2 loc/ rem/\nrestart_timeout 1 4\n";

fn message(topic: &str, qos: u8, number: u32) -> Message {
    Message {
        topic: topic.to_owned(),
        qos: QoS::from_bits(qos).unwrap(),
        number,
    }
}

fn seeds() -> u64 {
    let seeds = std::env::var("MQTTFAST_BRIDGE_SEEDS").ok();
    seeds.map_or(1_500, |seeds| seeds.parse().expect("a number"))
}

/// What arrived of these, the first time of each where it may come twice.
fn arrived(got: &[Message], topic: &str, qos: QoS) -> Vec<u32> {
    let mut numbers = Vec::new();
    for message in got.iter().filter(|m| m.topic == topic && m.qos == qos) {
        if qos != QoS::AtLeastOnce || !numbers.contains(&message.number) {
            numbers.push(message.number);
        }
    }
    numbers
}

fn one_seed(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let version = random.pick(&Version::ALL);
    let mut world = World::new(LINES, version, seed);
    let mut published: [[Vec<u32>; 3]; 2] = Default::default();
    let mut number = 0;
    // Both Sessions are there before anything is published.
    world.settle();
    for _ in 0..150 + random.below(200) {
        let side = random.pick(&[Side::Local, Side::Remote]);
        match random.below(100) {
            0..25 => {
                let qos = random.below(3) as u8;
                let topic = match side {
                    Side::Local => "loc/a",
                    Side::Remote => "rem/a",
                };
                number += 1;
                published[side as usize][usize::from(qos)].push(number);
                world.broker(side).publish(message(topic, qos, number));
            }
            25..55 => {
                if world.open[side as usize] {
                    let hold = random.below(3) == 0;
                    let most = random.pick(&[1, 3, 20, usize::MAX]);
                    world.deliver_out(side, most, hold);
                }
            }
            55..85 => world.deliver_in(side, random.pick(&[1, 3, 20, usize::MAX])),
            85..90 => world.broker(side).release(),
            90..93 => world.next_event(),
            93..95 => world.cut(side),
            96 => world.restart(LINES),
            95 => world.broker(side).code = random.pick(&[3, 5]) * u8::from(version != Version::V5),
            _ => {
                world.now = world.now + random.below(2_000) as u64;
                world.handle(Event::Tick);
            }
        }
    }
    world.local.code = 0;
    world.remote.code = 0;
    world.settle();
    for (side, published) in [Side::Local, Side::Remote].into_iter().zip(&published) {
        let (got, topic) = match side {
            Side::Local => (&world.remote.got, "rem/a"),
            Side::Remote => (&world.local.got, "loc/a"),
        };
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let numbers = arrived(got, topic, qos);
            assert_eq!(
                numbers, published[qos as usize],
                "seed {seed}: {side:?} {qos:?}"
            );
        }
        let numbers = arrived(got, topic, QoS::AtMostOnce);
        assert!(numbers.is_sorted(), "seed {seed}");
        let mut once = numbers.clone();
        once.dedup();
        assert_eq!(numbers, once, "seed {seed}");
    }
    for (index, up) in world.states.iter().enumerate() {
        assert_eq!(*up, index % 2 == 1, "seed {seed}: {:?}", world.states);
    }
}

#[test]
fn every_message_arrives_as_its_qos_says_whatever_is_cut() {
    for seed in 0..seeds() {
        one_seed(seed);
    }
}

/// The Session of one side is new, the other side still holds a Packet Identifier of QoS 2 of the earlier one.
#[test]
fn a_new_message_is_never_taken_for_a_repeat_of_an_earlier_session() {
    for version in Version::ALL
        .into_iter()
        .filter(|version| *version != Version::V31)
    {
        let lines = format!("{LINES}local_cleansession true\n");
        let mut world = World::new(&lines, version, 5);
        world.settle();
        // The other broker has the message and its PUBREL never comes.
        world.local.publish(message("loc/a", 2, 1));
        world.deliver_in(Side::Local, usize::MAX);
        world.deliver_out(Side::Remote, usize::MAX, true);
        world.cut(Side::Local);
        world.settle();
        world.local.publish(message("loc/a", 2, 2));
        world.settle();
        assert_eq!(
            arrived(&world.remote.got, "rem/a", QoS::ExactlyOnce),
            [1, 2]
        );

        let mut world = World::new(LINES, version, 5);
        world.settle();
        world.remote.publish(message("rem/a", 2, 1));
        world.deliver_in(Side::Remote, usize::MAX);
        world.deliver_out(Side::Local, usize::MAX, true);
        world.cut(Side::Remote);
        world.remote.session = Default::default();
        world.settle();
        world.remote.publish(message("rem/a", 2, 2));
        world.settle();
        assert_eq!(arrived(&world.local.got, "loc/a", QoS::ExactlyOnce), [1, 2]);
    }
}

/// A broker that is killed may come back from an older snapshot of its store: it has the Session, and uses Packet
/// Identifiers again whose messages the other side holds. Also where the bridge itself began anew meanwhile.
#[test]
fn a_new_message_is_never_taken_for_a_repeat_of_what_a_broker_has_forgotten() {
    for version in Version::ALL {
        for (from, restarts) in [
            (Side::Local, false),
            (Side::Local, true),
            (Side::Remote, false),
            (Side::Remote, true),
        ] {
            let (topic, there) = match from {
                Side::Local => ("loc/a", "rem/a"),
                Side::Remote => ("rem/a", "loc/a"),
            };
            let mut world = World::new(LINES, version, 5);
            world.settle();
            let snapshot = world.broker(from).session.clone();
            for number in 1..=3 {
                world.broker(from).publish(message(topic, 2, number));
            }
            world.deliver_in(from, usize::MAX);
            world.deliver_out(from.other(), usize::MAX, true);
            world.cut(from);
            // Comes again, and is no new message.
            world.connect_until_asked();
            world.deliver_in(from, usize::MAX);
            world.deliver_out(from.other(), usize::MAX, true);
            world.cut(from);
            world.broker(from).session = snapshot;
            if restarts {
                world.restart(LINES);
            }
            world.settle();
            for number in 4..=5 {
                world.broker(from).publish(message(topic, 2, number));
            }
            world.settle();
            let got = &world.broker(from.other()).got;
            let numbers = arrived(got, there, QoS::ExactlyOnce);
            assert_eq!(numbers, [1, 2, 3, 4, 5], "{version:?} {from:?} {restarts}");
        }
    }
}

#[test]
fn what_is_asked_first() {
    let lines = "topic a/# out 1\ntopic b/# in 1 here/ there/\ntopic c both 0\n";
    let mut world = World::new(lines, Version::V311, 1);
    world.settle();
    assert_eq!(world.remote.subscribed, ["c", "there/b/#"]);
    assert_eq!(world.remote.unsubscribed, ["a/#"]);
    assert_eq!(world.local.subscribed, ["a/#", "c"]);
    assert_eq!(world.states, [false, true]);
    // MQTT, level 4 with the bit of a bridge, a will at QoS 1 that is retained, and a Session that stays.
    assert_eq!(
        world.remote.connect[2..10],
        [0, 4, b'M', b'Q', b'T', b'T', 0x84, 0x2C]
    );
    let state = "$SYS/broker/connection/host.test/state";
    assert_eq!(world.remote.got, [message(state, 1, 1)]);
    world.handle(Event::Stop);
    assert_eq!(world.remote.got[1..], [message(state, 1, 0)]);
    assert_eq!(world.states, [false, true, false]);
    assert_eq!(world.machine.next_deadline(), Time::NEVER);

    let lines = "topic a/# out 1\nnotifications_local_only true\nbridge_attempt_unsubscribe false\ntry_private false\ncleansession true\n";
    let mut world = World::new(lines, Version::V311, 1);
    world.settle();
    assert!(world.remote.unsubscribed.is_empty() && world.remote.got.is_empty());
    assert_eq!(world.remote.connect[8..10], [0x04, 0x02]);
    assert_eq!(world.states, [false, true]);
}

/// Who sends and does not read is given up before the answers fill the memory; also who acknowledges what is still to
/// be sent, so that this broker goes on.
#[test]
fn a_broker_that_does_not_read_is_given_up() {
    let mut world = World::new(LINES, Version::V311, 1);
    world.settle();
    let long = format!("loc/{}", "a".repeat(1_000));
    for number in 0..1_000 {
        world.local.publish(message(&long, 0, number));
        world.deliver_in(Side::Local, usize::MAX);
    }
    // No line maps these: the bridge answers them itself.
    let messages = [0x32, 5, 0, 1, b'x', 0, 1].repeat(5_000);
    let mut most = 0;
    while world.machine.status().state == State::Up {
        world.handle(Event::Bytes(Side::Remote, &messages));
        most = most.max(world.machine.held_bytes());
        assert!(most < 2 * limits::BRIDGE_UNREAD_BYTES_MAX);
    }
    assert_eq!(world.machine.status().last, Some(Why::Unread));
    world.settle();

    for number in 1..=5_000 {
        world.local.publish(message(&long, 1, number));
    }
    world.local.window = 1_000;
    let mut id: u16 = 0;
    while world.machine.status().state == State::Up {
        assert!(!world.local.is_quiet());
        world.deliver_in(Side::Local, usize::MAX);
        let mut answers = Vec::new();
        for _ in 0..1_000 {
            id = id % limits::PACKET_ID_MOST + 1;
            let [high, low] = id.to_be_bytes();
            answers.extend([0x40, 2, high, low]);
        }
        world.handle(Event::Bytes(Side::Remote, &answers));
        world.deliver_out(Side::Local, usize::MAX, false);
        most = most.max(world.machine.held_bytes());
        assert!(most < 2 * limits::BRIDGE_UNREAD_BYTES_MAX);
    }
    assert_eq!(world.machine.status().last, Some(Why::Unread));
}

/// A broker takes QoS 0 alone, and slowly: what finds no room is dropped, whatever its QoS was, and the bridge stays.
#[test]
fn messages_lowered_to_qos_0_are_dropped_where_they_find_no_room() {
    let long = format!("loc/{}", "a".repeat(1_000));
    for qos in [1, 2] {
        let mut world = World::new(LINES, Version::V5, 1);
        world.remote.maximum_qos = Some(QoS::AtMostOnce);
        world.settle();
        let before = world.remote.got.len();
        for number in 1..=4_000 {
            world.local.publish(message(&long, qos, number));
            while !world.local.is_quiet() && world.machine.state().0 == State::Up {
                world.deliver_in(Side::Local, usize::MAX);
                world.deliver_out(Side::Local, usize::MAX, false);
            }
            assert!(world.machine.held_bytes() < limits::BRIDGE_UNREAD_BYTES_MAX);
        }
        assert_eq!(world.machine.state().0, State::Up);
        let dropped = world.machine.counts().dropped;
        assert!(dropped > 0);
        world.settle();
        let came = world.remote.got.len() - before;
        assert_eq!(came as u64 + dropped, 4_000);
    }
}

/// What does not come again after a reconnection is deleted here, when the other broker has sent all it has.
#[test]
fn what_does_not_come_again_is_compared_and_deleted() {
    let lines = format!("{LINES}bridge_retain_deletions true\n");
    let mut world = World::new(&lines, Version::V311, 1);
    world.local.maximum_packet_size = Some(40);
    world.settle();
    let retained = |name: u8| [0x31, 8, 0, 5, b'r', b'e', b'm', b'/', name, b'1'];
    for name in [b'a', b'b', b'd'] {
        world.handle(Event::Bytes(Side::Remote, &retained(name)));
    }
    world.cut(Side::Remote);
    world.settle();
    world.handle(Event::Bytes(Side::Remote, &retained(b'a')));
    // This one is another now, too large for here, and not gone.
    let mut large = retained(b'd').to_vec();
    large.resize(60, b'x');
    large[1] = 58;
    world.handle(Event::Bytes(Side::Remote, &large));
    for _ in 0..limits::BRIDGE_REPLAY_QUIET {
        assert_eq!(world.asked_retained, 0);
        world.now = world.now + limits::BRIDGE_REPLAY_PAUSE_MS;
        world.handle(Event::Tick);
        world.deliver_out(Side::Remote, usize::MAX, false);
        world.deliver_in(Side::Remote, usize::MAX);
    }
    assert_eq!(world.asked_retained, 1);
    world.deliver_out(Side::Local, usize::MAX, false);
    let before = world.local.got.len();
    for topic in ["loc/a", "loc/b", "loc/c", "loc/d"] {
        world.handle(Event::Retained(topic, b"1"));
    }
    world.handle(Event::RetainedEnd);
    world.deliver_out(Side::Local, usize::MAX, false);
    let got: Vec<_> = world.local.got[before..]
        .iter()
        .map(|got| &*got.topic)
        .collect();
    assert_eq!(got, ["loc/b"]);
    assert_eq!(world.machine.counts().deleted, 1);
}

/// A broker of before v5 is told of no limit: it sends all it has before it answers SUBSCRIBE, while the messages of
/// this one have the highest Packet Identifiers.
#[test]
fn a_broker_that_sends_all_before_it_answers_is_heard_out() {
    for qos in [1, 2] {
        let mut world = World::new(LINES, Version::V311, 1);
        world.remote.window = 3_000;
        world.settle();
        world.local.use_ids_after(limits::PACKET_ID_MOST - 2);
        world.cut(Side::Remote);
        let numbers: Vec<u32> = (1..=2_500).collect();
        for number in &numbers {
            world.remote.publish(message("rem/a", qos, *number));
        }
        for number in 1..=5 {
            world.local.publish(message("loc/a", 1, number));
        }
        let connects = world.machine.status().counts.connects;
        world.settle();
        assert_eq!(world.machine.status().counts.connects, connects + 1);
        let qos = QoS::from_bits(qos).unwrap();
        assert_eq!(arrived(&world.local.got, "loc/a", qos), numbers);
        let out = arrived(&world.remote.got, "rem/a", QoS::AtLeastOnce);
        assert_eq!(out, [1, 2, 3, 4, 5]);
    }
}

#[test]
fn losses_of_the_queue_are_told_once_a_minute() {
    let mut world = World::new(LINES, Version::V311, 1);
    world.settle();
    let told = world.told;
    let lost = |world: &mut World, dropped| {
        world.handle(Event::Waiting { count: 0, dropped });
    };
    lost(&mut world, 0);
    assert_eq!(world.told, told);
    lost(&mut world, 3);
    assert_eq!(world.told, told + 1);
    lost(&mut world, 4);
    world.now = world.now + (limits::BRIDGE_DROPS_TOLD_MS - 1);
    lost(&mut world, 5);
    assert_eq!(world.told, told + 1);
    world.now = world.now + 1;
    lost(&mut world, 5);
    lost(&mut world, 5);
    assert_eq!((world.told, world.queue_dropped), (told + 2, 5));
    // The Session here was made anew.
    world.now = world.now + limits::BRIDGE_DROPS_TOLD_MS;
    lost(&mut world, 0);
    assert_eq!(world.told, told + 2);
    lost(&mut world, 3);
    assert_eq!((world.told, world.queue_dropped), (told + 3, 8));
    assert_eq!(world.machine.counts().dropped_before, 5);
}

/// An answer to what an earlier connection had asked.
#[test]
fn an_answer_before_anything_is_asked_is_none() {
    let lines = format!("{LINES}notifications false\n");
    let mut world = World::new(&lines, Version::V311, 1);
    world.settle();
    world.cut(Side::Remote);
    world.connect_until_asked();
    assert_eq!(world.machine.status().state, State::Connecting);
    world.cut(Side::Remote);
    world.now = world.machine.next_deadline();
    world.handle(Event::Tick);
    world.next_event();
    assert!(world.open[Side::Remote as usize]);
    world.handle(Event::Bytes(Side::Remote, &[0x90, 3, 0xFF, 0xFF, 2]));
    assert_eq!(world.machine.status().state, State::Connecting);
    world.settle();
}

/// Who sees the state 1 at the other broker may publish here at once.
#[test]
fn the_state_is_told_when_the_new_session_here_has_subscribed() {
    let lines = "topic a/# out 1\nlocal_cleansession true\n";
    let mut world = World::new(lines, Version::V311, 1);
    let mut steps = 0;
    while world.remote.got.is_empty() {
        world.next_event();
        for side in [Side::Remote, Side::Local] {
            if world.open[side as usize] {
                world.deliver_out(side, usize::MAX, false);
            }
            if world.local.subscribed.is_empty() {
                assert!(world.remote.got.is_empty());
            }
            world.broker(side).release();
            world.deliver_in(side, usize::MAX);
        }
        steps += 1;
        assert!(steps < 100);
    }
    assert_eq!(world.local.subscribed, ["a/#"]);
}

#[test]
fn a_refused_login_is_tried_again_by_the_back_off() {
    let mut world = World::new("topic a out 1\nrestart_timeout 2 2\n", Version::V311, 1);
    for _ in 0..3 {
        world.remote.code = 5;
        while world.machine.status().state != State::Down {
            world.next_event();
            for side in [Side::Local, Side::Remote] {
                if world.open[side as usize] {
                    world.deliver_out(side, usize::MAX, false);
                }
                world.deliver_in(side, usize::MAX);
            }
        }
        assert_eq!(world.machine.next_deadline(), world.now + 2_000);
        world.now = world.now + 2_000;
        world.handle(Event::Tick);
        let status = world.machine.status();
        assert_eq!((status.state, status.since), (State::Connecting, world.now));
    }
    world.settle();
    assert_eq!(world.machine.status().counts.failures, 3);
}

/// Whatever the other broker sends, only its connection ends.
#[test]
fn a_hostile_broker_ends_its_connection_alone() {
    let mut random = SplitMix64::new(9);
    for round in 0..4_000 {
        let version = random.pick(&Version::ALL);
        let mut world = World::new(LINES, version, round);
        if random.below(3) > 0 {
            world.settle();
        } else {
            world.next_event();
            world.next_event();
        }
        for _ in 0..10 {
            let mut bytes: Vec<u8> = (0..random.below(40)).map(|_| random.draw() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = random.pick(&[
                    0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0,
                ]);
            }
            if let Some(length) = bytes.get_mut(1) {
                *length = random.below(40) as u8;
            }
            if world.open[Side::Remote as usize] && world.machine.wants(Side::Remote) {
                world.handle(Event::Bytes(Side::Remote, &bytes));
            }
        }
        world.cut(Side::Remote);
        world.remote.cut();
        world.remote.session = Default::default();
        world.settle();
    }
}
