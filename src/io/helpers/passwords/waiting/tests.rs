use super::*;

/// A request of 10.0.0.`host`; `n` tells it apart.
fn request(host: u8, n: u16) -> Request {
    at(IpAddr::from([10, 0, 0, host]), n, 8)
}

fn at(address: IpAddr, n: u16, password_bytes: usize) -> Request {
    Request {
        reply: Reply::Helper(Box::new(|_| {})),
        listener: ListenerId(0),
        address,
        user_name: n.to_string(),
        password: vec![b'x'; password_bytes],
        asked: Time(0),
    }
}

/// The next check, as host and number.
fn checked(waiting: &mut Waiting, now: u64) -> Option<(u8, u16)> {
    match waiting.next(Time(now)) {
        Next::Check(request) => Some(told(&request)),
        Next::At(_) | Next::Nothing => None,
    }
}

fn told(request: &Request) -> (u8, u16) {
    let IpAddr::V4(address) = request.address else {
        panic!("10.0.0.x expected");
    };
    (address.octets()[3], request.user_name.parse().unwrap())
}

fn push(waiting: &mut Waiting, host: u8, n: u16, now: u64) -> Vec<(u8, u16)> {
    let lost = waiting.push(request(host, n), Time(now));
    lost.iter().map(told).collect()
}

fn fail(waiting: &mut Waiting, host: u8, times: u32, now: u64) {
    for _ in 0..times {
        let _ = waiting.note_failure(IpAddr::from([10, 0, 0, host]), Time(now));
    }
}

fn assert_empty(waiting: &mut Waiting) {
    assert!(matches!(waiting.next(Time(1 << 40)), Next::Nothing));
    assert_eq!((waiting.count, waiting.bytes), (0, 0));
    assert!(waiting.lines.is_empty() && waiting.turns.is_empty());
}

#[test]
fn addresses_take_turns() {
    let mut waiting = Waiting::default();
    for n in 0..4 {
        assert!(push(&mut waiting, 1, n, 0).is_empty());
    }
    assert!(push(&mut waiting, 2, 0, 0).is_empty());
    assert!(push(&mut waiting, 3, 0, 0).is_empty());
    let order: Vec<_> = std::iter::from_fn(|| checked(&mut waiting, 0)).collect();
    assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2), (1, 3)]);
    assert_empty(&mut waiting);
}

#[test]
fn a_full_queue_takes_from_whoever_has_most() {
    let mut waiting = Waiting::default();
    for n in 0..limits::PASSWORD_CHECKS_WAITING_MAX as u16 {
        assert!(push(&mut waiting, 1, n, 0).is_empty());
    }
    let last = limits::PASSWORD_CHECKS_WAITING_MAX as u16 - 1;
    // Another address: the flood loses its last. The flood itself: what it asks for now.
    assert_eq!(push(&mut waiting, 2, 0, 0), [(1, last)]);
    assert_eq!(push(&mut waiting, 1, 5000, 0), [(1, 5000)]);
    assert_eq!(checked(&mut waiting, 0), Some((1, 0)));
    assert_eq!(checked(&mut waiting, 0), Some((2, 0)));
    while checked(&mut waiting, 0).is_some() {}
    assert_empty(&mut waiting);
}

#[test]
fn bytes_are_shared_too() {
    let mut waiting = Waiting::default();
    let flood = IpAddr::from([10, 0, 0, 1]);
    for n in 0..20 {
        let _ = waiting.push(at(flood, n, 65_000), Time(0));
    }
    assert!(waiting.bytes <= limits::PASSWORD_CHECKS_WAITING_BYTES_MAX);
    let other = IpAddr::from([10, 0, 0, 2]);
    let lost = waiting.push(at(other, 0, 65_000), Time(0));
    assert!(!lost.is_empty() && lost.iter().all(|request| request.address == flood));
    assert!(waiting.bytes <= limits::PASSWORD_CHECKS_WAITING_BYTES_MAX);
}

