//! Several Clients of 3.1, 3.1.1 and 5 on 1 to 4 shards without sockets: the bytes choose what `tests/sim` leaves to
//! chance (who does what, how reads are cut, which lane delivers, how far the clock goes), and its model judges what
//! arrives.

#![no_main]
#![allow(dead_code)]

#[path = "../../tests/sim/actions.rs"]
mod actions;
#[path = "../../tests/sim/client.rs"]
mod client;
#[path = "../../tests/sim/generate.rs"]
mod generate;
#[path = "../../tests/sim/groups.rs"]
mod groups;
#[path = "../../tests/sim/model.rs"]
mod model;
#[path = "../../tests/sim/observe.rs"]
mod observe;
#[path = "../../tests/sim/play.rs"]
mod play;
#[path = "../../tests/sim/props.rs"]
mod props;
#[path = "../../tests/sim/session.rs"]
mod session;
#[path = "../../tests/rig/src/shard/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let case = generate::case_of_bytes(data);
    let mut play = play::Play::new(&case);
    // `tests/sim` walks them after every event, those of the corpus too.
    play.world.checked_every = 16;
    if let Err(why) = play.run() {
        panic!("{why}\n{case:#?}");
    }
});
