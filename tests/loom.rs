//! Loom models of what lies between threads: each closure is run under every schedule, and every value the memory model
//! lets a load see. `cargo test --release --features loom --test loom`; nothing without the feature.
//!
//! Loom's cells and allocations are used by the library under the feature, so beside the asserts below every model also
//! fails on two accesses to a slot or to a payload's bytes that are not ordered, on a leak and on a double free.

#![cfg(feature = "loom")]

use loom::alloc::Track;
use loom::sync::Arc;
use loom::thread;
use mqttfast::buffer::{Payload, Stock};
use mqttfast::ids::ShardId;
use mqttfast::mesh::sync::{AtomicBool, AtomicUsize, Ordering};
use mqttfast::mesh::{Admitted, Bounds, Capacity, Mailbox, WakeFlag, lanes, spsc::queue};
use std::sync::atomic::AtomicBool as Noted;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn ring_keeps_order_and_wraps() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue::<usize>(2);
        for number in 0..2 {
            assert_eq!(producer.push(number), Ok(()));
        }
        assert_eq!(consumer.pop(), Some(0));
        let pusher = thread::spawn(move || {
            // As many as fit: a full ring gives the item back, and the next try may fit.
            let mut next = 2;
            for _ in 0..3 {
                match producer.push(next) {
                    Ok(()) => next += 1,
                    Err(back) => assert_eq!(back, next),
                }
            }
            next
        });
        let mut expected = 1;
        for _ in 0..3 {
            if let Some(number) = consumer.pop() {
                assert_eq!(number, expected);
                expected += 1;
            }
        }
        let pushed = pusher.join().expect("the pusher ran through");
        while let Some(number) = consumer.pop() {
            assert_eq!(number, expected);
            expected += 1;
        }
        assert_eq!(expected, pushed);
        assert!(pushed >= 3, "one slot was free from the start");
    });
}

#[test]
fn ring_of_one_slot_is_full_or_empty() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue::<usize>(1);
        let pusher = thread::spawn(move || {
            let mut pushed = 0;
            for _ in 0..3 {
                let full = producer.is_full();
                let accepted = producer.push(pushed).is_ok();
                assert!(full || accepted, "seen free, so it is free");
                pushed += usize::from(accepted);
            }
            pushed
        });
        let mut popped = 0;
        for _ in 0..2 {
            let empty = consumer.is_empty();
            let number = consumer.pop();
            assert!(empty || number.is_some(), "seen there, so it is there");
            if let Some(number) = number {
                assert_eq!(number, popped);
                popped += 1;
            }
        }
        let pushed = pusher.join().expect("the pusher ran through");
        popped += usize::from(consumer.pop().is_some());
        assert_eq!(popped, pushed);
    });
}

/// Loom reports each item that is not dropped; a second drop would be a double free of its box.
#[test]
fn ring_drops_what_is_left_once() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue::<Box<Track<usize>>>(2);
        let pusher = thread::spawn(move || {
            for number in 0..3 {
                let _ = producer.push(Box::new(Track::new(number)));
            }
        });
        if let Some(first) = consumer.pop() {
            assert_eq!(*first.get_ref(), 0);
        }
        drop(consumer);
        pusher.join().expect("the pusher ran through");
    });
}

/// The owner sleeps; loom reports a deadlock if it is not woken though there is work.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let flag = Arc::new(WakeFlag::new());
        let (mut producer, mut consumer) = queue::<usize>(2);
        let wakes = Arc::new(AtomicUsize::new(0));
        let owner = thread::current();
        let giver = {
            let (flag, wakes) = (flag.clone(), wakes.clone());
            thread::spawn(move || {
                for number in 0..2 {
                    assert_eq!(producer.push(number), Ok(()));
                    if flag.must_wake() {
                        wakes.fetch_add(1, Ordering::Relaxed);
                        owner.unpark();
                    }
                }
            })
        };
        let (mut popped, mut sleeps) = (0, 0);
        while popped < 2 {
            match consumer.pop() {
                Some(number) => {
                    assert_eq!(number, popped);
                    popped += 1;
                }
                None => {
                    flag.about_to_sleep();
                    sleeps += 1;
                    if consumer.is_empty() {
                        thread::park();
                    }
                    flag.awake();
                }
            }
        }
        giver.join().expect("the giver ran through");
        assert!(wakes.load(Ordering::Relaxed) <= sleeps);
    });
}

