//! Truths about the wire that hold for any bytes. Each is written once and asserted by tests, by the fuzzer and by the
//! simulator alike; each panics where it does not hold.

use super::{Frame, Malformed, Packet, Run, Version, decode, encode, next_frame};

/// What the properties read as one packet at most.
const PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// Up to this many bytes every cut is tried; of longer streams as many, evenly spread, so that the cost stays
/// linear in the bytes.
const CUTS_MAX: usize = 64;

/// A stream gives the same packets, and the same fault after them, however it is cut in two.
pub fn frames_ignore_cuts(data: &[u8]) {
    let whole = frames(data);
    let step = data.len().div_ceil(CUTS_MAX).max(1);
    for cut in (0..=data.len()).step_by(step) {
        let mut taken = frames(&data[..cut]);
        if taken.fault.is_none() {
            // A driver keeps what is left over and appends what comes next.
            let mut rest = data[taken.consumed..cut].to_vec();
            rest.extend_from_slice(&data[cut..]);
            let second = frames(&rest);
            taken.sizes.extend(second.sizes);
            taken.consumed += second.consumed;
            taken.fault = second.fault;
        }
        assert_eq!(taken, whole, "cut at {cut}");
    }
}

/// Decodes every packet of a stream in every version, and nothing else. A caller whose allocator counts sees that no
/// byte is allocated for it, whatever the packets announce: they are borrowed.
pub fn decode_all(data: &[u8]) {
    let versions = Version::ALL.iter().map(|version| Some(*version));
    for version in versions.chain([None]) {
        let mut rest = data;
        while let Ok(Some(frame)) = next_frame(rest, PACKET_BYTES_MAX) {
            rest = &rest[frame.bytes.len()..];
            let _ = std::hint::black_box(decode(version, &frame));
        }
    }
}

/// How a stream falls into packets.
#[derive(PartialEq, Eq, Debug)]
struct Frames {
    /// Size of each packet; they stand one after the other.
    sizes: Vec<usize>,
    consumed: usize,
    fault: Option<Malformed>,
}

fn frames(data: &[u8]) -> Frames {
    let mut found = Frames {
        sizes: Vec::new(),
        consumed: 0,
        fault: None,
    };
    loop {
        let rest = &data[found.consumed..];
        match next_frame(rest, PACKET_BYTES_MAX) {
            Ok(Some(frame)) => {
                let size = frame.bytes.len();
                assert!(size >= 2 && size <= rest.len());
                assert_eq!(super::frame_bytes(rest), Some(size));
                assert_eq!(usize::from(frame.header_bytes) + frame.body().len(), size);
                found.sizes.push(size);
                found.consumed += size;
            }
            Ok(None) => break,
            Err(fault) => {
                found.fault = Some(fault);
                break;
            }
        }
    }
    found
}

/// The packets of a run are those a stream falls into, and each says what the first says, but for its payload; so it is
/// enough to check and to route the first.
pub fn runs_say_what_their_first_packet_says(data: &[u8]) {
    for version in Version::ALL {
        let mut rest = data;
        while let Ok(Some(frame)) = next_frame(rest, PACKET_BYTES_MAX) {
            let run = Run::of(version, &frame, rest, PACKET_BYTES_MAX);
            check_run(version, &run, rest);
            rest = &rest[run.bytes.len()..];
        }
    }
}

fn check_run(version: Version, run: &Run<'_>, rest: &[u8]) {
    assert!(run.packets >= 1 && rest.starts_with(run.bytes));
    let mut end = 0;
    for frame in run.frames() {
        assert_eq!(next_frame(&rest[end..], PACKET_BYTES_MAX), Ok(Some(frame)));
        end += frame.bytes.len();
    }
    assert_eq!(end, run.bytes.len());
    let mut packets = run.frames().map(|frame| decode(Some(version), &frame));
    let first = packets.next().expect("there is one");
    let Ok(Packet::Publish(first)) = first else {
        // Whoever is to be closed for the first packet is closed for it, whatever follows.
        return;
    };
    let mut messages = run.messages(first.payload.len());
    let (_, payload) = messages.next().expect("there is one");
    assert_eq!(payload, first.payload);
    for packet in packets {
        let Ok(Packet::Publish(publish)) = packet else {
            panic!("a packet of a run is no PUBLISH: {packet:?}");
        };
        let (_, payload) = messages.next().expect("as many");
        assert_eq!(payload, publish.payload);
        let payload = first.payload;
        assert_eq!(super::Publish { payload, ..publish }, first);
    }
    assert!(messages.next().is_none());
}

/// Each packet of a stream that decodes is, once encoded, decoded to the same packet: by its own version and never
/// longer than it came. Encoding what was encoded changes no byte.
pub fn decode_of_encode_is_identity(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(frame)) = next_frame(rest, PACKET_BYTES_MAX) {
        for version in [
            None,
            Some(Version::V31),
            Some(Version::V311),
            Some(Version::V5),
        ] {
            if let Ok(packet) = decode(version, &frame) {
                check_identity(version, &frame, &packet);
            }
        }
        rest = &rest[frame.bytes.len()..];
    }
}

fn check_identity(version: Option<Version>, frame: &Frame<'_>, packet: &Packet<'_>) {
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version.expect("without a version only CONNECT decodes"),
    };
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes);
    assert!(bytes.len() <= frame.bytes.len());
    let again = next_frame(&bytes, PACKET_BYTES_MAX)
        .expect("what we encode is well-formed")
        .expect("what we encode is complete");
    assert_eq!(again.bytes.len(), bytes.len());
    let decoded = decode(Some(version), &again).expect("what we encode decodes");
    assert_eq!(decoded, *packet);
    let mut bytes_again = Vec::new();
    encode(&decoded, version, &mut bytes_again);
    assert_eq!(bytes_again, bytes);
    if let Packet::Publish(publish) = packet {
        check_delivery(version, publish, &bytes);
    }
}

/// The fast way to write a PUBLISH writes what the plain way writes, whatever version receives.
fn check_delivery(version: Version, publish: &super::Publish<'_>, encoded: &[u8]) {
    let mut passed_on = Vec::new();
    publish.properties.append_passed_on(&mut passed_on);
    assert_eq!(passed_on.len(), publish.properties.passed_on_bytes);
    let identifiers: Vec<u32> = publish.properties.subscription_identifiers().collect();
    assert_eq!(
        !identifiers.is_empty(),
        publish.properties.subscription_identifiers
    );
    let delivery = super::Delivery {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic.map_or("", super::TopicName::as_str),
        packet_id: publish.packet_id,
        topic_alias: publish.properties.topic_alias,
        message_expiry_interval_s: publish.properties.message_expiry_interval_s,
        subscription_identifiers: &identifiers,
        passed_on: &passed_on,
        payload_bytes: publish.payload.len(),
    };
    let mut bytes = Vec::new();
    delivery.append_head(version, &mut bytes);
    bytes.extend_from_slice(publish.payload);
    assert_eq!(bytes.len(), delivery.packet_bytes(version));
    assert_eq!(bytes, encoded);
}
