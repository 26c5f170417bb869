//! The net catches fish: each fault planted in the broker is found within a stated number of seeds.
//!
//!     cargo test -p mqttfast-planted --test faults
//!     MQTTFAST_SIM_FAULT=ShareToTwo MQTTFAST_SIM_SEEDS=5000                one of them, in that many seeds
//!
//! The mistakes are in `tests/planted/edits.txt`.

use crate::crash;
use crate::found;
use crate::generate::generate;
use crate::verdict::{hush, number, verdict};
use mqttfast::planted::Fault::{self, *};
use mqttfast::planted::plant;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Where nearly all are found.
const FIRST: Range<u64> = 0..300;

/// Each fault, and the seeds within which it must be found.
const FAULTS: &[(Fault, Range<u64>)] = &[
    (SkipQos2Dedup, FIRST),
    (ResendWithoutDup, FIRST),
    (ReorderLane, FIRST),
    (LeakPacketId, FIRST),
    (WrongKindIgnored, FIRST),
    (DeliverAfterUnsubscribe, FIRST),
    (DropOnFullLane, FIRST),
    (SubackLostAtClose, FIRST),
    (SkipFiltersInForceWait, FIRST),
    (SubackEarly, 500..600),
    (IgnoreRetainVersions, FIRST),
    (NoDeletionMark, FIRST),
    (WillTwice, FIRST),
    (WillAfterDisconnect, FIRST),
    (WillLostAtTakeover, FIRST),
    (QueueDropsFirst, FIRST),
    (SessionNotEnded, FIRST),
    (SlotNotFreed, FIRST),
    (CleanStartIgnored, FIRST),
    (PaceNeverReleased, FIRST),
    (WindowIgnored, FIRST),
    (RetainOnLive, FIRST),
    (ForgetPubRel, FIRST),
    (NoReplay, FIRST),
    (ResendNothing, FIRST),
    (QosNotLowered, FIRST),
    (FilterRemovedTooSoon, 400..500),
    (RetainNotSpread, FIRST),
    (ReceiveMaximumIgnored, FIRST),
    (PacketSizeIgnored, FIRST),
    (NoLocalIgnored, FIRST),
    (RetainAsPublishedIgnored, FIRST),
    (RetainHandlingIgnored, FIRST),
    (IdentifiersNotJoined, FIRST),
    (WrongAlias, FIRST),
    (RunCut, FIRST),
    (RunTwice, FIRST),
    (ParcelOvertaken, 600..700),
    (AliasNotReplaced, FIRST),
    (ExpiredDelivered, FIRST),
    (ExpiredCrosses, 400..500),
    (ExpiryNotLowered, FIRST),
    (SessionNeverExpires, FIRST),
    (DisconnectKeepsExpiry, FIRST),
    (WillDelayIgnored, FIRST),
    (WillNotCancelled, FIRST),
    (WillLostAt04, FIRST),
    (ShareToTwo, FIRST),
    (HandBackForgotten, FIRST),
    (InflightNotHandedBack, 500..600),
    (JoinedEarly, 500..600),
    (DropNotCounted, FIRST),
    (WrongPasswordAccepted, FIRST),
    (ShutdownSilent, FIRST),
    (MalformedIgnored, FIRST),
    (MaskKept, FIRST),
    (ResendOvertaken, FIRST),
    (TakeoverKeepsWaiters, FIRST),
    (ReplayGoesOn, FIRST),
    (EachByteBuysTime, FIRST),
    (ShardQueueUnbounded, FIRST),
];

/// What only a store can lose: these are found by killing brokers (`crash`), within the first seeds.
const CRASHES: &[Fault] = &[
    AckNotKept,
    ReceivedAlone,
    DoneNotNoted,
    RestoredOutOfOrder,
    Qos2NotKept,
    PubRelNotKept,
    SubackNotKept,
    PromiseNotKept,
    SettledEarly,
    ClockNotRestored,
    PassageForgotten,
    PassedTwice,
    CrossesUnknown,
    ReceivedNotRestored,
    MarksNotWritten,
    GivenBackForgotten,
    GivenBackKept,
    GivenTwice,
    RestoredWillAtOnce,
    RestoredWillForgotten,
];

/// So seldom found that they are looked for in the seeds that have found them.
const SELDOM: &[Fault] = &[WrittenTwice];

