//! The seam of a store, with a double of one: what it is told, and that no answer says more than it has kept.

use mqttfast_rig::shard as support;

use mqttfast::broker::{Change, CloseCause};
use mqttfast::config::Settings;
use mqttfast::ids::StoredSession;
use std::collections::{BTreeMap, BTreeSet};
use support::*;

fn world() -> World {
    World::with(1, Order::Fair, with_store())
}

fn acknowledgements(world: &mut World, client: Client) -> Vec<Packet> {
    let is_one = |packet: &Packet| !matches!(packet, Packet::Publish(_));
    world.received(client).into_iter().filter(is_one).collect()
}

/// The tables a store would have after what it was told.
#[derive(Default, Debug)]
struct Tables {
    sessions: BTreeMap<StoredSession, String>,
    wills: BTreeMap<StoredSession, String>,
    subscriptions: BTreeSet<(StoredSession, String)>,
    queued: BTreeSet<(StoredSession, u64)>,
    under_way: BTreeMap<(StoredSession, u16), bool>,
    received: BTreeSet<(StoredSession, u16)>,
    last_sent: BTreeMap<StoredSession, u64>,
    retained: BTreeMap<String, Vec<u8>>,
}

impl Tables {
    fn of(world: &World) -> Tables {
        let mut tables = Tables::default();
        let mut numbers = BTreeMap::new();
        for (shard, sequence, changes) in &world.changes {
            let last = numbers.insert(*shard, *sequence).unwrap_or(0);
            assert_eq!(*sequence, last + 1, "numbers rise by one");
            assert!(!changes.is_empty());
            changes.iter().for_each(|change| tables.apply(change));
        }
        tables
    }

    fn deliveries(&self) -> usize {
        self.queued.len() + self.under_way.len()
    }

    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Session {
                session,
                client_id,
                expiry_interval_s,
                ..
            } => {
                assert!(expiry_interval_s > 0);
                self.sessions.insert(session, client_id.into());
            }
            Change::WillSet {
                session, client_id, ..
            } => {
                assert_eq!(self.wills.insert(session, client_id.into()), None);
            }
            Change::WillGone { session } => assert!(self.wills.remove(&session).is_some()),
            Change::SessionEnded { session } => {
                assert!(self.sessions.remove(&session).is_some());
                self.subscriptions.retain(|(of, _)| *of != session);
                self.queued.retain(|(of, _)| *of != session);
                self.under_way.retain(|(of, _), _| *of != session);
                self.received.retain(|(of, _)| *of != session);
            }
            Change::Subscribed {
                session, filter, ..
            } => {
                assert!(self.sessions.contains_key(&session));
                self.subscriptions.insert((session, filter.into()));
            }
            Change::Unsubscribed { session, filter } => {
                assert!(self.subscriptions.remove(&(session, filter.into())));
            }
            Change::Queued {
                session, number, ..
            } => assert!(self.queued.insert((session, number))),
            Change::Unqueued { session, number } => {
                assert!(self.queued.remove(&(session, number)));
            }
            Change::Sent {
                session,
                packet_id,
                number,
                queued,
                ..
            } => {
                assert_eq!(self.queued.remove(&(session, number)), queued);
                let last = self.last_sent.insert(session, number);
                assert!(last.is_none_or(|last| last < number), "numbers rise");
                let key = (session, packet_id.get());
                assert_eq!(self.under_way.insert(key, false), None);
            }
            Change::Released { session, packet_id } => {
                let key = (session, packet_id.get());
                self.under_way.insert(key, true);
            }
            Change::Done { session, packet_id } => {
                let key = (session, packet_id.get());
                assert!(self.under_way.remove(&key).is_some());
            }
            // A group, or the passage itself, if its retained message is written.
            Change::Passed { passage, session } => {
                let is_other = session == passage || session.is_group();
                assert!(is_other || self.sessions.contains_key(&session));
            }
            Change::Received {
                session, packet_id, ..
            } => {
                assert!(self.received.insert((session, packet_id.get())));
            }
            Change::ReceivedReleased { session, packet_id } => {
                assert!(self.received.remove(&(session, packet_id.get())));
            }
            Change::Retained { message, .. } => {
                let payload = message.payload().to_vec();
                self.retained.insert(message.topic().to_owned(), payload);
            }
            Change::RetainedDeleted { topic, .. } => {
                self.retained.remove(&*topic);
            }
        }
    }
}

