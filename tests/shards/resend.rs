//! What is unacknowledged is sent again before anything new, however slowly its Client reads.

use crate::*;

/// Bytes of each message: three of them are more than an outbox takes at once, so sending them again pauses.
const BYTES: usize = 150_000;

#[test]
fn a_message_in_the_middle_of_a_resend_waits() {
    for shards in [1, 2] {
        for (version, qos) in [(V, 1), (V, 2), (Version::V5, 1), (Version::V5, 2)] {
            for taken in [1, 50_000, 100_000, 131_072, 140_000] {
                println!("{shards} shards, {version:?}, QoS {qos}, {taken} bytes taken first");
                in_the_middle(shards, version, qos, taken);
            }
        }
    }
}

fn in_the_middle(shards: usize, version: Version, qos: u8, taken: usize) {
    let mut world = World::new(shards);
    let hello = connect(version, "viewer").persistent();
    let viewer = world.connect(&hello);
    world.subscribe(viewer, "t", qos);
    let publisher = world.connect(&connect(V, "publisher"));
    for (number, letter) in ["a", "b", "c"].into_iter().enumerate() {
        let packet_id = number as u16 + 1;
        world.send(
            publisher,
            publish("t", letter.repeat(BYTES))
                .qos(1, packet_id)
                .bytes(V),
        );
    }
    world.settle();
    assert_eq!(
        world.received(viewer).len(),
        3,
        "all are in flight and stay unacknowledged"
    );
    world.drop_connection(viewer);
    let viewer = world.open(version);
    world.read_slowly(viewer);
    world.send(viewer, hello.bytes());
    world.settle();
    // The first is under way again, the others wait for room: what is unsent lies between the two bounds of an outbox.
    world.take_bytes(viewer, taken);
    world.send(publisher, publish("t", "new").qos(1, 9).bytes(V));
    world.settle();
    world.acknowledge_at_once(viewer);
    world.read_at_once(viewer);
    world.settle();
    let firsts: String = texts_so_far(&world, viewer)
        .iter()
        .map(|text| &text[..1])
        .collect();
    assert_eq!(
        firsts, "abcn",
        "in the first order, the new one last, none lost"
    );
}
