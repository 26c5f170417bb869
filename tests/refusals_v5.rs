//! A v5 Client that breaks a rule is told which: CONNACK or DISCONNECT with the Reason Code that the standard names,
//! then the close.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use support::packet::packet;
use support::packet5::{self, connect, connected, number, publish, subscribe};
use support::{Answer, Broker, Client, DEADLINE, reference};

on_1_and_2_shards!(
    connack_says_what_is_wrong_with_connect,
    disconnect_says_which_rule_was_broken,
    disconnect_says_which_limit_was_passed,
    disconnect_stays_within_the_clients_packet_size,
    disconnect_says_why_the_server_ends_it,
);

const MALFORMED_PACKET: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
const SERVER_SHUTTING_DOWN: u8 = 0x8B;
const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
const SESSION_TAKEN_OVER: u8 = 0x8E;
const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
const PACKET_TOO_LARGE: u8 = 0x95;

/// A broker of ours: the reference answers several of these with less.
fn ours(shards: usize) -> Option<Broker> {
    (!reference()).then(|| Broker::start(shards))
}

/// Expects a DISCONNECT with this code, a Reason String, and then the close.
#[track_caller]
fn expect_disconnect(client: &mut Client, code: u8, what: &str) {
    let answer = client.answer(DEADLINE);
    let Answer::Packet(bytes) = answer else {
        panic!("{what}: DISCONNECT expected, not {answer:?}");
    };
    assert_eq!(bytes[0], 0xE0, "{what}: {bytes:02x?}");
    assert_eq!(bytes[2], code, "{what}: {bytes:02x?}");
    let told = match bytes.get(3..) {
        Some(block) if !block.is_empty() => packet5::properties(block),
        _ => Vec::new(),
    };
    let reasons: Vec<u8> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(reasons, [packet5::REASON_STRING], "{what}");
    assert_eq!(client.answer(DEADLINE), Answer::Closed, "{what}");
}

fn connack_says_what_is_wrong_with_connect(shards: usize) {
    let Some(broker) = ours(shards) else { return };
    let flags = |flags: u8, rest: &[u8]| connect(flags, 60, b"", b"id", rest);
    let block = |block: &[u8]| connect(packet5::CLEAN_START, 60, block, b"id", b"");
    let will = |block: &[u8], topic: &[u8]| {
        let mut rest = vec![block.len() as u8];
        rest.extend(block);
        support::packet::string(&mut rest, topic);
        support::packet::string(&mut rest, b"payload");
        connect(0x06, 60, b"", b"id", &rest)
    };
    let mut level_6 = flags(0x02, b"");
    level_6[8] = 6;
    let cases = [
        (
            "level 6 [MQTT-3.1.2-2]",
            UNSUPPORTED_PROTOCOL_VERSION,
            level_6,
        ),
        (
            "reserved flag [MQTT-3.1.2-3]",
            MALFORMED_PACKET,
            flags(0x03, b""),
        ),
        (
            "Will QoS 3 [MQTT-3.1.2-12]",
            MALFORMED_PACKET,
            flags(0x1E, b"\0\0\x01w\0\x01x"),
        ),
        (
            "Will QoS without will [MQTT-3.1.2-11]",
            MALFORMED_PACKET,
            flags(0x0A, b""),
        ),
        (
            "Will Retain without will [MQTT-3.1.2-13]",
            MALFORMED_PACKET,
            flags(0x22, b""),
        ),
        (
            "no user name [MQTT-3.1.2-17]",
            MALFORMED_PACKET,
            flags(0x82, b""),
        ),
        (
            "bytes behind the client id [MQTT-3.1.2-16]",
            MALFORMED_PACKET,
            flags(0x02, b"\0\x01u"),
        ),
        (
            "client id ill-formed [MQTT-3.1.3-4]",
            MALFORMED_PACKET,
            connect(2, 60, b"", b"\xFF", b""),
        ),
        (
            "client id with U+0000 [MQTT-1.5.4-2]",
            MALFORMED_PACKET,
            connect(2, 60, b"", b"a\0", b""),
        ),
        (
            "Topic Alias [§2.2.2.2]",
            MALFORMED_PACKET,
            block(b"\x23\0\x01"),
        ),
        (
            "unknown property [§2.2.2.2]",
            MALFORMED_PACKET,
            block(b"\x7F"),
        ),
        ("property cut [§2.2.2]", MALFORMED_PACKET, block(b"\x21\0")),
        (
            "Receive Maximum 0 [§3.1.2.11.3]",
            PROTOCOL_ERROR,
            block(b"\x21\0\0"),
        ),
        (
            "Maximum Packet Size 0 [§3.1.2.11.4]",
            PROTOCOL_ERROR,
            block(b"\x27\0\0\0\0"),
        ),
        (
            "session expiry twice [§3.1.2.11.2]",
            PROTOCOL_ERROR,
            block(b"\x11\0\0\0\x01\x11\0\0\0\x01"),
        ),
        (
            "problem information 2 [§3.1.2.11.7]",
            PROTOCOL_ERROR,
            block(b"\x17\x02"),
        ),
        (
            "data without method [§3.1.2.11.10]",
            PROTOCOL_ERROR,
            block(b"\x16\0\x01d"),
        ),
        (
            "a method nobody knows [MQTT-4.12.0-1]",
            BAD_AUTHENTICATION_METHOD,
            block(b"\x15\0\x01m"),
        ),
        (
            "will topic with a wildcard [MQTT-4.7.0-1]",
            MALFORMED_PACKET,
            will(b"", b"w/#"),
        ),
        (
            "will with a Topic Alias [§3.1.3.2]",
            MALFORMED_PACKET,
            will(b"\x23\0\x01", b"w"),
        ),
        (
            "will's format 2 [§3.1.3.2.3]",
            PROTOCOL_ERROR,
            will(b"\x01\x02", b"w"),
        ),
    ];
    for (what, code, bytes) in cases {
        let mut client = Client::open(&broker);
        client.send(&bytes);
        let answer = client.answer(DEADLINE);
        let Answer::Packet(connack) = answer else {
            panic!("{what}: CONNACK expected, not {answer:?}");
        };
        let [0x20, _, 0, told, ref block @ ..] = connack[..] else {
            panic!("{what}: CONNACK without a session expected, not {connack:02x?}");
        };
        assert_eq!(told, code, "{what}");
        let reasons: Vec<u8> = packet5::properties(block)
            .iter()
            .map(|told| told.0)
            .collect();
        match code {
            // Nobody knows whether a version to come has Properties.
            UNSUPPORTED_PROTOCOL_VERSION => assert!(reasons.is_empty(), "{what}"),
            _ => assert_eq!(reasons, [packet5::REASON_STRING], "{what}"),
        }
        assert_eq!(client.answer(DEADLINE), Answer::Closed, "{what}");
    }
    connected(&broker, b"id", b"").0.expect_alive();
}