/// Two givers meet one sleep: whom the owner did not see wakes it, and never do both.
#[test]
fn one_sleep_is_woken_once() {
    loom::model(|| {
        let flag = Arc::new(WakeFlag::new());
        let given = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let givers: Vec<_> = (0..2)
            .map(|giver| {
                let (flag, given) = (flag.clone(), given.clone());
                thread::spawn(move || {
                    given[giver].store(true, Ordering::Release);
                    flag.must_wake()
                })
            })
            .collect();
        flag.about_to_sleep();
        let seen = given
            .iter()
            .filter(|given| given.load(Ordering::Acquire))
            .count();
        let wakes = givers
            .into_iter()
            .map(|giver| giver.join().expect("the giver ran through"))
            .filter(|&must_wake| must_wake)
            .count();
        assert!(wakes <= 1);
        assert!(seen == 2 || wakes == 1);
    });
}

#[test]
fn payload_is_freed_once_after_all_reads() {
    loom::model(|| {
        let payload = Payload::from_parts(&[b"ab", b"c"]);
        let other = payload.clone();
        let reader = thread::spawn(move || {
            assert_eq!(&*other, b"abc");
            drop(other);
        });
        assert_eq!(&*payload, b"abc");
        drop(payload);
        reader.join().expect("the reader ran through");
    });
}

/// A vector that was adopted comes back to one of those who let go of it, after the reads of both.
#[test]
fn an_adopted_vector_comes_back_once() {
    loom::model(|| {
        let payload = Payload::adopt(b"_abc".to_vec(), 1);
        let other = payload.clone();
        let reader = thread::spawn(move || {
            assert_eq!(&*other, b"abc");
            other.into_vector()
        });
        assert_eq!(&*payload, b"abc");
        let here = payload.into_vector();
        let there = reader.join().expect("the reader ran through");
        assert!(here.is_some() != there.is_some());
    });
}

/// A handle is cloned and dropped in two threads: a count seen as 1 must mean the only handle.
#[test]
fn payload_is_cloned_and_dropped_by_two() {
    loom::model(|| {
        let payload = Payload::new(b"abc");
        let other = payload.clone();
        let thread = thread::spawn(move || {
            let again = other.clone();
            drop(other);
            assert_eq!(&*again, b"abc");
        });
        let again = payload.clone();
        drop(payload);
        assert_eq!(&*again, b"abc");
        drop(again);
        thread.join().expect("the thread ran through");
    });
}

/// Three handles go at once; the last one frees after the reads of all.
#[test]
fn payload_is_dropped_by_three() {
    loom::model(|| {
        let payload = Payload::new(b"abc");
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let payload = payload.clone();
                thread::spawn(move || assert_eq!(&*payload, b"abc"))
            })
            .collect();
        drop(payload);
        for thread in threads {
            thread.join().expect("the thread ran through");
        }
    });
}

#[test]
fn payload_crosses_a_ring() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue::<Payload>(1);
        let pusher = thread::spawn(move || {
            let payload = Payload::new(b"abc");
            assert!(producer.push(payload.clone()).is_ok());
            assert_eq!(&*payload, b"abc");
        });
        if let Some(payload) = consumer.pop() {
            assert_eq!(&*payload, b"abc");
        }
        pusher.join().expect("the pusher ran through");
    });
}

#[test]
fn mailbox_wakes_its_owner() {
    loom::model(|| {
        let flag = Arc::new(WakeFlag::new());
        let mailbox = Mailbox::new(2);
        let owner = thread::current();
        let giver = {
            let (flag, mailbox) = (flag.clone(), mailbox.clone());
            thread::spawn(move || {
                for number in 0..2 {
                    assert!(mailbox.push(number));
                    if flag.must_wake() {
                        owner.unpark();
                    }
                }
            })
        };
        let mut out = Vec::new();
        while out.len() < 2 {
            mailbox.drain(&mut out);
            if out.len() < 2 {
                flag.about_to_sleep();
                if mailbox.is_empty() {
                    thread::park();
                }
                flag.awake();
            }
        }
        assert_eq!(out, [0, 1]);
        giver.join().expect("the giver ran through");
    });
}

#[test]
fn mailbox_is_bounded_among_givers() {
    loom::model(|| {
        let mailbox = Mailbox::new(1);
        let giver = {
            let mailbox = mailbox.clone();
            thread::spawn(move || usize::from(mailbox.push(1)))
        };
        let mut out = Vec::new();
        let mut accepted = usize::from(mailbox.push(2));
        mailbox.drain(&mut out);
        accepted += giver.join().expect("the giver ran through");
        mailbox.drain(&mut out);
        assert_eq!(out.len(), accepted);
        assert!(accepted >= 1);
    });
}

