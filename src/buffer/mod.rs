//! Memory that holds bytes on their way: a shard's blocks, shared payloads, and what a connection is about to send.
