//! Builders of what a Client sends, right and wrong alike. Plain byte pushing, independent of `mqttfast::wire`.

#[path = "packets5.rs"]
mod packets5;
pub use packets5::*;

/// A protocol version a Client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V31,
    V311,
    V5,
}

use Version::{V5, V31, V311};

/// Both versions before 5.0.
pub const V3: &[Version] = &[V31, V311];
/// Statements of 3.1.1 that 5.0 repeats and 3.1 does not know.
pub const FROM_V311: &[Version] = &[V311, V5];
/// Statements that hold everywhere.
pub const ALL: &[Version] = &[V31, V311, V5];
/// Statements of 3.1.1 alone.
pub const ONLY_V311: &[Version] = &[V311];
/// Statements of 5.0 alone.
pub const ONLY_V5: &[Version] = &[V5];

/// Strings that are not well-formed UTF-8: a lone lead byte, overlong forms, surrogates, beyond U+10FFFF, cut
/// characters.
pub const ILL_FORMED: &[&[u8]] = &[
    b"a\xc3(b",
    b"\xff",
    b"a\x80",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"a/\xed\xbf\xbf/b",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xe2\x82",
];

/// Remaining Length as a variable byte integer.
pub fn remaining_length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A whole packet from its first byte and what follows the Fixed Header.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(remaining_length(body.len()));
    bytes.extend(body);
    bytes
}

/// A string or binary field: two bytes of length, then the bytes as they are.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// The packet with another low nibble of its first byte.
pub fn with_flags(mut packet: Vec<u8>, flags: u8) -> Vec<u8> {
    packet[0] = (packet[0] & 0xf0) | flags;
    packet
}

/// The properties of a v5 packet that has none; nothing in other versions.
fn no_properties(version: Version) -> &'static [u8] {
    if version == V5 { &[0] } else { &[] }
}

/// A CONNECT. The fields that a peer may get wrong are bytes, and `flags` may be bent at the end.
#[derive(Clone)]
pub struct Connect {
    pub version: Version,
    pub protocol_name: Vec<u8>,
    pub protocol_level: u8,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub client_id: Vec<u8>,
    pub will: Option<Will>,
    pub user_name: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// Bits of the connect flags to turn over, against what the fields say.
    pub flags_xor: u8,
    /// Bytes after the last field.
    pub surplus: Vec<u8>,
    /// v5: Session Expiry Interval, where it is not the one that `clean` stands for.
    pub expiry_s: Option<u32>,
    /// v5: further properties, and those of the will.
    pub properties: Vec<u8>,
    pub will_properties: Vec<u8>,
}

