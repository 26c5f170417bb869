//! The sentences about what an operator asked for: the sums of a shard, its counters, the store.

use super::{Shown, number, over_share};
use crate::broker::{Condition, Counters, Dropped, StoreFigures, StoreState, Sums};
use crate::budget::Refused;
use crate::budget::owner::OwnerReport;
use crate::ids::ShardId;
use std::fmt::Write as _;

/// What a shard holds and what went through it, as an operator asked.
pub fn sums(shard: ShardId, sums: &Sums) -> String {
    format!(
        "shard {shard}: {}, {}, {}, {}, {} bytes queued, {} bytes of memory{}{}; {}",
        number(sums.connections, "connection"),
        number(sums.sessions, "session"),
        number(sums.subscriptions, "subscription"),
        number(sums.retained, "retained message"),
        sums.queued_bytes,
        sums.held_bytes,
        largest(&sums.largest_owners),
        refused_for_memory(&sums.refused),
        counters(&sums.counters)
    )
}

/// What the store has done, in one line; by the shard that was told of it last.
pub fn store(state: &StoreState, waiting_bytes: usize) -> String {
    let StoreFigures {
        commits,
        bytes_written,
        last_commit_ms,
        loss_window_ms,
    } = state.figures;
    let condition = condition(state);
    format!(
        "store: {condition}; {waiting_bytes} bytes wait for the disk; {commits} commits, {bytes_written} bytes written, the last commit took {last_commit_ms} ms; a power cut costs at most the last {loss_window_ms} ms"
    )
}

/// What the store can do, in a word.
pub fn condition(state: &StoreState) -> &'static str {
    match (state.condition, state.behind) {
        (Condition::Full, _) => "full",
        (Condition::MemoryOnly, _) => "memory-only",
        (Condition::Well, true) => "behind",
        (Condition::Well, false) => "well",
    }
}

/// Who holds most.
fn largest(owners: &[OwnerReport]) -> String {
    let most = owners.iter();
    let most: Vec<String> = most
        .map(|owner| format!("{} {}", Shown(&owner.name), owner.bytes))
        .collect();
    match most.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join(", ")),
    }
}

/// What found no room.
fn refused_for_memory(refused: &[u64; Refused::ALL.len()]) -> String {
    let some = Refused::ALL.iter().zip(refused);
    let some: Vec<String> = some
        .filter(|(_, count)| **count > 0)
        .map(|(why, count)| format!("{count} times that {}", over_share(*why)))
        .collect();
    match some.as_slice() {
        [] => String::new(),
        some => format!(", refused for want of it: {}", some.join(", ")),
    }
}

/// One line: what went through, and every reason that dropped something.
pub fn counters(counters: &Counters) -> String {
    let mut text = format!(
        "{} clients served, {} refused, {} probes; {} messages in, {} out",
        counters.connects,
        counters.refusals,
        counters.probes,
        counters.messages_received,
        counters.messages_sent
    );
    if counters.messages_own > 0 {
        let _ = write!(text, "; {} of the broker's own", counters.messages_own);
    }
    for why in Dropped::ALL {
        if counters.dropped(why) > 0 {
            let _ = write!(
                text,
                "; {} dropped ({})",
                counters.dropped(why),
                dropped(why)
            );
        }
    }
    if counters.broken_invariants > 0 {
        let count = number(counters.broken_invariants as usize, "mistake");
        let _ = write!(text, "; {count} of the broker itself, described in the log");
    }
    text
}

fn dropped(why: Dropped) -> &'static str {
    match why {
        Dropped::SlowReader => "QoS 0, subscriber reads too slowly",
        Dropped::SessionQueueFull => "queue of the session full (--max-queued-bytes)",
        Dropped::ShardQueueFull => "queues of all sessions full",
        Dropped::TooLargeForClient => "larger than the subscriber's Maximum Packet Size",
        Dropped::Expired => "Message Expiry Interval over",
        Dropped::OwnTopic => "published to $SYS or $CONTROL by a client",
        Dropped::Denied => "not allowed by the rules (--acl)",
        Dropped::SessionEnded => "session ended",
        Dropped::AbovePayloadMax => "payload above message_size_limit",
        Dropped::StoreFull => "refused, as the store has no room",
        Dropped::OverShare => "more than a fair share of the memory (--memory-limit)",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn counted() -> Box<Counters> {
        let mut counters = Counters {
            messages_received: 5,
            messages_sent: 7,
            connects: 2,
            refusals: 1,
            probes: 3,
            ..Counters::default()
        };
        counters.drop_messages(Dropped::SlowReader, 4);
        Box::new(counters)
    }

    #[test]
    fn sums_are_one_line() {
        let text = sums(
            ShardId(2),
            &Sums {
                counters: Counters {
                    messages_own: 9,
                    ..*counted()
                },
                connections: 1,
                sessions: 2,
                subscriptions: 3,
                retained: 4,
                queued_bytes: 5,
                held_bytes: 6,
                largest_owners: vec![OwnerReport {
                    name: "user lamp".into(),
                    bytes: 4,
                    refused: 0,
                }],
                refused: [0, 2, 0, 0, 0, 0, 1],
                store: None,
                statistics: None,
            },
        );
        assert_eq!(
            text,
            "shard 2: 1 connection, 2 sessions, 3 subscriptions, 4 retained messages, 5 bytes queued, 6 bytes of memory (user lamp 4), refused for want of it: 2 times that a subscription is refused, 1 times that a connection is refused before its CONNECT is complete; 2 clients served, 1 refused, 3 probes; 5 messages in, 7 out; 9 of the broker's own; 4 dropped (QoS 0, subscriber reads too slowly)"
        );
    }
}
