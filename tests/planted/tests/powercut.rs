//! Simulated power cuts, and the kills among them, find a store that does not keep its word.
//!
//!     cargo test -p mqttfast-planted --test powercut

#[path = "../../kill9/cut.rs"]
mod cut;
#[path = "../../kill9/party.rs"]
mod party;

use cut::{Plan, cut_often};
use mqttfast::random::SplitMix64;
use std::path::PathBuf;

/// Cuts until it is found, at most.
const CUTS: usize = 1000;

#[track_caller]
fn is_found(plan: Plan, mistake: &'static str) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mqttfast-planted"));
    let plan = Plan {
        planted: Some((program, mistake)),
        ..plan
    };
    let judged = cut_often(&plan, CUTS, &mut SplitMix64::new(7));
    let why = judged.expect_err("it was not found");
    println!("{mistake}: {why}");
    assert!(
        why.contains("lost") || why.contains("gone") || why.contains("twice"),
        "{why}"
    );
}

#[test]
fn a_commit_without_a_sync_is_found() {
    is_found(Plan::of(1, "strict"), "SyncNormal");
}

#[test]
fn an_answer_without_a_gate_is_found() {
    is_found(Plan::of(1, "strict"), "GateMissing");
}

/// PUBREL of a QoS 2 message is in the window that is lost, and its Packet Identifier is used again.
#[test]
fn a_new_message_taken_for_a_repeat_is_found() {
    is_found(Plan::of(1, "batched"), "ReleaseLostForgotten");
}

/// The process is killed, not the machine: journals are there, with nothing in them.
#[test]
fn a_journal_without_its_frames_is_found() {
    is_found(
        Plan {
            only_kills: true,
            journals_in_memory: false,
            ..Plan::of(1, "batched")
        },
        "NotJournaled",
    );
}
