//! Mistakes that no seed of the simulator can show: it has no processor time, and its events are turns of their own.
//! Each rule is asked of the broker without a mistake, where it must hold, and with it, where it must not.

#[path = "../../rig/src/one.rs"]
mod rig;

use mqttfast::limits::{FILTERS_AT_ONCE, WORK_OF_FILTER, WORK_OF_TURN};
use mqttfast::passwd::{Check, PasswordFile};
use mqttfast::planted::Fault::*;
use mqttfast::planted::found;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use rig::{Rig, packet};

/// Reads of costly packets, each within its bound, come to more than a turn's share: lanes wait for the next turn, and
/// for no longer.
#[test]
fn a_shard_over_its_share_takes_nothing_from_its_lanes() {
    found(NeverSpent, || {
        let mut rig = Rig::new(4);
        // Twice the share.
        let count = 2 * WORK_OF_TURN / (FILTERS_AT_ONCE * WORK_OF_FILTER);
        let clients: Vec<_> = (0..count as u32).map(|index| rig.client(index)).collect();
        assert!(!rig.shard.is_spent(), "nothing costly has come");
        let mut body = vec![0, 1];
        for number in 0..FILTERS_AT_ONCE {
            let filter = format!("{number}/x");
            body.extend((filter.len() as u16).to_be_bytes());
            body.extend(filter.as_bytes());
            body.push(0);
        }
        let subscribe = packet(0x82, &body);
        // One read is far from a turn's share.
        rig.hear(clients[0], &subscribe);
        assert!(!rig.shard.is_spent());
        for client in &clients[1..] {
            rig.hear(*client, &subscribe);
        }
        let spent = rig.shard.is_spent();
        rig.end_turn();
        spent && !rig.shard.is_spent()
    });
}

/// Processor time of this thread: what else the machine does is not in it.
fn cost_ns(act: impl Fn()) -> i64 {
    let now = || {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
            .expect("a clock")
            .num_nanoseconds()
    };
    let before = now();
    act();
    now() - before
}

/// The time of an answer must not tell who has an account. Hashing is all of it: without, an unknown user costs a
/// thousandth.
#[test]
fn an_unknown_user_costs_as_much_as_a_known_one() {
    // The hash is nobody's.
    let line = "alice:$7$1000$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==\n";
    let file = PasswordFile::parse(line.as_bytes());
    assert_eq!(file.check("alice", b"wrong"), Check::WrongPassword);
    assert_eq!(file.check("bob", b"wrong"), Check::UnknownUser);
    found(UnknownUserNotHashed, || {
        let known = cost_ns(|| _ = file.check("alice", b"wrong"));
        let unknown = cost_ns(|| _ = file.check("bob", b"wrong"));
        unknown > known / 4 && known > unknown / 4
    });
}
