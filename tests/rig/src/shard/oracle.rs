//! Reads what the broker sent. Written from the specification's figures, independent of `mqttfast::wire`; whatever a
//! server may not send is a panic here, so every test also checks the form of every packet it receives.

use super::packets::Version;
use super::v5::{self, Full, Terms};
use std::fmt;

/// An Application Message as a subscriber sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// Zero for QoS 0.
    pub packet_id: u16,
}

impl Message {
    /// The payload as text, for short comparisons.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.payload[..self.payload.len().min(32)];
        write!(
            f,
            "PUBLISH {:?} {:?} ({} bytes) QoS {} id {}{}{}",
            self.topic,
            String::from_utf8_lossy(shown),
            self.payload.len(),
            self.qos,
            self.packet_id,
            if self.retain { " RETAIN" } else { "" },
            if self.dup { " DUP" } else { "" },
        )
    }
}

/// A packet of the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    ConnAck {
        session_present: bool,
        code: u8,
    },
    Publish(Message),
    PubAck {
        packet_id: u16,
        code: u8,
    },
    PubRec {
        packet_id: u16,
        code: u8,
    },
    PubRel {
        packet_id: u16,
        code: u8,
    },
    PubComp {
        packet_id: u16,
        code: u8,
    },
    SubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    UnsubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    PingResp,
    /// v5 only.
    Disconnect {
        code: u8,
    },
}

impl Packet {
    /// PUBACK and the like with reason code 0.
    pub fn puback(packet_id: u16) -> Packet {
        Packet::PubAck { packet_id, code: 0 }
    }

    pub fn pubrec(packet_id: u16) -> Packet {
        Packet::PubRec { packet_id, code: 0 }
    }

    pub fn pubrel(packet_id: u16) -> Packet {
        Packet::PubRel { packet_id, code: 0 }
    }

    pub fn pubcomp(packet_id: u16) -> Packet {
        Packet::PubComp { packet_id, code: 0 }
    }

    pub fn message(&self) -> Option<&Message> {
        match self {
            Packet::Publish(message) => Some(message),
            _ => None,
        }
    }
}

/// Bytes of one packet, read from the front.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            self.0.len() >= count,
            "the broker's packet ends inside a field"
        );
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn u16(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    pub fn packet_id(&mut self) -> u16 {
        let packet_id = self.u16();
        assert!(packet_id != 0, "Packet Identifier 0 from the broker");
        packet_id
    }

    pub fn string(&mut self) -> String {
        let length = usize::from(self.u16());
        let text = std::str::from_utf8(self.take(length)).expect("a string of the broker is UTF-8");
        assert!(!text.contains('\0'), "U+0000 in a string of the broker");
        text.to_owned()
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn variable_byte_integer(&mut self) -> usize {
        let (value, bytes) = variable_byte_integer(self.0).expect("a variable byte integer");
        self.take(bytes);
        value
    }

    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

/// Value and size of a variable byte integer; `None` if it is not complete.
fn variable_byte_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        assert!(index < 4, "a variable byte integer of more than four bytes");
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            assert!(
                index == 0 || *byte != 0,
                "a variable byte integer longer than needed"
            );
            return Some((value, index + 1));
        }
    }
    None
}

/// Takes one whole packet off the front of `bytes`, in v5 with everything in it; `None` until it is complete.
pub fn take_packet(
    version: Version,
    bytes: &mut Vec<u8>,
    terms: &mut Terms,
) -> Option<(Packet, Option<Full>)> {
    if bytes.is_empty() {
        return None;
    }
    let (length, length_bytes) = variable_byte_integer(&bytes[1..])?;
    let end = 1 + length_bytes + length;
    if bytes.len() < end {
        return None;
    }
    let (first, body) = (bytes[0], &bytes[1 + length_bytes..end]);
    check_flags(first);
    let taken = if version == Version::V5 {
        let full = v5::parse(first, body, end, terms);
        (full.packet.clone(), Some(full))
    } else {
        (parse(version, first, body), None)
    };
    bytes.drain(..end);
    Some(taken)
}

fn check_flags(first: u8) {
    let flags = first & 0x0f;
    let packet_type = first >> 4;
    let flags_wanted = match packet_type {
        3 => flags,
        6 => 0b0010,
        _ => 0,
    };
    assert_eq!(
        flags, flags_wanted,
        "reserved flags of packet type {packet_type} [3.1.1 MQTT-2.2.2-1, 5.0 MQTT-2.1.3-1]"
    );
}

/// A packet to a Client of 3.1 or 3.1.1.
fn parse(version: Version, first: u8, body: &[u8]) -> Packet {
    let flags = first & 0x0f;
    let packet_type = first >> 4;
    let mut body = Reader(body);
    let packet = match packet_type {
        2 => {
            let acknowledge = body.u8();
            assert!(acknowledge <= 1, "reserved CONNACK flags");
            assert!(
                acknowledge == 0 || version != Version::V31,
                "3.1 has no Session Present"
            );
            let code = body.u8();
            assert!(code <= 5, "CONNACK return code {code}");
            assert!(
                code == 0 || acknowledge == 0,
                "Session Present with a refusal [3.1.1 MQTT-3.2.2-4]"
            );
            Packet::ConnAck {
                session_present: acknowledge == 1,
                code,
            }
        }
        3 => {
            let qos = flags >> 1 & 3;
            let dup = flags & 8 != 0;
            assert!(qos < 3, "QoS 3 from the broker");
            assert!(qos > 0 || !dup, "DUP with QoS 0 [3.1.1 MQTT-3.3.1-2]");
            let topic = body.string();
            assert!(!topic.is_empty(), "an empty Topic Name from the broker");
            assert!(
                !topic.contains(['+', '#']),
                "wildcards in a Topic Name [3.1.1 MQTT-3.3.2-2]"
            );
            let packet_id = if qos > 0 { body.packet_id() } else { 0 };
            Packet::Publish(Message {
                topic,
                payload: body.rest(),
                qos,
                retain: flags & 1 != 0,
                dup,
                packet_id,
            })
        }
        4..=7 => {
            let packet_id = body.packet_id();
            let code = 0;
            match packet_type {
                4 => Packet::PubAck { packet_id, code },
                5 => Packet::PubRec { packet_id, code },
                6 => Packet::PubRel { packet_id, code },
                _ => Packet::PubComp { packet_id, code },
            }
        }
        9 => {
            let packet_id = body.packet_id();
            let codes = body.rest();
            assert!(!codes.is_empty(), "a SUBACK without codes");
            for code in &codes {
                let allowed = *code <= 2 || (version == Version::V311 && *code == 0x80);
                assert!(allowed, "SUBACK code {code:#x} [3.1.1 MQTT-3.9.3-2]");
            }
            Packet::SubAck { packet_id, codes }
        }
        11 => Packet::UnsubAck {
            packet_id: body.packet_id(),
            codes: Vec::new(),
        },
        13 => Packet::PingResp,
        _ => panic!("a server never sends packet type {packet_type} to a {version:?} Client"),
    };
    assert!(body.0.is_empty(), "bytes left over in {packet:?}");
    packet
}
