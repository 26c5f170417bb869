//! Messages that come in many reads, over true sockets: each arrives once and whole, however its bytes are cut, and
//! whoever breaks off in the middle of one harms nobody.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use nix::sys::socket::{setsockopt, sockopt};
use std::io::Read;
use std::thread;
use std::time::Duration;
use support::packet::{Connect, acknowledgement, packet_len, publish};
use support::packet5::{self, Property, USER_PROPERTY};
use support::{Broker, Client, Published};

on_1_and_2_shards!(
    each_qos_in_odd_pieces,
    retained_and_queued,
    properties_go_with_them,
    small_ones_between_large_ones_keep_their_order,
    the_last_word_before_the_end,
    who_breaks_off_is_not_heard,
    what_is_sent_again_is_not_overtaken,
);

/// Not a whole number of reads, and many of them.
const SIZES: [usize; 2] = [64 * 1024 + 1, 1024 * 1024];
/// Bytes of a write, in turn: a header in parts, reads that are not full, some that are.
const PIECES: [usize; 8] = [1, 1, 2, 7, 16_383, 1, 65_537, 40_000];

/// Bytes no two positions of which are easily confused; other ones for each `seed`.
fn payload(bytes: usize, seed: u32) -> Vec<u8> {
    (0..bytes as u32)
        .map(|at| ((at + seed).wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Sends in odd pieces, some of which have time to arrive alone.
fn send_in_pieces(client: &mut Client, bytes: &[u8]) {
    let mut rest = bytes;
    for (number, piece) in PIECES.iter().cycle().enumerate() {
        let (now, later) = rest.split_at(rest.len().min(*piece));
        client.send(now);
        if later.is_empty() {
            return;
        }
        if number < 20 || number % 8 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        rest = later;
    }
}

/// Where they differ, not a MiB of either.
#[track_caller]
fn expect_whole(message: &Published, topic: &str, qos: u8, payload: &[u8]) {
    let came = (message.topic.as_str(), message.qos, message.payload.len());
    assert_eq!(came, (topic, qos, payload.len()));
    let wrong = (0..payload.len()).find(|at| message.payload[*at] != payload[*at]);
    assert_eq!(wrong, None, "the first wrong byte");
}

/// Plays the publisher's part of what follows a PUBLISH.
fn finish(client: &mut Client, qos: u8, packet_id: u16) {
    match qos {
        0 => {}
        1 => client.expect_packet(&acknowledgement(0x40, packet_id)),
        _ => {
            client.expect_packet(&acknowledgement(0x50, packet_id));
            client.send(&acknowledgement(0x62, packet_id));
            client.expect_packet(&acknowledgement(0x70, packet_id));
        }
    }
}

/// A subscriber of MQTT 5.0 at QoS 0.
fn subscriber_5(broker: &Broker, client_id: &[u8], filter: &[u8]) -> Client {
    let (mut client, _) = packet5::connected(broker, client_id, &[]);
    client.send(&packet5::subscribe(1, &[], filter, 0));
    client.expect_packet(&[0x90, 4, 0, 1, 0, 0]);
    client
}

/// The next message of a subscriber of MQTT 5.0 at QoS 0, its Properties apart.
fn receive_5(client: &mut Client) -> (Published, Vec<Property>) {
    let bytes = client.packet();
    let mut message = Published::read(&bytes).expect("a PUBLISH");
    assert_eq!(message.qos, 0);
    let properties = packet5::properties(&message.payload);
    message.payload.drain(..1 + usize::from(message.payload[0]));
    (message, properties)
}

fn user_property(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![USER_PROPERTY];
    support::packet::string(&mut block, name);
    support::packet::string(&mut block, value);
    block
}

fn each_qos_in_odd_pieces(shards: usize) {
    let broker = Broker::start(shards);
    let mut exact = Client::connect(&broker, "exact");
    exact.subscribe("large/+", 2);
    let mut plain = Client::connect(&broker, "plain");
    plain.subscribe("large/#", 0);
    let mut publisher = Client::connect(&broker, "publisher");
    for (number, bytes) in SIZES.into_iter().chain(SIZES).enumerate() {
        for qos in 0..3 {
            let body = payload(bytes, number as u32);
            let packet_id = publisher.packet_id();
            let packet = publish(b"large/x", &body, qos, packet_id, false);
            // The second time around at once: in full reads.
            if number < SIZES.len() {
                send_in_pieces(&mut publisher, &packet);
            } else {
                publisher.send(&packet);
            }
            finish(&mut publisher, qos, packet_id);
            expect_whole(&exact.receive(), "large/x", qos, &body);
            expect_whole(&plain.receive(), "large/x", 0, &body);
        }
    }
    for mut client in [exact, plain, publisher] {
        client.expect_alive();
    }
}

fn retained_and_queued(shards: usize) {
    let broker = Broker::start(shards);
    let absent = Connect {
        client_id: b"absent",
        clean_session: false,
        ..Connect::default()
    };
    let (mut client, _) = Client::connect_with(&broker, &absent);
    client.subscribe("kept", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, "publisher");
    for (number, bytes) in SIZES.into_iter().enumerate() {
        let body = payload(bytes, number as u32);
        publisher.publish("kept", &body, 1, true);
        let mut late = Client::connect(&broker, "late");
        late.subscribe("kept", 1);
        let message = late.receive();
        assert!(message.retain);
        expect_whole(&message, "kept", 1, &body);
        late.disconnect();
    }
    // All that came meanwhile, in order.
    let (mut back, present) = Client::connect_with(&broker, &absent);
    assert!(present);
    for (number, bytes) in SIZES.into_iter().enumerate() {
        let message = back.receive();
        assert!(!message.retain);
        expect_whole(&message, "kept", 1, &payload(bytes, number as u32));
    }
    publisher.publish("kept", b"", 1, true);
    back.expect_message("kept", b"", 1);
    let mut last = Client::connect(&broker, "last");
    last.subscribe("kept", 1);
    last.expect_silence(Duration::from_millis(100));
}

fn properties_go_with_them(shards: usize) {
    let broker = Broker::start(shards);
    let mut new = subscriber_5(&broker, b"new", b"large/+");
    let mut old = Client::connect(&broker, "old");
    old.subscribe("large/+", 0);
    let (mut publisher, _) = packet5::connected(&broker, b"publisher", &[]);
    let content_type = [&[0x03, 0, 10][..], b"image/jpeg"].concat();
    let (expiry, alias) = ([0x02, 0, 0, 0, 200], [0x23, 0, 1]);
    let user = user_property(b"camera", b"front door");
    let passed_on = [&content_type[..], &user].concat();
    // Passed on alone; with an expiry before them, after which they are not where they were; with an alias; none at
    // all.
    let blocks = [
        passed_on.clone(),
        [&expiry[..], &passed_on].concat(),
        [&alias[..], &passed_on].concat(),
        Vec::new(),
    ];
    for bytes in SIZES {
        for (number, block) in blocks.iter().enumerate() {
            let body = payload(bytes, number as u32);
            let packet = packet5::publish(b"large/x", &body, 1, 9, block);
            send_in_pieces(&mut publisher, &packet);
            // PUBACK, in either of its lengths.
            let answer = publisher.packet();
            assert!(answer.starts_with(&[0x40]), "{answer:02x?}");
            let (message, mut properties) = receive_5(&mut new);
            expect_whole(&message, "large/x", 0, &body);
            let expires = properties.iter().any(|(id, _)| *id == 0x02);
            assert_eq!(expires, number == 1);
            properties.retain(|(id, _)| *id != 0x02);
            let wanted = match number {
                3 => Vec::new(),
                _ => vec![
                    (0x03, content_type[1..].to_vec()),
                    (USER_PROPERTY, user[1..].to_vec()),
                ],
            };
            assert_eq!(properties, wanted, "block {number}");
            expect_whole(&old.receive(), "large/x", 0, &body);
        }
    }
}

fn small_ones_between_large_ones_keep_their_order(shards: usize) {
    let broker = Broker::start(shards);
    let mut subscriber = Client::connect(&broker, "subscriber");
    subscriber.subscribe("#", 1);
    let bodies: Vec<Vec<u8>> = (0..60)
        .map(|number| match number % 6 {
            0 => payload(70_000, number),
            3 => payload(17_000, number),
            _ => format!("small {number}").into_bytes(),
        })
        .collect();
    let mut stream = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let qos = (number % 2) as u8;
        stream.extend(publish(b"mixed", body, qos, number as u16 + 1, false));
    }
    let mut publisher = Client::connect(&broker, "publisher");
    send_in_pieces(&mut publisher, &stream);
    // QoS 0 does not wait for the window of QoS 1; each keeps its own order. [v3.1.1 MQTT-4.6.0-6]
    let came: Vec<Published> = bodies.iter().map(|_| subscriber.receive()).collect();
    for qos in 0..2 {
        let sent = bodies.iter().skip(usize::from(qos)).step_by(2);
        let came = came.iter().filter(|message| message.qos == qos);
        assert_eq!(came.clone().count(), sent.len());
        for (message, body) in came.zip(sent) {
            expect_whole(message, "mixed", qos, body);
        }
    }
    for number in (1..bodies.len()).step_by(2) {
        finish(&mut publisher, 1, number as u16 + 1);
    }
}

/// Who sends, says goodbye and closes, all at once, is heard to the last byte.
fn the_last_word_before_the_end(shards: usize) {
    let broker = Broker::start(shards);
    let mut subscriber = Client::connect(&broker, "subscriber");
    subscriber.subscribe("last", 0);
    for round in 0..20 {
        let body = payload(SIZES[0] + round as usize, round);
        let mut publisher = Client::connect(&broker, "publisher");
        let mut bytes = publish(b"last", &body, 0, 0, false);
        if round % 2 == 0 {
            bytes.extend(support::packet::DISCONNECT);
        }
        publisher.send(&bytes);
        publisher.half_close();
        drop(publisher);
        expect_whole(&subscriber.receive(), "last", 0, &body);
    }
}

fn who_breaks_off_is_not_heard(shards: usize) {
    let broker = Broker::start(shards);
    let mut subscriber = Client::connect(&broker, "subscriber");
    subscriber.subscribe("broken", 1);
    let body = payload(SIZES[1], 0);
    let packet = publish(b"broken", &body, 1, 1, false);
    // Within the header, within the first read, after some, and before the last byte.
    for bytes in [3, 9_000, 300_000, packet.len() - 1] {
        let mut publisher = Client::connect(&broker, "publisher");
        publisher.send(&packet[..bytes]);
        publisher.half_close();
        publisher.expect_close();
    }
    let mut publisher = Client::connect(&broker, "publisher");
    publisher.publish("broken", &body, 1, false);
    expect_whole(&subscriber.receive(), "broken", 1, &body);
    subscriber.expect_alive();
}

/// A Client comes back to more than an outbox takes and reads slowly, so that sending again pauses; then something new
/// comes for it. [v3.1.1 MQTT-4.4.0-1, MQTT-4.6.0-1]
fn what_is_sent_again_is_not_overtaken(shards: usize) {
    let mut broker = Broker::start(shards);
    let hello = Connect {
        client_id: b"viewer",
        clean_session: false,
        ..Connect::default()
    };
    Client::connect_with(&broker, &hello)
        .0
        .subscribe("again", 1);
    let mut publisher = Client::connect(&broker, "publisher");
    // A send buffer of the kernel holds so much and little more. Then a part of a message is left to the broker; its
    // size decides, so the sizes of the messages change.
    let sysctl = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").expect("Linux");
    let kernel_bytes = sysctl.split_whitespace().nth(2).expect("min, default, max");
    let kernel_bytes: usize = kernel_bytes.parse().expect("bytes");
    for round in 0..4 {
        let bytes_each = (kernel_bytes + 512 * 1024) / 18 + round * 7_000;
        println!("{bytes_each} bytes each");
        resume_slowly(&broker, &hello, &mut publisher, bytes_each);
        assert!(broker.is_running());
    }
}

/// Messages of so many bytes, more than an outbox takes at once, come to `hello` again and stop for want of room.
fn resume_slowly(broker: &Broker, hello: &Connect<'_>, publisher: &mut Client, bytes_each: usize) {
    /// Unacknowledged at QoS 1, and room for one more in the window: more bytes than the kernel keeps between the
    /// broker and such a reader.
    const AGAIN: u32 = 19;
    let (mut viewer, _) = Client::connect_with(broker, hello);
    let bodies: Vec<_> = (0..AGAIN).map(|seed| payload(bytes_each, seed)).collect();
    for body in &bodies {
        publisher.publish("again", body, 1, false);
        let message = Published::read(&viewer.packet()).expect("a PUBLISH");
        assert!(!message.dup);
    }
    drop(viewer);

    let mut viewer = Client::open(broker);
    setsockopt(&viewer.stream(), sockopt::RcvBuf, &(64 * 1024)).expect("a small receive buffer");
    viewer.send(&hello.bytes());
    let mut stream = viewer.stream();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 1, 0]);
    let mut came = Vec::new();
    // What can leave has left.
    thread::sleep(Duration::from_millis(50));
    publisher.publish("again", b"new", 1, false);

    let mut next = || {
        let mut bytes = [0; 64 * 1024];
        loop {
            if let Some(len) = packet_len(&came).filter(|len| *len <= came.len()) {
                let packet: Vec<u8> = came.drain(..len).collect();
                return Published::read(&packet).expect("a PUBLISH");
            }
            let count = stream.read(&mut bytes).expect("the broker lives");
            assert!(count > 0, "the broker closed the connection");
            came.extend_from_slice(&bytes[..count]);
        }
    };
    for body in &bodies {
        let message = next();
        assert!(message.dup, "all come again before what is new");
        expect_whole(&message, "again", 1, body);
        viewer.send(&acknowledgement(0x40, message.packet_id));
    }
    let message = next();
    expect_whole(&message, "again", 1, b"new");
    assert!(!message.dup);
    viewer.send(&acknowledgement(0x40, message.packet_id));
    viewer.expect_alive();
}