/// A Session that waits for messages while its Client is away.
fn absent_subscriber(world: &mut World, filter: &str, qos: u8) {
    let version = Version::V311;
    let sub = world.connect(&connect(version, "sub").persistent());
    world.subscribe(sub, filter, qos);
    world.send(sub, disconnect());
    world.settle();
}

#[test]
fn puback_waits_for_the_store_and_goes_before_the_close() {
    for qos in [1, 2] {
        for at_once in [false, true] {
            let mut world = world();
            absent_subscriber(&mut world, "t", 2);
            let publisher = world.connect(&connect(Version::V311, "p"));
            world.store_stuck = true;
            let mut bytes = publish("t", "x").qos(qos, 7).bytes(Version::V311);
            if at_once {
                bytes.extend(disconnect());
            }
            world.send(publisher, bytes);
            world.settle();
            assert_eq!(acknowledgements(&mut world, publisher), [], "not kept yet");
            assert!(!world.is_closed(publisher), "it is owed an answer");
            world.keep();
            let expected = match qos {
                1 => Packet::PubAck {
                    packet_id: 7,
                    code: 0,
                },
                _ => Packet::PubRec {
                    packet_id: 7,
                    code: 0,
                },
            };
            assert_eq!(acknowledgements(&mut world, publisher), [expected]);
            assert_eq!(world.is_closed(publisher), at_once);
            assert_eq!(Tables::of(&world).queued.len(), 1);
        }
    }
}

#[test]
fn a_store_that_does_not_answer_lets_the_connection_close_without_the_answer() {
    let mut world = world();
    absent_subscriber(&mut world, "t", 1);
    let publisher = world.connect(&connect(Version::V311, "p"));
    world.store_stuck = true;
    let mut bytes = publish("t", "x").qos(1, 7).bytes(Version::V311);
    bytes.extend(disconnect());
    world.send(publisher, bytes);
    world.settle();
    world.advance(mqttfast::limits::LAST_ANSWERS_MS + 1_000);
    world.settle();
    assert!(world.is_closed(publisher));
    assert_eq!(acknowledgements(&mut world, publisher), []);
    world.keep();
}

#[test]
fn acknowledgements_keep_their_order_and_others_do_not_wait() {
    let mut world = world();
    absent_subscriber(&mut world, "stored", 1);
    let here = world.connect(&connect(Version::V311, "here"));
    world.subscribe(here, "live", 0);
    world.received(here);
    let publisher = world.connect(&connect(Version::V311, "p"));
    world.store_stuck = true;
    for (topic, qos, id) in [("stored", 1, 1), ("live", 1, 2), ("live", 0, 0)] {
        world.send(
            publisher,
            publish(topic, "x").qos(qos, id).bytes(Version::V311),
        );
    }
    world.send(publisher, pingreq());
    world.settle();
    assert_eq!(world.received(here).len(), 2, "deliveries do not wait");
    assert_eq!(acknowledgements(&mut world, publisher), [Packet::PingResp]);
    world.keep();
    let acknowledged = [1, 2].map(|packet_id| Packet::PubAck { packet_id, code: 0 });
    assert_eq!(acknowledgements(&mut world, publisher), acknowledged);
}

#[test]
fn connack_of_a_new_session_and_suback_wait_and_those_of_others_do_not() {
    for version in [Version::V311, Version::V5] {
        let mut world = world();
        world.store_stuck = true;
        let clean = world.open(version);
        world.send(clean, connect(version, "clean").bytes());
        world.send(clean, subscribe(version, 1, &[("t", 1)]));
        world.settle();
        assert_eq!(world.received(clean).len(), 2, "nothing of it outlives it");
        let client = world.open(version);
        let mut bytes = connect(version, "kept").persistent().bytes();
        bytes.extend(subscribe(version, 1, &[("t", 1)]));
        world.send(client, bytes);
        world.settle();
        assert_eq!(world.received(client), [], "the Session is not kept yet");
        world.keep();
        let received = world.received(client);
        assert!(
            matches!(received[0], Packet::ConnAck { .. }),
            "{received:?}"
        );
        assert!(matches!(received[1], Packet::SubAck { .. }), "{received:?}");
        let tables = Tables::of(&world);
        assert_eq!(tables.sessions.len(), 1);
        assert_eq!(tables.subscriptions.len(), 1);
    }
}

