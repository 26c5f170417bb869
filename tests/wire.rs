//! Bytes ↔ Control Packets, by the tables in `tests/wire/` and by packets generated from them.
//!
//! A table row is `name [statement] | versions | bytes | answer`. Versions: `3.1`, `3.1.1`, `5`; `none` is
//! before CONNECT; for a CONNECT they are what it names, `-` if that is nothing we serve. Bytes are hexadecimal;
//! `'text'` stands for its bytes, `2F*200` for 200 of one and `2600*9` for 9 times these two. The answer is `ok`,
//! `incomplete`, or the rule of `Malformed` that is broken.

use mqttfast::limits::PACKET_BYTES_MAX_DEFAULT;
use mqttfast::wire::{self, Malformed, Packet, Version, props};
use std::collections::BTreeSet;
use std::path::Path;

struct Row {
    /// Table and name, for messages.
    name: String,
    versions: Vec<Option<Version>>,
    bytes: Vec<u8>,
    answer: String,
}

impl Row {
    fn parse(table: &str, line: &str) -> Self {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [name, versions, bytes, answer] = fields[..] else {
            panic!("{table}: not four fields: {line}");
        };
        Self {
            name: format!("{table}: {name}"),
            versions: versions.split_whitespace().map(parse_version).collect(),
            bytes: parse_bytes(bytes),
            answer: answer.to_owned(),
        }
    }

    fn is_connect(&self) -> bool {
        self.bytes[0] >> 4 == wire::packet_type::CONNECT
    }
}

fn parse_version(text: &str) -> Option<Version> {
    match text {
        "none" | "-" => None,
        "3.1" => Some(Version::V31),
        "3.1.1" => Some(Version::V311),
        "5" => Some(Version::V5),
        _ => panic!("no version: {text}"),
    }
}

fn parse_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Every second part stands between quotes.
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        for token in part.split_whitespace() {
            let (byte, count) = token.split_once('*').unwrap_or((token, "1"));
            let group: Vec<u8> = (0..byte.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&byte[at..at + 2], 16).expect("bytes in hexadecimal"))
                .collect();
            let count: usize = count.parse().expect("a number of repeats");
            bytes.extend(group.repeat(count));
        }
    }
    bytes
}

fn rows() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the tables")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let table = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("a table");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        rows.extend(lines.map(|line| Row::parse(&table, line)));
    }
    rows
}

/// Packets that decode, each with the version to decode it by.
fn good_packets() -> Vec<(String, Option<Version>, Vec<u8>)> {
    let mut packets = Vec::new();
    for row in rows().into_iter().filter(|row| row.answer == "ok") {
        for &version in &row.versions {
            let version = if row.is_connect() { None } else { version };
            packets.push((row.name.clone(), version, row.bytes.clone()));
        }
    }
    packets
}

/// The answer to a packet in the words of the tables.
fn answer(version: Option<Version>, bytes: &[u8]) -> String {
    let frame = match wire::next_frame(bytes, PACKET_BYTES_MAX_DEFAULT) {
        Err(rule) => return format!("{rule:?}"),
        Ok(None) => return "incomplete".to_owned(),
        Ok(Some(frame)) => frame,
    };
    assert_eq!(
        frame.bytes.len(),
        bytes.len(),
        "a row is one packet: {bytes:02X?}"
    );
    match wire::decode(version, &frame) {
        Ok(_) => "ok".to_owned(),
        Err(rule) => format!("{rule:?}"),
    }
}

