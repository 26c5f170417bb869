//! The account book by itself: shares when memory is short, over one shard and several.

use super::{Book, Refused, Source};
use crate::buffer::{Payload, Stock};
use crate::ids::OwnerId;
use crate::limits::{DROPS_LOGGED_EVERY_MS, FREED_BYTES_MUCH, NEWCOMERS_TOLD_MAX};
use hashbrown::HashMap;
use std::sync;

fn book(limit: u64) -> Book {
    Book::new(sync::Arc::new(Stock::new(limit, 1)))
}

#[test]
fn above_the_free_part_only_those_below_their_share_get_more() {
    let mut book = book(1_000_000);
    let (greedy, modest) = (
        book.open("user greedy", None),
        book.open("user modest", None),
    );
    while book.may_take(greedy, 10_000) {
        book.add(greedy, 10_000);
    }
    assert!((780_000..=800_000).contains(&book.bytes()));
    // The other is served up to his third, as far as there is room.
    while book.may_take(modest, 10_000) {
        book.add(modest, 10_000);
    }
    assert!((980_000..=1_000_000).contains(&book.bytes()));
    assert!(!book.may_take(greedy, 1));
    assert!(book.refuse(greedy, Refused::Message, 0).is_some());
    assert!(book.refuse(greedy, Refused::Message, 59_999).is_none());
    assert!(book.refuse(greedy, Refused::Message, 60_000).is_some());
    assert_eq!(book.refused()[Refused::Message as usize], 3);
}

#[test]
fn who_holds_little_is_served_though_others_have_passed_the_limit() {
    let mut book = book(1_000_000);
    let greedy = book.open("user greedy", None);
    let modest = book.open("user modest", None);
    book.add(greedy, 1_200_000); // Not asked for: it was there already.
    book.tidy();
    assert!(book.stock.taken() > 1_000_000);
    assert!(!book.may_take(greedy, 1));
    assert!(book.has_had_share(greedy) && !book.has_had_share(modest));
    while book.may_take(modest, 1_000) {
        book.add(modest, 1_000);
    }
    let got = book.owner(modest).plain;
    assert!((30_000..=1_000_000 / 3 / 8).contains(&got), "{got}");
    assert!(!book.has_had_share(modest));
    book.add(modest, 1_000); // Not asked for either.
    assert!(book.has_had_share(modest));
}

#[test]
fn an_owner_stays_as_long_as_a_payload_of_his_is_held() {
    let mut book = book(1_000_000);
    let id = book.open("client id a", Some(Source::UNKNOWN));
    let mut payload = Payload::new(&[0; 1000]);
    payload.book(book.account(id), 1000);
    let held = payload.clone();
    drop(payload);
    assert_eq!(book.payload_bytes(), 1000);
    book.close(id);
    book.tidy();
    assert_eq!(book.owners(), 1);
    assert_eq!(book.open("client id a", Some(Source::UNKNOWN)), id);
    book.close(id);
    drop(held);
    book.tidy();
    book.tidy();
    assert_eq!((book.owners(), book.bytes()), (0, 0));
    book.check_invariants(&HashMap::new());
}

#[test]
fn many_client_ids_of_one_address_have_one_share() {
    let mut book = book(1_000_000);
    let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|v4| Source::of(v4.into()));
    let greedy: Vec<OwnerId> = (0..99)
        .map(|number| book.open(&format!("client id {number}"), Some(here)))
        .collect();
    for id in greedy.iter().cycle().take(10_000) {
        if book.may_take(*id, 1_000) {
            book.add(*id, 1_000);
        }
    }
    assert!(book.bytes() > 780_000 && !book.may_take(greedy[0], 1_000));
    // Another address: a third of all is his, though he is one of a hundred owners.
    let modest = book.open("client id modest", Some(there));
    let before = book.bytes();
    while book.may_take(modest, 1_000) {
        book.add(modest, 1_000);
    }
    let got = book.bytes() - before;
    assert!(got > 150_000, "{got}");
    assert!(book.bytes() <= 1_000_000);
    assert!(!book.may_come("client id new", Some(here), 5_000));
    // The refusals of one address are told of once a minute, whatever client ids it thinks up.
    assert!(book.refuse_newcomer("client id x", here, 0).is_some());
    assert!(book.refuse_newcomer("client id y", here, 59_999).is_none());
    let told = book.refuse_newcomer("client id z", here, 60_000);
    assert_eq!(told.map(|told| told.refused), Some(3));
    assert_eq!(book.refused()[Refused::Session as usize], 3);
}

