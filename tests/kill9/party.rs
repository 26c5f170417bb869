//! Clients that behave, and keep their side of their Sessions over the ends of brokers. Each notes when it did and
//! heard what, so that its state at any earlier moment can be had again.

use mqttfast_rig::process as support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::disk::now_ns;
use support::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Published, acknowledgement, publish,
};
use support::{Answer, Broker, Client, DEADLINE};

/// Messages that a publisher has under way at a time, at most.
pub const UNDER_WAY: u16 = 16;
/// Topics with a retained message.
pub const RETAINED: u64 = 4;

/// What a publisher did or heard.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It gave a message of QoS 2 to the broker: number and Packet Identifier.
    Began(u64, u16),
    /// PUBACK or PUBREC came.
    Acknowledged(u64, u16),
    /// PUBCOMP came.
    Completed(u16),
}

/// What one publisher has done: the numbers it began with and those that were acknowledged.
#[derive(Clone, Default)]
pub struct Said {
    pub next: u64,
    pub acknowledged: BTreeSet<u64>,
    /// QoS 2: numbers by Packet Identifier, and whether PUBREC came.
    pub under_way: BTreeMap<u16, (u64, bool)>,
    steps: Vec<(u64, Step)>,
}

impl Said {
    fn note(&mut self, step: Step) {
        self.take(step);
        self.steps.push((now_ns(), step));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Began(number, id) => {
                self.under_way.insert(id, (number, false));
            }
            Step::Acknowledged(number, id) => {
                self.acknowledged.insert(number);
                if let Some(entry) = self.under_way.get_mut(&id) {
                    entry.1 = true;
                }
            }
            Step::Completed(id) => {
                self.under_way.remove(&id);
            }
        }
    }

    /// As it was then. Numbers that came later are not given again.
    pub fn at(&self, ns: u64) -> Said {
        let mut then = Said {
            next: self.next,
            ..Said::default()
        };
        for (_, step) in self.steps.iter().take_while(|(at, _)| *at < ns) {
            then.take(*step);
        }
        then
    }

    /// When a number of QoS 2 was given to the broker.
    pub fn began_at(&self, number: u64) -> Option<u64> {
        let mut steps = self.steps.iter();
        steps.find_map(|(at, step)| match step {
            Step::Began(of, _) if *of == number => Some(*at),
            _ => None,
        })
    }

    /// When a number was acknowledged.
    pub fn acknowledged_at(&self, number: u64) -> Option<u64> {
        let mut steps = self.steps.iter();
        steps.find_map(|(at, step)| match step {
            Step::Acknowledged(of, _) if *of == number => Some(*at),
            _ => None,
        })
    }
}

/// How a publisher goes on: so many messages at a time, and a rest between.
#[derive(Clone, Copy)]
pub struct Pace {
    pub under_way: u16,
    pub rest: Duration,
}

/// As fast as the broker takes them.
pub const FAST: Pace = Pace {
    under_way: UNDER_WAY,
    rest: Duration::ZERO,
};

/// A Session that outlives its connection.
pub fn come_back(broker: &Broker, client_id: &str) -> (Client, bool) {
    let connect = Connect {
        client_id: client_id.as_bytes(),
        clean_session: false,
        ..Connect::default()
    };
    Client::connect_with(broker, &connect)
}

/// Publishes at QoS 1 until the broker is gone. Number `n` is retained on topic `n % RETAINED` where `retain` says so.
pub fn publish_qos1(
    mut client: Client,
    mut said: Said,
    topic: &str,
    retain: bool,
    pace: Pace,
) -> Said {
    loop {
        let first = said.next;
        let mut bytes = Vec::new();
        for packet_id in 1..=pace.under_way {
            let number = said.next;
            said.next += 1;
            let topic = format!("{topic}/{}", number % RETAINED);
            let packet = publish(topic.as_bytes(), &payload(number), 1, packet_id, retain);
            bytes.extend(packet);
        }
        if !client.try_send(&bytes) {
            return said;
        }
        for packet_id in 1..=pace.under_way {
            match client.answer(DEADLINE) {
                Answer::Packet(packet) => {
                    assert_eq!(packet, acknowledgement(PUBACK, packet_id));
                    let number = first + u64::from(packet_id) - 1;
                    said.note(Step::Acknowledged(number, 0));
                }
                Answer::Closed => return said,
                Answer::Silence => panic!("no PUBACK"),
            }
        }
        std::thread::sleep(pace.rest);
    }
}

