//! Reads what the broker sends to a v5 Client, with everything in it: each property must be one that packet may carry,
//! once if it may stand once, with a value in its range; each Reason Code one of that packet's own. Written from the
//! specification's tables, independent of `mqttfast::wire`.

use super::oracle::{Message, Packet, Reader};
use super::packets::property::*;
use std::collections::HashMap;

/// The value of a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Number(u32),
    Text(String),
    Data(Vec<u8>),
    Pair(String, String),
}

/// A packet of the broker with all that v5 adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Full {
    /// The packet as every version knows it; a Topic Alias is resolved.
    pub packet: Packet,
    pub properties: Vec<(u8, Value)>,
    /// Fixed Header included.
    pub bytes: usize,
    /// The Topic Name of a PUBLISH stood in the packet, not only its alias.
    pub named: bool,
}

impl Full {
    pub fn has(&self, id: u8) -> bool {
        self.properties.iter().any(|(found, _)| *found == id)
    }

    /// The value of a property that is a number.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.properties
            .iter()
            .find_map(|(found, value)| match value {
                Value::Number(number) if *found == id => Some(*number),
                _ => None,
            })
    }

    /// The value of a property that is a string.
    pub fn text(&self, id: u8) -> Option<&str> {
        self.properties
            .iter()
            .find_map(|(found, value)| match value {
                Value::Text(text) if *found == id => Some(text.as_str()),
                _ => None,
            })
    }

    pub fn data(&self, id: u8) -> Option<&[u8]> {
        self.properties
            .iter()
            .find_map(|(found, value)| match value {
                Value::Data(data) if *found == id => Some(data.as_slice()),
                _ => None,
            })
    }

    pub fn user_properties(&self) -> Vec<(&str, &str)> {
        let pairs = self.properties.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        pairs.collect()
    }

    /// The Subscription Identifiers, sorted.
    pub fn identifiers(&self) -> Vec<u32> {
        let mut identifiers: Vec<u32> = self
            .properties
            .iter()
            .filter_map(|(id, value)| match value {
                Value::Number(number) if *id == SUBSCRIPTION_IDENTIFIER => Some(*number),
                _ => None,
            })
            .collect();
        identifiers.sort_unstable();
        identifiers
    }

    /// The message of a PUBLISH.
    #[track_caller]
    pub fn message(&self) -> &Message {
        self.packet.message().expect("a PUBLISH")
    }
}

/// What a Client told in CONNECT and the broker must keep to, and the aliases the broker has set.
pub struct Terms {
    pub packet_bytes_max: u32,
    pub topic_alias_maximum: u16,
    pub problem_information: bool,
    pub aliases: HashMap<u16, String>,
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            packet_bytes_max: u32::MAX,
            topic_alias_maximum: 0,
            problem_information: true,
            aliases: HashMap::new(),
        }
    }
}

impl Terms {
    /// As a CONNECT says; `None` if these bytes are not a whole one, or a wrong one.
    pub fn of_connect(bytes: &[u8]) -> Option<Terms> {
        let (first, rest) = bytes.split_first()?;
        let mut rest = Rest(rest);
        rest.variable()?;
        let name_bytes = rest.number(2)?;
        rest.take(name_bytes as usize)?;
        // Level, flags and Keep Alive.
        rest.take(4)?;
        let length = rest.variable()?;
        let properties = rest.take(length)?;
        (*first == 0x10).then(|| Terms::of(properties))?
    }

    fn of(properties: &[u8]) -> Option<Terms> {
        let mut terms = Terms::default();
        let mut rest = Rest(properties);
        while !rest.0.is_empty() {
            match rest.number(1)? as u8 {
                // 0 is no limit but a mistake.
                MAXIMUM_PACKET_SIZE => match rest.number(4)? {
                    0 => return None,
                    bytes => terms.packet_bytes_max = bytes,
                },
                TOPIC_ALIAS_MAXIMUM => terms.topic_alias_maximum = rest.number(2)? as u16,
                REQUEST_PROBLEM_INFORMATION => terms.problem_information = rest.number(1)? == 1,
                REQUEST_RESPONSE_INFORMATION => drop(rest.number(1)?),
                RECEIVE_MAXIMUM => drop(rest.number(2)?),
                SESSION_EXPIRY_INTERVAL => drop(rest.number(4)?),
                USER_PROPERTY => {
                    for _ in 0..2 {
                        let length = rest.number(2)?;
                        rest.take(length as usize)?;
                    }
                }
                // Strings and data.
                _ => {
                    let length = rest.number(2)?;
                    rest.take(length as usize)?;
                }
            }
        }
        Some(terms)
    }
}