/// Packets that followed CONNECT at once are handled when CONNACK has left: what they bring about may not come before
/// it. [v3.1.1 MQTT-3.2.0-1]
#[test]
fn nothing_comes_before_a_connack_that_waits() {
    for version in [Version::V311, Version::V5] {
        let mut world = world();
        world.store_stuck = true;
        let client = world.open(version);
        let mut bytes = connect(version, "kept").persistent().bytes();
        bytes.extend(subscribe(version, 1, &[("t", 0)]));
        bytes.extend(publish("t", "own").bytes(version));
        bytes.extend(pingreq());
        world.send(client, bytes);
        world.settle();
        assert_eq!(world.received(client), [], "the Session is not kept yet");
        world.keep();
        world.settle();
        let received = world.received(client);
        assert!(
            matches!(received[0], Packet::ConnAck { .. }),
            "{received:?}"
        );
        let is_own = |packet: &Packet| packet.message().is_some_and(|m| m.text() == "own");
        assert!(received.iter().any(is_own), "{received:?}");
    }
}

/// The payloads a Client has received.
fn delivered(world: &mut World, client: Client) -> Vec<Message> {
    let received = world.received(client).into_iter();
    let publishes = received.filter_map(|packet| match packet {
        Packet::Publish(message) => Some(message),
        _ => None,
    });
    publishes.collect()
}

#[test]
fn a_qos_2_message_leaves_when_its_packet_identifier_is_kept_and_nothing_overtakes_it() {
    for stored in [true, false] {
        let version = Version::V311;
        let mut world = world();
        let mut request = connect(version, "sub");
        if stored {
            request = request.persistent();
        }
        let sub = world.connect(&request);
        world.subscribe(sub, "t", 2);
        let publisher = world.connect(&connect(version, "p"));
        world.store_stuck = true;
        for (id, payload, qos) in [(1, "a", 1), (2, "b", 2), (3, "c", 1), (4, "d", 2)] {
            let message = publish("t", payload).qos(qos, id);
            world.send(publisher, message.bytes(version));
            world.settle();
        }
        let first: String = delivered(&mut world, sub)
            .iter()
            .map(Message::text)
            .collect();
        assert_eq!(first, if stored { "a" } else { "abcd" });
        world.keep();
        let then = delivered(&mut world, sub);
        let text: String = then.iter().map(Message::text).collect();
        assert_eq!(text, if stored { "bcd" } else { "" });
        assert!(then.iter().all(|message| !message.dup));
    }
}

/// The connection is lost while a QoS 2 message waits for the store: the next one gets it, not as a repeat, and not
/// earlier.
#[test]
fn a_qos_2_message_that_never_left_is_sent_to_the_next_connection() {
    let version = Version::V311;
    let mut world = world();
    let sub = world.connect(&connect(version, "sub").persistent());
    world.subscribe(sub, "t", 2);
    let publisher = world.connect(&connect(version, "p"));
    world.store_stuck = true;
    world.send(publisher, publish("t", "x").qos(2, 1).bytes(version));
    world.settle();
    world.drop_connection(sub);
    let sub = world.connect(&connect(version, "sub").persistent());
    world.settle();
    assert_eq!(delivered(&mut world, sub), []);
    world.keep();
    let received = delivered(&mut world, sub);
    assert_eq!(received.len(), 1);
    assert!(!received[0].dup);
}

#[test]
fn pubrel_waits_until_pubrec_is_kept_also_on_the_next_connection() {
    let version = Version::V311;
    let mut world = world();
    absent_subscriber(&mut world, "t", 2);
    let publisher = world.connect(&connect(version, "p"));
    world.send(publisher, publish("t", "x").qos(2, 1).bytes(version));
    world.settle();
    let sub = world.connect(&connect(version, "sub").persistent());
    world.settle();
    let id = delivered(&mut world, sub)[0].packet_id;
    world.store_stuck = true;
    world.send(sub, pubrec(id));
    world.settle();
    assert_eq!(world.received(sub), []);
    world.drop_connection(sub);
    let sub = world.connect(&connect(version, "sub").persistent());
    world.settle();
    assert_eq!(world.received(sub), [], "nor now");
    world.keep();
    let pubrel = Packet::PubRel {
        packet_id: id,
        code: 0,
    };
    assert_eq!(world.received(sub), [pubrel]);
}

