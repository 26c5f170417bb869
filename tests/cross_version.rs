//! Clients of MQTT 3.1, 3.1.1 and 5.0 that talk to each other: each QoS, live, retained and as a will, with Properties
//! for those who know them; and one session that speaks now this version, now that.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use support::packet::{Connect, Level, Will, acknowledgement, string};
use support::packet5::{self, Property};
use support::{Broker, Client, Published};

on_1_and_2_shards!(
    every_version_to_every_version_at_every_qos,
    retained_for_every_version,
    will_to_every_version,
    a_session_changes_its_version,
    a_takeover_by_another_version,
);

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    V31,
    V311,
    V5,
}

use Version::{V5, V31, V311};

const VERSIONS: [Version; 3] = [V31, V311, V5];

/// The Properties of the messages of v5 publishers: format, content type, response topic, correlation data, two user
/// properties.
const PROPERTIES: &[u8] =
    b"\x01\x01\x03\0\x04text\x08\0\x05reply\x09\0\x02\xFF\0\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";

/// A client of some version, accepted.
struct Speaker {
    client: Client,
    version: Version,
    session_present: bool,
}

impl Speaker {
    fn connect(broker: &Broker, version: Version, id: &str) -> Speaker {
        Speaker::connect_with(broker, version, id, true, None)
    }

    /// `clean`: a session of its own, without an end in v5 if it is not.
    fn connect_with(
        broker: &Broker,
        version: Version,
        id: &str,
        clean: bool,
        will: Option<(&str, u8)>,
    ) -> Speaker {
        let mut client = Client::open(broker);
        client.send(&match version {
            V5 => {
                let expiry: &[u8] = if clean { b"" } else { b"\x11\xFF\xFF\xFF\xFF" };
                let mut flags = u8::from(clean) << 1;
                let mut rest = Vec::new();
                if let Some((topic, qos)) = will {
                    flags |= 0x04 | qos << 3;
                    rest.push(PROPERTIES.len() as u8);
                    rest.extend(PROPERTIES);
                    string(&mut rest, topic.as_bytes());
                    string(&mut rest, b"gone");
                }
                packet5::connect(flags, 60, expiry, id.as_bytes(), &rest)
            }
            V31 | V311 => Connect {
                level: if version == V31 {
                    Level::V31
                } else {
                    Level::V311
                },
                client_id: id.as_bytes(),
                clean_session: clean,
                will: will.map(|(topic, qos)| Will {
                    topic,
                    payload: b"gone",
                    qos,
                    retain: false,
                }),
                ..Connect::default()
            }
            .bytes(),
        });
        let answer = client.packet();
        assert!(
            answer[0] == 0x20 && answer[3] == 0,
            "{version:?}: {answer:02x?}"
        );
        Speaker {
            client,
            version,
            session_present: answer[2] == 1,
        }
    }

    #[track_caller]
    fn subscribe(&mut self, filter: &str, qos: u8) {
        if self.version != V5 {
            return self.client.subscribe(filter, qos);
        }
        self.client
            .send(&packet5::subscribe(1, b"", filter.as_bytes(), qos));
        self.client.expect_packet(&[0x90, 4, 0, 1, 0, qos]);
    }

    /// Publishes, with `PROPERTIES` in v5, and completes the handshake.
    #[track_caller]
    fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        if self.version != V5 {
            return self.client.publish(topic, payload, qos, retain);
        }
        let id = if qos > 0 { self.client.packet_id() } else { 0 };
        let mut bytes = packet5::publish(topic.as_bytes(), payload, qos, id, PROPERTIES);
        bytes[0] |= u8::from(retain);
        self.client.send(&bytes);
        // What nobody has subscribed to is acknowledged with 0x10.
        let mut acknowledged = |first: u8| {
            let answer = self.client.packet();
            let told = answer.get(4).copied().unwrap_or(0);
            assert!(matches!(told, 0 | 0x10), "{answer:02x?}");
            assert_eq!((answer[0], &answer[2..4]), (first, &id.to_be_bytes()[..]));
        };
        match qos {
            0 => {}
            1 => acknowledged(0x40),
            _ => {
                acknowledged(0x50);
                self.client.send(&acknowledgement(0x62, id));
                self.client.expect_packet(&acknowledgement(0x70, id));
            }
        }
    }

    /// The next message, acknowledged, and its Properties.
    #[track_caller]
    fn receive(&mut self) -> (Published, Vec<Property>) {
        let mut message = self.client.receive();
        if self.version != V5 {
            return (message, Vec::new());
        }
        let properties = packet5::properties(&message.payload);
        message.payload.drain(..=usize::from(message.payload[0]));
        (message, properties)
    }

    /// Expects this message next, with the Properties of a v5 publisher if both know them.
    #[track_caller]
    fn expect(&mut self, from: Version, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        let (message, properties) = self.receive();
        let what = format!("{from:?} to {:?}", self.version);
        assert_eq!(message.topic, topic, "{what}");
        assert_eq!(message.payload, payload, "{what}");
        assert_eq!((message.qos, message.retain), (qos, retain), "{what}");
        let expected = match (from, self.version) {
            (V5, V5) => {
                let mut block = vec![PROPERTIES.len() as u8];
                block.extend(PROPERTIES);
                packet5::properties(&block)
            }
            _ => Vec::new(),
        };
        assert_eq!(properties, expected, "{what}");
    }
}

