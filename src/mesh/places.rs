//! Places for Network Connections, counted over all shards.
//!
//! A connection is accepted by whichever shard is free and may be closed by another, so the count is shared. It is touched once when a
//! connection opens and once when it closes; it orders nothing else, hence `Relaxed`.

use super::sync::{AtomicUsize, Ordering};

/// What a newcomer is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Seat,
    /// All seats are taken; there is room to hear its CONNECT and to say so.
    Standing,
}

/// Seats, and some standing room for those who are to be told that there is none.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    seats: AtomicUsize,
    standing: usize,
}

impl Places {
    pub fn new(seats: usize, standing: usize) -> Places {
        Places {
            taken: AtomicUsize::new(0),
            seats: AtomicUsize::new(seats),
            standing,
        }
    }

    /// Another number of seats from now on; nobody loses one.
    pub fn set_seats(&self, seats: usize) {
        self.seats.store(seats, Ordering::Relaxed);
    }

    pub fn seats(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// A place for one more, to be given back with [`Places::give_back`]; `None`: not even standing room.
    pub fn take(&self) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let seats = self.seats();
        if before < seats {
            return Some(Place::Seat);
        }
        if before < seats.saturating_add(self.standing) {
            return Some(Place::Standing);
        }
        self.give_back();
        None
    }

    pub fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a place is given back once");
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn seats_then_standing_room_then_none() {
        let places = Places::new(2, 1);
        let taken: Vec<_> = (0..5).map(|_| places.take()).collect();
        assert_eq!(
            taken,
            [
                Some(Place::Seat),
                Some(Place::Seat),
                Some(Place::Standing),
                None,
                None
            ]
        );
        assert_eq!(places.taken(), 3);
        places.give_back();
        places.give_back();
        assert_eq!(places.take(), Some(Place::Seat));
        places.set_seats(0);
        assert_eq!(places.take(), None);
        assert_eq!(places.taken(), 2);
    }

    #[test]
    fn no_more_than_there_are_whoever_asks() {
        let places = Places::new(100, 10);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if places.take().is_some() {
                            assert!(places.taken() <= 110 + 4);
                            places.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(places.taken(), 0);
    }
}
