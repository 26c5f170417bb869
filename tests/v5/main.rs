//! MQTT 5.0 on the shard: what a v5 Client is told and spared, Shared Subscriptions, Topic Aliases. No sockets; each
//! test runs for 1, 2 and 4 shards and several orders. Packets with Properties are read by `mqttfast::wire`, which has
//! tests of its own.

use mqttfast_rig::shard as support_shard;

mod alias;
mod limits;
mod peer;
mod rules;
mod share;
