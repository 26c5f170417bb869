//! What many statements have in common, said once.

use crate::support::property::*;
use crate::support::*;

pub const V5: Version = Version::V5;

pub const MALFORMED: u8 = 0x81;
pub const PROTOCOL_ERROR: u8 = 0x82;

/// A Client of this id, connected with a clean start.
pub fn client(world: &mut World, id: &str) -> Client {
    world.connect(&connect(V5, id))
}

/// A connected Client that sends `bytes` gets one DISCONNECT with this code and loses its connection. Others are not
/// touched.
#[track_caller]
pub fn closes_with(world: &mut World, bytes: impl AsRef<[u8]>, code: u8) {
    let bytes = bytes.as_ref();
    let bystander = client(world, "bystander");
    let offender = client(world, "offender");
    world.send(offender, bytes);
    assert!(world.is_closed(offender), "still open after {bytes:02x?}");
    let received = world.received(offender);
    assert_eq!(received, [Packet::Disconnect { code }], "to {bytes:02x?}");
    alive(world, bystander);
    world.disconnect(bystander);
}

/// A first packet that gets one CONNACK with this code and the close.
#[track_caller]
pub fn refused_with(world: &mut World, bytes: impl AsRef<[u8]>, code: u8) {
    let bytes = bytes.as_ref();
    let offender = world.open(V5);
    world.send(offender, bytes);
    assert!(world.is_closed(offender), "still open after {bytes:02x?}");
    let refusal = Packet::ConnAck {
        session_present: false,
        code,
    };
    assert_eq!(world.received(offender), [refusal], "to {bytes:02x?}");
}

/// The Client is served.
#[track_caller]
pub fn alive(world: &mut World, client: Client) {
    world.send(client, pingreq());
    let answered = world.take(client, |packet| *packet == Packet::PingResp);
    assert!(answered.is_some(), "no PINGRESP; log: {:?}", world.log());
}

/// A subscriber of everything that does not begin with `$`, at QoS 2, with RETAIN as published.
pub fn watcher(world: &mut World) -> Client {
    let watcher = client(world, "watcher");
    subscribes(world, watcher, "#", 2 | RETAIN_AS_PUBLISHED);
    watcher
}

/// Subscribes with raw options; all of them must be granted.
#[track_caller]
pub fn subscribes(world: &mut World, client: Client, filter: &str, options: u8) {
    subscribes_with(world, client, &[], filter, options);
}

/// The same with properties.
#[track_caller]
pub fn subscribes_with(
    world: &mut World,
    client: Client,
    properties: &[u8],
    filter: &str,
    options: u8,
) {
    world.send(
        client,
        subscribe_with(777, properties, &[(filter, options)]),
    );
    let suback = Packet::SubAck {
        packet_id: 777,
        codes: vec![options & 3],
    };
    let found = world.take(client, |packet| *packet == suback);
    assert!(found.is_some(), "no {suback:?}; log: {:?}", world.log());
}

/// The messages a Client has and that are not acknowledged: nothing is answered.
pub fn unanswered(world: &mut World, client: Client) -> Vec<Message> {
    let received = world.received(client);
    received
        .iter()
        .filter_map(|packet| packet.message().cloned())
        .collect()
}

/// Checks the retained message of a topic as a new subscriber sees it.
#[track_caller]
pub fn retained_is(world: &mut World, topic: &str, expected: Option<&str>) {
    let reader = client(world, "reader of retained");
    subscribes(world, reader, topic, 2);
    let messages = world.messages(reader);
    let found: Vec<String> = messages.iter().map(Message::text).collect();
    assert!(messages.iter().all(|message| message.retain));
    assert_eq!(found, Vec::from_iter(expected), "retained under {topic}");
    world.disconnect(reader);
}

/// The properties of a message that a broker passes on, in an order of its own, with several User Properties.
pub fn passed_on() -> Vec<u8> {
    [
        user_property("b", "2"),
        byte(PAYLOAD_FORMAT_INDICATOR, 1),
        text(CONTENT_TYPE, "text/plain"),
        user_property("a", "1"),
        text(RESPONSE_TOPIC, "answers/to me"),
        text(CORRELATION_DATA, b"\x00\xff\x01"),
        user_property("b", "2"),
        user_property("", ""),
    ]
    .concat()
}

/// The message carries exactly `passed_on`.
#[track_caller]
pub fn carries_passed_on(full: &Full) {
    assert_eq!(full.number(PAYLOAD_FORMAT_INDICATOR), Some(1));
    assert_eq!(full.text(CONTENT_TYPE), Some("text/plain"));
    assert_eq!(full.text(RESPONSE_TOPIC), Some("answers/to me"));
    assert_eq!(full.data(CORRELATION_DATA), Some(&b"\x00\xff\x01"[..]));
    let pairs = [("b", "2"), ("a", "1"), ("b", "2"), ("", "")];
    assert_eq!(full.user_properties(), pairs);
}