/// Lanes of one item.
fn bounds<T>() -> Bounds<T> {
    Bounds {
        items: 1,
        bytes: usize::MAX,
        bytes_of: |_| 0,
    }
}

/// A sender that sleeps on a spill: the receiver makes room and wakes it, or it sees the room. Loom reports a deadlock
/// if neither does.
fn a_sender_with_a_spill_is_woken_in(bounds: fn() -> Bounds<usize>) {
    loom::model(move || {
        let flag = Arc::new(WakeFlag::new());
        let mut endpoints = lanes(2, &bounds());
        let mut receiver = endpoints.pop().expect("the second of two");
        let mut sender = endpoints.pop().expect("the first of two");
        let to = ShardId(1);
        sender.send(to, 0);
        let owner = thread::current();
        let peer = {
            let flag = flag.clone();
            thread::spawn(move || {
                let received = receiver.receive(1, |_, item| assert_eq!(item, 0));
                assert_eq!(received, 1);
                if receiver.take_sent_to() == 1 && flag.must_wake() {
                    owner.unpark();
                }
                receiver
            })
        };
        sender.send(to, 1);
        sender.unspill();
        while sender.spilled(to).items > 0 {
            flag.about_to_sleep();
            if sender.is_empty() {
                thread::park();
            }
            flag.awake();
            sender.unspill();
        }
        let mut receiver = peer.join().expect("the peer ran through");
        let received = receiver.receive(2, |_, item| assert_eq!(item, 1));
        assert_eq!(received, 1);
    });
}

#[test]
fn a_sender_with_a_spill_is_woken() {
    a_sender_with_a_spill_is_woken_in(bounds);
}

/// The same where bytes, and not slots, are what is short.
#[test]
fn a_sender_that_spilled_for_its_bytes_is_woken() {
    a_sender_with_a_spill_is_woken_in(|| Bounds {
        items: 4,
        bytes: 10,
        bytes_of: |_| 10,
    });
}

/// A payload goes to a peer by a lane, and its owner lets go of it meanwhile. Either may be last; whoever is frees it
/// after the reads of both, and nothing leaks.
#[test]
fn payload_is_freed_by_its_owner_or_by_a_peer() {
    // Whether each went second in some schedule; outside of loom.
    static OWNER_SECOND: Noted = Noted::new(false);
    static PEER_SECOND: Noted = Noted::new(false);
    loom::model(|| {
        let mut endpoints = lanes(2, &bounds::<Payload>());
        let mut peer = endpoints.pop().expect("the second of two");
        let mut owner = endpoints.pop().expect("the first of two");
        let payload = Payload::new(b"abc");
        owner.send(ShardId(1), payload.clone());
        // Orders nothing by itself.
        let gone = Arc::new(AtomicUsize::new(0));
        let at_peer = {
            let gone = gone.clone();
            thread::spawn(move || {
                let received = peer.receive(1, |_, payload| {
                    assert_eq!(&*payload, b"abc");
                    PEER_SECOND.fetch_or(gone.fetch_add(1, Ordering::Relaxed) == 1, SeqCst);
                    drop(payload);
                });
                assert_eq!(received, 1);
            })
        };
        assert_eq!(&*payload, b"abc");
        OWNER_SECOND.fetch_or(gone.fetch_add(1, Ordering::Relaxed) == 1, SeqCst);
        drop(payload);
        at_peer.join().expect("the peer ran through");
    });
    assert!(OWNER_SECOND.load(SeqCst) && PEER_SECOND.load(SeqCst));
}

/// The peer sends a payload on, back to where it came from: a return of a message that nobody could take.
#[test]
fn payload_comes_back_from_a_peer() {
    loom::model(|| {
        let mut endpoints = lanes(2, &bounds::<Payload>());
        let mut peer = endpoints.pop().expect("the second of two");
        let mut owner = endpoints.pop().expect("the first of two");
        owner.send(ShardId(1), Payload::new(b"abc"));
        let thread = thread::spawn(move || {
            let mut taken = None;
            peer.receive(1, |_, payload| taken = Some(payload));
            peer.send(ShardId(0), taken.expect("it was sent before"));
            peer
        });
        let look = |payload: Payload| assert_eq!((&*payload, payload.handles()), (&b"abc"[..], 1));
        let early = owner.receive(1, |_, payload| look(payload));
        drop(thread.join().expect("the peer ran through"));
        let late = owner.receive(1, |_, payload| look(payload));
        assert_eq!(early + late, 1);
    });
}