#[test]
fn who_fails_waits_longer_and_longer() {
    let mut waiting = Waiting::default();
    fail(&mut waiting, 1, limits::PASSWORD_FAILURES_FREE, 1000);
    assert!(push(&mut waiting, 1, 0, 1000).is_empty());
    assert_eq!(checked(&mut waiting, 1000), Some((1, 0)), "ten are free");
    let mut now = 1000;
    for wait in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
        fail(&mut waiting, 1, 1, now);
        assert!(push(&mut waiting, 1, 0, now).is_empty());
        assert_eq!(checked(&mut waiting, now + wait - 1), None);
        let Next::At(at) = waiting.next(Time(now)) else {
            panic!("it waits");
        };
        assert_eq!(at, Time(now + wait));
        now += wait;
        assert_eq!(checked(&mut waiting, now), Some((1, 0)));
    }
    // Nobody else waits for that.
    fail(&mut waiting, 1, 1, now);
    assert!(push(&mut waiting, 1, 0, now).is_empty());
    assert!(push(&mut waiting, 2, 0, now).is_empty());
    assert_eq!(checked(&mut waiting, now), Some((2, 0)));
    assert_eq!(checked(&mut waiting, now), None);
    // It is forgotten after a while, however often it failed.
    let later = now + limits::PASSWORD_FAILURES_KEPT_MS;
    assert_eq!(checked(&mut waiting, later), Some((1, 0)));
    assert!(!waiting.has_failed(Source::of(IpAddr::from([10, 0, 0, 1])), Time(later)));
}

#[test]
fn success_forgives_half() {
    let mut waiting = Waiting::default();
    let address = IpAddr::from([10, 0, 0, 1]);
    let place = Source::of(address);
    // One wrong device among ten behind one address is never held back.
    for _ in 0..100 {
        fail(&mut waiting, 1, 1, 0);
        waiting.note_success(address);
        assert!(!waiting.is_held_back(place, Time(0)));
    }
    fail(&mut waiting, 1, 100, 0);
    waiting.note_success(address);
    assert!(waiting.is_held_back(place, Time(0)), "once is no proof");
}

#[test]
fn addresses_without_failures_come_first_but_not_always() {
    let mut waiting = Waiting::default();
    fail(&mut waiting, 1, 1, 0);
    for n in 0..3 {
        assert!(push(&mut waiting, 1, n, 0).is_empty());
    }
    for n in 0..6 {
        assert!(push(&mut waiting, 2, n, 0).is_empty());
    }
    let order: Vec<_> = std::iter::from_fn(|| checked(&mut waiting, 0)).collect();
    let hosts: Vec<u8> = order.iter().map(|(host, _)| *host).collect();
    assert_eq!(hosts, [2, 2, 2, 1, 2, 2, 2, 1, 1]);
}

#[test]
fn who_is_held_back_keeps_few_waiting() {
    let mut waiting = Waiting::default();
    for n in 0..50 {
        assert!(push(&mut waiting, 1, n, 0).is_empty());
    }
    fail(&mut waiting, 1, limits::PASSWORD_FAILURES_FREE, 0);
    let lost = waiting.note_failure(IpAddr::from([10, 0, 0, 1]), Time(0));
    assert_eq!(lost.len(), 50 - limits::PASSWORD_CHECKS_WAITING_OF_FAILING);
    assert_eq!(push(&mut waiting, 1, 99, 0), [(1, 99)]);
}

#[test]
fn addresses_of_one_network_are_one() {
    let v6 = |text: &str| Source::of(text.parse().unwrap());
    assert_eq!(v6("2001:db8:0:1::1"), v6("2001:db8:0:1:ffff::2"));
    assert_ne!(v6("2001:db8:0:1::1"), v6("2001:db8:0:2::1"));
    assert_eq!(v6("::ffff:10.0.0.1"), v6("10.0.0.1"));
    assert_ne!(v6("10.0.0.1"), v6("10.0.0.2"));
}

#[test]
fn the_oldest_failures_are_forgotten() {
    let mut waiting = Waiting::default();
    for n in 0..limits::PASSWORD_ADDRESSES_MAX as u32 + 5 {
        let _ = waiting.note_failure(IpAddr::V4(n.into()), Time(0));
    }
    assert_eq!(waiting.failures.len(), limits::PASSWORD_ADDRESSES_MAX);
    assert_eq!(waiting.failed.len(), limits::PASSWORD_ADDRESSES_MAX);
    assert!(!waiting.has_failed(Source::of(IpAddr::from([0, 0, 0, 4])), Time(0)));
    assert!(waiting.has_failed(Source::of(IpAddr::from([0, 0, 0, 5])), Time(0)));
}