fn disconnect_says_which_rule_was_broken(shards: usize) {
    let Some(broker) = ours(shards) else { return };
    let with = |block: &[u8]| publish(b"t", b"x", 0, 0, block);
    let options = |options: u8| subscribe(1, b"", b"a", options);
    let cases = [
        // Any packet.
        ("type 0 [§2.1.2]", MALFORMED_PACKET, vec![0, 0]),
        (
            "flags of SUBSCRIBE [MQTT-3.8.1-1]",
            MALFORMED_PACKET,
            packet(0x80, b"\0\x01\0\0\x01a\0"),
        ),
        (
            "flags of PUBREL [MQTT-3.6.1-1]",
            MALFORMED_PACKET,
            packet(0x60, b"\0\x01"),
        ),
        (
            "length of five bytes [MQTT-1.5.5-1]",
            MALFORMED_PACKET,
            b"\x30\x80\x80\x80\x80\x01".to_vec(),
        ),
        (
            "length too long for what it says [MQTT-1.5.5-1]",
            MALFORMED_PACKET,
            b"\xC0\x80\0".to_vec(),
        ),
        (
            "PINGREQ with a body [§3.12]",
            MALFORMED_PACKET,
            packet(0xC0, b"x"),
        ),
        // Packets of a server, and those out of place.
        (
            "CONNACK [table 2-1]",
            PROTOCOL_ERROR,
            packet(0x20, b"\0\0\0"),
        ),
        (
            "SUBACK [table 2-1]",
            PROTOCOL_ERROR,
            packet(0x90, b"\0\x01\0\0"),
        ),
        (
            "UNSUBACK [table 2-1]",
            PROTOCOL_ERROR,
            packet(0xB0, b"\0\x01\0\0"),
        ),
        ("PINGRESP [table 2-1]", PROTOCOL_ERROR, packet(0xD0, b"")),
        (
            "second CONNECT [MQTT-3.1.0-2]",
            PROTOCOL_ERROR,
            connect(2, 60, b"", b"again", b""),
        ),
        (
            "AUTH without a method in CONNECT [§4.12]",
            PROTOCOL_ERROR,
            packet(0xF0, b"\x18\x04\x15\0\x01m"),
        ),
        // PUBLISH.
        (
            "both QoS bits [MQTT-3.3.1-4]",
            MALFORMED_PACKET,
            packet(0x36, b"\0\x01t\0\x01\0"),
        ),
        (
            "DUP at QoS 0 [MQTT-3.3.1-2]",
            MALFORMED_PACKET,
            packet(0x38, b"\0\x01t\0"),
        ),
        (
            "wildcard [MQTT-3.3.2-2]",
            MALFORMED_PACKET,
            publish(b"a/+", b"x", 0, 0, b""),
        ),
        (
            "topic ill-formed [MQTT-3.3.2-1]",
            MALFORMED_PACKET,
            publish(b"\xC0\xAF", b"x", 0, 0, b""),
        ),
        (
            "topic with U+0000 [MQTT-1.5.4-2]",
            MALFORMED_PACKET,
            publish(b"a\0", b"x", 0, 0, b""),
        ),
        (
            "neither topic nor alias [§3.3.2.1]",
            PROTOCOL_ERROR,
            publish(b"", b"x", 0, 0, b""),
        ),
        (
            "Packet Identifier 0 [MQTT-2.2.1-3]",
            PROTOCOL_ERROR,
            publish(b"t", b"x", 1, 0, b""),
        ),
        (
            "no Property Length [MQTT-2.2.2-1]",
            MALFORMED_PACKET,
            packet(0x30, b"\0\x01t"),
        ),
        ("format 2 [§3.3.2.3.2]", PROTOCOL_ERROR, with(b"\x01\x02")),
        (
            "expiry twice [§3.3.2.3.3]",
            PROTOCOL_ERROR,
            with(b"\x02\0\0\0\x01\x02\0\0\0\x01"),
        ),
        (
            "will delay [§2.2.2.2]",
            MALFORMED_PACKET,
            with(b"\x18\0\0\0\x01"),
        ),
        (
            "unknown property [§2.2.2.2]",
            MALFORMED_PACKET,
            with(b"\x04\0"),
        ),
        (
            "wildcard in Response Topic [MQTT-3.3.2-14]",
            PROTOCOL_ERROR,
            with(b"\x08\0\x01#"),
        ),
        (
            "Subscription Identifier [MQTT-3.3.4-6]",
            PROTOCOL_ERROR,
            with(b"\x0B\x01"),
        ),
        (
            "user property ill-formed [MQTT-1.5.7-1]",
            MALFORMED_PACKET,
            with(b"\x26\0\x01\xFF\0\x01v"),
        ),
        (
            "Topic Alias 0 [MQTT-3.3.2-8]",
            TOPIC_ALIAS_INVALID,
            with(b"\x23\0\0"),
        ),
        (
            "Topic Alias nobody set [§3.3.2.3.4]",
            PROTOCOL_ERROR,
            publish(b"", b"x", 0, 0, b"\x23\0\x01"),
        ),
        // SUBSCRIBE, UNSUBSCRIBE.
        (
            "no filter [MQTT-3.8.3-2]",
            PROTOCOL_ERROR,
            packet(0x82, b"\0\x01\0"),
        ),
        ("QoS 3 [§3.8.3.1]", PROTOCOL_ERROR, options(3)),
        (
            "Retain Handling 3 [§3.8.3.1]",
            PROTOCOL_ERROR,
            options(0x30),
        ),
        (
            "reserved option [MQTT-3.8.3-5]",
            MALFORMED_PACKET,
            options(0x40),
        ),
        (
            "No Local, shared [MQTT-3.8.3-4]",
            PROTOCOL_ERROR,
            subscribe(1, b"", b"$share/g/a", 4),
        ),
        (
            "identifier 0 [§3.8.2.1.2]",
            PROTOCOL_ERROR,
            subscribe(1, b"\x0B\0", b"a", 0),
        ),
        (
            "identifier twice [§3.8.2.1.2]",
            PROTOCOL_ERROR,
            subscribe(1, b"\x0B\x01\x0B\x02", b"a", 0),
        ),
        (
            "filter ill-formed [MQTT-3.8.3-1]",
            MALFORMED_PACKET,
            subscribe(1, b"", b"\xED\xA0\x80", 0),
        ),
        (
            "no filter [MQTT-3.10.3-2]",
            PROTOCOL_ERROR,
            packet(0xA2, b"\0\x01\0"),
        ),
        (
            "identifier in UNSUBSCRIBE [§2.2.2.2]",
            MALFORMED_PACKET,
            packet(0xA2, b"\0\x01\x02\x0B\x01\0\x01a"),
        ),
        // Acknowledgements, DISCONNECT.
        (
            "PUBACK cut [§3.4.2]",
            MALFORMED_PACKET,
            packet(0x40, b"\x01"),
        ),
        (
            "expiry raised by DISCONNECT [§3.14.2.2.2]",
            PROTOCOL_ERROR,
            packet(0xE0, b"\0\x05\x11\0\0\0\x05"),
        ),
    ];
    for (what, code, bytes) in cases {
        let (mut client, _) = connected(&broker, b"violator", b"");
        client.send(&bytes);
        expect_disconnect(&mut client, code, what);
    }
    connected(&broker, b"violator", b"").0.expect_alive();
}

