//! The net catches fish: each fault planted in the broker is found within a stated number of seeds.
//!
//!     cargo test --features faults --test sim faults

use crate::actions::generate;
use crate::verdict;
use mqttfast::broker::Fault::{self, *};
use mqttfast::broker::plant;

/// Each fault, and the seeds from 0 within which it must be found.
const FAULTS: &[(Fault, u64)] = &[
    (SkipQos2Dedup, 300),
    (ResendWithoutDup, 300),
    (ReorderLane, 300),
    (LeakPacketId, 300),
    (DeliverAfterUnsubscribe, 300),
    (DropOnFullLane, 300),
    (SkipFiltersInForceWait, 300),
    (SubackEarly, 300),
    (IgnoreRetainVersions, 300),
    (NoDeletionMark, 300),
    (WillTwice, 300),
    (WillAfterDisconnect, 300),
    (WillLostAtTakeover, 300),
    (QueueDropsFirst, 300),
    (SessionNotEnded, 300),
    (CleanStartIgnored, 300),
    (PaceNeverReleased, 300),
    (WindowIgnored, 300),
    (RetainOnLive, 300),
    (ForgetPubRel, 300),
    (NoReplay, 300),
    (ResendNothing, 300),
    (QosNotLowered, 300),
    (FilterRemovedTooSoon, 300),
    (RetainNotSpread, 300),
];

#[test]
fn faults_are_found() {
    crate::hush();
    let mut missed = Vec::new();
    for (fault, seeds) in FAULTS {
        plant(Some(*fault));
        let found = (0..*seeds).find_map(|seed| Some((seed, verdict(&generate(seed)).err()?)));
        plant(None);
        match found {
            Some((seed, why)) => {
                let why: String = why.chars().take(160).collect();
                println!("{fault:?}: seed {seed} of {seeds}: {why}");
            }
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