#[derive(Clone)]
pub struct Will {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

/// Builds a CONNECT with Clean Session 1, Keep Alive 0 and nothing optional.
pub fn connect(version: Version, client_id: &str) -> Connect {
    let (name, level): (&[u8], u8) = match version {
        V31 => (b"MQIsdp", 3),
        V311 => (b"MQTT", 4),
        V5 => (b"MQTT", 5),
    };
    Connect {
        version,
        protocol_name: name.to_vec(),
        protocol_level: level,
        clean: true,
        keep_alive_s: 0,
        client_id: client_id.into(),
        will: None,
        user_name: None,
        password: None,
        flags_xor: 0,
        surplus: Vec::new(),
        expiry_s: None,
        properties: Vec::new(),
        will_properties: Vec::new(),
    }
}

impl Connect {
    /// Clean Session 0; in v5 with a Session Expiry Interval that never ends.
    pub fn persistent(mut self) -> Self {
        self.clean = false;
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    pub fn will(mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Self {
        self.will = Some(Will {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain,
        });
        self
    }

    pub fn will_topic(mut self, topic: &[u8]) -> Self {
        self.will = Some(Will {
            topic: topic.to_vec(),
            payload: b"will".to_vec(),
            qos: 0,
            retain: false,
        });
        self
    }

    pub fn user(mut self, name: &[u8]) -> Self {
        self.user_name = Some(name.to_vec());
        self
    }

    pub fn password(mut self, password: &[u8]) -> Self {
        self.password = Some(password.to_vec());
        self
    }

    pub fn xor_flags(mut self, bits: u8) -> Self {
        self.flags_xor = bits;
        self
    }

    pub fn protocol(mut self, name: &[u8], level: u8) -> Self {
        self.protocol_name = name.to_vec();
        self.protocol_level = level;
        self
    }

    pub fn id_bytes(mut self, client_id: &[u8]) -> Self {
        self.client_id = client_id.to_vec();
        self
    }

    pub fn surplus(mut self, bytes: &[u8]) -> Self {
        self.surplus = bytes.to_vec();
        self
    }

    /// v5: this Session Expiry Interval.
    pub fn expiry(mut self, seconds: u32) -> Self {
        self.expiry_s = Some(seconds);
        self
    }

    /// v5: one more property.
    pub fn with(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    /// v5: one more property of the will.
    pub fn will_with(mut self, property: Vec<u8>) -> Self {
        self.will_properties.extend(property);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6;
        flags |= u8::from(self.user_name.is_some()) << 7;
        let mut body = field(&self.protocol_name);
        body.push(self.protocol_level);
        body.push(flags ^ self.flags_xor);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == V5 {
            let mut properties = self.properties.clone();
            match self.expiry_s {
                Some(seconds) => properties.extend(session_expiry(seconds)),
                None if !self.clean => properties.extend(session_expiry(u32::MAX)),
                None => (),
            }
            body.extend(with_length(&properties));
        }
        body.extend(field(&self.client_id));
        if let Some(will) = &self.will {
            if self.version == V5 {
                body.extend(with_length(&self.will_properties));
            }
            body.extend(field(&will.topic));
            body.extend(field(&will.payload));
        }
        if let Some(user_name) = &self.user_name {
            body.extend(field(user_name));
        }
        if let Some(password) = &self.password {
            body.extend(field(password));
        }
        body.extend(&self.surplus);
        packet(0x10, &body)
    }
}

/// A PUBLISH of a Client.
#[derive(Clone)]
pub struct Publish {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub packet_id: u16,
    pub retain: bool,
    pub dup: bool,
    /// v5.
    pub properties: Vec<u8>,
}

/// Builds a PUBLISH of QoS 0.
pub fn publish(topic: &str, payload: impl AsRef<[u8]>) -> Publish {
    Publish {
        topic: topic.into(),
        payload: payload.as_ref().to_vec(),
        qos: 0,
        packet_id: 0,
        retain: false,
        dup: false,
        properties: Vec::new(),
    }
}

impl Publish {
    pub fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.qos = qos;
        self.packet_id = packet_id;
        self
    }

    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// v5: one more property.
    pub fn with(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    pub fn topic_bytes(mut self, topic: &[u8]) -> Self {
        self.topic = topic.to_vec();
        self
    }

    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if version == V5 {
            body.extend(with_length(&self.properties));
        }
        body.extend(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        packet(0x30 | flags, &body)
    }
}

/// A SUBSCRIBE with raw filters and raw option bytes.
pub fn subscribe_bytes(version: Version, packet_id: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(no_properties(version));
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<(&[u8], u8)> = filters
        .iter()
        .map(|(filter, qos)| (filter.as_bytes(), *qos))
        .collect();
    subscribe_bytes(version, packet_id, &filters)
}

pub fn unsubscribe_bytes(version: Version, packet_id: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(no_properties(version));
    for filter in filters {
        body.extend(field(filter));
    }
    packet(0xa2, &body)
}

pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<&[u8]> = filters.iter().map(|filter| filter.as_bytes()).collect();
    unsubscribe_bytes(version, packet_id, &filters)
}

// The acknowledgements look alike in all versions: v5 may stop after the Packet Identifier.

pub fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

pub fn pubrec(packet_id: u16) -> Vec<u8> {
    packet(0x50, &packet_id.to_be_bytes())
}

pub fn pubrel(packet_id: u16) -> Vec<u8> {
    packet(0x62, &packet_id.to_be_bytes())
}

pub fn pubcomp(packet_id: u16) -> Vec<u8> {
    packet(0x70, &packet_id.to_be_bytes())
}

pub fn pingreq() -> Vec<u8> {
    vec![0xc0, 0x00]
}

pub fn disconnect() -> Vec<u8> {
    vec![0xe0, 0x00]
}