/// Takes in pieces of 1,000 bytes as much as it gets, ten times over, each owner in turn.
fn fill(books: &mut [Book], owners: &[(usize, OwnerId)]) {
    for (at, id) in owners.iter().cycle().take(owners.len() * 10_000) {
        if books[*at].may_take(*id, 1_000) {
            books[*at].add(*id, 1_000);
            books[*at].tidy();
        }
    }
}

fn held(books: &[Book]) -> usize {
    books.iter().map(Book::bytes).sum()
}

#[test]
fn the_client_ids_of_one_address_have_one_share_together() {
    let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|v4| Source::of(v4.into()));
    for shards in [1, 4] {
        let stock = sync::Arc::new(Stock::new(1_000_000, shards));
        let book = || Book::new(sync::Arc::clone(&stock));
        let mut books: Vec<Book> = (0..shards).map(|_| book()).collect();
        // One takes what anyone may, which is more than a share of all; then the others come.
        let first = (0, books[0].open("client id first", Some(here)));
        fill(&mut books, &[first]);
        assert!((780_000..=800_000).contains(&held(&books)));
        let others: Vec<_> = (0..15)
            .map(|number| {
                let name = format!("client id {number}");
                (
                    number % shards,
                    books[number % shards].open(&name, Some(here)),
                )
            })
            .collect();
        fill(&mut books, &others);
        let greedy = held(&books);
        assert!((880_000..=900_000).contains(&greedy), "{greedy}");
        for (at, id) in &others {
            assert!(!books[*at].may_take(*id, 20_000));
        }
        // What is left is for those at another address, on whatever shard they are.
        let at = shards - 1;
        let modest = (at, books[at].open("client id modest", Some(there)));
        fill(&mut books, &[modest]);
        let got = held(&books) - greedy;
        assert!(got > 80_000, "{got}");
        assert!(stock.taken() <= 1_000_000);
    }
}

#[test]
fn shards_that_grow_in_the_same_turn_know_of_one_another() {
    let stock = sync::Arc::new(Stock::new(1_000_000, 4));
    let mut books: Vec<Book> = (0..4)
        .map(|_| Book::new(sync::Arc::clone(&stock)))
        .collect();
    let owners: Vec<OwnerId> = books
        .iter_mut()
        .map(|book| book.open("user greedy", None))
        .collect();
    // As a message is taken: nothing is asked while memory is not short.
    for _ in 0..1_000 {
        for (book, id) in books.iter_mut().zip(&owners) {
            if !book.is_short() {
                book.add(*id, 1_000);
            }
        }
    }
    let held = held(&books);
    assert!((780_000..=804_000).contains(&held), "{held}");
}

#[test]
fn an_owner_in_four_shards_has_one_share() {
    for user in [true, false] {
        let stock = sync::Arc::new(Stock::new(1_000_000, 4));
        let mut books: Vec<Book> = (0..4)
            .map(|_| Book::new(sync::Arc::clone(&stock)))
            .collect();
        let source = |last: u8| (!user).then(|| Source::of([192, 0, 2, last].into()));
        // Eight others hold all that anyone may.
        let others: Vec<_> = (0..8)
            .map(|n| (n % 4, books[n % 4].open(&format!("{n}"), source(n as u8))))
            .collect();
        fill(&mut books, &others);
        let before = held(&books);
        assert!(before >= 760_000, "{before}");
        // Of ten shares one is his, wherever his connections are.
        let greedy: Vec<_> = (0..4)
            .map(|at| {
                let name = if user {
                    "user greedy".into()
                } else {
                    format!("client id {at}")
                };
                (at, books[at].open(&name, source(99)))
            })
            .collect();
        fill(&mut books, &greedy);
        let got = held(&books) - before;
        assert!((80_000..=110_000).contains(&got), "{got}");
        // A share counts what is freed, too.
        let (at, id) = greedy[0];
        let own = books[at].owner(id).plain - 1_000;
        books[at].sub(id, own);
        books[at].tidy();
        fill(&mut books, &greedy[1..]);
        let got = held(&books) - before;
        // Of an address each client id has its part alone.
        let least = if user { 80_000 } else { 60_000 };
        assert!((least..=110_000).contains(&got), "{got}");
        for (at, id) in others.iter().chain(&greedy) {
            let book = &mut books[*at];
            let owner = book.owner(*id);
            let own = owner.plain - owner.name.own_bytes();
            book.sub(*id, own);
            book.close(*id);
        }
        assert_eq!((held(&books), stock.shares().count()), (0, 0));
    }
}

