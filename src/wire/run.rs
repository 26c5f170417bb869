//! A run: PUBLISH packets of QoS 0, one after the other in what was read, that are the same but for their payloads. A
//! sensor that publishes to its topic ten times before we look is one: whoever gets the first gets all, and by one
//! copy.
//!
//! ```text
//! 30 07 00 03 a / b 2 1 │ 30 08 00 03 a / b 2 1 . │ 30 05 00 03 a / c
//! └────────────────── a run of two packets ───────┘
//! ```
//!
//! Found by comparing bytes, without decoding: a packet whose head is that of a well-formed one, byte by byte, is
//! well-formed, since nothing in its payload can be wrong. Cost: one comparison of the head for each packet.

use super::Version;
use super::frame::{Frame, next_frame};
use super::publish::PLAIN_FIRST_BYTE;
use crate::limits::{PAYLOAD_SHARED_FROM_BYTES, RUN_BYTES_MAX};

/// One packet, or more that are the same but for their payloads.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The packets, one after the other.
    pub bytes: &'a [u8],
    /// How many of them `bytes` holds; at least 1.
    pub packets: u32,
}

impl<'a> Run<'a> {
    /// A packet alone.
    pub fn one(frame: &Frame<'a>) -> Run<'a> {
        Run {
            bytes: frame.bytes,
            packets: 1,
        }
    }

    /// The longest run that `first`, the packet at the start of `bytes`, begins. Of one packet where it is no PUBLISH
    /// at QoS 0 without flags, where the next is another, or, in v5, where it has Properties.
    ///
    /// Has at most [`RUN_BYTES_MAX`] bytes if more than one packet, none of them larger than `packet_bytes_max` or
    /// [`PAYLOAD_SHARED_FROM_BYTES`].
    #[inline]
    pub fn of(version: Version, first: &Frame<'a>, bytes: &'a [u8], packet_bytes_max: u32) -> Self {
        let next = bytes.get(first.bytes.len());
        if first.bytes[0] != PLAIN_FIRST_BYTE || next != Some(&PLAIN_FIRST_BYTE) {
            return Run::one(first);
        }
        Run::of_more(version, first, bytes, packet_bytes_max)
    }

    fn of_more(
        version: Version,
        first: &Frame<'a>,
        bytes: &'a [u8],
        packet_bytes_max: u32,
    ) -> Self {
        let Some(head) = head(version, first) else {
            return Run::one(first);
        };
        let packet_bytes_max = packet_bytes_max.min(PAYLOAD_SHARED_FROM_BYTES as u32);
        let bytes = &bytes[..bytes.len().min(RUN_BYTES_MAX)];
        let mut end = first.bytes.len();
        let mut packets = 1;
        if end > packet_bytes_max as usize {
            return Run::one(first);
        }
        while let Some(rest) = bytes.get(end..)
            && let Ok(Some(frame)) = next_frame(rest, packet_bytes_max)
            && frame.bytes[0] == PLAIN_FIRST_BYTE
            && frame.body().starts_with(head)
        {
            end += frame.bytes.len();
            packets += 1;
        }
        Run {
            bytes: &bytes[..end],
            packets,
        }
    }

    /// Its first packets, at most so many and at least one.
    pub fn first(&self, packets: usize) -> Run<'a> {
        let frames = self.frames().take(packets.max(1));
        let (mut bytes, mut count) = (0, 0);
        for frame in frames {
            bytes += frame.bytes.len();
            count += 1;
        }
        Run {
            bytes: &self.bytes[..bytes],
            packets: count,
        }
    }

    /// The packets.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let frame = next_frame(rest, u32::MAX).ok()??;
            rest = &rest[frame.bytes.len()..];
            Some(frame)
        })
    }

    /// Each packet, and its payload; that of the first has `first_payload_bytes`.
    pub fn messages(
        &self,
        first_payload_bytes: usize,
    ) -> impl Iterator<Item = (Frame<'a>, &'a [u8])> + use<'a> {
        let first_body_bytes = self.frames().next().map_or(0, |frame| frame.body().len());
        assert!(first_payload_bytes <= first_body_bytes);
        let head_bytes = first_body_bytes - first_payload_bytes;
        self.frames()
            .map(move |frame| (frame, &frame.body()[head_bytes..]))
    }
}