/// A last message on `plain` and a last retained one on `kept`, by whose arrival a subscriber knows that it has all.
pub fn say_last(broker: &Broker, plain: &mut Said, kept: &mut Said) {
    let mut client = Client::connect(broker, "last");
    for (said, topic, retain) in [(plain, "plain/0", false), (kept, "kept/0", true)] {
        said.next = said.next.next_multiple_of(RETAINED);
        client.publish(topic, said.next.to_string().as_bytes(), 1, retain);
        said.acknowledged.insert(said.next);
        said.next += 1;
    }
    client.disconnect();
}

/// Publishes at QoS 2 until the broker is gone, or for `rounds`. What was under way is completed first.
pub fn publish_qos2(
    client: &mut Client,
    said: &mut Said,
    topic: &str,
    mut rounds: usize,
    pace: Pace,
) {
    // As a Client that resumes its Session does. [v3.1.1 MQTT-4.4.0-1]
    let mut bytes = Vec::new();
    for (packet_id, (number, received)) in &said.under_way {
        if *received {
            bytes.extend(acknowledgement(PUBREL, *packet_id));
        } else {
            let mut packet = publish(topic.as_bytes(), &payload(*number), 2, *packet_id, false);
            packet[0] |= 0x08;
            bytes.extend(packet);
        }
    }
    loop {
        if said.under_way.is_empty() {
            if rounds == 0 {
                return;
            }
            rounds -= 1;
            std::thread::sleep(pace.rest);
            for packet_id in 1..=pace.under_way {
                let number = said.next;
                said.next += 1;
                said.note(Step::Began(number, packet_id));
                bytes.extend(publish(
                    topic.as_bytes(),
                    &payload(number),
                    2,
                    packet_id,
                    false,
                ));
            }
        }
        if !client.try_send(&std::mem::take(&mut bytes)) {
            return;
        }
        while !said.under_way.is_empty() {
            let packet = match client.answer(DEADLINE) {
                Answer::Packet(packet) => packet,
                Answer::Closed => return,
                Answer::Silence => panic!("no answer for {:?}", said.under_way),
            };
            let packet_id = u16::from_be_bytes([packet[2], packet[3]]);
            let (number, _) = said.under_way[&packet_id];
            if packet[0] == PUBREC {
                said.note(Step::Acknowledged(number, packet_id));
                if !client.try_send(&acknowledgement(PUBREL, packet_id)) {
                    return;
                }
            } else {
                assert_eq!(packet, acknowledgement(PUBCOMP, packet_id));
                said.note(Step::Completed(packet_id));
            }
        }
    }
}

/// What a subscriber took or heard.
#[derive(Clone, Debug)]
enum Came {
    Message {
        topic: String,
        number: u64,
        qos: u8,
        packet_id: u16,
    },
    Released(u16),
}

/// What a subscriber has had.
#[derive(Clone, Default)]
pub struct Heard {
    /// Topic and number, in the order in which they came. A repeat that its Packet Identifier shows is left out.
    pub messages: Vec<(String, u64)>,
    /// QoS 2: Packet Identifiers whose PUBREL is awaited.
    held: BTreeSet<u16>,
    came: Vec<(u64, Came)>,
}

impl Heard {
    fn note(&mut self, came: Came) {
        self.take(&came);
        self.came.push((now_ns(), came));
    }

    fn take(&mut self, came: &Came) {
        match came {
            Came::Message {
                topic,
                number,
                qos,
                packet_id,
            } => {
                // A repeat by its Packet Identifier is not handed to the application. [v3.1.1 MQTT-4.3.3-2]
                if *qos < 2 || self.held.insert(*packet_id) {
                    self.messages.push((topic.clone(), *number));
                }
            }
            Came::Released(id) => {
                self.held.remove(id);
            }
        }
    }

    /// As it was then.
    pub fn at(&self, ns: u64) -> Heard {
        let mut then = Heard::default();
        for (_, came) in self.came.iter().take_while(|(at, _)| *at < ns) {
            then.take(came);
        }
        then
    }

