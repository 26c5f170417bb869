//! The turn loop with true sockets, under each driver, and a double in the shard's place that does what a Client's
//! first byte says.

/// Each of these as one test for each driver.
macro_rules! under_each_driver {
    ($($name:ident),+ $(,)?) => {
        #[cfg(any(target_pointer_width = "64", io_uring_skip_arch_check))]
        mod uring {
            $(#[test]
            fn $name() {
                super::$name::<crate::io::uring::ring::Ring>();
            })+
        }

        mod epoll {
            $(#[test]
            fn $name() {
                super::$name::<crate::io::epoll::Epoll>();
            })+
        }
    };
}

mod double;
mod faults;
mod links;
pub(super) mod peers;
mod tls;
mod websockets;

use super::kernel::Kernel;
use crate::broker::{CloseCause, OwnMessage, Report, Survey};
use crate::ids::ShardId;
use crate::io::mail::ToShard;
use crate::limits;
use crate::wire::QoS;
use double::{Broker, echoed, reset, stream};
use nix::sys::socket::MsgFlags;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{RecvError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

fn a_long_stream_is_echoed_whole<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'E', 4_000_000);
    assert!(echoed(&client, &sent, 1_000_000) == sent);
    broker.stop();
}

fn a_hand_over_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    for _ in 0..50 {
        let client = broker.connect();
        let sent = stream(b'1', 20_000);
        assert!(echoed(&client, &sent, 7) == sent);
    }
    let seen = broker.stop();
    assert_eq!(
        seen.iter().filter(|event| *event == "1:adopted").count(),
        50
    );
}

fn a_hand_over_with_an_armed_receive_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    for _ in 0..50 {
        broker
            .seen
            .lock()
            .unwrap()
            .retain(|event| event == "1:adopted");
        let mut client = broker.connect();
        client.write_all(b"M").unwrap();
        let sent = stream(b'M', 200_000);
        broker.wait_for("0:one byte read");
        assert!(echoed(&client, &sent, 1000) == sent);
    }
    let seen = broker.stop();
    assert_eq!(
        seen.iter().filter(|event| *event == "1:adopted").count(),
        50
    );
}

fn reading_stops_and_goes_on_where_it_was<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'P', 6_000_000);
    assert!(echoed(&client, &sent, 100_000) == sent);
    broker.stop();
}

fn large_and_small_receives_bring_the_stream_in_order<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'L', 6_000_000);
    assert!(echoed(&client, &sent, 200_000) == sent);
    // Its receive is armed, large or not: the end comes through either.
    drop(client);
    broker.wait_for("0:closed PeerClosed");
    let client = broker.connect();
    assert!(echoed(&client, &sent[..10], 10) == sent[..10]);
    // And it is cancelled when the broker stops.
    let seen = broker.stop();
    assert!(seen.iter().any(|event| event == "0:large"), "{seen:?}");
    drop(client);
}

fn what_comes_with_the_end_is_received_by_a_large_receive<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for round in 0..30 {
        let mut client = broker.connect();
        let sent = stream(b'L', 300);
        // From here on its receives are large.
        assert!(echoed(&client, &sent[..1], 1) == sent[..1]);
        assert!(echoed(&client, &sent[1..200], 1) == sent[1..200]);
        client.write_all(&sent[200..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == sent[200..], "round {round}");
    }
    broker.wait_for("0:closed PeerClosed");
    broker.stop();
}

fn a_reset_is_told_by_a_large_receive<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    assert_eq!(echoed(&client, b"L", 1), b"L");
    assert_eq!(echoed(&client, b"2", 1), b"2");
    reset(client);
    broker.wait_for(&format!("0:closed {:?}", CloseCause::Reset));
    broker.stop();
}

fn a_large_receive_that_is_cancelled_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'W', 2_000_000);
    // Slowly, so that reading stops while there is nothing to receive, and while something comes.
    let paced = thread::scope(|scope| {
        scope.spawn(|| {
            for piece in sent.chunks(20_000) {
                (&client).write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut back = vec![0; sent.len()];
        (&client).read_exact(&mut back).unwrap();
        back
    });
    assert!(paced == sent);
    // And all that fits at once.
    assert!(echoed(&client, &sent[1..], 500_000) == sent[1..]);
    drop(client);
    broker.wait_for("0:closed PeerClosed");
    let seen = broker.stop();
    let stops = seen.iter().filter(|event| *event == "0:stopped").count();
    assert!(stops >= 10, "{stops} stops");
}

fn last_bytes_arrive_although_the_peer_sends_on<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for _ in 0..20 {
        let mut client = broker.connect();
        client.write_all(b"Q").unwrap();
        for _ in 0..10 {
            client.write_all(&[b'x'; 50_000]).unwrap();
        }
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"BYE");
    }
    broker.stop();
}

