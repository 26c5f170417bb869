//! What many statements have in common, said once.

use crate::support::*;

/// A connected Client that sends `bytes` loses its connection; v3 has no word for it. Others are not touched.
#[track_caller]
pub fn closes(world: &mut World, version: Version, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let bystander = world.connect(&connect(version, "bystander"));
    let offender = world.connect(&connect(version, "offender"));
    world.send(offender, bytes);
    assert!(world.is_closed(offender), "still open after {bytes:02x?}");
    only_a_farewell(world, version, offender);
    alive(world, bystander);
    world.disconnect(bystander);
}

/// Nothing came, or in v5 one DISCONNECT with an error.
#[track_caller]
fn only_a_farewell(world: &mut World, version: Version, client: Client) {
    match world.received(client).as_slice() {
        [] => (),
        [Packet::Disconnect { code }] if version == Version::V5 => assert!(*code >= 0x80),
        received => panic!("{received:?} before the close"),
    }
}

/// A CONNECT of the wrong format: closed without CONNACK in v3; v5 may say why in one.
#[track_caller]
pub fn closes_unanswered(world: &mut World, version: Version, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let client = world.open(version);
    world.send(client, bytes);
    assert!(world.is_closed(client), "still open after {bytes:02x?}");
    match world.received(client).as_slice() {
        [] => (),
        [Packet::ConnAck { code, .. }] if version == Version::V5 => assert!(*code >= 0x80),
        received => panic!("{received:?} to {bytes:02x?}"),
    }
}

/// The connection is closed after exactly this CONNACK.
#[track_caller]
pub fn refuses(world: &mut World, version: Version, bytes: impl AsRef<[u8]>, code: u8) {
    let client = world.open(version);
    world.send(client, bytes);
    let refusal = Packet::ConnAck {
        session_present: false,
        code,
    };
    world.expect(client, &[refusal]);
    assert!(world.is_closed(client), "still open after its refusal");
}

/// The Client is served.
#[track_caller]
pub fn alive(world: &mut World, client: Client) {
    world.send(client, pingreq());
    let answered = world.take(client, |packet| *packet == Packet::PingResp);
    assert!(answered.is_some(), "no PINGRESP; log: {:?}", world.log());
}

/// A subscriber of everything that does not begin with `$`, at QoS 2.
pub fn watcher(world: &mut World, version: Version) -> Client {
    let watcher = world.connect(&connect(version, "watcher"));
    world.subscribe(watcher, "#", 2);
    watcher
}

/// A Client that publishes.
pub fn publisher(world: &mut World, version: Version) -> Client {
    world.connect(&connect(version, "publisher"))
}

/// Checks the retained message of a topic as a new subscriber sees it: payload and QoS, or none.
#[track_caller]
pub fn retained_is(world: &mut World, version: Version, topic: &str, expected: Option<(&str, u8)>) {
    let reader = world.connect(&connect(version, "reader of retained"));
    world.subscribe(reader, topic, 2);
    let messages = world.messages(reader);
    let found: Vec<(String, u8)> = messages
        .iter()
        .map(|message| {
            assert_eq!(message.topic, topic);
            assert!(
                message.retain,
                "RETAIN is 0 on {message:?} [3.1.1 MQTT-3.3.1-8]"
            );
            (message.text(), message.qos)
        })
        .collect();
    let expected: Vec<(String, u8)> = expected
        .iter()
        .map(|(payload, qos)| ((*payload).to_owned(), *qos))
        .collect();
    assert_eq!(found, expected, "retained message of {topic}");
    world.disconnect(reader);
}

/// Session Present as this version can say it.
pub fn present(version: Version, session_present: bool) -> bool {
    session_present && version != Version::V31
}