#[test]
fn a_shard_uses_what_others_leave_and_gives_it_back() {
    let stock = sync::Arc::new(Stock::new(1_000_000, 2));
    let mut busy = Book::new(sync::Arc::clone(&stock));
    let mut idle = Book::new(sync::Arc::clone(&stock));
    let greedy = busy.open("user greedy", None);
    let modest = idle.open("user modest", None);
    while busy.may_take(greedy, 10_000) {
        busy.add(greedy, 10_000);
        busy.tidy();
    }
    assert!(
        (750_000..=800_000).contains(&busy.bytes()),
        "{}",
        busy.bytes()
    );
    while idle.may_take(modest, 10_000) {
        idle.add(modest, 10_000);
        idle.tidy();
    }
    assert!(idle.bytes() > 150_000, "{}", idle.bytes());
    assert!(stock.taken() <= 1_000_000);
    busy.sub(greedy, 700_000);
    busy.tidy();
    assert!(stock.taken() < 350_000, "{}", stock.taken());
    assert!(!idle.is_short() && idle.may_take(modest, 400_000));
}

/// Memory goes back to the system after much was let go, not while a shard breathes.
#[test]
fn what_is_taken_again_was_not_freed() {
    let stock = sync::Arc::new(Stock::new(1 << 30, 1));
    let mut book = Book::new(sync::Arc::clone(&stock));
    let id = book.open("user busy", None);
    let step = FREED_BYTES_MUCH / 2;
    for _ in 0..10 {
        book.add(id, step);
        assert!(!book.tidy());
        book.sub(id, step);
        assert!(!book.tidy());
    }
    book.add(id, 3 * step);
    assert!(!book.tidy());
    book.sub(id, 3 * step);
    assert!(book.tidy(), "{} bytes are held", book.bytes());
}

/// Whoever comes from ever new addresses fills no list of those that were told of.
#[test]
fn newcomers_from_everywhere_are_told_of_in_bounds() {
    let mut book = book(1_000_000);
    let mut told = 0;
    for number in 0..2 * NEWCOMERS_TOLD_MAX as u32 {
        let source = Source::of((0x0a00_0000 + number).to_be_bytes().into());
        told += usize::from(book.refuse_newcomer("client id a", source, 0).is_some());
    }
    assert_eq!(told, NEWCOMERS_TOLD_MAX);
    // Those of a minute ago make room.
    let source = Source::of([192, 0, 2, 1].into());
    let later = book.refuse_newcomer("client id a", source, DROPS_LOGGED_EVERY_MS);
    assert!(later.is_some());
    let again = book.refuse_newcomer("client id a", source, DROPS_LOGGED_EVERY_MS + 1);
    assert!(again.is_none(), "once a minute");
}

/// Peers are told while there is still some room, because what is on its way comes anyway.
#[test]
fn memory_is_tight_before_it_is_short() {
    let mut book = book(1_000_000);
    let id = book.open("user busy", None);
    for (more, is_tight, is_short) in [
        (600_000, false, false),
        (150_000, true, false),
        (100_000, true, true),
    ] {
        book.add(id, more);
        book.tidy();
        assert_eq!((book.is_tight(), book.is_short()), (is_tight, is_short));
    }
}
