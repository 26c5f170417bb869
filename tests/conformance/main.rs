//! MQTT 3.1.1, statement by statement: a module for each chapter of the specification, a test for each statement, its
//! number in the name. Every test runs in each version where its rule holds, and at two ends: on 1, 2 and 4 shards
//! without sockets, and over sockets against the running broker with 1 and 2 shards (`tests/rig/src/table/`). 5.0 is
//! among the versions where it says the same; what is new in 5.0 is not tested here.
//!
//! `docs/conformance.md` maps each statement to its tests; `page.rs` checks that page.

use mqttfast_rig::on_shards_alone;
use mqttfast_rig::table as support;
use mqttfast_rig::table;

mod ch1_data;
mod ch2_header;
mod ch3_connack;
mod ch3_connect;
mod ch3_connect_fields;
mod ch3_disconnect;
mod ch3_publish;
mod ch3_subscribe;
mod ch3_unsubscribe;
mod ch4_delivery;
mod ch4_order;
mod ch4_session;
mod ch4_topic;
mod claims;
mod page;
mod v31;

/// The harness knows where packets of Clients end.
#[test]
fn packets_end_where_they_say() {
    use support::outgoing::packet_end;
    use support::remaining_length;
    for length in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
        let mut packet = vec![0x30];
        packet.extend(remaining_length(length));
        packet.extend(vec![0; length]);
        assert_eq!(packet_end(&packet), Some(packet.len()));
        packet.pop();
        assert_eq!(packet_end(&packet), None);
    }
}
