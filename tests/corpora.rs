//! Every input that `fuzz/corpus` keeps, through what its fuzz target asserts, without a fuzzer and its compiler. Those
//! of the target `dialogue` are played by `tests/sim`, those of `bridge_remote` by `tests/bridge`.

#[path = "../fuzz/properties/chance.rs"]
mod chance;
#[path = "../fuzz/properties/encode_decode.rs"]
mod encode_decode;
#[path = "../fuzz/properties/layer.rs"]
mod layer;
#[path = "../fuzz/properties/proxy_header.rs"]
mod proxy_header;
#[path = "../fuzz/properties/storm.rs"]
mod storm;
#[path = "../fuzz/properties/websocket_stream.rs"]
mod websocket_stream;

use mqttfast::config::mosquitto;
use mqttfast::io::helpers::http;
use mqttfast::random::SplitMix64;
use mqttfast::{acl, passwd, store, topic, wire};
use mqttfast_rig::corpus::replay;
use std::thread;

#[test]
fn decode() {
    replay("decode", |data| {
        wire::props::decode_all(data);
        wire::props::frames_ignore_cuts(data);
        wire::props::runs_say_what_their_first_packet_says(data);
        wire::props::decode_of_encode_is_identity(data);
    });
}

#[test]
fn encode_and_decode() {
    replay("encode_decode", encode_decode::holds);
}

#[test]
fn websocket_stream() {
    replay("websocket_stream", websocket_stream::websocket);
}

#[test]
fn proxy_header() {
    replay("proxy_header", proxy_header::proxy);
}

#[test]
fn http_request() {
    replay("http_request", http::props::requests_say_one_thing);
}

/// Those requests with some of their bytes changed, lost, or put elsewhere.
#[test]
fn http_requests_by_chance() {
    let mut random = SplitMix64::new(7);
    replay("http_request", |data| {
        for _ in 0..500 {
            let mut data = data.to_vec();
            for _ in 0..=random.below(3) {
                if data.is_empty() {
                    break;
                }
                let at = random.below(data.len());
                match random.below(4) {
                    0 => data[at] = random.draw() as u8,
                    1 => drop(data.remove(at)),
                    2 => data.insert(at, random.pick(b"\r\n%: /[].,\0\xFF")),
                    _ => data.swap(at, 0),
                }
            }
            http::props::requests_say_one_thing(&data);
        }
    });
}

#[test]
fn topic_match() {
    replay("topic_match", topic::props::any_of_them);
}

#[test]
fn passwd_file() {
    replay("passwd_file", passwd::props::whole_lines_alone_let_in);
}

#[test]
fn store_records() {
    replay("store_records", |data| {
        store::props::records_are_their_bytes(data);
        store::props::frames_lie_in_their_journal(data);
        store::props::only_sound_rows_are_given(data);
        store::props::what_is_salvaged_proves_itself(data);
    });
}

#[test]
fn mosquitto_db() {
    replay("mosquitto_db", store::props::what_is_imported_are_records);
}

#[test]
fn mosquitto_conf() {
    replay(
        "mosquitto_conf",
        mosquitto::props::configurations_are_taken_or_refused,
    );
}

#[test]
fn acl_file() {
    replay("acl_file", acl::props::verdicts_are_the_models);
}

/// Storms by chance: the longest there are.
#[test]
fn storms_by_chance() {
    let mut random = SplitMix64::new(7);
    for _ in 0..8 {
        storm::holds(&bytes::<600>(&mut random));
    }
}

fn bytes<const COUNT: usize>(random: &mut SplitMix64) -> [u8; COUNT] {
    std::array::from_fn(|_| random.draw() as u8)
}

/// Chance alone, as many packets as a second takes: the corpus is small.
#[test]
fn encode_and_decode_by_chance() {
    let check = |thread: u64| {
        let mut random = SplitMix64::new(thread);
        for _ in 0..500 {
            encode_decode::holds(&bytes::<192>(&mut random));
        }
    };
    thread::scope(|scope| {
        (0..2).for_each(|number| {
            scope.spawn(move || check(number));
        });
    });
}
