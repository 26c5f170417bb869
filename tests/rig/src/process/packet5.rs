//! Control Packets of MQTT 5.0 as a test writes and reads them: plain bytes, valid or, where a test wants it, not. A
//! block of Properties is given without its length.

use super::packet::{packet, string};
use super::{Broker, Client};

// Properties.
pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub const REASON_STRING: u8 = 0x1F;
pub const RECEIVE_MAXIMUM: u8 = 0x21;
pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const USER_PROPERTY: u8 = 0x26;
pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// Identifier and value.
pub type Property = (u8, Vec<u8>);

/// Connect Flags of a Clean Start and nothing else.
pub const CLEAN_START: u8 = 0x02;

/// A block with its length before it.
pub fn property_block(block: &[u8]) -> Vec<u8> {
    packet(0, block).split_off(1)
}

/// A CONNECT; `rest` are the fields behind the client id that the flags announce.
pub fn connect(
    flags: u8,
    keep_alive_s: u16,
    block: &[u8],
    client_id: &[u8],
    rest: &[u8],
) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05".to_vec();
    body.push(flags);
    body.extend(keep_alive_s.to_be_bytes());
    body.extend(property_block(block));
    string(&mut body, client_id);
    body.extend(rest);
    packet(0x10, &body)
}

/// A PUBLISH; `packet_id` is written for QoS above 0 alone.
pub fn publish(topic: &[u8], payload: &[u8], qos: u8, packet_id: u16, block: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(property_block(block));
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

/// A SUBSCRIBE of one filter.
pub fn subscribe(packet_id: u16, block: &[u8], filter: &[u8], options: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(property_block(block));
    string(&mut body, filter);
    body.push(options);
    packet(0x82, &body)
}

/// A client of MQTT 5.0 that was accepted, and the Properties of its CONNACK.
pub fn connected(broker: &Broker, client_id: &[u8], block: &[u8]) -> (Client, Vec<Property>) {
    let mut client = Client::open(broker);
    client.send(&connect(CLEAN_START, 60, block, client_id, b""));
    let answer = client.packet();
    let [0x20, _, 0, 0, ref block @ ..] = answer[..] else {
        panic!("CONNACK of acceptance expected, not {answer:02x?}");
    };
    (client, properties(block))
}

/// A DISCONNECT with this code and block.
pub fn disconnect(code: u8, block: &[u8]) -> Vec<u8> {
    let mut body = vec![code];
    body.extend(property_block(block));
    packet(0xE0, &body)
}

/// What stands in a block at the start of `bytes`, whose length is below 128: identifiers and values. Panics where it
/// is wrong.
pub fn properties(bytes: &[u8]) -> Vec<Property> {
    let (&len, rest) = bytes.split_first().expect("a Property Length");
    assert!(len < 128, "a Property Length of one byte");
    let mut rest = &rest[..usize::from(len)];
    let mut list = Vec::new();
    while let Some((&id, value)) = rest.split_first() {
        let field = |at: usize| 2 + usize::from(u16::from_be_bytes([value[at], value[at + 1]]));
        let len = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => 2,
            0x02 | SESSION_EXPIRY_INTERVAL | 0x18 | MAXIMUM_PACKET_SIZE => 4,
            0x0B => value.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1,
            USER_PROPERTY => field(0) + field(field(0)),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | REASON_STRING => field(0),
            _ => panic!("Property {id:02x} from the broker"),
        };
        list.push((id, value[..len].to_vec()));
        rest = &value[len..];
    }
    list
}

/// The value of one Property of two or four bytes.
pub fn number(list: &[Property], id: u8) -> Option<u32> {
    let (_, value) = list.iter().find(|(of, _)| *of == id)?;
    Some(
        value
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)),
    )
}