#[test]
fn a_repeated_pubrel_is_answered_when_the_first_one_is_kept() {
    let version = Version::V311;
    let mut world = world();
    let client = world.connect(&connect(version, "p").persistent());
    world.send(client, publish("t", "x").qos(2, 1).bytes(version));
    world.settle();
    world.received(client);
    world.store_stuck = true;
    world.send(client, pubrel(1));
    world.settle();
    world.drop_connection(client);
    let client = world.connect(&connect(version, "p").persistent());
    world.send(client, pubrel(1));
    world.settle();
    assert_eq!(acknowledgements(&mut world, client), []);
    world.keep();
    let pubcomp = Packet::PubComp {
        packet_id: 1,
        code: 0,
    };
    assert_eq!(acknowledgements(&mut world, client), [pubcomp]);
}

/// A Session that is not kept yet is not promised, whichever connection asks for it; one that is kept is promised at
/// once.
#[test]
fn session_present_is_said_when_the_session_is_kept() {
    let version = Version::V311;
    let mut world = world();
    world.store_stuck = true;
    for _ in 0..2 {
        let client = world.open(version);
        world.send(client, connect(version, "c").persistent().bytes());
        world.settle();
        assert_eq!(world.received(client), []);
        world.drop_connection(client);
    }
    world.keep();
    world.store_stuck = true;
    let (_, present) = world.connect_present(&connect(version, "c").persistent());
    assert!(present);
}

#[test]
fn a_new_session_is_not_promised_before_the_end_of_the_stored_one_is_kept() {
    let version = Version::V311;
    let mut world = world();
    absent_subscriber(&mut world, "t", 1);
    world.store_stuck = true;
    let client = world.open(version);
    world.send(client, connect(version, "sub").bytes());
    world.settle();
    assert_eq!(world.received(client), []);
    world.keep();
    assert_eq!(world.received(client).len(), 1);
}

#[test]
fn unsuback_for_nothing_waits_for_the_unsubscribe_before_it() {
    let version = Version::V5;
    let mut world = world();
    let client = world.connect(&connect(version, "c").persistent());
    world.subscribe(client, "t", 1);
    world.store_stuck = true;
    world.send(client, unsubscribe(version, 2, &["t"]));
    world.settle();
    world.drop_connection(client);
    let client = world.connect(&connect(version, "c").persistent());
    world.send(client, unsubscribe(version, 3, &["t"]));
    world.settle();
    assert_eq!(acknowledgements(&mut world, client), []);
    world.keep();
    assert_eq!(acknowledgements(&mut world, client).len(), 1);
}

#[test]
fn what_is_done_is_no_longer_in_the_tables() {
    let version = Version::V311;
    let mut world = world();
    absent_subscriber(&mut world, "t/#", 2);
    let publisher = world.connect(&connect(version, "p").persistent());
    for (id, qos) in [(1, 1), (2, 2), (3, 1), (4, 2)] {
        world.send(publisher, publish("t/1", "x").qos(qos, id).bytes(version));
        if qos == 2 {
            world.send(publisher, pubrel(id));
        }
    }
    world.send(publisher, publish("t/r", "y").retain().bytes(version));
    world.settle();
    let tables = Tables::of(&world);
    assert_eq!((tables.queued.len(), tables.received.len()), (4, 0));
    assert_eq!(tables.retained["t/r"], b"y");
    let sub = world.connect(&connect(version, "sub").persistent());
    world.settle();
    let tables = Tables::of(&world);
    assert_eq!((tables.queued.len(), tables.under_way.len()), (0, 4));
    for packet in world.received(sub) {
        if let Packet::Publish(Message { qos, packet_id, .. }) = packet {
            let id = packet_id;
            match qos {
                1 => world.send(sub, puback(id)),
                2 => {
                    world.send(sub, pubrec(id));
                    world.send(sub, pubcomp(id));
                }
                _ => {}
            }
        }
    }
    world.send(publisher, publish("t/r", "").retain().bytes(version));
    world.send(sub, unsubscribe(version, 9, &["t/#"]));
    world.settle();
    let tables = Tables::of(&world);
    assert!(
        tables.under_way.is_empty() && tables.queued.is_empty(),
        "{tables:?}"
    );
    assert!(tables.subscriptions.is_empty() && tables.retained.is_empty());
    world.send(sub, disconnect());
    world.connect(&connect(version, "sub"));
    world.settle();
    assert_eq!(Tables::of(&world).sessions.len(), 1, "the publisher's");
}

