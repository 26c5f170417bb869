//! How many Network Connections there are and may be, counted over all shards.
//!
//! A connection is accepted by whichever shard is free and may be closed by another, so the count is shared. It is
//! touched once when a connection opens and once when it closes; it orders nothing else, hence `Relaxed`.

use super::sync::{AtomicUsize, Ordering};
use crate::ids::ListenerId;

/// What a new connection counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admitted {
    /// One of the most there may be.
    Within,
    /// One more than that: its CONNECT is heard and answered with a refusal.
    Extra,
}

/// The count, the most connections that are served, and how many more are heard in order to be refused.
#[derive(Debug)]
pub struct Capacity {
    taken: AtomicUsize,
    most: AtomicUsize,
    extra: usize,
}

impl Capacity {
    /// `most` are served at a time; up to `extra` beyond them are heard, in order to be refused.
    pub fn new(most: usize, extra: usize) -> Capacity {
        Capacity {
            taken: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            extra,
        }
    }

    /// From now on so many are served. Connections that are there stay.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The number of connections that are served at a time.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Counts one connection more, to be given back with [`Capacity::give_back`]; `None`: there are too many even to
    /// refuse it.
    pub fn take(&self) -> Option<Admitted> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let most = self.most();
        if before < most {
            return Some(Admitted::Within);
        }
        if before < most.saturating_add(self.extra) {
            return Some(Admitted::Extra);
        }
        self.give_back();
        None
    }

    /// Ends what [`Capacity::take`] counted; once for each.
    pub fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection is given back once");
    }

    /// Connections counted now, those to be refused among them.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// The capacity of the whole broker, and those of listeners that have a limit of their own.
#[derive(Debug)]
pub struct Places {
    all: Capacity,
    by_listener: Box<[Capacity]>,
}

impl Places {
    /// `by_listener`: the most connections of each listener by its number; `None`: no limit of its own.
    pub fn new(most: usize, extra: usize, by_listener: &[Option<usize>]) -> Places {
        let of_listener = |most: &Option<usize>| Capacity::new(most.unwrap_or(usize::MAX), extra);
        Places {
            all: Capacity::new(most, extra),
            by_listener: by_listener.iter().map(of_listener).collect(),
        }
    }

    fn of(&self, listener: ListenerId) -> Option<&Capacity> {
        self.by_listener.get(listener.index())
    }

    /// As [`Capacity::set_most`], of the whole broker.
    pub fn set_most(&self, most: usize) {
        self.all.set_most(most);
    }

    /// From now on so many of each listener are served, as for [`Places::new`]. Connections that are there stay.
    pub fn set_most_by_listener(&self, by_listener: &[Option<usize>]) {
        for (capacity, most) in self.by_listener.iter().zip(by_listener) {
            capacity.set_most(most.unwrap_or(usize::MAX));
        }
    }

    /// The most connections that a connection of this listener counts against.
    pub fn most(&self, listener: ListenerId) -> usize {
        let own = self.of(listener).map_or(usize::MAX, Capacity::most);
        own.min(self.all.most())
    }

    /// Counts one connection more of this listener, to be given back with [`Places::give_back`]; `None`: there are too
    /// many even to refuse it.
    pub fn take(&self, listener: ListenerId) -> Option<Admitted> {
        let all = self.all.take()?;
        let own = match self.of(listener) {
            Some(capacity) => capacity.take(),
            None => Some(Admitted::Within),
        };
        match own {
            Some(Admitted::Within) => Some(all),
            Some(Admitted::Extra) => Some(Admitted::Extra),
            None => {
                self.all.give_back();
                None
            }
        }
    }

    /// One connection of this listener is gone.
    pub fn give_back(&self, listener: ListenerId) {
        if let Some(capacity) = self.of(listener) {
            capacity.give_back();
        }
        self.all.give_back();
    }

    /// Connections of all listeners.
    pub fn taken(&self) -> usize {
        self.all.taken()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn within_then_extra_then_none() {
        let capacity = Capacity::new(2, 1);
        let taken: Vec<_> = (0..5).map(|_| capacity.take()).collect();
        assert_eq!(
            taken,
            [
                Some(Admitted::Within),
                Some(Admitted::Within),
                Some(Admitted::Extra),
                None,
                None
            ]
        );
        assert_eq!(capacity.taken(), 3);
        capacity.give_back();
        capacity.give_back();
        assert_eq!(capacity.take(), Some(Admitted::Within));
        capacity.set_most(0);
        assert_eq!(capacity.take(), None);
        assert_eq!(capacity.taken(), 2);
    }

    #[test]
    fn a_listener_has_its_own_limit_within_that_of_all() {
        let places = Places::new(3, 1, &[Some(1), None]);
        let (own, other) = (ListenerId(0), ListenerId(1));
        assert_eq!((places.most(own), places.most(other)), (1, 3));
        assert_eq!(places.take(own), Some(Admitted::Within));
        assert_eq!(places.take(own), Some(Admitted::Extra));
        assert_eq!(places.take(own), None);
        assert_eq!(places.taken(), 2);
        assert_eq!(places.take(other), Some(Admitted::Within));
        assert_eq!(places.take(other), Some(Admitted::Extra));
        places.give_back(own);
        places.give_back(own);
        assert_eq!(places.take(own), Some(Admitted::Within));
    }

    #[test]
    fn no_more_than_there_are_whoever_asks() {
        let capacity = Capacity::new(100, 10);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if capacity.take().is_some() {
                            assert!(capacity.taken() <= 110 + 4);
                            capacity.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(capacity.taken(), 0);
    }
}
