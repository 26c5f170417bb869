//! The wall clock is set back by a year while the broker serves: the log follows it, and nothing else. Time-outs,
//! expiry and deliveries go by a clock that only goes forward.

#![cfg(target_env = "gnu")]

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use std::time::{Duration, Instant};
use support::packet::{PINGREQ, PINGRESP, Will};
use support::{Broker, Client, Connect, DEADLINE, Folder, Options, packet5, reference, wall_clock};

on_1_and_2_shards!(a_year_back_changes_nothing_but_the_log);

/// Of the retained message.
const EXPIRY: Duration = Duration::from_secs(2);

fn a_year_back_changes_nothing_but_the_log(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    let broker = Broker::start_with(Options {
        shards,
        launcher: wall_clock::launcher(&folder),
        ..Options::default()
    });
    let mut watcher = Client::connect(&broker, "watcher");
    watcher.subscribe("#", 1);
    let sleeping = Connect {
        client_id: b"sleeper",
        keep_alive_s: 2,
        will: Some(Will {
            topic: "will",
            payload: b"asleep",
            qos: 1,
            retain: false,
        }),
        ..Connect::default()
    };
    let start = Instant::now();
    let (mut sleeper, _) = Client::connect_with(&broker, &sleeping);
    // Retained, with that Message Expiry Interval.
    let (mut publisher, _) = packet5::connected(&broker, b"publisher", b"");
    let mut expiring = packet5::publish(b"soon", b"gone", 1, 1, b"\x02\0\0\0\x02");
    expiring[0] |= 1;
    publisher.send(&expiring);
    assert_eq!(publisher.packet()[..1], [0x40]);
    watcher.expect_message("soon", b"gone", 1);
    let published = Instant::now();

    let mark = broker.log_len();
    let before = broker.log()[0].clone();
    wall_clock::set(&folder, -365);
    // The log tells that the clock did go back.
    let late = Client::connect(&broker, "late");
    let after = broker.logged_since(mark, &["late"]);
    assert!(after[..10] < before[..10], "{after:?} after {before:?}");

    let lively = Connect {
        client_id: b"lively",
        keep_alive_s: 2,
        ..Connect::default()
    };
    let (mut lively, _) = Client::connect_with(&broker, &lively);

    // Who stays silent is let go when its Keep Alive says so, who does not is not.
    let mut closed = None;
    while closed.is_none() {
        assert!(
            start.elapsed() < 3 * DEADLINE,
            "the sleeper is still connected"
        );
        lively.send(&PINGREQ);
        lively.expect_packet(&PINGRESP);
        watcher.send(&PINGREQ);
        let answer = watcher.packet();
        if answer[0] & 0xF0 == 0x30 {
            closed = Some(start.elapsed());
            assert!(answer.ends_with(b"asleep"));
            let packet_id = [answer[8], answer[9]];
            watcher.send(&[&[0x40, 2], &packet_id[..]].concat());
            watcher.expect_packet(&PINGRESP);
        } else {
            assert_eq!(answer, PINGRESP);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    sleeper.expect_close();
    assert!(closed >= Some(Duration::from_secs(3)), "{closed:?}");

    // Messages go on, and what has expired is not sent any more.
    publisher.send(&packet5::publish(b"on", b"and on", 1, 2, b""));
    assert_eq!(publisher.packet()[..1], [0x40]);
    watcher.expect_message("on", b"and on", 1);
    while published.elapsed() <= EXPIRY {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut newcomer = Client::connect(&broker, "newcomer");
    newcomer.subscribe("soon", 0);
    newcomer.expect_alive();
    late.disconnect();
}