/// A broker that is killed between two turns finds each message of a group with the Session that ends or with another
/// member, however many there are.
#[test]
fn a_stored_session_that_ends_leaves_its_group_no_moment_without_its_messages() {
    const MESSAGES: usize = 5_000;
    let version = Version::V311;
    let mut world = world();
    let filter = "$share/g/t";
    absent_subscriber(&mut world, filter, 1);
    let publisher = world.connect(&connect(version, "p"));
    for id in 1..=MESSAGES {
        world.send(
            publisher,
            publish("t", "x").qos(1, id as u16).bytes(version),
        );
        world.settle();
    }
    let heir = world.connect(&connect(version, "heir").persistent());
    world.subscribe(heir, filter, 1);
    world.send(heir, disconnect());
    world.settle();
    assert_eq!(Tables::of(&world).queued.len(), MESSAGES);
    let before = world.changes.len();
    let again = world.connect(&connect(version, "sub"));
    world.settle();
    assert!(world.changes.len() > before, "the end is told");
    let mut tables = Tables::default();
    for (at, (_, _, changes)) in world.changes.iter().enumerate() {
        changes.iter().for_each(|change| tables.apply(change));
        if at >= before {
            assert_eq!(tables.queued.len(), MESSAGES);
        }
    }
    assert_eq!(tables.sessions.len(), 1, "the heir's");
    assert!(!world.is_closed(again));
}

/// How the Session of the first of two clients comes to its end.
type End = fn(&mut World, Client, Client);

/// The same of a Session that is resumed to end with its connection, that says so as it leaves, or that another
/// connection takes over with Clean Start.
#[test]
fn no_way_to_end_leaves_messages_of_a_group_with_nobody() {
    // More than a turn hands out by itself.
    const MESSAGES: usize = 8_000;
    let version = Version::V5;
    let ends: [(&str, End); 3] = [
        ("resumed without expiry", |world, sub, next| {
            world.cut(sub, CloseCause::PeerClosed);
            // Its queue leaves by parts, and most of it is still there.
            let mut again = connect(Version::V5, "sub").expiry(0);
            again.clean = false;
            world.send_past_stop(next, &again.bytes());
        }),
        ("leaves without expiry", |world, sub, _| {
            world.send(sub, disconnect_with(0, &session_expiry(0)));
        }),
        ("taken over", |world, _, next| {
            world.send(next, connect(Version::V5, "sub").bytes());
        }),
    ];
    for (name, end) in ends {
        let settings = Settings {
            session_queue_bytes_max: 2 << 20,
            ..with_store()
        };
        let mut world = World::with(1, Order::Fair, settings);
        let one_by_one = |client_id| {
            let connect = connect(version, client_id).persistent();
            connect.with(receive_maximum(1))
        };
        let filter = "$share/g/t";
        absent_subscriber(&mut world, filter, 1);
        let publisher = world.connect(&connect(version, "p"));
        let ids: Vec<u16> = (1..=MESSAGES as u16).collect();
        for some in ids.chunks(100) {
            let bytes = some.iter().flat_map(|id| {
                let message = publish("t", "x").qos(1, *id);
                message.bytes(version)
            });
            world.send(publisher, bytes.collect::<Vec<u8>>());
        }
        let sub = world.connect(&one_by_one("sub"));
        let heir = world.connect(&one_by_one("heir"));
        world.subscribe(heir, filter, 1);
        let next = world.open_at(0, version);
        assert_eq!(Tables::of(&world).deliveries(), MESSAGES);
        let before = world.changes.len();
        end(&mut world, sub, next);
        world.settle();
        let mut tables = Tables::default();
        for (at, (_, _, changes)) in world.changes.iter().enumerate() {
            changes.iter().for_each(|change| tables.apply(change));
            // The one that was sent may be with its Client, who goes on with it.
            let least = MESSAGES - 1;
            assert!(
                at < before || tables.deliveries() >= least,
                "{name}: {}",
                tables.deliveries()
            );
        }
        assert_eq!(tables.sessions.len(), 1, "{name}: the heir's");
    }
}

/// One shard after the other, as a store that keeps all of them.
fn changes_of(world: &World) -> Vec<Change> {
    let all = world.changes.iter();
    all.flat_map(|(_, _, changes)| changes.clone()).collect()
}

