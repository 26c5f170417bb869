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
    let mut state = 7_usize;
    let mut chance = move |below: usize| {
        state = state
            .wrapping_mul(1_103_515_245)
            .wrapping_add(12_345 + (state >> 16));
        (state >> 16) % below.max(1)
    };
    let chance = std::cell::RefCell::new(&mut chance);
    replay("http_request", |data| {
        for _ in 0..500 {
            let (mut data, mut chance) = (data.to_vec(), chance.borrow_mut());
            for _ in 0..=chance(3) {
                let at = chance(data.len());
                match (chance(4), data.is_empty()) {
                    (_, true) => {}
                    (0, _) => data[at] = chance(256) as u8,
                    (1, _) => drop(data.remove(at)),
                    (2, _) => data.insert(at, b"\r\n%: /[].,\0\xFF"[chance(12)]),
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
    let mut state = 7_u64;
    for _ in 0..8 {
        let mut bytes = [0u8; 600];
        for byte in &mut bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        storm::holds(&bytes);
    }
}

/// Chance alone, as many packets as a second takes: the corpus is small.
#[test]
fn encode_and_decode_by_chance() {
    let check = |thread: u64| {
        let mut state = thread;
        for _ in 0..500 {
            let mut bytes = [0u8; 192];
            for byte in &mut bytes {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            encode_decode::holds(&bytes);
        }
    };
    thread::scope(|scope| {
        (0..2).for_each(|number| {
            scope.spawn(move || check(number));
        });
    });
}