/// What is left of a Client's bytes, which may be wrong.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u32> {
        let bytes = self.take(bytes)?;
        Some(bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn variable(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.number(1)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value as usize);
            }
        }
        None
    }
}

/// Properties a server may put into a packet, by packet type.
fn allowed(packet_type: u8) -> &'static [u8] {
    match packet_type {
        2 => &[
            SESSION_EXPIRY_INTERVAL,
            ASSIGNED_CLIENT_IDENTIFIER,
            SERVER_KEEP_ALIVE,
            AUTHENTICATION_METHOD,
            AUTHENTICATION_DATA,
            RESPONSE_INFORMATION,
            SERVER_REFERENCE,
            REASON_STRING,
            RECEIVE_MAXIMUM,
            TOPIC_ALIAS_MAXIMUM,
            MAXIMUM_QOS,
            RETAIN_AVAILABLE,
            USER_PROPERTY,
            MAXIMUM_PACKET_SIZE,
            WILDCARD_SUBSCRIPTION_AVAILABLE,
            SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            SHARED_SUBSCRIPTION_AVAILABLE,
        ],
        3 => &[
            PAYLOAD_FORMAT_INDICATOR,
            MESSAGE_EXPIRY_INTERVAL,
            CONTENT_TYPE,
            RESPONSE_TOPIC,
            CORRELATION_DATA,
            SUBSCRIPTION_IDENTIFIER,
            TOPIC_ALIAS,
            USER_PROPERTY,
        ],
        14 => &[SERVER_REFERENCE, REASON_STRING, USER_PROPERTY],
        15 => &[
            AUTHENTICATION_METHOD,
            AUTHENTICATION_DATA,
            REASON_STRING,
            USER_PROPERTY,
        ],
        _ => &[REASON_STRING, USER_PROPERTY],
    }
}

/// Reason Codes a server may put into a packet, by packet type.
fn codes(packet_type: u8) -> &'static [u8] {
    match packet_type {
        2 => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90,
            0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
        ],
        4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        6 | 7 => &[0x00, 0x92],
        9 => &[
            0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
        ],
        11 => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
        14 => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        ],
        15 => &[0x00, 0x18],
        _ => &[],
    }
}

fn read_properties(packet_type: u8, body: &mut Reader<'_>) -> Vec<(u8, Value)> {
    let length = body.variable_byte_integer();
    let mut block = Reader(body.take(length));
    let mut properties: Vec<(u8, Value)> = Vec::new();
    while !block.0.is_empty() {
        let id = block.u8();
        assert!(
            allowed(packet_type).contains(&id),
            "property {id:#04x} in packet type {packet_type}"
        );
        let repeatable = id == USER_PROPERTY || id == SUBSCRIPTION_IDENTIFIER;
        assert!(
            repeatable || properties.iter().all(|(other, _)| *other != id),
            "property {id:#04x} twice in packet type {packet_type}"
        );
        let flag = |value: u8| {
            assert!(value <= 1, "property {id:#04x} is {value}");
            Value::Number(u32::from(value))
        };
        let value = match id {
            PAYLOAD_FORMAT_INDICATOR
            | MAXIMUM_QOS
            | RETAIN_AVAILABLE
            | WILDCARD_SUBSCRIPTION_AVAILABLE
            | SUBSCRIPTION_IDENTIFIER_AVAILABLE
            | SHARED_SUBSCRIPTION_AVAILABLE => flag(block.u8()),
            RECEIVE_MAXIMUM | TOPIC_ALIAS => {
                let value = block.u16();
                assert!(value != 0, "property {id:#04x} is 0");
                Value::Number(u32::from(value))
            }
            SERVER_KEEP_ALIVE | TOPIC_ALIAS_MAXIMUM => Value::Number(u32::from(block.u16())),
            MESSAGE_EXPIRY_INTERVAL | SESSION_EXPIRY_INTERVAL => Value::Number(block.u32()),
            MAXIMUM_PACKET_SIZE => {
                let value = block.u32();
                assert!(value != 0, "Maximum Packet Size 0");
                Value::Number(value)
            }
            SUBSCRIPTION_IDENTIFIER => {
                let value = block.variable_byte_integer();
                assert!(value != 0, "Subscription Identifier 0");
                Value::Number(value as u32)
            }
            CORRELATION_DATA | AUTHENTICATION_DATA => {
                let length = usize::from(block.u16());
                Value::Data(block.take(length).to_vec())
            }
            USER_PROPERTY => Value::Pair(block.string(), block.string()),
            _ => Value::Text(block.string()),
        };
        properties.push((id, value));
    }
    properties
}

