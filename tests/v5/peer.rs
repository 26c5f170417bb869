//! What a v5 Client says and sees, Properties included.

use super::support_shard::{Acts, Client, Connect, Stage, Version, World, connect, field, packet};
use mqttfast::wire;

/// A CONNECT with these bytes of Properties; a Session Expiry Interval stands first.
pub fn connect_with(client_id: &str, clean_start: bool, properties: &[u8]) -> Connect {
    let mut connect = connect(Version::V5, client_id);
    connect.clean = clean_start;
    let mut rest = properties;
    if let [0x11, a, b, c, d, others @ ..] = properties {
        connect.expiry_s = Some(u32::from_be_bytes([*a, *b, *c, *d]));
        rest = others;
    }
    connect.with(rest.to_vec())
}

/// Session Expiry Interval.
pub fn session_expiry(seconds: u32) -> Vec<u8> {
    [&[0x11][..], &seconds.to_be_bytes()].concat()
}

pub fn receive_maximum(count: u16) -> Vec<u8> {
    [&[0x21][..], &count.to_be_bytes()].concat()
}

pub fn maximum_packet_size(bytes: u32) -> Vec<u8> {
    [&[0x27][..], &bytes.to_be_bytes()].concat()
}

pub fn message_expiry(seconds: u32) -> Vec<u8> {
    [&[0x02][..], &seconds.to_be_bytes()].concat()
}

/// A PUBLISH with these flags and bytes of Properties; a Packet Identifier other than 0 is written.
pub fn publish_with(
    flags: u8,
    topic: &str,
    packet_id: u16,
    properties: &[u8],
    payload: &str,
) -> Vec<u8> {
    let mut body = field(topic.as_bytes());
    if packet_id != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(length(properties.len()));
    body.extend(properties);
    body.extend(payload.as_bytes());
    packet(0x30 | flags, &body)
}

fn length(bytes: usize) -> Vec<u8> {
    super::support_shard::remaining_length(bytes)
}

/// A v5 Client whose CONNECT was accepted.
#[track_caller]
pub fn join(world: &mut World, client_id: &str, clean_start: bool, properties: &[u8]) -> Client {
    let client = world.connect(&connect_with(client_id, clean_start, properties));
    world.raw(client);
    client
}

/// Hands every packet received since the last look to `see`, as `wire` reads it.
pub fn see(world: &mut World, client: Client, mut see: impl FnMut(wire::Packet<'_>)) {
    let bytes = world.raw(client);
    let mut rest = &bytes[..];
    while let Some(frame) = wire::next_frame(rest, u32::MAX).expect("a frame") {
        rest = &rest[frame.bytes.len()..];
        see(wire::decode(Some(wire::Version::V5), &frame).expect("a packet"));
    }
    assert!(rest.is_empty());
    world.received(client);
}

/// The DISCONNECT that ended a connection: its code, and whether it says why.
#[track_caller]
pub fn ended_with(world: &mut World, client: Client) -> (u8, bool) {
    assert!(world.is_closed(client), "still open; log: {:?}", world.log);
    let mut end = None;
    see(world, client, |packet| {
        if let wire::Packet::Disconnect(disconnect) = packet {
            end = Some((disconnect.reason.0, disconnect.reason_string.is_some()));
        }
    });
    end.unwrap_or_else(|| panic!("no DISCONNECT; log: {:?}", world.log))
}