fn a_close_waits_for_what_is_still_to_be_sent<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"B").unwrap();
    // Larger than the buffers of both sockets: the close comes long before the last byte has left.
    thread::sleep(Duration::from_millis(50));
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), 8 << 20);
    broker.stop();
}

fn who_never_reads_is_let_go<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"B").unwrap();
    thread::sleep(Duration::from_millis(limits::LINGER_MS + 300));
    // Its slot is used again.
    let mut second = broker.connect();
    second.write_all(b"Q").unwrap();
    let mut back = Vec::new();
    second.read_to_end(&mut back).unwrap();
    let seen = broker.stop();
    assert_eq!(seen, ["0:opened 0", "0:opened 0"]);
    drop(client);
}

fn who_says_goodbye_leaves_its_slot_at_once<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"D").unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"");
    // Its own side is still open.
    let mut second = broker.connect();
    second.write_all(b"D").unwrap();
    second.read_to_end(&mut back).unwrap();
    let seen = broker.stop();
    assert_eq!(seen, ["0:opened 0", "0:opened 0"]);
    drop(client);
}

fn who_sends_and_closes_its_side_gets_its_answer<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for bytes in [10, 100_000] {
        let mut client = broker.connect();
        let sent = stream(b'E', bytes);
        client.write_all(&sent).unwrap();
        if bytes == 10 {
            client.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            assert_eq!(back, sent);
        }
    }
    broker.wait_for("0:closed PeerClosed");
    broker.stop();
}

fn a_reset_is_told_as_one<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    (&client).write_all(b"E").unwrap();
    let mut back = [0];
    (&client).read_exact(&mut back).unwrap();
    reset(client);
    broker.wait_for(&format!("0:closed {:?}", CloseCause::Reset));
    broker.stop();
}

fn slots_are_used_again<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for _ in 0..300 {
        let mut client = broker.connect();
        client.write_all(b"E").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
    }
    let seen = broker.stop();
    let opened = seen
        .iter()
        .filter_map(|event| event.strip_prefix("0:opened "));
    let indices: Vec<u32> = opened.map(|index| index.parse().unwrap()).collect();
    assert_eq!(indices.len(), 300);
    assert!(indices.iter().all(|index| *index < 10), "{indices:?}");
}

fn many_floods_leave_room_for_one_word<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let flooders: Vec<TcpStream> = (0..8).map(|_| broker.connect()).collect();
    let until = Instant::now() + Duration::from_secs(1);
    let worst = thread::scope(|scope| {
        for flooder in &flooders {
            scope.spawn(move || {
                let stream = stream(b'E', 1_000_000);
                while Instant::now() < until {
                    assert!(echoed(flooder, &stream, 100_000) == stream);
                }
            });
        }
        let mut client = broker.connect();
        let mut worst = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            client.write_all(b"E").unwrap();
            client.read_exact(&mut [0]).unwrap();
            worst = worst.max(asked.elapsed());
        }
        worst
    });
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    broker.stop();
}

fn verdicts_come_back_from_the_password_thread<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"Anobody:secret").unwrap();
    let mut back = [0; 11];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"UnknownUser");
    broker.stop();
}

fn time_comes_when_it_was_asked_for<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"T").unwrap();
    broker.wait_for("0:tick");
    broker.stop();
}

fn a_full_lane_is_told_and_loses_nothing<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let mut client = broker.connect();
    client.write_all(b"F").unwrap();
    broker.wait_for("1:last message of 0");
    broker.wait_for("0:pressure 1 false");
    let seen = broker.stop();
    let pressures: Vec<_> = seen
        .iter()
        .filter(|event| event.contains("pressure"))
        .collect();
    assert_eq!(pressures, ["0:pressure 1 true", "0:pressure 1 false"]);
}

/// The double's budget is spent by the first message of a turn, and the driver asks after each batch.
fn a_spent_turn_takes_no_more_from_its_lanes<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let mut client = broker.connect();
    client.write_all(b"F").unwrap();
    broker.wait_for("1:last message of 0");
    let seen = broker.stop();
    let batch = format!("1:at most {} a turn", limits::LANE_MESSAGES_AT_ONCE);
    assert!(seen.contains(&batch), "{batch}, not {seen:?}");
}

