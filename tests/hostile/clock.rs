//! Case 59: the wall clock jumps by more than a year, and the process is stopped for a while.

use crate::attack_with;
use crate::support::packet::PINGREQ;
use crate::support::packet5;
use crate::support::{Broker, Client, Connect, Folder, Options, reference, wall_clock};
use nix::sys::signal::Signal;
use std::time::Duration;

crate::on_1_and_2_shards_at_once!(case_59_clock_jumps, case_59_stopped_and_continued);

fn under_another_clock(shards: usize, folder: &Folder) -> Options {
    Options {
        shards,
        launcher: wall_clock::launcher(folder),
        ..Options::default()
    }
}

/// The year in the log when a client connects.
fn year(broker: &Broker) -> i32 {
    let mark = broker.log_len();
    let client = Client::connect(broker, "what-year-is-it");
    let line = broker.logged_since(mark, &[" connected what-year-is-it"]);
    client.disconnect();
    line[..4].parse().expect("a year")
}

fn case_59_clock_jumps(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    attack_with(under_another_clock(shards, &folder), |broker| {
        let now = year(broker);
        let connect = Connect {
            client_id: b"kept",
            clean_session: false,
            keep_alive_s: 60,
            ..Connect::default()
        };
        let (mut kept, _) = Client::connect_with(broker, &connect);
        kept.subscribe("kept", 1);
        drop(kept);
        let (mut idle, _) = packet5::connected(broker, b"idle", b"");
        idle.send(&packet5::subscribe(1, b"", b"later", 0));
        assert_eq!(idle.packet()[0], 0x90);
        let mut speaker = Client::connect(broker, "speaker");
        // Retained for an hour.
        let hour = [0x02, 0, 0, 0x0E, 0x10];
        let mut retained = packet5::publish(b"later", b"x", 0, 0, &hour);
        retained[0] |= 1;
        idle.send(&retained);
        assert_eq!(idle.packet()[0] >> 4, 3);
        for days in [400, -400, 0, 36_500, -10_000] {
            wall_clock::set(&folder, days);
            let then = year(broker);
            assert_eq!((then - now).signum(), days.signum() as i32, "{now}, {then}");
            // Neither Keep Alive nor Session nor message is over.
            idle.expect_alive();
            speaker.publish("kept", b"x", 1, false);
            let mut new = Client::connect(broker, "new");
            new.subscribe("later", 0);
            new.expect_message("later", b"x", 0);
        }
        wall_clock::set(&folder, 0);
        let (mut kept, present) = Client::connect_with(broker, &connect);
        assert!(present);
        for _ in 0..5 {
            kept.expect_message("kept", b"x", 1);
        }
        drop(kept);
        Client::connect(broker, "kept").disconnect();
        speaker.publish("later", b"", 0, true);
        speaker.expect_alive();
    });
}

/// As after a suspended night: what came meanwhile counts before what is overdue.
fn case_59_stopped_and_continued(shards: usize) {
    if reference() {
        return;
    }
    let broker = Broker::start(shards);
    let connect = |client_id: &str| {
        let connect = Connect {
            client_id: client_id.as_bytes(),
            keep_alive_s: 2,
            ..Connect::default()
        };
        Client::connect_with(&broker, &connect).0
    };
    let mut clients: Vec<Client> = (0..50).map(|n| connect(&format!("c{n}"))).collect();
    broker.signal(Signal::SIGSTOP);
    for client in &mut clients {
        client.send(&PINGREQ);
    }
    // Longer than 1.5 times their Keep Alive.
    std::thread::sleep(Duration::from_millis(4500));
    broker.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.expect_packet(&crate::support::packet::PINGRESP);
    }
}