/// What lies between the Fixed Header of a PUBLISH at QoS 0 and its payload: the Topic Name and, in v5, Properties of
/// length 0. `None`: there is no name, it is cut, or there are Properties.
#[inline]
fn head<'a>(version: Version, frame: &Frame<'a>) -> Option<&'a [u8]> {
    let body = frame.body();
    let name_bytes = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let mut head_bytes = size_of::<u16>() + name_bytes;
    if version == Version::V5 {
        if body.get(head_bytes) != Some(&0) {
            return None;
        }
        head_bytes += 1;
    }
    (name_bytes > 0).then(|| body.get(..head_bytes))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Packet, Publish, TopicName, encode};

    fn publish(version: Version, topic: &str, payload: &[u8], flags: u8) -> Vec<u8> {
        let publish = Publish {
            dup: false,
            qos: crate::wire::QoS::AtMostOnce,
            retain: false,
            topic: Some(TopicName::new(topic).expect("a name")),
            packet_id: None,
            properties: Default::default(),
            payload,
        };
        let mut bytes = Vec::new();
        encode(&Packet::Publish(publish), version, &mut bytes);
        bytes[0] |= flags;
        bytes
    }

    fn run(version: Version, bytes: &[u8], packet_bytes_max: u32) -> Run<'_> {
        let first = next_frame(bytes, packet_bytes_max).unwrap().unwrap();
        Run::of(version, &first, bytes, packet_bytes_max)
    }

    fn packets(version: Version, parts: &[Vec<u8>]) -> u32 {
        let bytes = parts.concat();
        let run = run(version, &bytes, 100_000);
        assert_eq!(run.frames().count(), run.packets as usize);
        let whole: Vec<u8> = run
            .frames()
            .flat_map(|frame| frame.bytes.to_vec())
            .collect();
        assert_eq!(whole, run.bytes);
        run.packets
    }

    #[test]
    fn packets_with_one_head_are_a_run() {
        for version in Version::ALL {
            let of = |topic: &str, payload: &[u8]| publish(version, topic, payload, 0);
            let (a, b) = (of("a/b", b"21"), of("a/b", &[b'x'; 300]));
            assert_eq!(packets(version, std::slice::from_ref(&a)), 1);
            assert_eq!(packets(version, &[a.clone(), b.clone(), a.clone()]), 3);
            assert_eq!(packets(version, &[a.clone(), of("a/b", b""), b.clone()]), 3);
            assert_eq!(
                packets(version, &[a.clone(), b.clone(), of("a/c", b"1")]),
                2
            );
            // The name of one begins with that of the other, and the other way round.
            assert_eq!(packets(version, &[a.clone(), of("a/bc", b"1")]), 1);
            assert_eq!(packets(version, &[of("a/bc", b"1"), a.clone()]), 1);
            assert_eq!(packets(version, &[of("a", b"/b21"), a.clone()]), 1);
            for flags in [0x01, 0x08, 0x02, 0x04] {
                let other = publish(version, "a/b", b"21", flags);
                assert_eq!(packets(version, &[a.clone(), other.clone(), a.clone()]), 1);
                assert_eq!(packets(version, &[other.clone(), other, a.clone()]), 1);
            }
            assert_eq!(packets(version, &[a, vec![0xC0, 0]]), 1);
        }
    }

    #[test]
    fn in_v5_properties_end_a_run() {
        let with = |properties: &[u8]| {
            let mut bytes = vec![0x30, 0, 0, 1, b'a', properties.len() as u8];
            bytes.extend_from_slice(properties);
            bytes.push(b'x');
            bytes[1] = bytes.len() as u8 - 2;
            bytes
        };
        let (plain, text) = (with(&[]), with(&[0x01, 1]));
        assert_eq!(packets(Version::V5, &[plain.clone(), plain.clone()]), 2);
        assert_eq!(packets(Version::V5, &[text.clone(), text.clone()]), 1);
        assert_eq!(packets(Version::V5, &[plain, text]), 1);
        // A name of no bytes, which an alias stands for.
        let aliased = vec![0x30, 6, 0, 0, 3, 0x23, 0, 1];
        assert_eq!(packets(Version::V5, &[aliased.clone(), aliased]), 1);
    }

    #[test]
    fn every_cut_ends_it_at_a_whole_packet() {
        for version in Version::ALL {
            let packet = publish(version, "a/b", b"21", 0);
            let stream = packet.repeat(3);
            for end in packet.len()..=stream.len() {
                let run = run(version, &stream[..end], 100_000);
                assert_eq!(run.packets as usize, end / packet.len());
                assert_eq!(run.bytes.len(), run.packets as usize * packet.len());
            }
        }
    }

    #[test]
    fn malformed_packets_are_no_part_of_it() {
        // The length of its name is more than it has; its own length is no Variable Byte Integer.
        let cut = [0x30, 3, 0, 9, b'a', 0x30, 3, 0, 9, b'a'];
        assert_eq!(run(Version::V311, &cut, 100).packets, 1);
        let short = [0x30, 1, 0, 0x30, 1, 0];
        assert_eq!(run(Version::V311, &short, 100).packets, 1);
        let good = publish(Version::V311, "a", b"1", 0);
        let endless = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0];
        assert_eq!(packets(Version::V311, &[good.clone(), endless.to_vec()]), 1);
        assert_eq!(packets(Version::V311, &[good, vec![0x30, 0]]), 1);
    }

    #[test]
    fn large_packets_go_alone_and_a_run_has_an_end() {
        let version = Version::V311;
        let small = publish(version, "a", b"1", 0);
        let large = publish(version, "a", &vec![0; PAYLOAD_SHARED_FROM_BYTES], 0);
        assert_eq!(packets(version, &[small.clone(), large.clone()]), 1);
        assert_eq!(packets(version, &[large, small.clone()]), 1);
        let stream = small.repeat(RUN_BYTES_MAX);
        let run = run(version, &stream, 100);
        assert_eq!(run.packets as usize, RUN_BYTES_MAX / small.len());
        assert_eq!(run.bytes.len() % small.len(), 0);
        // What the operator allows is less.
        let middle = publish(version, "a", &[0; 300], 0);
        let stream = [small.clone(), small.clone(), middle].concat();
        let first = next_frame(&stream, 256).unwrap().unwrap();
        assert_eq!(Run::of(version, &first, &stream, 256).packets, 2);
    }

    #[test]
    fn each_message_has_its_payload() {
        for version in Version::ALL {
            let payloads: [&[u8]; 3] = [b"21", b"", &[b'x'; 200]];
            let stream: Vec<u8> = payloads
                .iter()
                .flat_map(|payload| publish(version, "a/b", payload, 0))
                .collect();
            let run = run(version, &stream, 1000);
            let first = run.frames().next().expect("a packet");
            let first = Publish::decode(version, &first).expect("well-formed");
            let messages = run.messages(first.payload.len());
            let found: Vec<_> = messages.map(|(_, payload)| payload).collect();
            assert_eq!(found, payloads);
        }
    }
}
