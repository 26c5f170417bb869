//! What an operator sees of a shard and what tools get from it: events, surveys, messages of the broker's
//! own.

use mqttfast_rig::shard as support;

mod happenings;
mod order;
mod own;
mod presence;
mod survey;