/// A shard ends while another still gives it work: what lies in lanes and spills is dropped once, whoever goes last.
/// Loom reports what is not.
#[test]
fn lanes_of_a_shard_that_ends_leave_nothing() {
    loom::model(|| {
        let mut endpoints = lanes(2, &bounds::<Box<Track<usize>>>());
        let mut ending = endpoints.pop().expect("the second of two");
        let mut other = endpoints.pop().expect("the first of two");
        let thread = thread::spawn(move || {
            ending.send(ShardId(0), Box::new(Track::new(9)));
            let received = ending.receive(1, |_, item| assert_eq!(*item.get_ref(), 0));
            assert!(received <= 1);
        });
        for number in 0..2 {
            // The second spills, or finds room if the first was taken.
            other.send(ShardId(1), Box::new(Track::new(number)));
        }
        other.unspill();
        thread.join().expect("the shard ended");
        other.unspill();
        assert_eq!(
            other.receive(2, |_, item| assert_eq!(*item.get_ref(), 9)),
            1
        );
    });
}

/// A shard that lies down, or is given work by a peer, is told to stop: it does both, and sleeps through neither.
#[test]
fn a_shutdown_reaches_a_shard_that_sleeps_or_works() {
    loom::model(|| {
        let flag = Arc::new(WakeFlag::new());
        let mailbox = Mailbox::new(1);
        let (mut producer, mut consumer) = queue::<usize>(1);
        let owner = thread::current();
        let control = {
            let (mailbox, owner) = (mailbox.clone(), owner.clone());
            thread::spawn(move || {
                assert!(mailbox.push("shutdown"));
                // By an eventfd, always: mail is rare.
                owner.unpark();
            })
        };
        let peer = {
            let flag = flag.clone();
            thread::spawn(move || {
                assert_eq!(producer.push(7), Ok(()));
                if flag.must_wake() {
                    owner.unpark();
                }
            })
        };
        let (mut mail, mut worked) = (Vec::new(), false);
        while mail.is_empty() || !worked {
            flag.about_to_sleep();
            if consumer.is_empty() {
                thread::park();
            }
            flag.awake();
            worked |= consumer.pop().is_some();
            mailbox.drain(&mut mail);
        }
        assert_eq!(mail, ["shutdown"]);
        control.join().expect("it has told");
        peer.join().expect("it has given");
    });
}

/// Two newcomers and one who leaves, on three shards: never two on one seat, and a seat that was free throughout is
/// given.
#[test]
fn a_place_is_given_once() {
    loom::model(|| {
        let places = Arc::new(Capacity::new(1, 1));
        let taken = Arc::new(AtomicUsize::new(0));
        let newcomers: Vec<_> = (0..2)
            .map(|_| {
                let (places, taken) = (places.clone(), taken.clone());
                thread::spawn(move || {
                    let place = places.take();
                    if place == Some(Admitted::Within) {
                        let others = taken.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(others, 0, "two on one seat");
                        taken.fetch_sub(1, Ordering::Relaxed);
                    }
                    if place.is_some() {
                        places.give_back();
                    }
                    place
                })
            })
            .collect();
        let given: Vec<_> = newcomers
            .into_iter()
            .map(|newcomer| newcomer.join().expect("it ran through"))
            .collect();
        assert!(given.contains(&Some(Admitted::Within)), "{given:?}");
        assert_eq!(places.taken(), 0);
    });
}

#[test]
fn shards_take_no_more_than_there_is() {
    loom::model(|| {
        let stock = Arc::new(Stock::new(5, 2));
        let shards: Vec<_> = (0..2)
            .map(|_| {
                let stock = stock.clone();
                thread::spawn(move || {
                    let got = [3, 2].map(|bytes| if stock.take(bytes, 5) { bytes } else { 0 });
                    let got: usize = got.iter().sum();
                    assert!(stock.taken() >= got && stock.taken() <= 5);
                    stock.give_back(got / 2);
                    got - got / 2
                })
            })
            .collect();
        let kept = shards
            .into_iter()
            .map(|shard| shard.join().expect("it ran through"));
        let kept: usize = kept.sum();
        assert_eq!(stock.taken(), kept);
    });
}