fn every_version_to_every_version_at_every_qos(shards: usize) {
    let broker = Broker::start(shards);
    let mut subscribers = Vec::new();
    for version in VERSIONS {
        for qos in 0..=2 {
            // Several of each, so that with two shards some share one with the publisher and some do not.
            for number in 0..3 {
                let id = format!("s{version:?}-{qos}-{number}");
                let mut subscriber = Speaker::connect(&broker, version, &id);
                subscriber.subscribe("from/+/+", qos);
                subscribers.push((subscriber, qos));
            }
        }
    }
    for version in VERSIONS {
        for number in 0..2 {
            let id = format!("p{version:?}-{number}");
            let mut publisher = Speaker::connect(&broker, version, &id);
            for published in 0..=2 {
                let topic = format!("from/{version:?}/{published}");
                let payload = format!("{number}");
                publisher.publish(&topic, payload.as_bytes(), published, false);
                for (subscriber, subscribed) in &mut subscribers {
                    let qos = published.min(*subscribed);
                    subscriber.expect(version, &topic, payload.as_bytes(), qos, false);
                }
            }
        }
    }
    for (subscriber, _) in &mut subscribers {
        subscriber.client.expect_alive();
    }
}

fn retained_for_every_version(shards: usize) {
    let broker = Broker::start(shards);
    for version in VERSIONS {
        let mut publisher = Speaker::connect(&broker, version, &format!("p{version:?}"));
        for qos in 0..=2 {
            publisher.publish(&format!("kept/{version:?}/{qos}"), b"value", qos, true);
        }
        publisher.client.expect_alive();
        for reader in VERSIONS {
            for qos in 0..=2 {
                let topic = format!("kept/{version:?}/{qos}");
                for number in 0..2 {
                    let id = format!("r{reader:?}{number}");
                    let mut subscriber = Speaker::connect(&broker, reader, &id);
                    // Through another filter than the topic itself, too.
                    let filter = if number == 0 {
                        topic.clone()
                    } else {
                        format!("+/{version:?}/{qos}")
                    };
                    subscriber.subscribe(&filter, 2);
                    subscriber.expect(version, &topic, b"value", qos, true);
                }
            }
        }
    }
}

fn will_to_every_version(shards: usize) {
    let broker = Broker::start(shards);
    let mut subscribers: Vec<Speaker> = VERSIONS
        .iter()
        .map(|version| Speaker::connect(&broker, *version, &format!("s{version:?}")))
        .collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("will/+", 2);
    }
    for version in VERSIONS {
        for qos in 0..=2 {
            let topic = format!("will/{version:?}");
            let id = format!("mortal-{qos}");
            drop(Speaker::connect_with(
                &broker,
                version,
                &id,
                true,
                Some((&topic, qos)),
            ));
            for subscriber in &mut subscribers {
                subscriber.expect(version, &topic, b"gone", qos, false);
            }
        }
    }
}

fn a_session_changes_its_version(shards: usize) {
    let broker = Broker::start(shards);
    let mut publisher = Speaker::connect(&broker, V5, "publisher");
    let mut first = Speaker::connect_with(&broker, V311, "changing", false, None);
    assert!(!first.session_present);
    first.subscribe("for/changing", 2);
    first.client.disconnect();
    for (number, version) in [V5, V311, V31, V5, V5, V31].into_iter().enumerate() {
        let payload = number.to_string();
        for qos in 1..=2 {
            publisher.publish("for/changing", payload.as_bytes(), qos, false);
        }
        let mut back = Speaker::connect_with(&broker, version, "changing", false, None);
        // 3.1 has no Session Present.
        assert_eq!(back.session_present, version != V31, "{version:?}");
        for qos in 1..=2 {
            back.expect(V5, "for/changing", payload.as_bytes(), qos, false);
        }
        publisher.publish("for/changing", b"live", 1, false);
        back.expect(V5, "for/changing", b"live", 1, false);
        back.client.disconnect();
    }
    // v5 ends it: an expiry of 0 in DISCONNECT.
    let mut last = Speaker::connect_with(&broker, V5, "changing", false, None);
    assert!(last.session_present);
    last.client.send(&packet5::disconnect(0, b"\x11\0\0\0\0"));
    last.client.expect_close();
    let new = Speaker::connect_with(&broker, V311, "changing", false, None);
    assert!(!new.session_present);
}

fn a_takeover_by_another_version(shards: usize) {
    let broker = Broker::start(shards);
    for id in ["taken-0", "taken-1", "taken-2"] {
        let mut v5 = Speaker::connect_with(&broker, V5, id, false, None);
        v5.subscribe("taken", 1);
        let mut v311 = Speaker::connect_with(&broker, V311, id, false, None);
        assert!(v311.session_present);
        // v5 is told why.
        let told = v5.client.packet();
        assert_eq!((told[0], told[2]), (0xE0, 0x8E));
        v5.client.expect_close();
        v311.client.expect_alive();
        let mut v5 = Speaker::connect_with(&broker, V5, id, false, None);
        assert!(v5.session_present);
        // 3.1.1 is not: it has no word for it.
        v311.client.expect_close();
        let mut publisher = Speaker::connect(&broker, V31, "publisher");
        publisher.publish("taken", id.as_bytes(), 1, false);
        v5.expect(V31, "taken", id.as_bytes(), 1, false);
        v5.client.send(&packet5::disconnect(0, b"\x11\0\0\0\0"));
        v5.client.expect_close();
    }
}