/// A Session that ends with its connection does so also by a takeover, so none is stored later than from its beginning.
#[test]
fn a_session_is_stored_from_its_beginning_or_never() {
    for version in [Version::V311, Version::V5] {
        let mut world = world();
        let sub = world.connect(&connect(version, "sub"));
        world.subscribe(sub, "t", 2);
        world.connect(&connect(version, "sub").persistent());
        world.settle();
        let tables = Tables::of(&world);
        assert_eq!(tables.sessions.len(), 1);
        assert!(tables.subscriptions.is_empty());
        assert_eq!(world.shard(0).sizes().2, 0, "nor are they in force");
    }
}

/// The will of a Client whose Session ends with its connection is stored alone, until it is published or taken back.
#[test]
fn wills_of_sessions_that_are_not_stored_are_stored_while_they_may_be_published() {
    let version = Version::V311;
    let mut world = world();
    let wills = |world: &World| Tables::of(world).wills.into_values().collect::<Vec<_>>();
    let goes = world.connect(&connect(version, "goes").will("w", "1", 1, false));
    let drops = world.connect(&connect(version, "drops").will("w", "2", 1, false));
    assert_eq!(wills(&world), ["goes", "drops"]);
    assert!(Tables::of(&world).sessions.is_empty());
    world.disconnect(goes);
    assert_eq!(wills(&world), ["drops"]);
    world.drop_connection(drops);
    assert_eq!(wills(&world), [""; 0]);
    let stays = world.connect(&connect(version, "s").will("w", "3", 1, false).persistent());
    assert_eq!(wills(&world), [""; 0], "it is in the Session");
    let has_will = |world: &World| {
        let sessions = changes_of(world)
            .into_iter()
            .filter_map(|change| match change {
                Change::Session {
                    will, connected, ..
                } => Some((will.is_some(), connected)),
                _ => None,
            });
        sessions.last()
    };
    assert_eq!(has_will(&world), Some((true, true)));
    world.drop_connection(stays);
    assert_eq!(has_will(&world), Some((false, false)));
}

#[test]
fn names_and_numbers_are_never_given_twice() {
    let version = Version::V311;
    let mut world = world();
    for round in 0..3 {
        absent_subscriber(&mut world, "t", 1);
        let publisher = world.connect(&connect(version, "p"));
        world.send(publisher, publish("t", "x").qos(1, 7).bytes(version));
        world.settle();
        let tables = Tables::of(&world);
        assert_eq!(tables.queued.len(), 1, "round {round}");
        let clean = world.connect(&connect(version, "sub"));
        world.disconnect(clean);
    }
    let names: BTreeSet<u64> = changes_of(&world)
        .iter()
        .filter_map(|change| match change {
            Change::SessionEnded { session } => Some(session.number()),
            _ => None,
        })
        .collect();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        [1 << 6, 2 << 6, 3 << 6]
    );
}

#[test]
fn a_retained_message_and_its_deletion_name_their_qos() {
    let mut world = World::with(3, Order::Fair, with_store());
    let publisher = world.connect(&connect(Version::V311, "p"));
    for (id, payload, qos) in [(1, "x", 1), (2, "", 2), (3, "y", 0), (4, "", 0)] {
        let message = publish("t", payload).qos(qos, id).retain();
        world.send(publisher, message.bytes(Version::V311));
        world.settle();
    }
    let said: Vec<(bool, u8)> = changes_of(&world)
        .iter()
        .map(|change| match change {
            Change::Retained { message, .. } => (true, message.qos as u8),
            Change::RetainedDeleted { qos, .. } => (false, *qos as u8),
            other => panic!("{other:?}"),
        })
        .collect();
    // Each once, although three shards have the message.
    assert_eq!(said, [(true, 1), (false, 2), (true, 0), (false, 0)]);
}

#[test]
fn without_a_store_nothing_is_handed_out() {
    let mut world = World::new(1);
    absent_subscriber(&mut world, "t", 1);
    let publisher = world.connect(&connect(Version::V311, "p"));
    world.send(publisher, publish("t", "x").qos(1, 7).bytes(Version::V311));
    world.settle();
    assert!(world.changes.is_empty());
}