    /// Packet Identifiers of QoS 2 messages that came from one moment up to another.
    pub fn held_between(&self, from: u64, to: u64) -> BTreeSet<u16> {
        let between = self.came.iter().filter(|(at, _)| (from..to).contains(at));
        let ids = between.filter_map(|(_, came)| match came {
            Came::Message {
                qos: 2, packet_id, ..
            } => Some(*packet_id),
            _ => None,
        });
        ids.collect()
    }

    /// When a message of QoS 2 came first, and when its PUBREL did.
    pub fn steps_of(&self, topic: &str, number: u64) -> Vec<u64> {
        let mut came = self.came.iter();
        let first = came.find_map(|(at, came)| match came {
            Came::Message {
                topic: on,
                number: of,
                packet_id,
                ..
            } if on == topic && *of == number => Some((*at, *packet_id)),
            _ => None,
        });
        let Some((first, id)) = first else {
            return Vec::new();
        };
        let released = came
            .find_map(|(at, came)| matches!(came, Came::Released(of) if *of == id).then_some(*at));
        [first].into_iter().chain(released).collect()
    }

    /// The numbers of a topic.
    pub fn numbers(&self, topic: &str) -> Vec<u64> {
        let of = self.messages.iter().filter(|(on, _)| on == topic);
        of.map(|(_, number)| *number).collect()
    }

    /// Takes one packet and answers it. `false`: the broker is gone.
    fn hear(&mut self, client: &mut Client, packet: &[u8]) -> bool {
        let answer = if packet[0] == PUBREL {
            let packet_id = u16::from_be_bytes([packet[2], packet[3]]);
            self.note(Came::Released(packet_id));
            acknowledgement(PUBCOMP, packet_id)
        } else {
            let message = Published::read(packet).expect("a PUBLISH");
            let (topic, number) = of(&message);
            self.note(Came::Message {
                topic,
                number,
                qos: message.qos,
                packet_id: message.packet_id,
            });
            match message.qos {
                1 => acknowledgement(PUBACK, message.packet_id),
                2 => acknowledgement(PUBREC, message.packet_id),
                _ => panic!("QoS 0"),
            }
        };
        client.try_send(&answer)
    }

    /// Receives and acknowledges until the broker is gone.
    pub fn receive(&mut self, mut client: Client) {
        while let Answer::Packet(packet) = client.answer(DEADLINE) {
            if !self.hear(&mut client, &packet) {
                return;
            }
        }
    }

    /// Receives and acknowledges until the number `last` has come on each of its topics, and PUBREL of all but
    /// `forgotten`. `Err`: it does not come.
    pub fn receive_all(
        &mut self,
        client: &mut Client,
        last: &BTreeMap<&str, u64>,
        forgotten: &BTreeSet<u16>,
    ) -> Result<(), String> {
        let mut missing = last.clone();
        let mut seen = 0;
        while !missing.is_empty() || !self.held.is_subset(forgotten) {
            let Answer::Packet(packet) = client.answer(DEADLINE) else {
                return Err(format!(
                    "missing: {missing:?}, to be released: {:?}",
                    self.held
                ));
            };
            assert!(self.hear(client, &packet), "the broker is gone");
            for (topic, number) in &self.messages[seen..] {
                if missing.get(topic.as_str()) == Some(number) {
                    missing.remove(topic.as_str());
                }
            }
            seen = self.messages.len();
        }
        Ok(())
    }
}

/// A number and, for most, so much after it that pages fill.
fn payload(number: u64) -> Vec<u8> {
    let more = (number * 37 % 201) as usize;
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(payload.len() + more, b'.');
    payload
}

/// The first level of a topic, and the number.
pub fn of(message: &Published) -> (String, u64) {
    let first = message.topic.split('/').next().expect("a level").to_owned();
    let payload = std::str::from_utf8(&message.payload).expect("UTF-8");
    let number = payload.split(' ').next().expect("a word");
    (first, number.parse().expect("a number"))
}

/// The order of first receipts is that of numbers.
pub fn check_order(numbers: &[u64]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut highest = None;
    for number in numbers {
        if seen.insert(*number) {
            if highest.is_some_and(|highest| highest > *number) {
                return Err(format!("{number} came after {highest:?}"));
            }
            highest = Some(*number);
        }
    }
    Ok(())
}
