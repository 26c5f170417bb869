//! MQTT 5.0, statement by statement: a module for each chapter of the specification. The first lines of each test name
//! the statements it holds the broker to; the first of them is in its name. Every test runs at two ends: on 1, 2 and 4
//! shards without sockets, and over sockets against the running broker with 1 and 2 shards (`tests/rig/src/table/`).
//!
//! `docs/conformance-5.0.md` maps each statement to its tests; `page.rs` checks that page.

use mqttfast_rig::table as support;
use mqttfast_rig::table;

mod alias_out;
mod ch1_data;
mod ch2_header;
mod ch3_acknowledge;
mod ch3_connack;
mod ch3_connect;
mod ch3_disconnect;
mod ch3_properties;
mod ch3_publish;
mod ch3_subscribe;
mod ch3_unsubscribe;
mod ch3_will;
mod ch4_delivery;
mod ch4_shared;
mod ch4_topic;
mod claims;
mod operator;
mod page;
mod resume;
mod small_rules;
