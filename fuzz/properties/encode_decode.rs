//! Packets composed by the standard, read and written by `mqttfast::wire`: nothing is lost or made up either way, and
//! every size that is announced is right. Used by the fuzz target and, without a fuzzer, by `tests/corpora.rs`.

#[path = "compose.rs"]
mod compose;
#[path = "said.rs"]
mod said;

use arbitrary::Unstructured;
use mqttfast::wire::{Malformed, Version, decode, encode, frame_bytes, next_frame, props};
use said::Said;

/// Packets of one stream.
const PACKETS_MAX: usize = 8;
/// More than what any of them has.
const BYTES_MAX: u32 = 4 * 1024 * 1024;

/// The first byte chooses a version, the others packets of it, one after the other.
pub fn holds(data: &[u8]) {
    let mut chance = Unstructured::new(data);
    let Ok(pick) = chance.arbitrary::<u8>() else {
        return;
    };
    let (level, version) =
        [(3, Version::V31), (4, Version::V311), (5, Version::V5)][usize::from(pick) % 3];
    let mut stream = Vec::new();
    let mut sizes = Vec::new();
    while let Ok((packet, said)) = compose::compose(level, sizes.is_empty(), &mut chance) {
        packet_holds(version, &packet, &said);
        sizes.push(packet.len());
        stream.extend(packet);
        if chance.is_empty() || sizes.len() == PACKETS_MAX {
            break;
        }
    }
    let mut rest = &stream[..];
    for size in sizes {
        let frame = next_frame(rest, BYTES_MAX)
            .expect("it is legal")
            .expect("it is whole");
        assert_eq!(frame.bytes.len(), size);
        rest = &rest[size..];
    }
    assert_eq!(next_frame(rest, BYTES_MAX), Ok(None));
}

fn packet_holds(version: Version, bytes: &[u8], meant: &Said) {
    sizes_hold(bytes);
    let frame = next_frame(bytes, BYTES_MAX)
        .expect("it is legal")
        .expect("it is whole");
    let packet = decode(Some(version), &frame).unwrap_or_else(|fault| panic!("{fault}: {meant:?}"));
    assert_eq!(Said::of(&packet, version), *meant);

    let before = b"what is there already";
    let mut written = before.to_vec();
    encode(&packet, version, &mut written);
    let written = written.strip_prefix(before).expect("encoding appends");
    assert!(written.len() <= bytes.len(), "no longer than it has to be");
    sizes_hold(written);
    let frame = next_frame(written, BYTES_MAX)
        .expect("it is legal")
        .expect("it is whole");
    assert_eq!(frame.bytes.len(), written.len());
    let again = decode(Some(version), &frame).expect("what we write we read");
    assert_eq!(again, packet);
    assert_eq!(Said::of(&again, version), *meant);

    props::decode_of_encode_is_identity(bytes);
}

/// The Fixed Header tells the size, as soon as it is there itself; the packet is whole with its last byte and not
/// before; one byte more than the limit is refused by the header alone.
fn sizes_hold(bytes: &[u8]) {
    let size = bytes.len() as u32;
    let header_bytes = match size {
        0..=129 => 2,
        130..=16_386 => 3,
        16_387..=2_097_155 => 4,
        _ => 5,
    };
    let cuts = (0..bytes.len().min(8)).chain([bytes.len() / 2, bytes.len() - 1]);
    for cut in cuts.filter(|&cut| cut < bytes.len()) {
        let seen = &bytes[..cut];
        let told = (cut >= header_bytes).then_some(bytes.len());
        assert_eq!(frame_bytes(seen), told);
        assert_eq!(next_frame(seen, size), Ok(None));
        let refused = told.map(|_| Malformed::PacketTooLarge);
        assert_eq!(next_frame(seen, size - 1).err(), refused);
    }
    assert_eq!(frame_bytes(bytes), Some(bytes.len()));
    assert_eq!(next_frame(bytes, size - 1), Err(Malformed::PacketTooLarge));
    let frame = next_frame(bytes, size)
        .expect("it is legal")
        .expect("it is whole");
    assert_eq!(frame.bytes, bytes);
    assert_eq!(frame.body().len() + header_bytes, bytes.len());
}
