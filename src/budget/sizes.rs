//! What things of a known text take in the trees of all shards. The figures are for texts that share no level with any
//! other, so they hold whatever a Client thinks up; ordinary filters and topics take a third.

use crate::limits;

/// A filter of one Session, with its first replay: in this shard's trie, in those of the others, and, if it is shared,
/// with the shard that owns its group.
pub fn filter_bytes(shards: usize, filter: &str) -> usize {
    let group = if filter.starts_with("$share/") {
        limits::GROUP_BYTES + 3 * filter.len()
    } else {
        0
    };
    // Copies go to replays and peers, and leave their memory with the allocator for a while.
    let text = filter.len() + filter.len() / 2;
    shards * (limits::FILTER_BYTES + text + deep_bytes(filter)) + group
}

/// A retained message of this topic without the message, or the mark of its deletion.
pub fn retained_bytes(shards: usize, topic: &str) -> usize {
    shards * (limits::RETAINED_BYTES + topic.len() + deep_bytes(topic))
}

/// The levels beyond the first few, in one tree.
fn deep_bytes(text: &str) -> usize {
    let levels = 1 + text.bytes().filter(|byte| *byte == b'/').count();
    levels.saturating_sub(limits::LEVELS_FREE) * limits::LEVEL_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_filters_cost_more_than_their_text() {
        let (flat, deep) = ("a".repeat(399), ["a"; 200].join("/"));
        assert_eq!(flat.len(), deep.len());
        assert_eq!(
            filter_bytes(2, &deep) - filter_bytes(2, &flat),
            2 * 198 * limits::LEVEL_BYTES
        );
        assert_eq!(
            filter_bytes(1, "$share/g/#") - filter_bytes(1, "+share/g/#"),
            limits::GROUP_BYTES + 30
        );
    }
}
