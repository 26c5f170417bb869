//! One shard: the state machine of the broker.