fn disconnect_says_which_limit_was_passed(shards: usize) {
    let Some(broker) = ours(shards) else { return };
    let (mut client, told) = connected(&broker, b"limits", b"");
    let alias = number(&told, packet5::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) + 1;
    let alias = u16::try_from(alias).expect("more aliases than a Client can name");
    let [high, low] = alias.to_be_bytes();
    client.send(&publish(
        b"t",
        b"x",
        0,
        0,
        &[packet5::TOPIC_ALIAS, high, low],
    ));
    expect_disconnect(
        &mut client,
        TOPIC_ALIAS_INVALID,
        "alias too high [MQTT-3.3.2-9]",
    );

    // The header is enough: nobody has to send what is too large.
    let (mut client, told) = connected(&broker, b"limits", b"");
    let most = number(&told, packet5::MAXIMUM_PACKET_SIZE).expect("a Maximum Packet Size");
    let mut header = vec![0x30];
    let mut left = most;
    while left > 0 {
        header.push((left % 128) as u8 | if left > 127 { 0x80 } else { 0 });
        left /= 128;
    }
    client.send(&header);
    expect_disconnect(
        &mut client,
        PACKET_TOO_LARGE,
        "packet too large [MQTT-3.2.2-15]",
    );

    let (mut client, told) = connected(&broker, b"limits", b"");
    let most = number(&told, packet5::RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
    for id in 1..=most {
        client.send(&publish(b"t", b"", 2, id, b""));
    }
    for id in 1..=most {
        let [high, low] = id.to_be_bytes();
        let answer = client.packet();
        assert!(
            answer[0] == 0x50 && answer[2..4] == [high, low],
            "{answer:02x?}"
        );
    }
    // One more than may be under way; one again is none more.
    client.send(&publish(b"t", b"", 2, 1, b""));
    assert_eq!(client.packet()[0], 0x50);
    client.send(&publish(b"t", b"", 2, most + 1, b""));
    expect_disconnect(
        &mut client,
        RECEIVE_MAXIMUM_EXCEEDED,
        "Receive Maximum [§3.3.4]",
    );
}

fn disconnect_stays_within_the_clients_packet_size(shards: usize) {
    let Some(broker) = ours(shards) else { return };
    let (mut client, _) = connected(&broker, b"small", b"\x27\0\0\0\x20");
    client.send(&publish(b"a/#", b"x", 0, 0, b""));
    let answer = client.packet();
    assert!(answer.len() <= 32, "{} bytes", answer.len());
    assert_eq!((answer[0], answer[2]), (0xE0, MALFORMED_PACKET));
    client.expect_close();
}

fn disconnect_says_why_the_server_ends_it(shards: usize) {
    let Some(mut broker) = ours(shards) else {
        return;
    };
    let mut silent = Client::open(&broker);
    silent.send(&connect(packet5::CLEAN_START, 1, b"", b"silent", b""));
    assert_eq!(silent.packet()[0], 0x20);
    expect_disconnect(&mut silent, KEEP_ALIVE_TIMEOUT, "silence [MQTT-3.1.2-22]");

    let (mut older, _) = connected(&broker, b"twin", b"");
    let (mut newer, _) = connected(&broker, b"twin", b"");
    expect_disconnect(
        &mut older,
        SESSION_TAKEN_OVER,
        "the same id again [MQTT-3.1.4-3]",
    );

    newer.expect_alive();
    let end = std::thread::spawn(move || {
        let (status, _) = broker.end_by(nix::sys::signal::Signal::SIGTERM);
        status
    });
    expect_disconnect(
        &mut newer,
        SERVER_SHUTTING_DOWN,
        "the broker stops [§3.14.2.1]",
    );
    assert!(end.join().expect("the end of the broker").success());
}