fn a_broker_that_stops_closes_its_connections<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let mut client = broker.connect();
    client.write_all(b"E").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let asked = Instant::now();
    let reader = thread::spawn(move || {
        let result = client.read(&mut [0]);
        assert!(matches!(result, Ok(0)), "{result:?}");
    });
    let address = broker.address;
    broker.stop();
    assert!(asked.elapsed() < Duration::from_millis(limits::SHUTDOWN_MS));
    reader.join().unwrap();
    let refused = TcpStream::connect(address).map(|mut late| late.read(&mut [0]));
    assert!(match refused {
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(read) => !matches!(read, Ok(1..)),
    });
}

/// Urgent data ends a receive early, although more has come; the urgent byte itself is no part of the stream.
fn urgent_data_holds_up_nothing<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let send = |bytes: &[u8], flags| {
        let sent = nix::sys::socket::send(client.as_raw_fd(), bytes, flags).unwrap();
        assert_eq!(sent, bytes.len());
    };
    send(b"P", MsgFlags::empty());
    (&client).read_exact(&mut [0]).unwrap();
    // Read, and then no more for a while, so that all that follows is there at once.
    send(b"0", MsgFlags::empty());
    (&client).read_exact(&mut [0]).unwrap();
    send(b"1234", MsgFlags::empty());
    send(b"5!", MsgFlags::MSG_OOB);
    send(b"6789", MsgFlags::empty());
    let mut back = [0; 9];
    (&client).read_exact(&mut back).unwrap();
    assert_eq!(&back, b"123456789");
    broker.stop();
}

/// Each survey is answered to its asker, in their order; a shard that has ended answers none, and says so by the
/// channel's end.
fn surveys_are_answered_by_mail<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let (reply, reports) = channel();
    let (other, others) = channel();
    let ask = |shard, survey: Survey, reply: &Sender<_>| {
        let (survey, reply) = (Box::new(survey), reply.clone());
        broker.shards.tell(shard, ToShard::Survey { survey, reply });
    };
    for items in 1..=100 {
        ask(ShardId(0), Survey::sums().in_pages_of(items), &reply);
        ask(ShardId(1), Survey::retained(), &other);
        let report: Box<Report> = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(report.shard, ShardId(0));
        let asked = format!("{:?}", Survey::sums().in_pages_of(items));
        assert_eq!(format!("{:?}", report.next.unwrap()), asked);
    }
    for _ in 1..=100 {
        let report: Box<Report> = others.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(report.shard, ShardId(1));
    }
    // An asker that has gone harms nothing.
    let (gone, _) = channel();
    ask(ShardId(0), Survey::sums(), &gone);
    ask(ShardId(0), Survey::sums(), &reply);
    drop(reply);
    reports.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(reports.recv(), Err(RecvError)));
    broker.stop();
}

fn messages_of_the_brokers_own_come_by_mail<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let own = |n: u8| OwnMessage::new("$SYS/x", &[n], QoS::AtLeastOnce, true).unwrap();
    for n in 0..100 {
        broker.shards.tell(ShardId(1), ToShard::Publish(own(n)));
    }
    broker.wait_for(&format!("1:own {:?}", own(99)));
    let seen = broker.stop();
    let expected: Vec<String> = (0..100).map(|n| format!("1:own {:?}", own(n))).collect();
    assert_eq!(seen, expected);
}

under_each_driver!(
    messages_of_the_brokers_own_come_by_mail,
    surveys_are_answered_by_mail,
    urgent_data_holds_up_nothing,
    a_long_stream_is_echoed_whole,
    a_hand_over_loses_no_byte,
    a_hand_over_with_an_armed_receive_loses_no_byte,
    reading_stops_and_goes_on_where_it_was,
    large_and_small_receives_bring_the_stream_in_order,
    what_comes_with_the_end_is_received_by_a_large_receive,
    a_reset_is_told_by_a_large_receive,
    a_large_receive_that_is_cancelled_loses_no_byte,
    last_bytes_arrive_although_the_peer_sends_on,
    a_close_waits_for_what_is_still_to_be_sent,
    who_never_reads_is_let_go,
    who_says_goodbye_leaves_its_slot_at_once,
    who_sends_and_closes_its_side_gets_its_answer,
    a_reset_is_told_as_one,
    slots_are_used_again,
    many_floods_leave_room_for_one_word,
    verdicts_come_back_from_the_password_thread,
    time_comes_when_it_was_asked_for,
    a_full_lane_is_told_and_loses_nothing,
    a_spent_turn_takes_no_more_from_its_lanes,
    a_broker_that_stops_closes_its_connections,
);