/// Clients that come, take each other over, subscribe, publish and go in any order, beside a store that stops and goes
/// on: when all Sessions have ended, nothing is held anywhere, and the store's tables are empty.
#[test]
fn whatever_happens_nothing_is_left_here_or_in_the_store() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let shards = 1 + seed as usize % 3;
        let mut world = World::with(shards, Order::Seeded(seed), with_store());
        let mut clients: Vec<Client> = Vec::new();
        let mut packet_id = 0;
        for _ in 0..150 {
            packet_id += 1;
            let version = [Version::V311, Version::V5][random.below(2)];
            let filter = ["t/#", "t/1", "$share/g/t/1", "#", "$share/h/#"][random.below(5)];
            match random.below(9) {
                0 | 1 => {
                    let client = world.open(version);
                    let connect = connect(version, &format!("c{}", random.below(6)));
                    let connect = match random.below(4) {
                        0 => connect,
                        1 => connect.will("t/1", "will", 1, true),
                        _ => connect.persistent(),
                    };
                    if random.below(3) == 0 {
                        world.acknowledge_at_once(client);
                    }
                    let mut bytes = connect.bytes();
                    for _ in 0..random.below(3) {
                        packet_id += 1;
                        bytes.extend(subscribe(version, packet_id, &[(filter, 2)]));
                    }
                    if random.below(4) == 0 {
                        bytes.extend(disconnect());
                    }
                    world.send(client, bytes);
                    clients.push(client);
                }
                2 => world.store_stuck = true,
                3 => world.keep(),
                4 => world.lanes_held = !world.lanes_held,
                5 => world.advance(400 * random.below(4) as u64),
                _ if clients.is_empty() => {}
                _ => {
                    let client = clients[random.below(clients.len())];
                    let version = world.version(client);
                    let id = 1 + random.below(6) as u16;
                    let bytes = match random.below(12) {
                        0 => subscribe(version, packet_id, &[(filter, random.below(3) as u8)]),
                        1 => unsubscribe(version, packet_id, &[filter]),
                        2 => disconnect(),
                        3 => puback(id),
                        4 => pubrec(id),
                        5 => pubcomp(id),
                        6 => pubrel(id),
                        7 => {
                            world.drop_connection(client);
                            continue;
                        }
                        8 => publish("t/1", "").retain().bytes(version),
                        9 => publish("t/1", "r").qos(2, id).retain().bytes(version),
                        _ => publish("t/1", "x")
                            .qos(1 + random.below(2) as u8, id)
                            .bytes(version),
                    };
                    if world.is_open(client) {
                        world.send(client, bytes);
                    }
                }
            }
        }
        world.lanes_held = false;
        // Nothing of a connection that is gone waits for a store that has stopped.
        world.store_stuck = true;
        for client in clients {
            world.drop_connection(client);
        }
        world.advance(2 * mqttfast::limits::LAST_ANSWERS_MS);
        for shard in 0..shards {
            let of_connections = |(name, _): &(&str, usize)| name.starts_with("connections");
            let left = world.shard(shard).leftovers();
            assert!(!left.iter().any(of_connections), "seed {seed}: {left:?}");
        }
        world.keep();
        for number in 0..6 {
            let client = world.connect(&connect(Version::V311, &format!("c{number}")));
            world.publish(client, &publish("t/1", "").retain());
            world.disconnect(client);
        }
        world.advance(10_000);
        for shard in 0..shards {
            assert_eq!(world.shard(shard).sizes(), (0, 0, 0, 0), "seed {seed}");
            let mut tables = Tables::default();
            for (_, _, changes) in world.changes.iter().filter(|(of, _, _)| *of == shard) {
                changes.iter().for_each(|change| tables.apply(change));
            }
            let empty = tables.sessions.is_empty() && tables.subscriptions.is_empty();
            let empty = empty && tables.wills.is_empty();
            let idle = tables.queued.is_empty() && tables.under_way.is_empty();
            assert!(empty && idle, "seed {seed}: {tables:?}");
            assert!(tables.received.is_empty() && tables.retained.is_empty());
        }
        // The store's double held messages, which count for who published them.
        world.changes.clear();
        for number in 0..6 {
            let client = world.connect(&connect(Version::V311, &format!("c{number}")));
            world.disconnect(client);
        }
        world.advance(1_000);
        for shard in 0..shards {
            assert_eq!(world.shard(shard).leftovers(), [], "seed {seed}");
        }
    }
}