#[test]
fn every_row_has_its_answer() {
    let mut wrong = Vec::new();
    for row in rows() {
        for &version in &row.versions {
            let given = if row.is_connect() { None } else { version };
            let answer = answer(given, &row.bytes);
            if answer != row.answer {
                wrong.push(format!(
                    "{} ({version:?}): {answer}, not {}",
                    row.name, row.answer
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_connect_names_its_version() {
    for row in rows()
        .iter()
        .filter(|row| row.is_connect() && row.answer == "ok")
    {
        let frame = wire::next_frame(&row.bytes, PACKET_BYTES_MAX_DEFAULT)
            .unwrap()
            .unwrap();
        // A version given from outside changes nothing.
        for given in [None, Some(Version::V31), Some(Version::V5)] {
            let Ok(Packet::Connect(connect)) = wire::decode(given, &frame) else {
                panic!("{}", row.name);
            };
            assert_eq!(Some(connect.version), row.versions[0], "{}", row.name);
        }
    }
}

#[test]
fn every_rule_has_a_bad_case_and_bad_cases_outnumber_good() {
    let rows = rows();
    let answers: BTreeSet<&str> = rows.iter().map(|row| row.answer.as_str()).collect();
    for rule in Malformed::ALL {
        // A Topic Filter is not looked at by `decode`; its rules have their cases in `wire::topic`.
        let of_filter = matches!(
            rule,
            Malformed::EmptyTopicFilter
                | Malformed::MisplacedWildcard
                | Malformed::TooManyFilterLevels
                | Malformed::InvalidShareName
                | Malformed::NoFilterAfterShareName
        );
        assert!(
            of_filter || answers.contains(format!("{rule:?}").as_str()),
            "{rule:?}"
        );
    }
    let good = rows.iter().filter(|row| row.answer == "ok").count();
    assert!(rows.len() > 2 * good, "{good} of {} are good", rows.len());
}

#[test]
fn the_tables_are_long_and_no_row_stands_twice() {
    let rows = rows();
    assert!(rows.len() >= 600, "only {} rows", rows.len());
    let mut seen = BTreeSet::new();
    for row in &rows {
        for version in &row.versions {
            let case = (*version, row.bytes.clone());
            assert!(seen.insert(case), "{} stands twice", row.name);
        }
    }
    for version in Version::ALL {
        let of_version = rows
            .iter()
            .filter(|row| row.versions.contains(&Some(version)));
        let (good, bad): (Vec<_>, Vec<_>) = of_version.partition(|row| row.answer == "ok");
        assert!(bad.len() > good.len(), "{version:?}: {} bad", bad.len());
    }
}

#[test]
fn decode_of_encode_is_identity_on_every_good_row() {
    for (_, _, bytes) in good_packets() {
        props::decode_of_encode_is_identity(&bytes);
    }
}

#[test]
fn a_good_packet_cut_short_is_incomplete_and_malformed_if_its_length_is_cut_too() {
    for (name, version, bytes) in good_packets() {
        let whole = wire::next_frame(&bytes, PACKET_BYTES_MAX_DEFAULT)
            .unwrap()
            .unwrap();
        let body = whole.body();
        // A very long packet differs from a long one by its filling only.
        for end in (0..body.len()).filter(|end| *end < 300 || *end == body.len() - 1) {
            let header_bytes = usize::from(whole.header_bytes);
            let incomplete =
                wire::next_frame(&bytes[..header_bytes + end], PACKET_BYTES_MAX_DEFAULT);
            assert_eq!(incomplete, Ok(None), "{name} cut at {end}");

            let mut cut = vec![bytes[0]];
            wire::varint::append(end as u32, &mut cut);
            cut.extend_from_slice(&body[..end]);
            let answer = answer(version, &cut);
            props::decode_of_encode_is_identity(&cut);
            if answer == "ok" {
                assert!(may_end_early(&bytes, version, end), "{name} cut at {end}");
            }
        }
    }
}

/// May this good packet end after `end` bytes of its body and be good still? Where the last field is a list or the rest
/// of the packet, or may be left out.
fn may_end_early(bytes: &[u8], version: Option<Version>, end: usize) -> bool {
    use wire::packet_type as kind;
    match bytes[0] >> 4 {
        // Payload; lists of filters and of codes.
        kind::PUBLISH | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::SUBACK | kind::UNSUBACK => true,
        // v5: Reason Code and Properties, each with all that follows.
        kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
            version == Some(Version::V5) && (end == 2 || end == 3)
        }
        kind::DISCONNECT => version == Some(Version::V5) && end <= 1,
        kind::AUTH => end == 0,
        // v3.1: the user name and the password.
        kind::CONNECT => bytes[4..].starts_with(b"MQIsdp"),
        _ => false,
    }
}

#[test]
fn every_first_byte_has_an_answer() {
    for first in 0..=u8::MAX {
        for version in [
            None,
            Some(Version::V31),
            Some(Version::V311),
            Some(Version::V5),
        ] {
            let empty = answer(version, &[first, 0]);
            // A body that is a Packet Identifier, and one that is a topic, an identifier and a zero.
            let id = answer(version, &[first, 2, 0, 1]);
            let topic = answer(version, &[first, 6, 0, 1, b'a', 0, 1, 0]);
            let expected = expected_of_first_byte(version, first);
            assert_eq!([empty, id, topic], expected, "{first:02X} {version:?}");
        }
    }
}

/// What `[first, 0]`, `[first, 2, 0, 1]` and `[first, 6, 0, 1, 'a', 0, 1, 0]` are answered.
fn expected_of_first_byte(version: Option<Version>, first: u8) -> [String; 3] {
    use Malformed::*;
    let all = |rule: Malformed| [Err(rule), Err(rule), Err(rule)];
    let v5 = version == Some(Version::V5);
    let (kind, flags) = (first >> 4, first & 0x0F);
    let answers = match (version, kind) {
        (_, 0) => all(ReservedPacketType),
        (_, 1) => [Err(Truncated), Err(Truncated), Err(UnknownProtocolName)],
        (None, _) => all(NotConnect),
        (_, 3) if flags & 0x06 == 0x06 => all(BothQosBits),
        (Some(version), 3) if flags & 0x0E == 0x08 && version != Version::V31 => all(DupAtQos0),
        // Its topic is 'a'; at QoS 0 the rest is payload, in v5 after an empty block of Properties.
        (_, 3) => [Err(Truncated), Err(Truncated), Ok(())],
        (Some(version), kind) => {
            let reserved = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            if flags != reserved && version != Version::V31 {
                all(FixedHeaderFlags)
            } else {
                expected_of_kind(kind, version, v5)
            }
        }
    };
    answers.map(|answer| answer.map_or_else(|rule| format!("{rule:?}"), |()| "ok".to_owned()))
}

fn expected_of_kind(kind: u8, version: Version, v5: bool) -> [Result<(), Malformed>; 3] {
    use Malformed::*;
    match kind {
        // 00 01 is no failure and has no Properties; 00 01 61 .. has no such code.
        2 if v5 => [
            Err(Truncated),
            Err(ReasonCodeNotAllowed),
            Err(ReasonCodeNotAllowed),
        ],
        2 => [Err(Truncated), Ok(()), Err(TrailingBytes)],
        // The code after the identifier is 0x61.
        4..=7 if v5 => [Err(Truncated), Ok(()), Err(ReasonCodeNotAllowed)],
        4..=7 => [Err(Truncated), Ok(()), Err(TrailingBytes)],
        // A Property Length of 0x61, or a filter of 0x6100 bytes.
        8 | 10 if v5 => [Err(Truncated), Err(Truncated), Err(Truncated)],
        8 | 10 => [Err(Truncated), Err(NoTopicFilter), Err(Truncated)],
        9 | 11 if v5 => [Err(Truncated), Err(Truncated), Err(Truncated)],
        9 => [
            Err(Truncated),
            Err(NoReasonCodes),
            Err(ReasonCodeNotAllowed),
        ],
        11 => [Err(Truncated), Ok(()), Err(TrailingBytes)],
        12 | 13 => [Ok(()), Err(TrailingBytes), Err(TrailingBytes)],
        // Code 0 and a block that runs past the end.
        14 if v5 => [Ok(()), Err(Truncated), Err(UnknownProperty)],
        14 => [Ok(()), Err(TrailingBytes), Err(TrailingBytes)],
        15 if v5 => [Ok(()), Err(Truncated), Err(UnknownProperty)],
        15 => [Err(ReservedPacketType); 3],
        _ => unreachable!("{kind} {version:?}"),
    }
}

#[test]
fn a_stream_gives_the_same_packets_however_it_is_cut() {
    for version in Version::ALL {
        let mut stream = Vec::new();
        for (_, of, bytes) in good_packets() {
            if (of.is_none() || of == Some(version)) && bytes.len() < 500 {
                stream.extend_from_slice(&bytes);
            }
        }
        props::frames_ignore_cuts(&stream);
        // Short pieces are cut at every byte.
        for piece in stream.chunks(60) {
            props::frames_ignore_cuts(piece);
        }
    }
}

#[test]
fn packets_that_follow_each_other_are_runs_only_where_they_say_the_same() {
    for (_, _, bytes) in good_packets()
        .into_iter()
        .filter(|(_, _, bytes)| bytes.len() < 100)
    {
        props::runs_say_what_their_first_packet_says(&bytes.repeat(3));
        for index in 0..bytes.len() {
            for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[index] ^= change;
                let stream = [&bytes[..], &changed, &bytes].concat();
                props::runs_say_what_their_first_packet_says(&stream);
            }
        }
    }
}

#[test]
fn every_bad_row_keeps_the_properties() {
    for row in rows() {
        props::frames_ignore_cuts(&row.bytes);
        props::decode_of_encode_is_identity(&row.bytes);
    }
}

#[test]
fn every_changed_byte_of_a_good_packet_keeps_the_properties() {
    for (_, _, bytes) in good_packets()
        .into_iter()
        .filter(|(_, _, bytes)| bytes.len() < 100)
    {
        for index in 0..bytes.len() {
            for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[index] ^= change;
                props::decode_of_encode_is_identity(&changed);
            }
        }
    }
}
