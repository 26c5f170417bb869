//! What a v5 Client adds to its packets: properties and Reason Codes, right and wrong alike.

use super::{field, packet, remaining_length};

/// Identifiers of the properties.
pub mod property {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;
}

/// A property whose value is one byte.
pub fn byte(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}

pub fn two_bytes(id: u8, value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    vec![id, high, low]
}

pub fn four_bytes(id: u8, value: u32) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(value.to_be_bytes());
    bytes
}

/// A property whose value is a string or binary data.
pub fn text(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(field(value.as_ref()));
    bytes
}

pub fn user_property(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = text(property::USER_PROPERTY, name);
    bytes.extend(field(value.as_ref()));
    bytes
}

pub fn message_expiry(seconds: u32) -> Vec<u8> {
    four_bytes(property::MESSAGE_EXPIRY_INTERVAL, seconds)
}

pub fn session_expiry(seconds: u32) -> Vec<u8> {
    four_bytes(property::SESSION_EXPIRY_INTERVAL, seconds)
}

pub fn will_delay(seconds: u32) -> Vec<u8> {
    four_bytes(property::WILL_DELAY_INTERVAL, seconds)
}

pub fn receive_maximum(count: u16) -> Vec<u8> {
    two_bytes(property::RECEIVE_MAXIMUM, count)
}

pub fn maximum_packet_size(bytes: u32) -> Vec<u8> {
    four_bytes(property::MAXIMUM_PACKET_SIZE, bytes)
}

pub fn topic_alias(alias: u16) -> Vec<u8> {
    two_bytes(property::TOPIC_ALIAS, alias)
}

pub fn topic_alias_maximum(count: u16) -> Vec<u8> {
    two_bytes(property::TOPIC_ALIAS_MAXIMUM, count)
}

pub fn subscription_identifier(identifier: u32) -> Vec<u8> {
    let mut bytes = vec![property::SUBSCRIPTION_IDENTIFIER];
    bytes.extend(remaining_length(identifier as usize));
    bytes
}

/// A block of properties behind its length.
pub fn with_length(properties: &[u8]) -> Vec<u8> {
    let mut bytes = remaining_length(properties.len());
    bytes.extend(properties);
    bytes
}

// Bits of the Subscription Options, besides the QoS.

pub const NO_LOCAL: u8 = 0x04;
pub const RETAIN_AS_PUBLISHED: u8 = 0x08;
pub const RETAIN_IF_NEW: u8 = 0x10;
pub const RETAIN_NEVER: u8 = 0x20;

/// SUBSCRIBE with properties.
pub fn subscribe_with(packet_id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(with_length(properties));
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE with properties.
pub fn unsubscribe_with(packet_id: u16, properties: &[u8], filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(with_length(properties));
    for filter in filters {
        body.extend(field(filter.as_bytes()));
    }
    packet(0xa2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by its first byte, with a Reason Code and properties.
pub fn acknowledge_with(first: u8, packet_id: u16, code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.push(code);
    body.extend(with_length(properties));
    packet(first, &body)
}

/// The same without properties and their length.
pub fn acknowledge_code(first: u8, packet_id: u16, code: u8) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    packet(first, &[high, low, code])
}

pub fn disconnect_with(code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![code];
    body.extend(with_length(properties));
    packet(0xe0, &body)
}

pub fn auth_with(code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![code];
    body.extend(with_length(properties));
    packet(0xf0, &body)
}