/// Found elsewhere: the end of a process is not for a simulator to see, nor is time that passes outside its clock or
/// between its events.
const ELSEWHERE: &[(Fault, &str)] = &[
    (Panic, "tests/planted/tests/panic.rs"),
    (NeverSpent, "tests/planted/tests/rules.rs"),
    (UnknownUserNotHashed, "tests/planted/tests/rules.rs"),
    (PublishNotAsked, "tests/planted/tests/rights.rs"),
    (LiveNotAsked, "tests/planted/tests/rights.rs"),
    (QueuedNotAsked, "tests/planted/tests/rights.rs"),
    (ResentNotAsked, "tests/planted/tests/rights.rs"),
    (RetainedNotAsked, "tests/planted/tests/rights.rs"),
    (MemberNotAsked, "tests/planted/tests/rights.rs"),
    (FarMemberNotAsked, "tests/planted/tests/rights.rs"),
    (SilentNotTold, "tests/planted/tests/rights.rs"),
    (OldAnswersKept, "tests/planted/tests/rights.rs"),
    (OldClientKept, "tests/planted/tests/rights.rs"),
    (AnyWriterNoted, "tests/planted/tests/rights.rs"),
    (SyncNormal, "tests/planted/tests/powercut.rs"),
    (GateMissing, "tests/planted/tests/powercut.rs"),
    (ReleaseLostForgotten, "tests/planted/tests/powercut.rs"),
    (NotJournaled, "tests/planted/tests/powercut.rs"),
    (SourceNotAsked, "tests/planted/tests/rights.rs"),
    (BrokenConnection, "tests/planted/tests/invariant.rs"),
    (BrokenSession, "tests/planted/tests/invariant.rs"),
];

#[test]
fn faults_are_found() {
    hush();
    let mut missed = Vec::new();
    let chosen = std::env::var("MQTTFAST_SIM_FAULT").ok();
    let crashes = CRASHES.iter().map(|fault| match fault {
        GivenBackForgotten => (*fault, 400..500),
        _ => (*fault, FIRST),
    });
    for (fault, seeds) in &FAULTS.iter().cloned().chain(crashes).collect::<Vec<_>>() {
        if chosen
            .as_ref()
            .is_some_and(|name| *name != format!("{fault:?}"))
        {
            continue;
        }
        let seeds = match number("MQTTFAST_SIM_SEEDS") {
            Some(count) => 0..count,
            None => seeds.clone(),
        };
        plant(Some(*fault));
        let run = |seed| match CRASHES.contains(fault) {
            true => crash::verdict(seed),
            false => verdict(&generate(seed)),
        };
        let found = seeds
            .clone()
            .find_map(|seed| Some((seed, run(seed).err()?)));
        plant(None);
        match found {
            Some((seed, why)) => {
                let why: String = why.chars().take(160).collect();
                println!("{fault:?}: seed {seed} of {seeds:?}: {why}");
            }
            None => missed.push(*fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Whoever writes a mistake says where it is found.
#[test]
fn every_fault_is_sought() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for fault in Fault::ALL {
        let seeds = FAULTS.iter().filter(|(sought, _)| sought == fault).count()
            + CRASHES.iter().filter(|sought| *sought == fault).count()
            + SELDOM.iter().filter(|sought| *sought == fault).count();
        let elsewhere = ELSEWHERE.iter().find(|(sought, _)| sought == fault);
        let named = elsewhere.is_some_and(|(_, path)| {
            let text = fs::read_to_string(root.join(path)).expect("the test is there");
            text.contains(&format!("{fault:?}")) || *fault == Panic
        });
        assert_eq!(
            seeds + usize::from(named),
            1,
            "{fault:?}: where is it found?"
        );
    }
}

/// What was found once would be found again.
#[test]
fn found_cases_fail_without_their_fix() {
    hush();
    for fault in SELDOM {
        plant(Some(*fault));
        let mut seeds = crash::SEEDS_THAT_FOUND.into_iter();
        let found = seeds.any(|seed| crash::plain_verdict(seed).is_err());
        plant(None);
        assert!(found, "{fault:?}");
    }
    plant(Some(ExpiredCrosses));
    let between = verdict(&found::expires_between_shards(4));
    let to_member = verdict(&found::expires_on_its_way_to_a_member(4));
    plant(None);
    assert!(between.is_err() && to_member.is_err());
}