/// Reads one whole packet: first byte, what follows its Fixed Header, and its whole size.
pub fn parse(first: u8, body: &[u8], bytes: usize, terms: &mut Terms) -> Full {
    let packet_type = first >> 4;
    assert!(
        bytes <= terms.packet_bytes_max as usize,
        "{bytes} bytes in packet type {packet_type} [MQTT-3.1.2-24]"
    );
    let mut body = Reader(body);
    let mut properties = Vec::new();
    let mut named = false;
    let check = |code: u8| {
        let known = codes(packet_type).contains(&code);
        assert!(known, "code {code:#04x} in packet type {packet_type}");
        code
    };
    let packet = match packet_type {
        2 => {
            let acknowledge = body.u8();
            assert!(acknowledge <= 1, "acknowledge flags [MQTT-3.2.2-1]");
            let code = check(body.u8());
            let session_present = acknowledge == 1;
            assert!(code == 0 || !session_present, "[MQTT-3.2.2-6]");
            properties = read_properties(packet_type, &mut body);
            Packet::ConnAck {
                session_present,
                code,
            }
        }
        3 => {
            let message = parse_publish(first, &mut body, terms, &mut properties, &mut named);
            Packet::Publish(message)
        }
        4..=7 => {
            let packet_id = body.packet_id();
            let mut code = 0;
            if !body.0.is_empty() {
                code = check(body.u8());
            }
            if !body.0.is_empty() {
                properties = read_properties(packet_type, &mut body);
            }
            match packet_type {
                4 => Packet::PubAck { packet_id, code },
                5 => Packet::PubRec { packet_id, code },
                6 => Packet::PubRel { packet_id, code },
                _ => Packet::PubComp { packet_id, code },
            }
        }
        9 | 11 => {
            let packet_id = body.packet_id();
            properties = read_properties(packet_type, &mut body);
            let codes = body.rest();
            assert!(!codes.is_empty(), "an answer without codes");
            for code in &codes {
                check(*code);
            }
            if packet_type == 9 {
                Packet::SubAck { packet_id, codes }
            } else {
                Packet::UnsubAck { packet_id, codes }
            }
        }
        13 => Packet::PingResp,
        14 => {
            let mut code = 0;
            if !body.0.is_empty() {
                code = check(body.u8());
            }
            if !body.0.is_empty() {
                properties = read_properties(packet_type, &mut body);
            }
            Packet::Disconnect { code }
        }
        _ => panic!("packet type {packet_type} from the broker"),
    };
    assert!(body.0.is_empty(), "bytes left over in {packet:?}");
    let full = Full {
        packet,
        properties,
        bytes,
        named,
    };
    let tells_problems = full.has(REASON_STRING) || (packet_type != 3 && full.has(USER_PROPERTY));
    assert!(
        !tells_problems || terms.problem_information || matches!(packet_type, 2 | 14),
        "{full:?} though Request Problem Information is 0 [MQTT-3.1.2-29]"
    );
    full
}

fn parse_publish(
    first: u8,
    body: &mut Reader<'_>,
    terms: &mut Terms,
    properties: &mut Vec<(u8, Value)>,
    named: &mut bool,
) -> Message {
    let qos = first >> 1 & 3;
    let dup = first & 8 != 0;
    assert!(qos < 3, "QoS 3 from the broker [MQTT-3.3.1-4]");
    assert!(qos > 0 || !dup, "DUP with QoS 0 [MQTT-3.3.1-2]");
    let mut topic = body.string();
    let packet_id = if qos > 0 { body.packet_id() } else { 0 };
    *properties = read_properties(3, body);
    *named = !topic.is_empty();
    let alias = properties.iter().find_map(|(id, value)| match value {
        Value::Number(number) if *id == TOPIC_ALIAS => Some(*number as u16),
        _ => None,
    });
    if let Some(alias) = alias {
        assert!(
            alias <= terms.topic_alias_maximum,
            "alias {alias} above the Client's {} [MQTT-3.3.2-11]",
            terms.topic_alias_maximum
        );
        if *named {
            terms.aliases.insert(alias, topic.clone());
        } else {
            topic = terms.aliases.get(&alias).expect("a known alias").clone();
        }
    }
    assert!(!topic.is_empty(), "neither Topic Name nor alias");
    assert!(
        !topic.contains(['+', '#']),
        "wildcards in a Topic Name [MQTT-3.3.2-2]"
    );
    Message {
        topic,
        payload: body.rest(),
        qos,
        retain: first & 1 != 0,
        dup,
        packet_id,
    }
}
